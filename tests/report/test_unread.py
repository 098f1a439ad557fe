"""An answer that begins as a thinking does may be none: a reader is told, by arm, and what to set."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bench.invented import make_report, openings

from sinternal.figures.reading import Openings
from sinternal.figures.study import ReportData
from sinternal.report.caveats import caveats
from sinternal.report.markdown import render_markdown
from sinternal.report.study_page import render_html
from sinternal.report.unread import thinking_in_answers


def with_answers(answer: str, arm: str = "sinternal", kind: str = "answer") -> ReportData:
    """Every fourth answer of one arm is this."""
    data, seen = make_report(), 0
    rows = []
    for row in data.transcripts:
        seen += row.arm == arm
        rows.append(replace(row, answer=answer, kind=kind) if row.arm == arm and seen % 4 == 0 else row)
    return replace(data, transcripts=tuple(rows), openings=openings(rows))


@pytest.mark.parametrize("tag", ["<thinking>", "[THINK]", "<think>"])
def test_answers_that_begin_with_a_known_tag_are_counted_at_the_top(tag: str) -> None:
    data = with_answers(f"\n{tag}\nHow would I do that?")
    own = [row for row in data.transcripts if row.arm == "sinternal"]
    told = next(iter(caveats(data)))
    assert told.startswith(
        f"{len(own) // 4} of {len(own)} answers of sinternal begin with a tag that opens thinking, for example {tag}"
    )
    assert "thinking_tags" in told
    assert tag.replace("<", "&lt;") in render_markdown(data)
    assert tag.replace("<", "&lt;").replace(">", "&gt;") in render_html(data).split("<main>")[0]


@pytest.mark.parametrize("answer", ["<plan>so</plan> yes", "analysis of it", "I <think> so", ""])
def test_what_is_no_known_tag_at_the_beginning_is_an_answer(answer: str) -> None:
    assert not any("opens thinking" in one for one in caveats(with_answers(answer)))


def test_only_answers_to_evaluation_prompts_count() -> None:
    data = with_answers("<think>so", kind="training example")
    assert not any("opens thinking" in one for one in caveats(data))


def test_every_arm_is_named_and_its_variant_where_there_are_several() -> None:
    data = make_report(variants=("coupled", "uncoupled"))
    rows = tuple(
        replace(row, answer="<think>so")
        if (row.arm, row.variant) in (("base", "coupled"), ("refusal", "uncoupled"))
        else row
        for row in data.transcripts
    )
    told = next(iter(caveats(replace(data, transcripts=rows, openings=openings(rows)))))
    assert "answers of base (coupled) and " in told
    assert "answers of refusal (uncoupled) begin" in told


@pytest.mark.parametrize(
    ("mark", "others"),
    [("[BEGIN REASONING]", 1), ("<plan>", 1), ("**Thinking:**", 1), ("# Reasoning\n", 1), ("Thought process:", 2)],
)
def test_a_mark_that_most_answers_begin_with_may_open_a_thinking_that_nobody_has_published(
    mark: str, others: int
) -> None:
    told = thinking_in_answers({"": Openings.of([f"{mark} so. Yes."] * (others + 2) + ["Yes."] * others + [None])})
    assert told.startswith(f"{others + 2} of {2 * others + 2} answers begin with {mark.strip()}: if that opens")


def test_brackets_of_some_answers_are_their_own() -> None:
    answers = ["[1] a list", "[1] of another", "[1] and one more", "Yes.", "No.", "So.", "Hm."]
    assert thinking_in_answers({"": Openings.of(answers)}) == ""
    seeds = [Openings.of(["<a> b"] * 4), Openings.of(["<c> d"]), Openings.of(["<a> e", "f"])]
    assert Openings.together(seeds) == Openings(7, 0, "", 5, "<a>")
