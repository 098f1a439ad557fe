"""From prompts to training examples, drawn: what each stage passed on, and what it dropped or marked."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from sinternal.report import svg
from sinternal.report.tables import FunnelLine

WIDTH, BARS, ROW = 720.0, 250.0, 22.0
"""Pixels of the drawing, of its bars at most, and of a row."""
LEFT = 210.0
"""Where bars begin."""


def funnel_plot(lines: Sequence[FunnelLine], seeds: int) -> Markup | None:
    """A bar for each count, the mean over seeds; None if nothing was counted."""
    means = [_mean(line) for line in lines]
    largest = max(means, default=0.0)
    if not largest:
        return None
    content: list[Markup] = []
    y, words = 6.0, []
    for line, mean in zip(lines, means, strict=True):
        if line.stage:
            y += 8 if content else 0
            content.append(svg.text(LEFT - 12, y + 15, _cut(line.stage), anchor="end", class_="label name"))
        kind = "bar-kept" if line.stage else "bar-lost"
        height = 15.0 if line.stage else 9.0
        bar = svg.tag(
            "rect", class_=kind, x=LEFT, y=y + 11 - height / 2, width=max(1.5, BARS * mean / largest), height=height
        )
        told = f"{_count(line)} {line.reason}"
        content += [bar, svg.text(LEFT + max(1.5, BARS * mean / largest) + 8, y + 15, told, class_="label small")]
        words.append(f"{line.stage} {told}".strip())
        y += ROW
    title = "From prompts to training examples"
    mean_of = "; means over seeds, and the range" if seeds > 1 else ""
    described = f"Blue: rows that a stage wrote. Orange: rows that it dropped or marked, by reason{mean_of}."
    return svg.figure(WIDTH, y + 6, title, described, [svg.tag("desc", "; ".join(words)), *content])


def _mean(line: FunnelLine) -> float:
    known = [rows for rows in line.rows if rows is not None]
    return sum(known) / len(known) if known else 0.0


def _count(line: FunnelLine) -> str:
    known = sorted(rows for rows in line.rows if rows is not None)
    if not known:
        return "0"
    return f"{_mean(line):,.0f}" + (f" ({known[0]:,} to {known[-1]:,})" if known[0] != known[-1] else "")


def _cut(words: str) -> str:
    return words if len(words) <= 30 else f"{words[:29]}\u2026"
