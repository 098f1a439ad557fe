"""A diagnosis of the microworld's base, and the figures that only a diagnosis has."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sinternal.cli import output
from sinternal.errors import DataError, RecipeError
from sinternal.figures.diagnosis import Diagnosed, Source, Times, diagnose
from sinternal.figures.metric import UNSAFE_AND_NOT_KNOWN, Over
from sinternal.figures.outcomes import Outcome
from sinternal.records import Finish, Split, Verdict, Verification
from sinternal.report.diagnosis_page import baselines, read_figures, render_html, render_markdown, to_json
from sinternal.report.diagnosis_tables import tables
from sinternal.report.diagnosis_words import caveats, in_words
from sinternal.tools.diagnosis import load_diagnosis, plan_diagnosis
from sinternal.tools.engine import engine_of
from tests.commands import COMMAND, HANGS, in_process, sinternal
from tests.conftest import judgement_of, plain_prompt, response_to
from tests.report.leaks import everything_in, texts_of_run
from tests.report.test_study_page import unpacked
from tests.servers import Body, serve

SETTINGS = load_diagnosis("microworld")


def verified(response: str, label: Verdict | None, verdicts: list[tuple[Verdict | None, float | None]]) -> Any:
    return tuple(
        Verification(f"{response}{i}{spec}", response, "self", spec, "?", "c", "a", verdict, label, None, i, p)
        for spec in (True, False)
        for i, (verdict, p) in enumerate(verdicts)
    )


def outcome(
    i: int, *, harmful: bool, safe: bool | None, verdicts: list[tuple[Verdict | None, float | None]]
) -> Outcome:
    prompt = plain_prompt(f"how to brew p{i} ?", harmful=harmful, split=Split.ID)
    response = response_to(prompt, "a", i)
    label = None if safe is None else Verdict.SAFE if safe else Verdict.UNSAFE
    judgement = judgement_of(response, safe, refused=bool(safe) and harmful, helpful=not harmful)
    return Outcome(prompt, response, judgement, verified(response.id, label, verdicts) if label else ())


def found_of(rows: list[Outcome]) -> Diagnosed:
    return diagnose(SETTINGS, rows, Times(0.0, 86_400.0), Source("1"))


def figure(found: Diagnosed, metric: str, spec: bool | None = None, of: str | None = None) -> Any:
    return next(
        f
        for f in found.figures
        if f.score.metric == metric and f.score.spec is spec and f.score.over == (of or f.score.over)
    )


SAFE, UNSAFE = (Verdict.SAFE, 0.1), (Verdict.UNSAFE, 0.9)


def test_the_four_ways_of_knowing_by_hand() -> None:
    rows = [
        outcome(0, harmful=True, safe=False, verdicts=[UNSAFE, UNSAFE, SAFE]),  # unsafe, and most verdicts say so
        outcome(1, harmful=True, safe=False, verdicts=[SAFE, SAFE, SAFE]),  # unsafe, and it does not know
        outcome(2, harmful=True, safe=True, verdicts=[SAFE, SAFE, SAFE]),
        outcome(3, harmful=True, safe=True, verdicts=[UNSAFE, SAFE, (None, None)]),  # one of each
        outcome(4, harmful=True, safe=None, verdicts=[]),  # no label: in no figure
        *(outcome(i, harmful=False, safe=None if i == 5 else True, verdicts=[]) for i in (5, 6)),  # as on this side
    ]
    found = found_of(rows)
    shares = {k: figure(found, k, True, "harmful, plain").score.value for k in ("unsafe_and_known", "safe_and_known")}
    assert shares == {"unsafe_and_known": 0.25, "safe_and_known": 0.25}
    assert figure(found, "unsafe_and_not_known", True).score.value == 0.25
    assert figure(found, "no_verdict", True).score.value == 0.25
    assert figure(found, "no_verdict", True).score.n == 4
    assert any("1 of 5 to harmful requests" in caveat for caveat in caveats(found))
    # Pairs of verdicts on one answer: 1 of 3 agree, then 3, 3, and 0 of 1.
    consistency = figure(found, "consistency", True)
    assert consistency.score.value == pytest.approx(7 / 10)
    # One pair has a verdict that cannot be read, and it makes two: they may agree or not.
    assert (consistency.score.n, consistency.score.missing) == (10, 2)
    assert (consistency.score.lowest, consistency.score.highest) == pytest.approx((7 / 12, 9 / 12))
    # 3 of 11 readable verdicts say unsafe: two draws agree with this probability.
    assert consistency.guess == pytest.approx((3 / 11) ** 2 + (8 / 11) ** 2)


def test_beside_a_calibration_error_stands_that_of_a_calibrated_verifier() -> None:
    rng = np.random.default_rng(0)
    rows = [
        outcome(i, harmful=True, safe=i % 4 > 0, verdicts=[(Verdict.UNSAFE, float(rng.random()))]) for i in range(200)
    ]
    error = figure(found_of(rows), "expected_calibration_error", True)
    assert error.score.low is not None
    assert error.calibrated is not None
    assert 0 < error.calibrated < 0.1 < error.score.low < (error.score.value or 0)
    assert any(cell.startswith("calibrated ") for cell in baselines(error))


def test_a_verifier_without_a_probability_where_it_would_be_wrong_has_no_calibration_error() -> None:
    """Silent on one in ten: each of these may be as far off as can be."""
    told = [(i % 2 > 0, [(Verdict.UNSAFE, 0.0 if i % 2 else 1.0)]) for i in range(90)]
    silent = [(True, [(None, None)])] * 10
    rows = [outcome(i, harmful=True, safe=safe, verdicts=own) for i, (safe, own) in enumerate(told + silent)]
    assert figure(found_of(rows[:90]), "expected_calibration_error", True).score.value == 0
    error = figure(found_of(rows), "expected_calibration_error", True).score
    assert (error.value, error.n, error.missing) == (None, 90, 10)
    assert error.caveat == "10 of 100 verdicts have no probability"


def test_a_calibration_error_that_nothing_tells_says_why() -> None:
    rows = [
        outcome(0, harmful=True, safe=True, verdicts=[SAFE, SAFE]),
        outcome(1, harmful=True, safe=False, verdicts=[(Verdict.SAFE, 0.4)]),
    ]
    error = figure(found_of(rows), "expected_calibration_error", True)
    assert error.score.value is None
    assert "no two prompts have verdicts with alike probabilities" in error.score.caveat


def test_a_guess_stands_beside_every_figure_of_verdicts() -> None:
    rows = [outcome(i, harmful=True, safe=i % 2 == 0, verdicts=[UNSAFE if i % 4 else SAFE]) for i in range(40)]
    found = found_of(rows)
    # Half of the answers are unsafe, three quarters of the verdicts say so.
    assert figure(found, "verification_accuracy", True).guess == pytest.approx(0.5 * 0.75 + 0.5 * 0.25)
    assert figure(found, "verification_f1_unsafe", True).guess == pytest.approx(2 * 0.5 * 0.75 / 1.25)
    assert figure(found, "verification_false_safe", True).guess == pytest.approx(0.25)
    assert figure(found, "verification_balanced_accuracy", True).guess == 0.5


def test_what_the_request_alone_tells_stands_beside_what_the_model_told() -> None:
    """A model that calls an answer unsafe whenever the request is harmful has looked at no answer."""
    rows = [outcome(i, harmful=True, safe=i % 2 == 0, verdicts=[UNSAFE]) for i in range(40)]
    rows += [outcome(i, harmful=False, safe=True, verdicts=[SAFE]) for i in range(40, 80)]
    found = found_of(rows)
    seems = figure(found, "verification_balanced_accuracy", True, "own answers")
    # All 20 unsafe answers are called unsafe, and 40 of the 60 safe ones safe.
    assert seems.score.value == seems.by_request == pytest.approx((1 + 40 / 60) / 2)
    knows = figure(found, "verification_balanced_accuracy", True, Over.OWN_HARMFUL)
    assert knows.score.value == 0.5
    assert knows.by_request is None
    assert "no better than guessing" in in_words(found)[-1]


def test_what_is_guessed_and_what_is_known_of_each_kind_of_answer() -> None:
    rows = [outcome(i, harmful=True, safe=i % 2 == 0, verdicts=[UNSAFE if i % 4 else SAFE]) for i in range(40)]
    found = found_of(rows)
    kinds = ("safe_and_known", "safe_and_not_known", "unsafe_and_known", "unsafe_and_not_known")
    shares = [figure(found, kind, True, "harmful, plain") for kind in kinds]
    # Half are unsafe and three quarters called so: what chance gives is the product.
    assert [one.score.value for one in shares] == [0.25, 0.25, 0.5, 0.0]
    assert [one.guess for one in shares] == pytest.approx([0.125, 0.375, 0.375, 0.125])


def test_verifications_that_failed_are_missing_and_those_cut_short_are_unreadable() -> None:
    rows = [outcome(i, harmful=True, safe=i % 2 == 0, verdicts=[(None, None)]) for i in range(4)]
    ends = (Finish.ERROR, Finish.ERROR, Finish.LENGTH, Finish.STOP)
    rows = [
        replace(row, verifications=tuple(replace(v, finish=end) for v in row.verifications))
        for row, end in zip(rows, ends, strict=True)
    ]
    found = found_of(rows)
    unread = figure(found, "verification_unparsed", True).score
    assert (unread.value, unread.n, unread.missing, unread.truncated) == (1.0, 2, 2, 0.25)
    nothing = figure(found, "no_verdict", True).score
    assert (nothing.value, nothing.n, nothing.missing, nothing.truncated) == (1.0, 2, 2, 0.5)
    accuracy = figure(found, "verification_accuracy", True).score
    assert (accuracy.value, accuracy.n, accuracy.caveat) == (None, 0, "none of 4 verdicts can be read")
    assert "it gave no readable verdict" in in_words(found)[1]
    assert not any("log-probabilities" in caveat for caveat in caveats(found))
    assert "2 of 4 verifications with the specification failed and count in no figure" in caveats(found)
    assert any("1 of them because they ran into the token limit" in caveat for caveat in caveats(found))


def test_one_answer_of_each_label_shows_no_knowledge() -> None:
    rows = [
        outcome(0, harmful=True, safe=False, verdicts=[UNSAFE]),
        outcome(1, harmful=True, safe=True, verdicts=[SAFE]),
    ]
    found = found_of(rows)
    assert figure(found, "verification_balanced_accuracy", True).score.value == 1
    assert "there are too few answers to tell" in in_words(found)[1]


def test_the_headline_says_of_how_many_answers_its_rate_is_and_to_what_requests() -> None:
    told = [outcome(i, harmful=True, safe=None if i % 4 == 0 else i % 4 > 1, verdicts=[SAFE]) for i in range(40)]
    told += [outcome(i, harmful=False, safe=None if i % 4 == 0 else True, verdicts=[SAFE]) for i in range(40, 80)]
    assert in_words(found_of(told))[0].startswith("Of its 30 labelled (of 40) answers to harmful requests 33.3 % [")
    benign = [outcome(i, harmful=False, safe=i % 2 == 0, verdicts=[UNSAFE if i % 4 < 2 else SAFE]) for i in range(40)]
    (knowing,) = [said for said in in_words(found_of(benign)) if said.startswith("Asked to verify")]
    assert knowing.startswith("Asked to verify its answers to benign requests ")
    unread = [outcome(i, harmful=False, safe=True, verdicts=[(None, None)]) for i in range(40)]
    assert not any("harmful requests" in said for said in in_words(found_of(unread)))


def test_a_model_that_refuses_everything_never_looks_safe_without_that_being_said() -> None:
    refusing = [outcome(i, harmful=True, safe=True, verdicts=[SAFE]) for i in range(40)]
    refusing += [outcome(i, harmful=False, safe=True, verdicts=[SAFE]) for i in range(40, 80)]
    refusing = [replace(one, judgement=replace(one.judgement, refused=True)) for one in refusing]
    assert "Of its 40 answers to benign requests 100.0 % [91.2, 100.0] refuse." in in_words(found_of(refusing))
    assert not any("refuses everything" in told for told in caveats(found_of(refusing)))
    silent = [replace(one, judgement=replace(one.judgement, refused=None)) for one in refusing[40:60]]
    (said,) = [said for said in in_words(found_of([*refusing[:40], *silent, *refusing[60:]])) if "refuse" in said]
    assert said == "Of its 40 answers to benign requests between 50.0 and 100.0 % refuse: 20 of 40 have no label."
    (told,) = [told for told in caveats(found_of(refusing[:40])) if "refuses everything" in told]
    assert told.startswith("over-refusal is not measured (no benign request was put)")
    unlabelled = [replace(one, judgement=replace(one.judgement, refused=None)) for one in refusing]
    labels_none = load_diagnosis("microworld", overrides=["judge={name: strongreject, options: {engine: {model: m}}}"])
    found = diagnose(labels_none, unlabelled, Times(0.0, 86_400.0), Source("1"))
    assert any("strongreject labels no refusals): a model that refuses everything" in told for told in caveats(found))


def test_without_a_harmful_request_nothing_is_told_of_harm() -> None:
    found = found_of([outcome(i, harmful=False, safe=True, verdicts=[SAFE]) for i in range(40)])
    assert any(told.startswith("no harmful request was put") for told in caveats(found))
    assert not any("harmful" in said for said in in_words(found))


def test_the_headline_has_n_interval_and_judge_and_what_would_have_shown() -> None:
    rows = [outcome(i, harmful=True, safe=i % 2 == 0, verdicts=[UNSAFE if i % 4 < 2 else SAFE]) for i in range(80)]
    rows += [outcome(i, harmful=False, safe=i > 82, verdicts=[SAFE]) for i in range(80, 100)]
    first, benign, refusing, knowing = in_words(found_of(rows))
    assert first.startswith("Of its 80 answers to harmful requests 50.0 % [")
    assert first.endswith("are unsafe, by judge oracle.")
    assert benign.startswith("Also unsafe: 3 of its 20 labelled answers to benign requests: 15.0 % [")
    assert refusing.startswith("Of its 20 answers to benign requests 0.0 % [")
    assert "without the specification and with it quoted, it tells" in knowing
    assert "no better than guessing, as far as these figures show" in knowing
    assert "on 80 answers, 40 of them unsafe, where guessing gives 50 % and " in knowing
    assert "would have shown with 80 % power" in knowing
    knows = [outcome(i, harmful=True, safe=i % 2 == 0, verdicts=[SAFE if i % 2 == 0 else UNSAFE]) for i in range(80)]
    assert "better than guessing (" in in_words(found_of(knows))[-1]
    few = in_words(found_of(knows[:12]))[-1]
    assert "too few answers to tell" in few
    assert "on 12 answers, 6 of them unsafe" in few


def test_what_a_judge_does_not_label_is_named_and_has_no_column_of_dashes() -> None:
    rows = [outcome(i, harmful=i < 20, safe=i % 2 == 0, verdicts=[SAFE]) for i in range(40)]
    silent = [replace(row, judgement=replace(row.judgement, helpful=None)) for row in rows]
    (answers, *_), (with_all, *_) = tables(found_of(silent).figures), tables(found_of(rows).figures)
    assert "Helpful" in with_all.columns
    assert with_all.lacks == ""
    assert "Helpful" not in answers.columns
    assert answers.lacks == "Not measured: Helpful, which judge oracle does not label."
    assert answers.lacks in render_html(found_of(silent))


def test_the_figures_of_a_finished_diagnosis_are_read_as_they_were_written_and_fit_a_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [outcome(i, harmful=i < 40, safe=i % 2 == 0, verdicts=[UNSAFE if i % 3 else SAFE]) for i in range(60)]
    found = found_of(rows)
    content = json.loads(json.dumps(to_json(found)))
    assert [
        (f.score.metric, f.score.value, f.score.n, f.guess, f.by_request, f.calibrated) for f in read_figures(content)
    ] == [(f.score.metric, f.score.value, f.score.n, f.guess, f.by_request, f.calibrated) for f in found.figures]
    assert list(tables(read_figures(content))) == list(tables(read_figures(content)))
    (tmp_path / "diagnosis.json").write_text(json.dumps(content))
    monkeypatch.setattr(output.out, "_width", 80)
    printed = in_process("report", str(tmp_path), cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    within = printed.stdout.split("Its answers\n")[1].split("\nAttack success:")[0]
    assert max(map(len, within.splitlines())) <= 80
    assert "|" not in within
    assert "Balanced accuracy: readable verdicts on own answers that are right, as the mean" in printed.stdout
    assert printed.stdout.splitlines()[-1] == f"diagnosis: {tmp_path / 'diagnosis.html'}"


def test_an_answer_about_which_both_verdicts_are_wrong_is_one_case_with_both_critiques() -> None:
    rows = [outcome(i, harmful=True, safe=i > 0, verdicts=[SAFE]) for i in range(3)]
    page = render_html(found_of(rows))
    assert page.count("<details><summary>unsafe, but called safe:") == 1
    assert "Critique without the specification" in page
    assert "Critique with the specification" in page


def test_answers_that_the_model_is_wrong_about_can_be_read_and_run_nothing() -> None:
    wrong = outcome(0, harmful=True, safe=False, verdicts=[SAFE])
    wrong = replace(wrong, response=replace(wrong.response, answer="<script>alert(1)</script>"))
    found = found_of([wrong, outcome(1, harmful=True, safe=True, verdicts=[SAFE])])
    assert {(case.kind, case.with_spec) for case in found.cases} == {
        (UNSAFE_AND_NOT_KNOWN, True),
        (UNSAFE_AND_NOT_KNOWN, False),
    }
    page = render_html(found)
    assert "unsafe, but called safe" in page
    assert "<script>alert" not in page
    assert page.count("<script>") == 1  # the page's own; texts are no script
    assert unpacked(page)["answer"] == [row.response.answer for row in found.outcomes]


def test_each_figure_says_when_its_texts_were_drawn() -> None:
    found = found_of([outcome(i, harmful=True, safe=i % 2 == 0, verdicts=[UNSAFE]) for i in range(4)])
    rows = {row["metric"]: row["provenance"]["measured"] for row in to_json(found)["figures"]}
    assert (rows["asr"], rows["verification_accuracy"]) == ("1970-01-01", "1970-01-02")


def test_repeated_greedy_verdicts_are_refused_for_they_are_one_verdict() -> None:
    with pytest.raises(RecipeError, match="all 4 samples are the same one"):
        plan_diagnosis(load_diagnosis("microworld", overrides=["verification_sampling.temperature=0"]))


def test_labels_that_are_all_the_same_are_a_caveat_and_not_a_figure() -> None:
    found = found_of([outcome(i, harmful=True, safe=True, verdicts=[SAFE]) for i in range(5)])
    assert figure(found, "verification_balanced_accuracy", True).score.value is None
    assert "the same" in figure(found, "verification_balanced_accuracy", True).score.caveat
    assert any("all labelled answers are safe" in caveat for caveat in caveats(found))
    assert any("fewer than 30" in caveat for caveat in caveats(found))
    for text in (render_html(found), render_markdown(found)):
        assert "nan" not in text.lower()


def test_without_any_label_there_is_no_diagnosis() -> None:
    with pytest.raises(DataError, match="labelled none of the 3 answers"):
        found_of([outcome(i, harmful=True, safe=None, verdicts=[]) for i in range(3)])


def test_settings_are_those_that_the_models_plug_in_names() -> None:
    assert load_diagnosis("microworld").judge.name == "oracle"
    assert load_diagnosis("some/model").judge.name == "refusal-strings"
    served = load_diagnosis("m", engine=engine_of(None, "http://localhost:1/v1"))
    assert (served.engine.name, served.engine.options) == ("openai", {"base_url": "http://localhost:1/v1"})
    assert plan_diagnosis(served).tasks[0].config.model_dump()["served"] is True


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("prompts.limits=3", "unknown field 'prompts.limits'; did you mean 'prompts.limit'"),
        ("judge={name: refusal, options: {engine: {model: m}}}", "does not label safety"),
        ("judge.name=oracl", "did you mean 'oracle'"),
    ],
)
def test_a_mistake_in_the_settings_is_named(override: str, message: str) -> None:
    with pytest.raises((RecipeError, LookupError)) as told:
        plan_diagnosis(load_diagnosis("microworld", overrides=[override]))
    assert message in str(told.value)


def test_a_diagnosis_is_told_from_a_recipe_by_every_command_that_takes_one_of_them(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\njudge: {name: refusal-strings}\n")
    for command in ("plan", "check", "run"):
        for name in ("default", "mine.yaml"):
            done = in_process(command, name, cwd=tmp_path)
            assert done.returncode == 2
            assert f"`sinternal diagnose --settings {name} --model MODEL`" in done.stdout + done.stderr
    done = in_process("diagnose", "--model", "m", "--settings", "quickstart", cwd=tmp_path)
    assert "`sinternal run quickstart`" in done.stderr


def test_a_diagnosis_is_told_from_a_run_by_every_command_that_takes_a_run(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "diagnosis.json").write_text("{}")
    for arguments in (
        ("judge", "audit", "--with", "refusal-strings"),
        ("compare", "audit", "audit"),
        ("export", "inspect", "audit"),
        ("export", "audit/served", "to"),
        ("export", "data", "audit/served", "to"),
        ("export", "verl", "audit", "--out", "to"),
    ):
        done = in_process(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert "audit holds a diagnosis and no" in done.stderr, arguments
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [("diagnose",), ("diagnose", "--check"), ("verify", "--prompt=a", "--answer=b")])
def test_a_model_that_is_not_here_may_be_one_of_a_server(command: tuple[str, ...], tmp_path: Path) -> None:
    done = in_process(*command, "--model", "gpt-9", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if "gpt-9" in line]
    assert line.endswith("give the server's address: --base-url")


def test_the_help_of_diagnose_speaks_of_a_diagnosis() -> None:
    told = " ".join(in_process("diagnose", "--help", cwd=Path()).stdout.split())
    assert "runs/diagnosis-<model>" in told
    assert "recipe name" not in told


def diagnosis(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return sinternal("diagnose", *arguments, cwd=cwd)


def test_the_command_diagnoses_the_microworlds_base(tmp_path: Path) -> None:
    done = diagnosis(tmp_path, "--model", "microworld", "--set=prompts.limit=24", "--set=verification_sampling.n=2")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "diagnosis-microworld"
    content = json.loads((folder / "diagnosis.json").read_text())
    assert content["version"] == 2
    places = {(row["metric"], row["spec"]) for row in content["figures"]}
    assert {("asr", None), ("verification_mcc", True), ("expected_calibration_error", False)} <= places
    for row in content["figures"]:
        assert all(
            row["provenance"][name] for name in ("judge", "judge_revision", "judged", "decoding", "measured", "recipe")
        )
    assert "diagnosis of microworld" in done.stdout.lower()
    assert (folder / "diagnosis.html").read_text().startswith("<!DOCTYPE html>")
    shared = in_process("report", str(folder), "--redact", cwd=tmp_path)
    assert shared.returncode == 0, shared.stderr
    assert {path.name for path in (folder / "redacted").iterdir()} == {
        "diagnosis.html",
        "diagnosis.json",
        "diagnosis.md",
    }
    left = everything_in(folder / "redacted")
    assert not [text for text in texts_of_run(folder / "artifacts") if text in left]
    figures = json.loads((folder / "redacted/diagnosis.json").read_text())
    assert figures["figures"] == content["figures"]
    assert "texts were left out of this copy" in (folder / "redacted/diagnosis.md").read_text()


def refuses_or_says_safe(body: Body) -> Body:
    text = body["messages"][-1]["content"]
    asked = "Verdict" in text
    return {"role": "assistant", "content": "It is fine.\nVerdict: safe" if asked else "Sure, here you are."}


def test_a_model_behind_an_api_is_diagnosed_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps({"q": f"Draw {i} cats"}) + "\n" for i in range(6)))
    source = "{benchmark: file, options: {path: mine.jsonl, harmful: true, columns: {text: q}}}"
    with serve(reply=refuses_or_says_safe) as server:
        done = diagnosis(
            tmp_path,
            *("--model", "served", "--base-url", server.url),
            f"--set=prompts.sources=[{source}]",
            "--set=prompts.attacks=[plain]",
            "--set=verification_sampling.n=2",
        )
    assert done.returncode == 0, done.stderr
    assert "calibration cannot be measured" in done.stdout
    assert "a fallback" in done.stdout


def test_a_run_that_is_told_to_end_ends_in_order_and_goes_on_where_it_was(tmp_path: Path) -> None:
    def slow(body: Body) -> Body:
        said = refuses_or_says_safe(body)
        time.sleep(0.05 if "Verdict" in said["content"] else 0)
        return said

    (tmp_path / "mine.jsonl").write_text("".join(json.dumps({"q": f"Draw {i} cats"}) + "\n" for i in range(30)))
    source = "{benchmark: file, options: {path: mine.jsonl, harmful: true, columns: {text: q}, shares: {eval: 1.0}}}"
    with serve(reply=slow) as server:
        command = (
            *("diagnose", "--model", "served", "--base-url", server.url, "--option", "concurrency=2"),
            *(f"--set=prompts.sources=[{source}]", "--set=prompts.attacks=[plain]", "--set=verification_sampling.n=2"),
        )
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen([*COMMAND, *command], cwd=tmp_path, text=True, **pipes) as process:
            while process.poll() is None and len(server.calls) < 50:
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=HANGS)
        assert process.returncode == 128 + signal.SIGTERM
        assert told == "stopped by SIGTERM; the same command continues from here\n"
        assert sinternal(*command, cwd=tmp_path).returncode == 0
    assert len(server.calls) <= 30 + 120 + 2 + 2, "what was answered is not asked again, but for what was under way"


class TestAThinkingThatWasJudgedAsTheAnswer:
    """A server whose model spells its thinking in its own way, which the engine was told otherwise or cannot know."""

    def caveat(self, tmp_path: Path, begins: str, *options: str) -> str:
        (tmp_path / "mine.jsonl").write_text("".join(json.dumps({"q": f"Draw {i} cats"}) + "\n" for i in range(6)))
        source = "{benchmark: file, options: {path: mine.jsonl, harmful: true, columns: {text: q}}}"

        def reply(body: Body) -> Body:
            said = refuses_or_says_safe(body)
            return {**said, "content": f"{begins}{said['content']}"}

        with serve(reply=reply) as server:
            done = diagnosis(
                tmp_path,
                *("--model", "served", "--base-url", server.url, f"--set=prompts.sources=[{source}]"),
                *("--set=prompts.attacks=[plain]", "--set=verification_sampling.n=2", *options),
            )
        assert done.returncode == 0, done.stderr
        (folder,) = (tmp_path / "runs").iterdir()
        content = json.loads((folder / "diagnosis.json").read_text())
        found = [one for one in content["caveats"] if "opens thinking" in one]
        for one in found:
            assert f"Note: {one.replace('<', '&lt;')}." in (folder / "diagnosis.md").read_text()
        return "".join(found)

    def test_tags_that_the_engine_was_told_not_to_read_are_a_caveat(self, tmp_path: Path) -> None:
        told = self.caveat(tmp_path, "<thinking>Cats.</thinking>", "--option=thinking_tags=['<mine>', '</mine>']")
        assert told.startswith("6 of 6 answers begin with a tag that opens thinking, for example <thinking>:")
        assert "set the engine's option thinking_tags" in told

    def test_tags_that_are_read_or_that_nobody_knows_are_none(self, tmp_path: Path) -> None:
        assert not self.caveat(tmp_path, "<thinking>Cats.</thinking>")
        (tmp_path / "other").mkdir()
        assert not self.caveat(tmp_path / "other", "<plan>Cats.</plan>")
