from __future__ import annotations

from dataclasses import replace

from bench.invented import SOMEWHERE, make_report, outcomes

from sinternal.figures.agreement import JudgeAgreement
from sinternal.figures.causes import Among, CheckEffect, Contrast
from sinternal.figures.columns import Names
from sinternal.figures.comparisons import Responses, Side, all_pairs
from sinternal.figures.estimate import THESE_RUNS, Estimate
from sinternal.figures.metric import ASR, FORMAT_ERROR, Over
from sinternal.figures.outcomes import Outcome, Outcomes
from sinternal.figures.score import score
from sinternal.figures.study import Arm
from sinternal.records import HarmShows, Split, ThinkingFate
from sinternal.report.markdown import render_markdown
from sinternal.report.more_tables import more_tables
from sinternal.report.results import to_json
from sinternal.report.study_page import render_html
from sinternal.settings.questions import Question
from tests.conftest import tallies_of


def test_a_run_with_one_benchmark_and_one_judge_has_no_tables_of_several() -> None:
    assert [one.title for one in more_tables(make_report(), "default")] == [
        "Over-refusal in three classes, and on paired prompts"
    ]


def test_every_benchmark_of_several_stands_apart_with_its_truncation() -> None:
    rows = outcomes("base", 0, (0.5, 0.5), 4)
    other = [replace(row, prompt=replace(row.prompt, benchmark="other")) for row in rows]
    cells = {
        (c.metric, c.over, c.benchmark) for c in tallies_of([*rows, *other]) if c.family is None and c.split is None
    }
    assert {(ASR, Over.HARMFUL, None), (ASR, Over.HARMFUL, "microworld"), (ASR, Over.HARMFUL, "other")} <= cells
    assert (FORMAT_ERROR, Over.ALL, "other") in cells
    assert not any(c.benchmark == "microworld" for c in tallies_of(rows))


def test_other_judges_and_their_agreement_are_shown_on_the_page_and_in_markdown() -> None:
    data = make_report()
    second = tuple(replace(s, provenance=replace(s.provenance, judge="guard")) for s in data.scores if s.seed is None)
    found = JudgeAgreement("default", "oracle", "guard", "safe", 0.91, Estimate(value=0.72, low=0.6, high=0.84, n=480))
    data = replace(data, second_opinions=second, agreements=(found,))
    for text in (render_html(data), render_markdown(data)):
        assert "Agreement between judges" in text
        assert "0.72 [0.60, 0.84]" in text
        assert "sinternal, guard" in text


def test_figures_by_where_harm_shows_stand_in_tables_of_their_own() -> None:
    rows = {arm: crossed(outcomes(arm, 0, rates, 8)) for arm, rates in (("a", (0.2, 0.2)), ("b", (0.9, 0.9)))}
    question = Question(arm="a", against=("b",), metrics=("asr",), splits=(Split.OOD,), harm_shows=(HarmShows.DRAFT,))
    names = Names()
    sides = [Side(arm, Responses.of(Outcomes.of(own, names), 0), lambda _: SOMEWHERE) for arm, own in rows.items()]
    scores = [
        score(cell, tally, arm=arm, seed=None, variant="default", provenance=SOMEWHERE)
        for arm, own in rows.items()
        for cell, tally in tallies_of(own).items()
    ]
    data = replace(
        make_report(),
        scores=tuple(scores),
        comparisons=tuple(all_pairs(sides, "default", [question])),
        questions=(question,),
        losses=(),
        arms=tuple(Arm(arm, "nothing", 0, 0) for arm in rows),
    )
    tables = {table.title: table.table for table in more_tables(data, "default")}
    shown = {row[0]: row for row in tables["By where harm shows"].rows}
    assert len(shown) == 2 * 2 * 2
    assert "a, OOD, harm shows in the draft only" in shown
    asked = [row for row in tables["Paired comparisons by where harm shows"].rows if row[-2] != "exploratory"]
    assert [(row[0], row[1], row[2]) for row in asked] == [
        ("a against b", "OOD, harm shows in the draft only", "Attack success")
    ]
    text = render_markdown(data)
    assert "OOD, harm shows in the draft only" in text
    assert "harm shows in the draft only" in render_html(data)
    assert to_json(data)["comparisons"][0]["harm_shows"] == "draft"


def crossed(rows: list[Outcome]) -> list[Outcome]:
    """The harm of every second request shows in the draft only."""
    shows = [HarmShows.DRAFT if row.prompt.parent_id in ("p0", "p1", "p4", "p5") else HarmShows.REQUEST for row in rows]
    return [replace(row, prompt=replace(row.prompt, harm_shows=place)) for row, place in zip(rows, shows, strict=True)]


def test_what_checks_cause_stands_beside_what_is_checked_with_what_is_missing() -> None:
    effect = CheckEffect(
        value=0.5,
        low=0.2,
        high=0.8,
        n=30,
        lowest=0.4,
        highest=0.6,
        variant="default",
        arm="base",
        contrast=Contrast.CUT,
        among=Among.ALL,
        split=Split.OOD,
        harm_shows=HarmShows.DRAFT,
        without=0.7,
        with_check=0.2,
        missing_without=2,
        missing_with=0,
        check_without=0.25,
        check_with=None,
        checks_not_known=1,
        holds_for=THESE_RUNS,
        runs=1,
        low_these_runs=0.2,
        high_these_runs=0.8,
        p=0.01,
        thinkings={str(fate): 3 for fate in ThinkingFate},
        located_by="oracle",
        provenance=SOMEWHERE,
    )
    unknown = replace(
        effect,
        among=Among.AS_MEANT,
        value=None,
        low=None,
        high=None,
        n=0,
        lowest=None,
        highest=None,
        without=None,
        with_check=None,
        low_these_runs=None,
        high_these_runs=None,
        p=None,
    )
    data = replace(make_report(), check_effects=(effect, unknown))
    tables = {table.title: table.table for table in more_tables(data, "default")}
    first, second = tables["What checks in thinking cause"].rows
    assert first[0] == "base, OOD, harm shows in the draft only"
    assert first[5] == "+50.0 [+20.0, +80.0]; +40.0 to +60.0 with the pairs that lack a label"
    assert first[9:] == ["2 and 0", "25.0", "\N{EN DASH}", "1"]
    assert second[5] == "\N{EN DASH}"
    assert tables["Reasoning traces that were continued"].rows == [["base", *["3"] * len(ThinkingFate)]]
    assert "What checks in thinking cause" in render_html(data)
    assert to_json(data)["check_effects"][0]["contrast"] == "check cut, less kept"
