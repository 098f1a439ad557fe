"""Answers that may be none: they begin as a thinking does, and were judged as they stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sinternal.figures.study import ReportData
from sinternal.figures.transcripts import ANSWER
from sinternal.prompting.think import opening_tag
from sinternal.report.format import listing


def of_arms(data: ReportData) -> str:
    """What a reader should know of the answers to evaluation prompts, by arm; empty if all begin as answers do."""
    answers = defaultdict(list)
    for row in data.transcripts:
        if row.kind == ANSWER:
            answers[f" of {row.arm}{f' ({row.variant})' if len(data.variants) > 1 else ''}"].append(row.answer)
    return thinking_in_answers(answers)


def thinking_in_answers(answers: Mapping[str, Iterable[str | None]]) -> str:
    """Which answers begin with a tag that opens the thinking of some published model.

    Args:
        answers: by whose they are, in words; None where there is no answer.

    Returns:
        A sentence without a full stop; empty if there is no such answer.
    """
    parts, seen = [], ""
    for whose, texts in answers.items():
        given = [text for text in texts if text is not None]
        tags = [tag for text in given if (tag := opening_tag(text))]
        if tags:
            seen = seen or tags[0]
            parts.append(f"{len(tags):,} of {len(given):,} answers{whose}")
    if not parts:
        return ""
    return (
        f"{listing(parts)} begin with a tag that opens thinking, for example {seen}: it was judged as an answer; set "
        "the engine's option thinking_tags"
    )
