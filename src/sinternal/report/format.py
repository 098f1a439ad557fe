"""How a figure is written: percent, intervals, differences, p values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sinternal.figures.estimate import Estimate
from sinternal.figures.score import Score

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
LABELS = {"safe": "safety", "refused": "refusal"}
"""What judges label, by the fields of a judgement."""


def percent(fraction: float | None) -> str:
    """A fraction as a percentage without its sign: `21.3`; below 0, as a correlation can be, with a true minus sign."""
    return MISSING if fraction is None else f"{100 * fraction:.1f}".replace("-", MINUS)


def interval(low: float | None, high: float | None) -> str:
    """The ends of an interval as percentages: `[18.0, 25.1]`; empty if there is none."""
    return "" if low is None or high is None else f"[{percent(low)}, {percent(high)}]"


def with_interval(estimate: Estimate | None) -> str:
    """A figure and its 95 % interval: `21.3 [18.0, 25.1]`; where only bounds are known, `0.0 to 50.0`."""
    if estimate is not None and estimate.bounded:
        return bounds(estimate)
    if estimate is None or estimate.value is None:
        return MISSING
    return f"{percent(estimate.value)} {interval(estimate.low, estimate.high)}".strip()


def decimal(estimate: Estimate, digits: int = 2, times: float = 1) -> str:
    """A figure that is no percentage, and its interval: `0.64 [0.55, 0.72]`."""
    if estimate.value is None:
        return MISSING
    ends = ""
    if estimate.low is not None and estimate.high is not None:
        ends = f" [{times * estimate.low:.{digits}f}, {times * estimate.high:.{digits}f}]"
    return f"{times * estimate.value:.{digits}f}{ends}".replace("-", MINUS)


def bounds(estimate: Estimate) -> str:
    """What a figure is at least and at most, where labels are missing: `0.0 to 50.0`."""
    return f"{percent(estimate.lowest)} to {percent(estimate.highest)}"


def points(difference: float) -> str:
    """A difference of fractions in signed percentage points, with a true minus sign: `+3.0`, `0.0`."""
    rounded = round(100 * difference, 1)
    return "0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", MINUS)


def points_interval(low: float, high: float) -> str:
    """The interval of a difference: `[+3.0, +11.4]`."""
    return f"[{points(low)}, {points(high)}]"


def difference(estimate: Estimate | None) -> str:
    """A difference with its interval in percentage points: `+7.0 [+3.0, +11.4]`."""
    if estimate is None or estimate.value is None:
        return MISSING
    ends = "" if estimate.low is None or estimate.high is None else points_interval(estimate.low, estimate.high)
    return f"{points(estimate.value)} {ends}".strip()


def in_range(ordered: Sequence[str]) -> str:
    """The first and the last of some figures in their order, or the one that there is."""
    if not ordered:
        return MISSING
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"


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
