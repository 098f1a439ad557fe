"""Answers that may be none: they begin as a thinking does, and were judged as they stand."""

from __future__ import annotations

from collections.abc import Mapping

from sinternal.figures.reading import Openings
from sinternal.figures.study import ReportData
from sinternal.report.format import listing


def of_arms(data: ReportData) -> str:
    """What a reader should know of the answers to evaluation prompts, by arm; empty if all begin as answers do."""
    several = len(data.variants) > 1
    return thinking_in_answers(
        {f" of {row.arm}{f' ({row.variant})' if several else ''}": row.openings for row in data.openings}
    )


MOST = 0.5
"""Share of answers that begin with the same mark from which on it is told: some answers have brackets of their own."""
FEWEST = 3
"""Answers that have to begin with it."""


def thinking_in_answers(openings: Mapping[str, Openings]) -> str:
    """Which answers begin with a tag that opens a thinking, or with a mark that may be one.

    Args:
        openings: how they begin, by whose they are, in words.

    Returns:
        A sentence without a full stop; empty if there is no such answer.
    """
    if tagged := {whose: row for whose, row in openings.items() if row.tagged}:
        parts = [f"{row.tagged:,} of {row.answers:,} answers{whose}" for whose, row in tagged.items()]
        seen = next(iter(tagged.values())).example
        return (
            f"{listing(parts)} begin with a tag that opens thinking, for example {seen}: it was judged as an answer; "
            "set the engine's option thinking_tags"
        )
    alike = {whose: row for whose, row in openings.items() if row.alike >= max(FEWEST, MOST * row.answers)}
    if not alike:
        return ""
    parts = [f"{row.alike:,} of {row.answers:,} answers{whose} begin with {row.mark}" for whose, row in alike.items()]
    return (
        f"{listing(parts)}: if that opens a thinking, it was judged as an answer; then set the engine's option "
        "thinking_tags to what the thinking begins and ends with"
    )
