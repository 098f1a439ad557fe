"""Exposure, thinking and judges apart: computed from what happened, shown with n and what is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bench.invented import SOMEWHERE, make_report

from sinternal.figures import columns
from sinternal.figures.exposure import ArmExposure
from sinternal.figures.gap import judge_gap
from sinternal.figures.missing import withhold_shares
from sinternal.figures.outcomes import Outcome, Outcomes
from sinternal.figures.study import ReportData
from sinternal.figures.thinking import CELLS, CHECKED_SAFE, CHECKS, ThinkingShare, thinking_shares
from sinternal.records import Check, Judgement, Split
from sinternal.report.format import MISSING, with_interval
from sinternal.report.markdown import render_markdown
from sinternal.report.results import to_json
from sinternal.report.study_page import render_html
from tests.conftest import plain_prompt, response_to

THINKING = replace(SOMEWHERE, judge="reader", judged="thinking")
ROWS: list[tuple[bool | None, Check | None, bool | None]] = [
    (True, Check.ANSWER, True),
    (True, Check.REQUEST, True),
    (False, Check.REQUEST, True),
    (True, Check.NONE, False),
    (False, Check.NONE, False),
    (None, Check.REQUEST, True),
    (True, None, None),
    (None, None, None),
]


def outcome(i: int, safe: bool | None, checks: Check | None, saw_harm: bool | None, *, harmful: bool = True) -> Outcome:
    prompt = plain_prompt(f"request {i}", harmful=harmful, split=Split.OOD)
    response = response_to(prompt, "answer")
    label = Judgement(f"j{i}", response.id, "oracle", "answer", safe, checks=checks, saw_harm=saw_harm)
    return Outcome(prompt, response, label, ())


def shares(rows: list[Outcome]) -> dict[str, ThinkingShare]:
    found = list(thinking_shares("default", "base", Outcomes.of(rows), THINKING, SOMEWHERE))
    assert {row.split for row in found} <= {Split.OOD, None}, "no in-distribution rows, no figures of them"
    return {row.what: row for row in found if row.split is None}


def test_the_three_classes_and_the_four_cells_count_what_has_its_labels_and_tell_the_rest() -> None:
    found = shares([outcome(i, *row) for i, row in enumerate(ROWS)])
    checks = {what: (found[what].hits, found[what].n, found[what].missing) for what in CHECKS}
    assert checks == {"checks nothing": (2, 6, 2), "checks the request": (3, 6, 2), "checks its answer": (1, 6, 2)}
    cells = {what: (found[what].hits, found[what].n, found[what].missing) for what in CELLS}
    assert cells == {
        "saw harm, safe": (2, 5, 3),
        "saw harm, unsafe": (1, 5, 3),
        "saw none, safe": (1, 5, 3),
        "saw none, unsafe": (1, 5, 3),
    }
    assert sum(found[what].value or 0 for what in CELLS) == pytest.approx(1)
    checked = found[CHECKED_SAFE]
    assert (checked.hits, checked.n, checked.missing) == (2, 3, 3)
    assert all(row.low is not None and row.low <= (row.value or 0) <= (row.high or 1) for row in found.values())
    assert found["saw harm, safe"].provenance.judge == "oracle and reader"
    assert found["checks nothing"].provenance.judge == "reader"


def test_benign_requests_and_silent_judges_say_nothing_of_the_thinking() -> None:
    assert not shares([outcome(0, True, Check.REQUEST, True, harmful=False)])
    assert not shares([outcome(0, True, None, None)])
    alone = shares([outcome(0, None, Check.REQUEST, True)])
    assert alone["saw harm, safe"].value is None
    assert (alone["saw harm, safe"].n, alone["saw harm, safe"].missing) == (0, 1)


def test_shares_of_thinkings_have_bounds_for_labels_that_are_missing_and_no_value_where_one_arm_lacks_them() -> None:
    """A judge that is silent about half of one arm's thinkings, as it may be about those that check nothing."""
    told = [outcome(i, True, Check.ANSWER, True) for i in range(10)]
    silent = [outcome(i, True, None, None) for i in range(10, 20)]
    made = [
        row
        for arm, rows in {"base": told + silent, "other": told}.items()
        for row in thinking_shares("default", arm, Outcomes.of(rows), THINKING, SOMEWHERE)
        if row.split is None
    ]
    (half, whole) = (row for row in withhold_shares(made) if row.what == "checks its answer")
    assert (half.value, half.lowest, half.highest, half.missing) == (None, 0.5, 1.0, 10)
    assert half.low is not None
    assert half.low < 0.5
    assert with_interval(half) == "50.0 to 100.0"
    assert (whole.value, whole.missing) == (1.0, 0)


def test_the_gap_is_over_answers_that_both_judges_have_labelled() -> None:
    labels = [(False, True), (False, True), (False, False), (True, True), (None, True), (True, None)]
    rows = [outcome(i, deciding, None, None) for i, (deciding, _) in enumerate(labels)]
    theirs = np.array([columns.MISSING if safe is None else safe for _, safe in labels], dtype=np.int8)
    answered = Outcomes.of(rows)
    gap = judge_gap("default", "base", "guard", {0: answered}, {0: theirs}, SOMEWHERE)
    assert gap is not None
    assert (gap.by_rewarding, gap.by_deciding, gap.difference) == (0.25, 0.75, -0.5)
    assert (gap.n, gap.missing, gap.rewarding, gap.deciding) == (4, 2, "guard", "oracle")
    assert gap.low is not None
    assert (gap.lowest, gap.highest) == pytest.approx((-0.5, -1 / 6))
    assert gap.low < -0.5
    assert (gap.high or -1) > -1 / 6
    silent = np.full(len(rows), columns.MISSING, dtype=np.int8)
    assert judge_gap("default", "base", "guard", {0: answered}, {0: silent}, SOMEWHERE) is None
    single = judge_gap("default", "base", "guard", {0: Outcomes.of(rows[:1])}, {0: theirs[:1]}, SOMEWHERE)
    assert single is not None
    assert (single.n, single.low) == (1, None)


@pytest.fixture
def data() -> ReportData:
    rows = [outcome(i, *row) for i, row in enumerate(ROWS)]
    theirs = np.ones(len(rows), dtype=np.int8)
    gap = judge_gap("default", "base", "guard", {0: Outcomes.of(rows)}, {0: theirs}, SOMEWHERE)
    assert gap is not None
    return replace(
        make_report(),
        exposures=(
            ArmExposure("default", "refusal", 0, 30, 360, 4512, 90000),
            ArmExposure("default", "refusal", 1, 32, 360, 4512, None),
        ),
        thinking=tuple(thinking_shares("default", "base", Outcomes.of(rows), THINKING, SOMEWHERE)),
        judge_gaps=(gap,),
    )


def test_page_markdown_and_results_show_exposure_thinking_and_the_gap(data: ReportData) -> None:
    for text in (render_html(data), render_markdown(data)):
        for title in (
            "What each arm saw in training",
            "What thinking checks unasked",
            "Harm recognised in thinking, and safety of the answer",
            "Training judge against deciding judge",
        ):
            assert title in text
        assert "base: guard minus oracle" in text
    results = to_json(data)
    refusal = next(arm for arm in results["arms"] if arm["name"] == "refusal")
    assert [row["loss_tokens_seen"] for row in refusal["exposure"]] == [90000, None]
    assert {row["what"] for row in results["thinking"]} == {*CHECKS, CHECKED_SAFE, *CELLS}
    assert (results["judge_gaps"][0]["n"], results["judge_gaps"][0]["missing"]) == (6, 2)


def test_a_mean_over_seeds_of_which_one_is_not_known_is_not_given(data: ReportData) -> None:
    line = next(row for row in render_markdown(data).splitlines() if row.startswith("| refusal | 31 "))
    assert line == f"| refusal | 31 | 360 | 4,512 | {MISSING} |"
