from __future__ import annotations

from dataclasses import replace

from sinternal.figures.agreement import JudgeAgreement
from sinternal.figures.estimate import Estimate
from sinternal.figures.metric import ASR, FORMAT_ERROR, Over
from sinternal.figures.tally import count
from sinternal.report.markdown import render_markdown
from sinternal.report.more_tables import more_tables
from sinternal.report.study_page import render_html
from tests.report.factory import make_report, outcomes


def test_a_run_with_one_benchmark_and_one_judge_has_no_tables_of_several() -> None:
    assert [one.title for one in more_tables(make_report(), "default")] == [
        "Over-refusal in three classes, and on paired prompts"
    ]


def test_every_benchmark_of_several_stands_apart_with_its_truncation() -> None:
    rows = outcomes("base", 0, (0.5, 0.5), 4)
    other = [replace(row, prompt=replace(row.prompt, benchmark="other")) for row in rows]
    cells = {(c.metric, c.over, c.benchmark) for c in count([*rows, *other]) if c.family is None and c.split is None}
    assert {(ASR, Over.HARMFUL, None), (ASR, Over.HARMFUL, "microworld"), (ASR, Over.HARMFUL, "other")} <= cells
    assert (FORMAT_ERROR, Over.ALL, "other") in cells
    assert not any(c.benchmark == "microworld" for c in count(rows))


def test_other_judges_and_their_agreement_are_shown_on_the_page_and_in_markdown() -> None:
    data = make_report()
    second = tuple(replace(s, provenance=replace(s.provenance, judge="guard")) for s in data.scores if s.seed is None)
    found = JudgeAgreement("default", "oracle", "guard", "safe", 0.91, Estimate(value=0.72, low=0.6, high=0.84, n=480))
    data = replace(data, second_opinions=second, agreements=(found,))
    for text in (render_html(data), render_markdown(data)):
        assert "Agreement between judges" in text
        assert "0.72 [0.60, 0.84]" in text
        assert "sinternal, guard" in text
