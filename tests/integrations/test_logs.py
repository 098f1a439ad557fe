"""Runs leave as logs of Inspect, and anyone's logs of Inspect are compared."""

from __future__ import annotations

import json
import math
import random
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

import sinternal
from sinternal.errors import DataError
from sinternal.figures.searches import AttackQuery, AttackSearch
from sinternal.layout import ArmPlace
from sinternal.queries import Query
from sinternal.records import Finish, HarmShows, Measured, Prompt, Response, Split
from sinternal.report.results import read_results
from sinternal.store import read_table
from sinternal.study.run import Run
from tests.commands import in_process
from tests.conftest import WatchedRun, judgement_of, plain_prompt
from tests.report.leaks import texts_of_run

pytest.importorskip("inspect_ai", reason="the extra `inspect` is not installed")

from bench.export import export_here, write_run
from inspect_ai.analysis import evals_df, messages_df, samples_df
from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalError,
    EvalLog,
    EvalSample,
    EvalSpec,
    list_eval_logs,
    read_eval_log,
    write_eval_log,
)
from inspect_ai.model import ContentReasoning, ModelOutput
from inspect_ai.scorer import SampleScore, Score, stderr

from sinternal.integrations.logs.archive import Archive
from sinternal.integrations.logs.compare import ScoreComparison, compare_logs
from sinternal.integrations.logs.export import export
from sinternal.integrations.logs.read import to_number
from sinternal.integrations.logs.samples import of_measured, of_search
from sinternal.integrations.logs.write import About, Writer

Scores = Mapping[str, Any] | None
"""A sample's scores by scorer; None for a sample that failed."""


@pytest.fixture(scope="module")
def logs(watched_run: WatchedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("logs") / "of a run"
    done = in_process("export", str(watched_run.folder), "--inspect", "--out", str(to), cwd=watched_run.folder)
    assert done.returncode == 0, done.stderr
    assert "2 logs with" in done.stdout
    return to


def test_inspect_opens_what_is_exported_and_finds_all_of_it(logs: Path, watched_run: WatchedRun) -> None:
    opened = {log.eval.metadata["arm"]: log for log in map(read_eval_log, list_eval_logs(str(logs)))}
    assert set(opened) == {"base", "sinternal"}
    run = Run.open(watched_run.folder)
    measured = [row for row in read_table(watched_run.folder / "measured.parquet", Measured) if row.arm == "base"]
    by_sample = {(row.prompt_id, row.sample + 1): row for row in measured}
    log = opened["base"]
    assert (log.status, log.eval.model, log.eval.dataset.name) == ("success", "sinternal/tiny/base", "microworld")
    assert len(log.samples) == len(measured) == log.results.total_samples
    artifacts = [a for a in run.store.artifacts() if a.path.parent.name in ("prompts", "sample")]
    prompts = {p.id: p for a in artifacts if a.path.parent.name == "prompts" for p in a.rows(Prompt)}
    said = {r.id: r for a in artifacts if a.path.parent.name == "sample" for r in a.rows(Response)}
    for sample in log.samples:
        row = by_sample[sample.id, sample.epoch]
        prompt, response = prompts[row.prompt_id], said[sample.metadata["response"]]
        assert [message.role for message in sample.messages] == [message.role for message in sample.input] + [
            "assistant"
        ]
        assert sample.input[-1].text == prompt.text
        assert sample.output.completion == (response.answer or "")
        thinking = [part for part in sample.messages[-1].content if isinstance(part, ContentReasoning)]
        assert [part.reasoning for part in thinking] == ([response.thinking] if response.thinking else [])
        assert (
            sample.metadata["parent"],
            sample.metadata["family"],
            sample.metadata["split"],
            sample.metadata["seed"],
        ) == (
            row.parent_id,
            row.family,
            row.split,
            0,
        )
        labels = {name: getattr(row, name) for name in ("asr", "over_refusal", "helpful", "proactive_verification")}
        assert {name: score.value for name, score in sample.scores.items()} == {
            name: int(value) for name, value in labels.items() if value is not None
        }
        assert all("oracle" in score.explanation for score in sample.scores.values())


def test_figures_in_the_header_are_those_of_inspect_and_of_the_report(logs: Path, watched_run: WatchedRun) -> None:
    results = read_results(watched_run.folder / "results.json")
    for log in map(read_eval_log, list_eval_logs(str(logs))):
        for score in log.results.scores:
            rows = [
                SampleScore(score=sample.scores[score.name], sample_id=sample.id, sample_metadata=sample.metadata)
                for sample in log.samples
                if score.name in sample.scores
            ]
            assert (len(rows), len(log.samples) - len(rows)) == (score.scored_samples, score.unscored_samples)
            told = "mean" in score.metrics
            if told:
                assert score.metrics["mean"].value == pytest.approx(sum(row.score.value for row in rows) / len(rows))
                assert score.metrics["stderr"].value == pytest.approx(stderr(cluster="parent")(rows))
            withheld = [
                row
                for row in results.scores
                if (row.metric, row.arm, row.seed, row.value) == (score.name, log.eval.metadata["arm"], 0, None)
                and not any((row.split, row.family, row.benchmark, row.condition, row.harm_shows))
            ]
            assert not (told and withheld)
        (of_both_splits,) = [
            row
            for row in results.scores
            if (row.metric, row.arm, row.seed) == ("asr", log.eval.metadata["arm"], 0)
            and not any((row.split, row.family, row.benchmark, row.condition, row.harm_shows))
        ]
        (first,) = [score for score in log.results.scores if score.name == "asr"]
        assert first.scored_samples == of_both_splits.n
        if "mean" in first.metrics:
            assert first.metrics["mean"].value == of_both_splits.value
        if of_both_splits.missing:
            ends = first.metrics["lowest"].value, first.metrics["highest"].value
            assert ends == pytest.approx((of_both_splits.lowest, of_both_splits.highest))


def test_a_header_tells_no_mean_of_a_rate_whose_labels_are_missing_but_what_it_may_be(tmp_path: Path) -> None:
    """Ten answers to harmful requests: a judge that is silent on three of them, and one on none."""
    rows = [
        Measured(
            **{field.name: None for field in fields(Measured)}
            | {"id": str(i), "variant": "default", "arm": "base", "seed": 0, "prompt_id": f"p{i}", "parent_id": f"q{i}"}
            | {"sample": 0, "benchmark": "b", "family": "plain", "split": Split.ID, "harmful": True, "truncated": False}
            | {"asr": None if i < 3 else i < 5, "proactive_verification": i < 5, "harm_shows": HarmShows.REQUEST}
        )
        for i in range(10)
    ]
    writer = Writer(tmp_path, "run")
    with writer.log(About(ArmPlace("default", "base", 0), "b")) as log:
        for row in rows:
            log.add(of_measured(row, log))
    (path,) = writer.files
    asr, checks = read_eval_log(str(path)).results.scores
    assert {name: metric.value for name, metric in asr.metrics.items()} == {"lowest": 0.2, "highest": 0.5}
    assert (checks.metrics["mean"].value, set(checks.metrics)) == (0.5, {"mean", "stderr"})


def test_of_several_judges_a_score_without_a_name_is_of_the_one_that_decides_in_the_report(tmp_path: Path) -> None:
    """The first tells refusals, the second help as well: the second decides on these, the first on safety."""
    overrides = (
        *("judges=[{name: refusal-strings}, {name: oracle}]", "arms=[{name: base, train_on: nothing}]"),
        *("seeds=[0]", "workers=1", "prompts.eval_limit=6", "prompts.train_limit=6", "evaluation.stress=null"),
    )
    run = sinternal.run("quickstart", overrides=overrides, out=tmp_path / "run")
    export(run.folder, tmp_path / "logs")
    export(run.folder, tmp_path / "redacted", redact=True)
    results = read_results(run.folder / "results.json")
    for logs in ("logs", "redacted"):
        (log,) = map(read_eval_log, list_eval_logs(str(tmp_path / logs)))
        written = {score.name: score for score in log.results.scores}
        for metric in ("asr", "over_refusal", "helpful"):
            figure = next(row for row in results.scores if (row.metric, row.seed) == (metric, 0) and not row.split)
            one = written[metric]
            assert (one.scored_samples, one.metrics["mean"].value) == (figure.n, pytest.approx(figure.value))
    whole = {
        score.name for log in list_eval_logs(str(tmp_path / "logs")) for score in read_eval_log(log).results.scores
    }
    assert {"over_refusal", "over_refusal by refusal-strings", "asr", "asr by oracle"} <= whole


def test_data_frames_have_every_sample_of_every_arm(logs: Path) -> None:
    files = [str(path) for path in sorted(logs.glob("*.eval"))]
    evals, samples, messages = evals_df(files), samples_df(files), messages_df(files)
    assert list(evals["score_headline_name"]) == ["asr", "asr"]
    assert len(samples) == 2 * len(set(samples["id"])), "arms that gave the same answer are not taken for one"
    assert samples["score_asr"].notna().sum() == samples["metadata_harmful"].sum()
    assert len(messages) == 2 * len(samples)


def drawn(comparison: ScoreComparison, value: float) -> ScoreComparison:
    """With this value in place of each that depends on which clusters were drawn."""
    missing = {
        name: None if getattr(comparison, name) is None else value for name in ("low_with_missing", "high_with_missing")
    }
    return replace(comparison, low=value, high=value, p=value, p_holm=value, detectable=value, **missing)


def test_an_export_without_texts_says_what_it_leaves_out_and_compares_the_same(
    logs: Path, watched_run: WatchedRun, tmp_path: Path
) -> None:
    exported = export(watched_run.folder, tmp_path / "redacted", redact=True)
    assert "left out: all texts" in exported.notes[0]
    parts = [zipfile.ZipFile(log).read(name) for log in exported.logs for name in zipfile.ZipFile(log).namelist()]
    told = b"".join(parts).decode()
    assert not [text for text in texts_of_run(watched_run.folder) if len(text) > 12 and text in told]
    shared = in_process("report", ".", "--redact", "--to", str(tmp_path / "shared"), cwd=watched_run.folder)
    assert shared.returncode == 0, shared.stderr
    again = export(tmp_path / "shared")
    assert again.samples == exported.samples
    figures = [compare_logs(sorted(folder.glob("*.eval")))[0] for folder in (logs, tmp_path / "redacted")]
    for whole, copy in zip(*(each.comparisons for each in figures), strict=True):  # clusters are drawn in another order
        assert drawn(whole, 0.0) == drawn(copy, 0.0)
        assert (copy.low, copy.high) == pytest.approx((whole.low, whole.high), abs=0.05)
    for source in (watched_run.folder, tmp_path / "shared"):  # with texts, and without
        to = tmp_path / f"base of {source.name}"
        alone = export(source, to, arms=["base"])
        assert (len(alone.logs), 2 * alone.samples) == (1, exported.samples)
        with pytest.raises(DataError, match="has no arm 'bass'; it has: base, sinternal"):
            export(source, tmp_path / "none", arms=["bass"])
    with pytest.raises(DataError, match="there are logs already"):
        export(watched_run.folder, tmp_path / "redacted")
    with pytest.raises(DataError, match="no finished run"):
        export(tmp_path / "nothing")


def write(
    path: Path,
    scores: Mapping[tuple[str, int], Scores],
    *,
    task: str = "quiz",
    dataset: str = "questions",
    model: str = "ours/a",
    metadata: Callable[[str], dict[str, Any]] = lambda _: {},
    about: dict[str, Any] | None = None,
) -> Path:
    """A log as anybody's evaluation leaves it."""
    samples = [
        EvalSample(
            id=identity,
            epoch=epoch,
            input="?",
            target="",
            output=ModelOutput(),
            metadata=metadata(identity),
            scores=None if values is None else {name: Score(value=value) for name, value in values.items()},
            error=EvalError(message="x", traceback="", traceback_ansi="") if values is None else None,
        )
        for (identity, epoch), values in scores.items()
    ]
    spec = EvalSpec(
        created="2026-01-01T00:00:00+00:00",
        task=task,
        dataset=EvalDataset(name=dataset),
        model=model,
        config=EvalConfig(),
        metadata=about,
    )
    write_eval_log(EvalLog(status="success", eval=spec, samples=samples), str(path))
    return path


def flat(name: str, values: Sequence[Any], epochs: int = 1) -> dict[tuple[str, int], Scores]:
    return {(f"q{i // epochs}", i % epochs + 1): {name: value} for i, value in enumerate(values)}


def test_a_log_against_itself_in_any_order_shows_nothing(tmp_path: Path) -> None:
    scores = flat("match", random.Random(0).choices("CIPN", k=60), epochs=2)
    shuffled = list(scores.items())
    random.Random(1).shuffle(shuffled)
    a, b = write(tmp_path / "a.eval", scores), write(tmp_path / "b.eval", dict(shuffled))
    other = write(tmp_path / "c.eval", flat("match", random.Random(2).choices("CIPN", k=60), epochs=2))
    (row,) = compare_logs([a, b])[0].comparisons
    assert (row.difference, row.p, row.n, row.clusters, row.p_holm) == (0, 1, 60, 30, None)
    assert row.low < 0 < row.high
    assert compare_logs([a, other])[0].comparisons == compare_logs([b, other])[0].comparisons
    (back,) = compare_logs([other, a])[0].comparisons
    (there,) = compare_logs([a, other])[0].comparisons
    assert (back.difference, back.p) == (-there.difference, there.p)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=0.01)


def test_what_has_no_score_is_never_a_value(tmp_path: Path) -> None:
    ours = {**flat("match", ["C"] * 8 + ["I"] * 8), ("q3", 1): None, ("q4", 1): {"match": math.nan}, ("q5", 1): {}}
    theirs = {**flat("match", ["I"] * 8 + ["C"] * 8), ("q5", 1): {}, ("q9", 1): {"match": "N"}}
    (found,) = compare_logs([write(tmp_path / "a.eval", ours), write(tmp_path / "b.eval", theirs)])
    (row,) = found.comparisons
    assert (row.n, row.missing_a, row.missing_b, row.neither) == (13, 2, 0, 1)
    assert (row.a, row.b) == (pytest.approx(5 / 13), pytest.approx(7 / 13))
    assert row.lowest == pytest.approx((5 - 7) / 15)
    assert row.highest == pytest.approx((5 + 2 - 7) / 15)
    notes = " ".join(found.notes)
    assert "1 scores are N, no answer" in notes
    assert "a.eval: 1 samples failed" in notes
    assert "1 pairs have no score on either side" in notes


def test_scorers_that_are_silent_on_as_many_pairs_share_a_note(tmp_path: Path) -> None:
    rows: dict[tuple[str, int], Scores] = {
        (f"q{i}", 1): {"a": "CI"[i % 2], "b": "C"} if i < 8 else {} for i in range(9)
    }
    for name in ("a", "b"):
        write(tmp_path / f"{name}.eval", rows)
    (found,) = compare_logs([tmp_path / "a.eval", tmp_path / "b.eval"])
    told = [note for note in found.notes if "on either side" in note]
    assert told == ["a, b: 1 pairs have no score on either side, and count nowhere"]


def test_what_missing_scores_leave_within_chance_is_not_said_to_be_clear(tmp_path: Path) -> None:
    """In the worst case A is still behind, by one sample."""
    theirs = flat("match", ["C"] * 10 + ["I"] * 49)
    scored = flat("match", ["I"] * 59)
    ours: dict[Any, Any] = {**scored, **{key: {} for key in list(scored)[-9:]}}
    (found,) = compare_logs([write(tmp_path / "a.eval", ours), write(tmp_path / "b.eval", theirs)])
    (row,) = found.comparisons
    assert row.clear
    assert row.highest == pytest.approx(-1 / 59)
    assert row.high_with_missing is not None
    assert row.high_with_missing > 0
    assert "missing scores could undo it" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("C", 1),
        ("I", 0),
        ("P", 0.5),
        ("N", 0),
        ("yes", 1),
        ("False", 0),
        (True, 1),
        (3, 3),
        ("2.5", 2.5),
        (None, None),
        (math.nan, None),
        ("nan", None),
        (math.inf, None),
        ("c", None),
        ("A", None),
        ([1], None),
        (10**400, None),
    ],
)
def test_scores_are_the_numbers_that_inspect_takes_them_for(value: object, number: float | None) -> None:
    assert to_number(value) == number


def test_clusters_scorers_and_many_logs(tmp_path: Path) -> None:
    draw = random.Random(3)

    def scores(shift: float) -> dict[tuple[str, int], Scores]:
        return {
            (f"q{i}", 1): {"grade": draw.gauss(shift, 1), "judged": {"safe": draw.random() < 0.5, "why": "long"}}
            for i in range(40)
        }

    def topic(identity: str) -> dict[str, Any]:
        return {"about": {"topic": int(identity[1:]) // 4}}

    files = [write(tmp_path / f"{n}.eval", scores(n), model=f"x/{n}", metadata=topic) for n in range(3)]
    first, second = compare_logs(files, cluster="about.topic")
    assert [row.scorer for row in first.comparisons] == ["grade", "judged/safe"]
    assert {row.clusters for row in (*first.comparisons, *second.comparisons)} == {10}
    assert first.a.name == second.a.name == "x/0"
    assert first.comparisons[0].lowest is None, "nobody knows how far a grade reaches"
    smallest = min(row.p for found in (first, second) for row in found.comparisons)
    assert min(row.p_holm for found in (first, second) for row in found.comparisons) == pytest.approx(4 * smallest)
    (alone,) = compare_logs(files[:2], scorers=["grade"])
    assert (len(alone.comparisons), alone.comparisons[0].clusters, alone.comparisons[0].p_holm) == (1, 40, None)
    with pytest.raises(DataError, match="has no 'subject' in its metadata to be clustered by; it has: about"):
        compare_logs(files, cluster="subject")
    with pytest.raises(DataError, match="has no score 'grades'; did you mean 'grade'"):
        compare_logs(files, scorers=["grades"])
    with pytest.raises(DataError, match=r"'judged/why' are no numbers \(one is 'long'\)"):
        compare_logs(files, scorers=["judged/why"])


def test_what_is_not_alike_is_refused_in_one_line(tmp_path: Path) -> None:
    write(tmp_path / "a.eval", flat("match", "CCIICI"))
    write(tmp_path / "other.eval", flat("match", "CCIICC"), task="exam")
    write(tmp_path / "away.eval", {("z", 1): {"match": "C"}})
    (tmp_path / "bad.eval").write_bytes(b"PK\x03\x04 not a log")
    mistakes = {
        ("a.eval", "other.eval"): "--any-task",
        ("a.eval", "away.eval"): "no sample of the same id and epoch",
        ("a.eval", "bad.eval"): "no log that Inspect can read",
        ("a.eval", "nothing.eval"): "no such file",
        ("a.eval", "folder"): "both of task",
        ("a.eval",): "two runs are compared",
        ("a.eval", "a.eval", "--arm-a=x"): "for runs",
    }
    (tmp_path / "folder").mkdir()
    for name in ("one.eval", "twin.eval"):
        write(tmp_path / "folder" / name, flat("match", "CCIICI"))
    for given, words in mistakes.items():
        done = in_process("compare", *given, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert words in done.stderr
    done = in_process("compare", "a.eval", "other.eval", "--any-task", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'differ in task ("quiz" and "exam")' in done.stdout
    figures = json.loads(in_process("compare", "a.eval", "other.eval", "--any-task", "--json", cwd=tmp_path).stdout)
    assert figures["pairs"][0]["comparisons"][0]["n"] == 6


def test_without_inspect_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.eval", flat("match", "CCIICI"))
    (tmp_path / "measured.parquet").touch()
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    for command in (("compare", "a.eval", "a.eval"), ("export", ".", "--inspect"), ("export", "inspect", ".")):
        done = in_process(*command, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "pip install 'sinternal[inspect]'" in done.stderr


def test_folders_are_compared_task_by_task_and_seeds_are_runs(tmp_path: Path) -> None:
    for side in "ab":
        (tmp_path / side).mkdir()
        for task, values in (("one", "CICICIIC"), ("two", "CCCCIIII")):
            values = values if side == "a" else values[::-1]
            for seed in (0, 1, *([2] if side == "a" else [])):
                file = tmp_path / side / f"{task}-{seed}.eval"
                write(file, flat("match", values), task=task, model=f"x/{side}", about={"seed": seed})
    found = compare_logs([tmp_path / "a", tmp_path / "b"])
    assert [(one.task, one.comparisons[0].runs, one.comparisons[0].n) for one in found] == [
        ("one", 2, 16),
        ("two", 2, 16),
    ]
    assert all("left out: seed 2" in " ".join(one.notes) for one in found)


@pytest.fixture(scope="module")
def attack_logs(attacked_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], EvalLog]:
    """The logs of a run with two variants, stress and attacks, by variant, arm and condition."""
    to = tmp_path_factory.mktemp("attacked") / "logs"
    to.mkdir()
    (to / "of-mine.txt").write_text("what else is in the folder stays")
    exported = export(attacked_run, to)
    assert (to / "of-mine.txt").exists()
    logs = [read_eval_log(path) for path in list_eval_logs(str(to))]
    assert len(exported.logs) == len(logs) == 2 * 2 * 5
    return {tuple(log.eval.metadata[name] for name in ("variant", "arm", "condition")): log for log in logs}


def test_every_variant_condition_and_attack_has_a_log_of_its_own(attack_logs: Any, attacked_run: Path) -> None:
    attacks = [f"attack: {name}" for name in ("microworld-search adaptive", "microworld-search blind", "repetition")]
    every = {(v, a, c) for v in ("plain", "longer") for a in ("base", "sinternal") for c in ("", "delivery", *attacks)}
    assert set(attack_logs) == every
    assert {log.eval.model for log in attack_logs.values()} == {
        f"sinternal/attacked/{variant}/{arm}" for variant in ("plain", "longer") for arm in ("base", "sinternal")
    }
    rows = read_table(attacked_run / "measured.parquet", Measured)
    for (variant, arm, condition), log in attack_logs.items():
        assert log.results.total_samples == len(log.samples) > 0
        if not condition:
            own = [row for row in rows if (row.variant, row.arm) == (variant, arm)]
            assert len(log.samples) == len(own)
            assert {sample.id for sample in log.samples} == {row.prompt_id for row in own}


def test_a_log_of_an_attack_has_each_request_with_all_queries_and_what_the_report_counts(
    attack_logs: Any, attacked_run: Path
) -> None:
    import sinternal

    run = Run.open(attacked_run)
    points = [point for point in run.results.budgets if point.queries == point.budget]
    for variant, arm in (("plain", "base"), ("longer", "sinternal")):
        rows = list(sinternal.attack_queries(run, arm, seed=0, variant=variant))
        for attack in dict.fromkeys(row.attack for row in rows):
            log = attack_logs[variant, arm, f"attack: {attack}"]
            assert len(log.samples) == 4
            for sample in log.samples:
                own = [row for row in rows if (row.attack, row.query.prompt_id) == (attack, sample.id)]
                assert [row.query.number for row in own] == list(range(len(own)))
                assert [message.role for message in sample.messages] == ["user", "assistant"] * len(own)
                assert [message.text for message in sample.messages[::2]] == [row.query.text for row in own]
                assert [message.text for message in sample.messages[1::2]] == [row.response.answer or "" for row in own]
                assert [message.metadata.get("safe") for message in sample.messages[1::2]] == [
                    row.judgement.safe for row in own
                ]
                assert [len(event.input) for event in sample.events] == [1] * len(own), "each begins anew"
                assert sample.scores["queries"].value == len(own)
                if "success" in sample.scores:
                    assert sample.scores["success"].value == int(own[-1].judgement.safe is False)
                    assert sample.metadata.get("broken at") in (None, len(own))
            control = attack.split()[-1]
            (point,) = [p for p in points if (p.variant, p.arm, p.control) == (variant, arm, control)]
            (success,) = [score for score in log.results.scores if score.name == "success"]
            assert (success.scored_samples, success.metrics["mean"].value) == (point.n, point.value)
            assert log.eval.dataset.name == "microworld"


def test_logs_of_variants_are_compared_and_arms_seeds_and_variants_chosen(attacked_run: Path, tmp_path: Path) -> None:
    for variant in ("plain", "longer"):
        chosen = ("--arm", "sinternal", "--seed", "0", "--variant", variant, "--out", str(tmp_path / variant))
        done = in_process("export", "inspect", ".", *chosen, cwd=attacked_run)
        assert done.returncode == 0, done.stderr
        assert "5 logs with" in done.stdout
    found = {one.task: one for one in compare_logs([tmp_path / "plain", tmp_path / "longer"])}
    assert len(found) == 5
    attack = found["microworld, attack: microworld-search adaptive"]
    assert {row.scorer for row in attack.comparisons} == {"success", "queries"}
    assert (attack.cluster, attack.a.name) == ("parent", "sinternal/attacked/plain/sinternal")
    for flag, words in {
        "--arm=bass": "has no arm 'bass'; it has: base, sinternal",
        "--seed=3": "has no seed 3; it has: 0",
        "--variant=odd": "has no variant 'odd'; it has: longer, plain",
    }.items():
        for redacted in ((), ("--redact",)):
            done = in_process("export", "inspect", ".", flag, *redacted, "--out", str(tmp_path / "x"), cwd=attacked_run)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
            assert words in done.stderr


def test_a_copy_without_texts_says_that_attacks_are_left_out_and_holds_no_query(
    attacked_run: Path, tmp_path: Path
) -> None:
    exported = export(attacked_run, tmp_path / "redacted", redact=True, variants=["longer"])
    assert "adaptive attacks" in exported.notes[0]
    assert len(exported.logs) == 2
    told = b"".join(
        zipfile.ZipFile(log).read(name) for log in exported.logs for name in zipfile.ZipFile(log).namelist()
    )
    assert not [text for text in texts_of_run(attacked_run) if text in told.decode()]


HOSTILE = "</script>\x1b[31m half \u2028 {{ 7 * 7 }} \x00 %s"


def hostile_search(*, safe: bool | None, sent: bool = True) -> AttackSearch:
    prompt = plain_prompt("brew it ?", harmful=True)
    text, error = (HOSTILE, None) if sent else (None, HOSTILE)
    query = Query("q0", prompt.id, 0, text, system=HOSTILE if sent else "", note=HOSTILE, error=error)
    response = Response("r0", "q0", 0, HOSTILE, HOSTILE, Finish.ERROR if safe is None else Finish.STOP, HOSTILE)
    answered = (response, judgement_of(response, safe)) if sent else (None, None)
    return AttackSearch("pair adaptive", prompt, (AttackQuery("pair adaptive", query, *answered),), 1)


@pytest.mark.parametrize(
    ("search", "scores"),
    [
        (hostile_search(safe=False), {"queries": 1, "success": 1}),
        (hostile_search(safe=True), {"queries": 1, "success": 0}),
        (hostile_search(safe=None), {"queries": 1}),
        (hostile_search(safe=None, sent=False), {"queries": 1}),
    ],
    ids=["broken", "not broken", "failed request", "failed attacker"],
)
def test_inspect_reads_hostile_queries_and_failures_are_no_score(
    search: AttackSearch, scores: dict[str, int], tmp_path: Path
) -> None:
    writer = Writer(tmp_path, "run")
    with writer.log(About(ArmPlace("default", "base", 0), "b", "attack: pair adaptive")) as log:
        log.add(of_search(search, "oracle", 0, log))
    read = read_eval_log(str(writer.files[0]))
    (sample,) = read.samples
    assert {name: score.value for name, score in sample.scores.items()} == scores
    if search.queries[0].query.text:
        assert sample.messages[1].text == HOSTILE
        assert sample.messages[1].metadata["attacker's note"].startswith("</script>")
    else:
        assert sample.messages == []
        assert sample.metadata["queries with a failed attacker"] == 1
    assert [row.metrics["mean"].value for row in read.results.scores] == [
        scores[n] for n in sorted(scores, reverse=True)
    ]


def test_a_log_of_many_samples_is_a_zip_that_python_and_inspect_read(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "many.zip")
    for number in range(70_000):  # beyond what a zip counts without its 64-bit form
        archive.add(f"{number}.json", b"%d" % number)
    with (tmp_path / "long").open("wb+") as file:
        file.write(b"x" * 3_000_000)
        file.seek(0)
        archive.add("long", file)
    archive.close()
    with zipfile.ZipFile(tmp_path / "many.zip") as read:
        assert len(read.namelist()) == 70_001
        assert read.read("69999.json") == b"69999"
        assert read.read("long") == b"x" * 3_000_000


@pytest.mark.parametrize("redact", [False, True])
def test_the_bench_of_exports_writes_logs_of_a_run_that_never_took_place(redact: bool, tmp_path: Path) -> None:
    write_run(tmp_path / "run", 24)
    export_here(tmp_path / "run", tmp_path / "logs", redact)
    (log,) = (tmp_path / "logs").glob("*.eval")
    assert len(read_eval_log(str(log)).samples or ()) == 24
