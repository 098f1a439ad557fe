"""How a figure is found among a run's scores, and how it is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sinternal.records import Score

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


class Key(NamedTuple):
    """Which figure of which arm."""

    variant: str
    """The variant."""
    arm: str
    """The arm."""
    metric: str
    """Name of the metric."""
    benchmark: str
    """`harmful`, `benign`, `all` or `own answers`."""
    split: str | None
    """`id`, `ood`, None for both."""
    family: str | None = None
    """Attack family, None for all of the split."""
    spec: bool | None = None
    """Whether the specification was quoted, for verification."""
    seed: int | None = None
    """None for the figure that is pooled over seeds."""


Figures = Mapping[Key, Score]
"""Every score by what it is."""


def by_key(scores: Iterable[Score]) -> Figures:
    """Index scores, so that each is found by what it is."""
    return {Key(s.variant, s.arm, s.metric, s.benchmark, s.split, s.family, s.spec, s.seed): s for s in scores}


def percent(fraction: float | None) -> str:
    """A fraction as a percentage without its sign: `21.3`."""
    return MISSING if fraction is None else f"{100 * fraction:.1f}"


def interval(low: float | None, high: float | None) -> str:
    """The ends of an interval as percentages: `[18.0, 25.1]`; empty if there is none."""
    return "" if low is None or high is None else f"[{percent(low)}, {percent(high)}]"


def with_interval(score: Score | None) -> str:
    """A figure and its 95 % interval: `21.3 [18.0, 25.1]`; where only bounds are known, `0.0 to 50.0`."""
    if score is not None and score.bounded:
        return bounds(score)
    if score is None or score.value is None:
        return MISSING
    return f"{percent(score.value)} {interval(score.low, score.high)}".strip()


def bounds(score: Score) -> str:
    """What a figure is at least and at most, where labels are missing: `0.0 to 50.0`."""
    return f"{percent(score.lowest)} to {percent(score.highest)}"


def points(difference: float) -> str:
    """A difference of fractions in signed percentage points, with a true minus sign: `+3.0`, `0.0`."""
    rounded = round(100 * difference, 1)
    return "0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", MINUS)


def points_interval(low: float, high: float) -> str:
    """The interval of a difference: `[+3.0, +11.4]`."""
    return f"[{points(low)}, {points(high)}]"


def p_value(p: float) -> str:
    """A p value with three decimals, never as a bare zero."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def spread(score: Score) -> str:
    """Mean and standard deviation over seeds, empty if there is one seed: `21.0 ± 1.5`."""
    return "" if score.mean is None or score.sd is None else f"{percent(score.mean)} ± {percent(score.sd)}"


def listing(names: Iterable[str]) -> str:
    """Names as a sentence lists them: `a, b and c`."""
    *front, last = list(names)
    return f"{', '.join(front)} and {last}" if front else last
