"""The first picture of a report: does the method do more than its placebo, against which attacks, and at what price?

To the left, mirrored, stands what each arm refuses of benign requests; to the right its unsafe answers, by kind of
attack, and in the worst case of all families and conditions of stress.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import NamedTuple

from markupsafe import Markup

from sinternal.figures.effect import Effect
from sinternal.figures.metric import ASR, ASR_WORST, OVER_REFUSAL, Over
from sinternal.figures.score import Figures, Key, Score, by_key
from sinternal.figures.study import ReportData
from sinternal.records import HarmShows, Split
from sinternal.report.bounds import between
from sinternal.report.dot_plot import Dot, Line, Panel, Plot, draw
from sinternal.report.effect_tables import TITLES, detectable
from sinternal.report.effect_words import DETECTABLE, FEW_RUNS, direction_told, interval_told, main_effects
from sinternal.report.format import MISSING, difference, in_range, interval, percent, points

MOST_PANELS = 5
"""Of kinds of attack, side by side; with more, families are pooled."""
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


class _Cast(NamedTuple):
    """Who is drawn."""

    main: str
    """The arm that the picture is about."""
    placebos: tuple[str, ...]
    """Its placebos."""
    base: str | None
    """What it was before training."""
    order: tuple[str, ...]
    """All arms, the placebos beside the method."""


def first_picture(data: ReportData, variant: str) -> Markup | None:
    """Attack success of each arm against each kind of attack, and what it refuses; None if nothing was measured.

    Args:
        data: the run.
        variant: which to draw.
    """
    rows = [row for row in main_effects(data.effects, variant) if row.metric == ASR.name]
    cast = _cast(data, rows, variant)
    if cast is None:
        return None
    shapes = {name: i for i, name in enumerate(dict.fromkeys((*(arm.name for arm in data.arms), *cast.order)))}
    together = (cast.main, *cast.placebos)
    lines = [Line(name, shapes[name], tied=bool(cast.placebos) and name in together) for name in cast.order]
    figures = by_key(data.scores)
    attacks = _panels(rows, figures, variant, cast, data.seeds)
    others = [_refusals(figures, variant, cast, data.seeds), _worst(data.scores, variant, cast)]
    dots = [dot for panel in (*attacks, others[1]) if panel for dot in panel.dots.values()]
    if not any(panel.dots for panel in attacks):
        return None
    return draw(
        Plot(
            f"Unsafe answers of {cast.main}, beside {_references(cast)}",
            _caption(
                rows,
                cast,
                len(data.seeds),
                refusals=others[0] is not None,
                dotted=any(dot.value is None for panel in (*attacks, *others) if panel for dot in panel.dots.values()),
            ),
            lines,
            [panel for panel in (others[0], *attacks, others[1]) if panel is not None],
            0.0,
            highest_of(dots),
            foot=("less placebo" if cast.placebos else "less base") if rows else "",
            counts=("n per arm", "detectable") if rows else ("n per arm",),
        )
    )


def highest_of(dots: Iterable[Dot]) -> float:
    """A tenth that is above all that is drawn."""
    highest = max((end for dot in dots for end in (dot.high, dot.value, *dot.single) if end is not None), default=0.0)
    return min(1.0, max(0.2, ceil(10 * highest) / 10))


def _cast(data: ReportData, rows: Sequence[Effect], variant: str) -> _Cast | None:
    """Who is drawn, and in which order; None if no arm was measured."""
    measured = {row.arm for row in data.scores if row.variant == variant}
    arms = [arm.name for arm in data.arms if arm.name in measured]
    if rows:
        first = rows[0]
        placebos = tuple(row.other for row in first.placebos)
        base, main = first.base.other if first.base else None, first.method
    elif arms:
        asked = data.questions[0].arm if data.questions else arms[0]
        placebos, base, main = (), None, asked if asked in arms else arms[0]
    else:
        return None
    first_arm = base or (arms[0] if arms else None)
    names = dict.fromkeys((*([first_arm] if first_arm else []), main, *placebos, *arms))
    return _Cast(main, placebos, base, tuple(names))


def _refusals(figures: Figures, variant: str, cast: _Cast, seeds: Sequence[int]) -> Panel | None:
    """What each arm refuses of benign requests, on a scale of its own that runs to the left."""
    for split, where in ((Split.OOD, "unseen families"), (Split.ID, "known families"), (None, "all families")):
        dots = {}
        for name in cast.order:
            key = Key(variant, name, OVER_REFUSAL.name, OVER_REFUSAL.over[0], split)
            score, *single = (figures.get(key._replace(seed=seed)) for seed in (None, *seeds))
            if score is not None and (score.value is not None or score.bounded):
                dots[name] = rate_dot(name, score, single)
        if dots:
            own = dots[cast.base].value if cast.base in dots else None
            return Panel(
                "Refuses benign", where, dots, own, counts=counted(dots), high=highest_of(dots.values()), mirrored=True
            )
    return None


def _worst(scores: Sequence[Score], variant: str, cast: _Cast) -> Panel | None:
    """The worst case of each arm, of all attack families and conditions of stress; None if there was but one."""
    rows = [row for row in scores if (row.metric, row.variant, row.seed) == (ASR_WORST.name, variant, None)]
    known = {row.arm: row for row in rows if row.arm in cast.order and (row.value is not None or row.open)}
    if not known:
        return None
    dots = {name: rate_dot(f"{name} ({row.circumstance})", row, ()) for name, row in known.items()}
    where = {row.circumstance or "" for row in known.values()}
    return Panel("Worst case", where.pop() if len(where) == 1 else "of families and stress", dots, counts=counted(dots))


def _panels(rows: Sequence[Effect], figures: Figures, variant: str, cast: _Cast, seeds: Sequence[int]) -> list[Panel]:
    """A panel for each place, with the rate of every arm."""
    crossed = any(row.harm_shows is not HarmShows.REQUEST for row in rows)
    panels = []
    for place in _places(rows) or [_Place(split, HarmShows.REQUEST) for split in (Split.ID, Split.OOD)]:
        effect = next((row for row in rows if (row.split, row.harm_shows, row.family) == place), None)
        by_arm = {name: _scores(figures, variant, name, place, (None, *seeds), crossed=crossed) for name in cast.order}
        dots = {
            name: rate_dot(name, score, single)
            for name, (score, *single) in by_arm.items()
            if score is not None and (score.value is not None or score.bounded)
        }
        reference = dots[cast.base].value if cast.base in dots else None
        if effect is not None:
            panels.append(_panel(effect, place, rows, dots, reference))
        elif dots:
            panels.append(Panel(TITLES[place.split, place.harm_shows], "all of them", dots, counts=counted(dots)))
    return panels


def _references(cast: _Cast) -> str:
    if not cast.placebos:
        return "the base (no placebo)" if cast.base else "the other arms"
    return "its placebo" if len(cast.placebos) == 1 else "its placebos"


def _caption(rows: Sequence[Effect], cast: _Cast, seeds: int, *, refusals: bool, dotted: bool) -> str:
    parts = ["Attack success by kind of attack: further left is safer."]
    if refusals:
        parts.append("Mirrored, at the left: benign requests refused.")
    parts.append(f"Bars: 95 % intervals over all seeds{'; small points: single seeds' if seeds > 1 else ''}.")
    if cast.base:
        parts.append(f"Dashed line: {cast.base}.")
    if dotted:
        parts.append("Dotted bars: bounds, as labels are missing.")
    if rows:
        nearest = "the nearest placebo" if len(cast.placebos) > 1 else "its placebo" if cast.placebos else "the base"
        runs = ", in these training runs" if seeds <= FEW_RUNS else ""
        parts.append(f"Beneath: {cast.main} less {nearest}, in points{runs}; bold where clear.")
        parts.append(DETECTABLE)
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


def rate_dot(arm: str, score: Score, by_seed: Sequence[Score | None] = ()) -> Dot:
    """A rate of an arm as a point, with those of single seeds; where only bounds are known, these."""
    single = tuple(row.value for row in by_seed if row is not None and row.value is not None)
    if score.value is None:
        words = f"{arm} {between(score)}: {score.missing:,} have no label"
        return Dot(None, score.lowest, score.highest, words, n=score.n + score.missing)
    words = f"{arm} {percent(score.value)} % {interval(score.low, score.high)}, n {score.n:,}"
    return Dot(score.value, score.low, score.high, words, single if len(single) > 1 else (), n=score.n)


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
    foot = (points(shown.value), interval_told(shown)) if shown and shown.value is not None else (MISSING, "no labels")
    words = f"{effect.method} less {shown.other}: {difference(shown)} points." if shown else ""
    smallest = detectable(shown) if shown else None
    counts = (*counted(dots), MISSING if smallest is None else f"from {100 * smallest:.1f}")
    return Panel(title, subtitle, dots, reference, foot, bold=direction_told(effect) != 0, counts=counts, words=words)


def counted(dots: Mapping[str, Dot]) -> tuple[str]:
    """How many answers each arm's figure is of: `72`, or `54 to 72` where arms differ."""
    return (in_range([f"{n:,}" for n in sorted({dot.n for dot in dots.values()})]),)
