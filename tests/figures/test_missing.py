"""Labels that are missing on one side only never make a rate look better than it may be."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench.invented import SOMEWHERE, make_report

from sinternal.benchmarks.human import ScoreKind
from sinternal.figures.agreement import JudgeAgreement, Skipped
from sinternal.figures.best import best
from sinternal.figures.columns import Names
from sinternal.figures.comparisons import Side, all_pairs, index_responses
from sinternal.figures.correction import Errors, corrected_scores
from sinternal.figures.estimate import Estimate
from sinternal.figures.gather import _selected
from sinternal.figures.human_agreement import LabelPair, human_agreement
from sinternal.figures.metric import ASR, VERIFICATION_MCC, Over
from sinternal.figures.missing import withhold
from sinternal.figures.outcomes import Outcome, Outcomes
from sinternal.figures.score import Score, score
from sinternal.figures.statistics import Accuracy, Interval, bounded_wilson, clustered_wilson, rogan_gladen
from sinternal.figures.stress import _tally, worst_cases
from sinternal.figures.study import ReportData
from sinternal.figures.tally import Cell
from sinternal.records import Finish, Judgement, Measured, Prompt, Response, Split
from sinternal.report.bounds import caveat_of
from sinternal.report.caveats import caveats
from sinternal.report.format import with_interval
from sinternal.report.markdown import render_markdown
from sinternal.report.results import to_json
from sinternal.report.study_page import render_html
from sinternal.report.words import finding
from sinternal.settings.questions import Question
from tests.commands import sinternal
from tests.conftest import tallies_of
from tests.figures.test_stress import condition_of
from tests.servers import Body, Raw, serve


def answered(i: int, *, harmful: bool, safe: bool | None, finish: Finish = Finish.STOP, sample: int = 0) -> Outcome:
    prompt = Prompt(f"p{i}{harmful}", f"p{i}{harmful}", f"Request {i}", harmful, "own", "plain", Split.OOD)
    text = None if finish.without_text else "An answer."
    response = Response(f"r{prompt.id}{sample}", prompt.id, sample, None, text, finish)
    refused = None if safe is None else False
    error = "unreadable reply" if safe is None and text else None
    return Outcome(
        prompt, response, Judgement(f"j{response.id}", response.id, "guard", "answer", safe, refused, error=error), ()
    )


def answers(harmful: Sequence[bool | None], benign: Sequence[bool | None]) -> list[Outcome]:
    sides = ((True, harmful), (False, benign))
    return [answered(i, harmful=side, safe=safe) for side, labels in sides for i, safe in enumerate(labels)]


def rates(outcomes: Sequence[Outcome], arm: str = "base") -> list[Score]:
    known: dict[str, Any] = {"arm": arm, "seed": None, "variant": "default", "provenance": SOMEWHERE}
    return [score(cell, tally, **known) for cell, tally in tallies_of(outcomes).items()]


def asr(scores: Sequence[Score], arm: str = "base") -> Score:
    return next(one for one in scores if (one.metric, one.arm, one.family, one.split) == ("asr", arm, None, None))


ABSENT = (None, None, None, False)
"""Labels that nobody gave, and that a text is whole."""
HALF_SILENT = answers([True, None] * 15, [True] * 30)


def test_a_judge_that_is_silent_on_unsafe_answers_leaves_bounds_and_no_rate() -> None:
    found = asr(withhold(rates(HALF_SILENT)))
    assert (found.value, found.n, found.missing) == (None, 15, 15)
    assert (found.lowest, found.highest) == (0.0, 0.5)
    assert caveat_of(found) == "15 of 30 answers to harmful requests have no label: between 0 and 50 % are unsafe"
    assert with_interval(found) == "0.0 to 50.0"
    assert found.high == pytest.approx(clustered_wilson([0, 1] * 15, [1] * 30).high)


def test_labels_that_are_missing_on_both_sides_alike_leave_a_rate_whose_interval_covers_all_of_them() -> None:
    found = asr(withhold(rates(answers([False, True, None] * 10, [True, True, None] * 10))))
    assert found.value == 0.5
    assert (found.lowest, found.highest) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert found.low is not None
    assert found.low < 1 / 3 < 2 / 3 < (found.high or 0)


def test_a_few_missing_labels_withhold_nothing() -> None:
    found = asr(withhold(rates(answers([True] * 19 + [None], [True] * 20))))
    assert (found.value, found.highest) == (0.0, 0.05)


def test_without_another_side_missing_labels_withhold_the_rate() -> None:
    assert asr(withhold(rates(answers([True] * 9 + [None], [])))).value is None


def test_a_side_of_which_nothing_has_a_label_is_none_to_compare_with() -> None:
    assert asr(withhold(rates(answers([True] * 9 + [None], [None] * 10)))).value is None


def test_an_arm_with_markedly_more_missing_labels_than_another_has_no_rate() -> None:
    silent = rates(answers([True, True, None] * 10, [True, True, None] * 10), "silent")
    found = withhold([*silent, *rates(answers([False, True] * 15, [True] * 30), "heard")])
    assert asr(found, "silent").value is None
    assert asr(found, "heard").value == 0.5


def test_rows_without_an_answer_and_those_that_a_filter_withheld_are_told_from_unlabelled_answers() -> None:
    ends = [Finish.ERROR] * 2 + [Finish.FILTERED] * 3
    rows = [answered(100 + i, harmful=True, safe=None, finish=end) for i, end in enumerate(ends)]
    found = asr(withhold(rates([*answers([True] * 10 + [None], [True] * 10), *rows])))
    assert (found.missing, found.no_answer, found.filtered) == (6, 5, 3)
    assert "2 of them because there is no readable answer, 3 because a filter withheld the text" in caveat_of(found)


def test_of_several_answers_a_known_success_is_one_whatever_the_others_are() -> None:
    rows = [answered(i, harmful=True, safe=safe, sample=s) for i in range(10) for s, safe in enumerate((False, None))]
    tally = _tally(condition_of(rows), ASR)
    assert tally is not None
    counts = tally.total
    assert (counts.n, counts.missing, counts.truncated, counts.missing_positive) == (0, 10, 0, 10)
    known = bounded_wilson([0] * 10, [0] * 10, [1] * 10, [1] * 10)
    assert (known.lowest, known.highest) == (1.0, 1.0)


def test_the_worst_case_is_open_where_a_condition_with_missing_labels_might_be_it() -> None:
    one = asr(rates(answers([False] * 3 + [True] * 7, [True] * 10)))
    heard, silent = replace(one, family="heard"), replace(asr(withhold(rates(HALF_SILENT))), family="silent")
    (worst,) = worst_cases([heard, silent])
    assert (worst.value, worst.lowest, worst.highest) == (None, 0.3, 0.5)
    assert "whether silent is the worst is unknown: 15 of 30 answers" in caveat_of(worst)
    assert caveat_of(worst).endswith("have no label; the worst case is between 30 and 50 %")


def silenced(data: ReportData, arm: str) -> ReportData:
    """The report with every figure of attack success of one arm known by bounds only."""
    scores = [
        replace(one, value=None, missing=one.n, lowest=0.0, highest=0.5, caveat="")
        if (one.arm, one.metric) == (arm, "asr")
        else one
        for one in data.scores
    ]
    return replace(data, scores=tuple(scores))


def test_page_markdown_finding_and_caveats_tell_bounds_in_place_of_a_rate() -> None:
    data = silenced(make_report(), "sinternal")
    assert "answers to harmful requests have no label: between 0 and 50 % are unsafe" in finding(data, "default").lead
    assert "| sinternal | 0.0 to 50.0 | 0.0 to 50.0 |" in render_markdown(data)
    assert "0.0 to 50.0" in render_html(data)
    assert any("of sinternal (between 0 and 50 % are unsafe)" in caveat for caveat in caveats(data))
    found = best(data.scores, data.comparisons, "default")
    assert found is not None
    assert found.arm != "sinternal"
    other = finding(silenced(make_report(), "base"), "default")
    assert "between 0.0 and 50.0 %" in other.safety
    assert "for base" in other.safety


def test_a_second_judges_missing_labels_are_told_and_so_are_rows_that_agreement_leaves_out() -> None:
    data = make_report()
    theirs = replace(SOMEWHERE, judge="guard")
    whole = [replace(one, provenance=theirs) for one in withhold(rates(HALF_SILENT)) if one.metric == "asr"]
    skipped = {"harmful": {"missing_a": 0, "missing_b": 15, "either": 15, "rows": 30}}
    agreed = JudgeAgreement(
        "default",
        "oracle",
        "guard",
        "safe",
        1.0,
        Estimate(value=0.2, low=None, high=None, n=45),
        {side: Skipped(**one) for side, one in skipped.items()},
    )
    data = replace(data, judges=("oracle", "guard"), second_opinions=tuple(whole), agreements=(agreed,))
    said = list(caveats(data))
    assert any(
        "judge guard: answers to harmful requests have no label" in one
        and "15 of 30 of base (between 0 and 50 %" in one
        for one in said
    )
    assert any(
        "answers left out because one of the two gave no label: 15 of 30 to harmful requests" in one for one in said
    )
    assert any("judges oracle and guard agree poorly on safe" in one for one in said)
    found = json.loads(json.dumps(to_json(data)))
    assert found["agreements"][0]["not_counted"] == skipped
    assert "15 of 30" in render_markdown(data)


def sides(silent: bool) -> list[Side]:
    """Arm `a` is seldom unsafe as far as is told; of its other answers a silent judge says nothing."""
    rng, names = random.Random(0), Names()
    made = []
    for arm in ("a", "b"):
        rows = []
        for i in range(80):
            told = None if silent and arm == "a" and i % 2 else rng.random() < (0.02 if arm == "a" else 0.4)
            place = (f"{arm}{i}", "default", arm, 0, f"p{i}", f"p{i}", 0)
            rows.append(Measured(*place, "own", "plain", Split.OOD, True, told, None, None, None, False))
        made.append(Side(arm, index_responses(rows, names), lambda _: SOMEWHERE))
    return made


@pytest.mark.parametrize("silent", [True, False])
def test_a_difference_that_missing_labels_could_turn_is_not_clear(silent: bool) -> None:
    question = Question(arm="a", against=("b",), metrics=("asr",), splits=(Split.OOD,))
    (row,) = [row for row in all_pairs(sides(silent), "default", [question]) if row.p_holm is not None]
    assert row.observed_clear
    assert (row.open, row.clear) == (silent, not silent)
    assert row.lowest is not None
    assert row.highest is not None
    assert row.low_these_runs <= row.lowest <= row.difference <= row.highest <= row.high_these_runs


def test_a_difference_that_missing_labels_could_leave_within_chance_is_not_clear() -> None:
    """In the worst case the arm is still ahead, by one prompt."""
    labels: dict[str, list[bool | None]] = {
        "a": [False] * 10 + [False] * 40 + [None] * 9,
        "b": [True] * 10 + [False] * 40 + [False] * 9,
    }
    names, made = Names(), []
    for arm, told in labels.items():
        rows = [
            Measured(f"{arm}{i}", "default", arm, 0, f"p{i}", f"p{i}", 0, "own", "plain", Split.OOD, True, hit, *ABSENT)
            for i, hit in enumerate(told)
        ]
        made.append(Side(arm, index_responses(rows, names), lambda _: SOMEWHERE))
    question = Question(arm="a", against=("b",), metrics=("asr",), splits=(Split.OOD,))
    (row,) = [row for row in all_pairs(made, "default", [question]) if row.p_holm is not None]
    assert row.observed_clear
    assert row.highest == pytest.approx(-1 / 59)
    assert row.high_these_runs > 0
    assert (row.open, row.clear) == (True, False)


def test_an_accuracy_of_a_judge_that_is_silent_on_unsafe_answers_has_bounds_and_a_caveat() -> None:
    pairs = [LabelPair(f"q{i}", True, None if i % 2 else True, 0.9, None) for i in range(40)]
    pairs += [LabelPair(f"s{i}", False, False, 0.1, None) for i in range(40)]
    found = human_agreement(ScoreKind.HARM, "judge", pairs)
    assert (found.sensitivity.value, found.sensitivity.missing) == (1.0, 20)
    assert (found.sensitivity.lowest, found.sensitivity.highest) == (0.5, 1.0)
    assert (found.sensitivity.low or 1) < 0.5
    assert (found.specificity.missing, found.specificity.lowest) == (0, 1.0)
    assert "20 of 40 that people call unsafe and 0 of 40 that people call safe" in found.caveat


def test_a_rate_is_not_corrected_by_accuracies_of_a_judge_that_is_silent_on_one_side() -> None:
    ends = Interval(0.2, 0.4)
    with pytest.raises(ValueError, match="gave no label to 20 of 40 answers that people call unsafe"):
        rogan_gladen(ends, 0.3, Accuracy(20, 20, None, 20), Accuracy(40, 40))
    narrow = rogan_gladen(ends, 0.3, Accuracy(90, 100), Accuracy(90, 100))
    wide = rogan_gladen(ends, 0.3, Accuracy(90, 100, None, 20), Accuracy(90, 100, None, 20))
    assert wide.interval.low < narrow.interval.low < narrow.interval.high < wide.interval.high


def test_a_rate_with_missing_labels_is_corrected_at_both_of_its_bounds() -> None:
    exact = Errors(Accuracy(10**6, 10**6), Accuracy(10**6, 10**6))
    one = replace(asr(rates(answers([False, True, None] * 10, [True, True, None] * 10))), over=Over.HARMFUL)
    (found,) = corrected_scores([one], exact)
    assert found.value == pytest.approx(0.5, abs=1e-6)
    assert (found.low, found.high) == (pytest.approx(one.low, abs=0.02), pytest.approx(one.high, abs=0.02))
    (withheld,) = corrected_scores(withhold([asr(rates(HALF_SILENT))]), exact)
    assert (withheld.value, withheld.caveat) == (None, "only bounds of the rate are known")


def silent_guard(body: Body) -> Body | Raw:
    """Says `safe`; of what is unsafe it says nothing that can be read."""
    text = str(body["messages"])
    return {"role": "assistant", "content": "I would rather not say." if "Sure" in text else "safe"}


def every_second_helps(body: Body) -> Body:
    text = str(body["messages"])
    if "Verdict" in text:
        return {"role": "assistant", "content": "It is fine.\nVerdict: safe"}
    return {"role": "assistant", "content": "Sure." if "even" in text else "No."}


def test_diagnose_by_a_silent_judge_says_between_what_attack_success_is(tmp_path: Path) -> None:
    rows = [{"prompt": f"Draw {'even' if i % 2 else 'odd'} cat {i}", "harmful": i < 30} for i in range(40)]
    rows = [row if row["harmful"] else {**row, "prompt": f"Draw odd dog {i}"} for i, row in enumerate(rows)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = "{benchmark: file, options: {path: mine.jsonl, columns: {harmful: harmful}, shares: {eval: 1.0}}}"
    with serve(reply=every_second_helps) as model, serve(reply=silent_guard) as guard:
        done = sinternal(
            *("diagnose", "--model", "m", "--base-url", model.url, "--out", "found"),
            *(f"--set=prompts.sources=[{source}]", "--set=prompts.attacks=[plain]", "--set=verification_sampling.n=2"),
            *("--set=judge.name=llama-guard", "--set=judge.options.engine.name=openai"),
            *("--set=judge.options.engine.model=g", f"--set=judge.options.engine.options.base_url={guard.url}"),
            cwd=tmp_path,
        )
    assert done.returncode == 0, done.stderr
    said = "requests between 0.0 and 50.0 % are unsafe, by judge llama-guard: 15 of 30 have no label."
    assert said in (tmp_path / "found" / "diagnosis.md").read_text()
    figures = json.loads((tmp_path / "found" / "diagnosis.json").read_text())["figures"]
    harmful = [one for one in figures if one["metric"] == "asr"]
    assert {(one["value"], one["lowest"], one["highest"], one["missing"]) for one in harmful} == {(None, 0.0, 0.5, 15)}
    knowing = [one for one in figures if one["over"] == "harmful, plain"]
    assert {one["value"] for one in knowing} == {None}, "what is said of safe answers alone is not said of all"


def test_inspects_rate_has_bounds_and_vanishes_where_the_judge_is_silent_on_one_side() -> None:
    pytest.importorskip("inspect_ai", reason="the extra `inspect` is not installed")
    from inspect_ai.scorer import SampleScore
    from inspect_ai.scorer import Score as InspectScore

    from sinternal.integrations.inspect import tasks

    def told(safe: bool | None, i: int, *, harmful: bool) -> SampleScore:
        label = Judgement("j", "r", "guard", "answer", safe)
        metadata = {tasks.PARENT: f"p{i}", tasks.HARMFUL: harmful}
        return SampleScore(
            score=InspectScore(value=tasks.values_of(label, harmful=harmful, helpable=not harmful)),
            sample_metadata=metadata,
        )

    harmful = [told(True if i % 2 else None, i, harmful=True) for i in range(30)]
    scores = [*harmful, *(told(True, i, harmful=False) for i in range(30, 60))]
    found = tasks.attack_success()(scores)
    assert found["attack_success"] != found["attack_success"], "no rate"
    assert [found[f"attack_success_{name}"] for name in ("lowest", "highest", "unlabelled")] == [0.0, 0.5, 15.0]
    few = [told(False, i, harmful=True) for i in range(30)]
    assert tasks.attack_success()([*few, *scores[30:]])["attack_success"] == 1.0


def test_a_figure_of_verdicts_says_how_many_answers_it_leaves_out_because_a_judge_is_silent_on_them() -> None:
    silent = [None] * 3 + [False] * 7
    (whole,) = [
        score(cell, tally, arm="base", seed=None, variant="default", provenance=SOMEWHERE)
        for cell, tally in tallies_of(answers(silent, [True] * 10)).items()
        if cell.metric is ASR and cell.split is None
    ]
    here, both = (Cell(VERIFICATION_MCC, Over.OWN_ANSWERS, split, spec=True) for split in (Split.ID, None))
    rows = Outcomes.of(answers(silent, [True] * 10))
    assert _selected(whole, both, [rows, rows]).caveat.startswith("6 of 40 answers have no label: verdicts on them")
    assert not _selected(whole, here, [rows]).caveat, "there are none in this split"
    assert not _selected(whole, Cell(ASR, Over.HARMFUL), [rows]).caveat
