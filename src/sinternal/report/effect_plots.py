"""The picture of a study's variants: the effect in each of them, place by place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, floor

from markupsafe import Markup

from sinternal.figures.effect import Contrast, Effect
from sinternal.figures.metric import ASR
from sinternal.report.dot_plot import Dot, Line, Panel, Plot, draw
from sinternal.report.effect_tables import detectable, study_columns, study_rows, study_title
from sinternal.report.effect_words import DETECTABLE
from sinternal.report.format import MISSING, difference, in_range


def study_picture(effects: Sequence[Effect], variants: Sequence[str]) -> Markup | None:
    """The effect in every variant of a study, a panel for each place; None if nothing was measured."""
    columns = [column for column in study_columns(effects, variants) if column[0] is ASR]
    rows = study_rows(effects, variants)
    panels = []
    for i, column in enumerate(columns):
        dots = {row.variant: dot for row in rows if (dot := _difference_dot(row.variant, row.cells[i])) is not None}
        shown = [cell.headline for row in rows if (cell := row.cells[i]) is not None and cell.headline is not None]
        title = study_title(column).partition(": ")[2].capitalize()
        panels.append(Panel(title, "less placebo", dots, 0.0, counts=(_pairs(shown), _detectable(shown))))
    ends = [
        end
        for panel in panels
        for dot in panel.dots.values()
        for end in (dot.low, dot.value, dot.high)
        if end is not None
    ]
    if not ends:
        return None
    separated = all(cell.separated for row in rows for cell in row.cells if cell is not None)
    against = "its placebo" if separated else "the base (no placebo)"
    method = next(cell.method for row in rows for cell in row.cells if cell is not None)
    if not separated:
        panels = [replace(panel, subtitle="less base") for panel in panels]
    low, high = max(-1.0, floor(10 * min(*ends, -0.05)) / 10), min(1.0, ceil(10 * max(*ends, 0.05)) / 10)
    return draw(
        Plot(
            f"Unsafe answers of {method} less those of {against}, by variant",
            "Points; left of the line is safer. Bars are 95 % intervals; hollow marks are not clear. n: pairs of "
            f"answers of each variant. {DETECTABLE}",
            [Line(variant, 0) for variant in variants],
            panels,
            low,
            high,
            unit="",
            counts=("n, pairs", "detectable"),
            signed=True,
        )
    )


def _pairs(contrasts: Sequence[Contrast]) -> str:
    """How many pairs of answers a difference is of, over the variants: `540`, or `480 to 540`."""
    return in_range([f"{n:,}" for n in sorted({row.n for row in contrasts})])


def _detectable(contrasts: Sequence[Contrast]) -> str:
    """What so many could show, over the variants."""
    known = sorted(filter(None, map(detectable, contrasts)))
    return f"from {in_range([f'{100 * value:.1f}' for value in known])}" if known else MISSING


def _difference_dot(variant: str, effect: Effect | None) -> Dot | None:
    shown = effect.headline if effect else None
    if effect is None or shown is None or shown.value is None:
        return None
    words = f"{variant} {difference(shown)} less {shown.other}"
    return Dot(shown.value, shown.low, shown.high, words, hollow=effect.direction == 0)
