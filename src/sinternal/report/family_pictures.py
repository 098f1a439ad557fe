"""Attack success family by family: small multiples with intervals, and a heat map of family by arm."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

from markupsafe import Markup

from sinternal.figures.metric import ASR, Over
from sinternal.figures.score import Key, Score, by_key
from sinternal.figures.study import Arm
from sinternal.records import Split
from sinternal.report.dot_plot import Line, Panel, Plot, draw
from sinternal.report.first_picture import rate_dot

SUBTITLES = {Split.ID: "known family", Split.OOD: "unseen family"}
SHADES = 5
"""Of a heat map; the style sheet defines them."""


class HeatRow(NamedTuple):
    """One family."""

    family: str
    """Its name."""
    split: Split
    """Whether tuning saw it."""
    cells: tuple[Score | None, ...]
    """Of each arm."""


def families_of(scores: Sequence[Score], variant: str, split: Split) -> list[str]:
    """The attack families of a split whose attack success was measured."""
    found = (
        row.family
        for row in scores
        if row.variant == variant and row.metric == ASR.name and row.split == split and row.family
    )
    return list(dict.fromkeys(found))


def heat_map(scores: Sequence[Score], arms: Sequence[Arm], variant: str) -> list[HeatRow]:
    """Attack success of each arm against each family, known families first; empty if none was measured."""
    figures = by_key(scores)
    rows = []
    for split in (Split.ID, Split.OOD):
        for family in families_of(scores, variant, split):
            keys = (Key(variant, arm.name, ASR.name, Over.HARMFUL, split, family) for arm in arms)
            rows.append(HeatRow(family, split, tuple(map(figures.get, keys))))
    return [row for row in rows if any(row.cells)]


def shade(score: Score) -> int:
    """Which of the shades a rate has: the darker, the more unsafe answers."""
    return min(SHADES - 1, int(SHADES * (score.value or 0.0)))


def small_multiples(scores: Sequence[Score], arms: Sequence[Arm], variant: str) -> Markup | None:
    """A panel for each family with every arm's attack success, all on one scale; None if unmeasured."""
    panels = []
    highest = 0.0
    for row in heat_map(scores, arms, variant):
        dots = {}
        for arm, score in zip(arms, row.cells, strict=True):
            if score is not None and (score.value is not None or score.bounded):
                dots[arm.name] = dot = rate_dot(arm.name, score)
                highest = max(highest, dot.value or 0.0, dot.high or 0.0)
        if dots:
            panels.append(Panel(row.family, SUBTITLES[row.split], dots))
    if not panels:
        return None
    shown = {name for panel in panels for name in panel.dots}
    return draw(
        Plot(
            "Attack success by family and arm",
            "Further left is safer. Bars: 95 % intervals over all seeds; dotted: bounds, where labels are missing.",
            [Line(arm.name, i) for i, arm in enumerate(arms) if arm.name in shown],
            panels,
            0.0,
            min(1.0, max(0.2, ceil(10 * highest) / 10)),
        )
    )
