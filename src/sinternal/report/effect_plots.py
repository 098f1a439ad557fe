"""The first picture of a report: does the method do more than its placebo, and against which attacks?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, floor
from typing import NamedTuple

from markupsafe import Markup

from sinternal.figures.effect import Effect
from sinternal.figures.metric import ASR, Over
from sinternal.figures.score import Figures, Key, Score, by_key
from sinternal.figures.study import Arm
from sinternal.records import HarmShows, Split
from sinternal.report.bounds import between
from sinternal.report.dot_plot import Dot, Line, Panel, Plot, draw
from sinternal.report.effect_tables import TITLES, interval_of, study_columns, study_rows, study_title
from sinternal.report.effect_words import main_effects
from sinternal.report.format import MISSING, difference, interval, percent, points

MOST_PANELS = 7
"""Side by side; with more, families are pooled."""
EXPANDED = (
    (Split.OOD, HarmShows.DRAFT),
    (Split.OOD, HarmShows.REQUEST),
    (Split.ID, HarmShows.DRAFT),
)
"""Places that have a panel for each of their families, too, in this order, while there is room."""
LEFT_TO_RIGHT = (
    (Split.ID, HarmShows.REQUEST),
    (Split.OOD, HarmShows.REQUEST),
    (Split.ID, HarmShows.DRAFT),
    (Split.OOD, HarmShows.DRAFT),
)
"""The order of the panels: the further to the right, the further from what was tuned on."""


class _Place(NamedTuple):
    split: Split
    harm_shows: HarmShows
    family: str | None = None


def effect_picture(
    effects: Iterable[Effect], scores: Sequence[Score], arms: Sequence[Arm], seeds: Sequence[int], variant: str
) -> Markup | None:
    """Attack success of each arm against each kind of attack, the placebos beside the method; None without effects.

    Args:
        effects: all of the run.
        scores: all of the run.
        arms: in the recipe's order.
        seeds: of the run.
        variant: which to draw.
    """
    rows = [row for row in main_effects(effects, variant) if row.metric == ASR.name]
    if not rows:
        return None
    first = rows[0]
    placebos = [row.other for row in first.placebos]
    base = first.base.other if first.base else None
    names = [*([base] if base else []), first.method, *placebos]
    measured = {row.arm for row in scores if row.variant == variant}
    order = [*names, *(arm.name for arm in arms if arm.name not in names and arm.name in measured)]
    shapes = {name: i for i, name in enumerate(dict.fromkeys((*(arm.name for arm in arms), *names)))}
    lines = [Line(name, shapes[name], tied=bool(placebos) and name in (first.method, *placebos)) for name in order]
    panels = _panels(rows, by_key(scores), order, seeds)
    dots = [dot for panel in panels for dot in panel.dots.values()]
    if not dots:
        return None
    highest = max(end for dot in dots for end in (dot.high, dot.value, *dot.single, 0.0) if end is not None)
    less = "less placebo" if placebos else "less base"
    return draw(
        Plot(
            f"Unsafe answers of {first.method}, beside {_references(first)}",
            _caption(first, base, len(seeds)),
            lines,
            panels,
            0.0,
            min(1.0, max(0.2, ceil(10 * highest) / 10)),
            foot=f"{first.method} {less}",
        )
    )


def _panels(rows: Sequence[Effect], figures: Figures, order: Sequence[str], seeds: Sequence[int]) -> list[Panel]:
    """A panel for each place, with the rate of every arm."""
    crossed = any(row.harm_shows is not HarmShows.REQUEST for row in rows)
    panels = []
    for place in _places(rows):
        effect = next(row for row in rows if (row.split, row.harm_shows, row.family) == place)
        by_arm = {
            name: _scores(figures, effect.variant, name, place, (None, *seeds), crossed=crossed) for name in order
        }
        dots = {
            name: _dot(name, score, single)
            for name, (score, *single) in by_arm.items()
            if score is not None and (score.value is not None or score.bounded)
        }
        base = effect.base.other if effect.base else ""
        panels.append(_panel(effect, place, rows, dots, dots[base].value if base in dots else None))
    return panels


def _references(effect: Effect) -> str:
    if not effect.placebos:
        return "the base (no placebo)"
    return "its placebo" if len(effect.placebos) == 1 else "its placebos"


def _caption(effect: Effect, base: str | None, seeds: int) -> str:
    parts = ["Attack success: further left is safer. Bars are 95 % intervals of the rates, pooled over seeds."]
    if seeds > 1:
        parts.append("Small points are single seeds.")
    if base:
        parts.append(f"The dashed line is {base}.")
    what = (
        "its placebo" if len(effect.placebos) == 1 else "the placebo nearest to it" if effect.placebos else "the base"
    )
    parts.append(f"Beneath, {effect.method} less {what}, in points with 95 % interval; bold where it is clear.")
    return " ".join(parts)


def _places(rows: Sequence[Effect]) -> list[_Place]:
    """A panel for each place, and one for each of its families while there is room."""
    families = {
        cell: [row.family for row in rows if (row.split, row.harm_shows) == cell and row.family]
        for cell in LEFT_TO_RIGHT
        if any((row.split, row.harm_shows) == cell for row in rows)
    }
    places = {cell: [_Place(*cell)] for cell in families}
    for cell in (cell for cell in EXPANDED if cell in families):
        elsewhere = {
            name for other, names in families.items() if other[0] is cell[0] and other != cell for name in names
        }
        own = [_Place(*cell, family) for family in families[cell]]
        room = MOST_PANELS - sum(map(len, places.values()))
        if not elsewhere & set(families[cell]):  # a rate of a family is of all its prompts, wherever their harm shows
            if len(own) == 1:
                places[cell] = own
            elif len(own) <= room:
                places[cell] += own
    return [place for cell in families for place in places[cell]]


def _scores(
    figures: Figures, variant: str, arm: str, place: _Place, seeds: Sequence[int | None], *, crossed: bool
) -> list[Score | None]:
    """The attack success of one arm, pooled (seed None) and by seed.

    It is by where harm shows only if the run has both, and never of a single family.
    """
    shows = place.harm_shows if crossed and place.family is None else None
    key = Key(variant, arm, ASR.name, Over.HARMFUL, place.split, place.family, harm_shows=shows)
    return [figures.get(key._replace(seed=seed)) for seed in seeds]


def _dot(arm: str, score: Score, by_seed: Sequence[Score | None]) -> Dot:
    single = tuple(row.value for row in by_seed if row is not None and row.value is not None)
    if score.value is None:
        return Dot(None, score.lowest, score.highest, f"{arm} {between(score)}: {score.missing:,} have no label")
    words = f"{arm} {percent(score.value)} % {interval(score.low, score.high)}, n {score.n:,}"
    return Dot(score.value, score.low, score.high, words, single if len(single) > 1 else ())


def _panel(
    effect: Effect, place: _Place, rows: Sequence[Effect], dots: dict[str, Dot], reference: float | None
) -> Panel:
    families = {row.family for row in rows if (row.split, row.harm_shows) == place[:2] and row.family}
    kind = TITLES[place.split, place.harm_shows]
    if place.family is not None:
        one = {HarmShows.REQUEST: f"{'unseen' if place.split is Split.OOD else 'known'} family"}
        title, subtitle = place.family, one.get(place.harm_shows, "harm in the draft only")
    else:
        title, subtitle = kind, f"{len(families)} {'family' if len(families) == 1 else 'families'}"
    shown = effect.headline
    foot = (points(shown.value), interval_of(shown)) if shown and shown.value is not None else (MISSING, "no labels")
    words = f"{effect.method} less {shown.other}: {difference(shown)} points." if shown else ""
    return Panel(title, subtitle, dots, reference, foot, bold=effect.direction != 0, words=words)


def study_picture(effects: Sequence[Effect], variants: Sequence[str]) -> Markup | None:
    """The effect in every variant of a study, a panel for each place; None if nothing was measured."""
    columns = [column for column in study_columns(effects, variants) if column[0] is ASR]
    rows = study_rows(effects, variants)
    panels = []
    for i, column in enumerate(columns):
        dots = {row.variant: dot for row in rows if (dot := _difference_dot(row.variant, row.cells[i])) is not None}
        panels.append(Panel(study_title(column).partition(": ")[2].capitalize(), "less placebo", dots, 0.0))
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
        panels = [Panel(panel.title, "less base", panel.dots, 0.0) for panel in panels]
    low, high = max(-1.0, floor(10 * min(*ends, -0.05)) / 10), min(1.0, ceil(10 * max(*ends, 0.05)) / 10)
    return draw(
        Plot(
            f"Unsafe answers of {method} less those of {against}, by variant",
            "Points; left of the line is safer. Bars are 95 % intervals; hollow marks are not clear.",
            [Line(variant, 0) for variant in variants],
            panels,
            low,
            high,
            unit="",
            signed=True,
        )
    )


def _difference_dot(variant: str, effect: Effect | None) -> Dot | None:
    shown = effect.headline if effect else None
    if effect is None or shown is None or shown.value is None:
        return None
    words = f"{variant} {difference(shown)} less {shown.other}"
    return Dot(shown.value, shown.low, shown.high, words, hollow=effect.direction == 0)
