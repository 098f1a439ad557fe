"""From prompts to training examples, drawn: what each stage passed on, and what it dropped or marked."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from sinternal.report import svg
from sinternal.report.tables import FunnelLine

BARS, TOLD, ROW = 250.0, 260.0, 22.0
"""Pixels of bars at most, of what is said beside the longest, and height of a row."""
LETTER, LEAST_LEFT, MOST_LEFT = 6.7, 120.0, 330.0
"""Width of a letter of a label, and of the column of labels at least and at most, in pixels."""
WRITTEN = ("examples", "verifications", "responses", "prompts", "judgements", "candidates")
"""Counts of rows that a stage wrote, and not of those that it dropped."""


def funnel_plot(lines: Sequence[FunnelLine], seeds: int) -> Markup | None:
    """A bar for each count that is not 0, the mean over seeds; None if nothing was counted."""
    stages = _by_stage(lines)
    largest = max((_mean(line) for counts in stages.values() for line in counts), default=0.0)
    if not largest:
        return None
    content: list[Markup] = []
    left = min(max(LEAST_LEFT, LETTER * max(map(len, stages)) + 20), MOST_LEFT)
    letters = int((left - 20) / LETTER)
    y, words = 6.0, []
    for stage, counts in stages.items():
        content.append(svg.text(left - 12, y + 15, _cut(stage, letters), anchor="end", class_="label name"))
        for line in counts:
            written = line.reason in WRITTEN
            length, height = max(1.5, BARS * _mean(line) / largest), 15.0 if written else 9.0
            told, kind = f"{_count(line)} {line.reason}", "bar-kept" if written else "bar-lost"
            content.append(svg.tag("rect", class_=kind, x=left, y=y + 11 - height / 2, width=length, height=height))
            content.append(svg.text(left + length + 8, y + 15, told, class_="label small"))
            words.append(f"{stage}: {told}")
            y += ROW
        y += 8
    mean_of = " Means over seeds, with the range." if seeds > 1 else ""
    described = f"Blue: rows that a stage wrote. Orange: what it dropped, marked or drew from.{mean_of}"
    return svg.figure(left + BARS + TOLD, y, "The funnel", described, [svg.tag("desc", "; ".join(words)), *content])


def _by_stage(lines: Sequence[FunnelLine]) -> dict[str, list[FunnelLine]]:
    """The counts of each stage that are not 0: what it wrote comes first, once."""
    stages: dict[str, list[FunnelLine]] = {}
    stage = ""
    for line in lines:
        stage = line.stage or stage
        if _mean(line):
            stages.setdefault(stage, []).append(line)
    for name, counts in stages.items():
        written = [line for line in counts if line.reason in WRITTEN][:1]
        stages[name] = [*written, *(line for line in counts if line.reason not in WRITTEN)]
    return {name: counts for name, counts in stages.items() if counts}


def _mean(line: FunnelLine) -> float:
    known = [rows for rows in line.rows if rows is not None]
    return sum(known) / len(known) if known else 0.0


def _count(line: FunnelLine) -> str:
    known = sorted(rows for rows in line.rows if rows is not None)
    if not known:
        return "0"
    return f"{_mean(line):,.0f}" + (f" ({known[0]:,} to {known[-1]:,})" if known[0] != known[-1] else "")


def _cut(words: str, letters: int) -> str:
    return words if len(words) <= letters else f"{words[: letters - 1]}\u2026"
