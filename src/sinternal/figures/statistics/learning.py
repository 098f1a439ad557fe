"""Learning curves: how fast something falls, and how two of them differ over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sinternal.figures.statistics.distributions import t_quantile, t_two_sided


def learning_area(steps: Sequence[int], values: Sequence[float]) -> float:
    """The area under a learning curve by trapezoids, over the span of steps: the mean value over the budget.

    Raises:
        ValueError: fewer than two steps.
    """
    if len(steps) < 2:
        raise ValueError("a learning curve needs two points")
    return float(np.trapezoid(values, steps) / (steps[-1] - steps[0]))


def steps_to(steps: Sequence[int], values: Sequence[float], threshold: float) -> int | None:
    """The first step at which a value is at most the threshold; None if it never is."""
    return next((step for step, value in zip(steps, values, strict=True) if value <= threshold), None)


class MeanDifference(NamedTuple):
    """How much larger one thing is than another, over seeds."""

    difference: float
    """Mean difference."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end."""
    p: float
    """Two-sided p value."""


def over_seeds(x: Sequence[float], y: Sequence[float]) -> MeanDifference | None:
    """Compare two figures of the same seeds by the paired t test.

    None if there are fewer than two seeds, or if all differ by the same, so that nothing can be said of the spread.
    """
    differences = np.asarray(x) - np.asarray(y)
    if len(differences) < 2 or np.allclose(differences, differences[0]):
        return None
    mean, df = float(differences.mean()), len(differences) - 1
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    half = t_quantile(0.975, df) * error
    return MeanDifference(mean, mean - half, mean + half, t_two_sided(mean / error, df))
