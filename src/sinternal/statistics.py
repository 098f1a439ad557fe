"""Intervals and paired tests, thin over statsmodels, scipy and numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

RESAMPLES = 4999
SEED = 0
"""Of the resampling, fixed so that the same rows always give the same interval."""


class Interval(NamedTuple):
    """The two ends of a 95 % interval."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""


class PairedDifference(NamedTuple):
    """How much more often something happens under A than under B, on the same prompts."""

    difference: float
    """Share under A minus share under B."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end."""
    p: float
    """Two-sided p value."""
    n: int
    """Pairs that count."""


def wilson(successes: int, n: int) -> Interval:
    """The 95 % Wilson score interval of a proportion (Wilson 1927), by statsmodels.

    Raises:
        ValueError: n is 0, or successes are not between 0 and n.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} of {n} is no proportion")
    low, high = proportion_confint(successes, n, alpha=0.05, method="wilson")
    return Interval(float(low), float(high))


def confusion_interval(
    table: Sequence[int], statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> Interval:
    """The 95 % bootstrap percentile interval of a figure that is computed from counts.

    Resampling independent rows with replacement draws their counts from a multinomial distribution, so that the rows
    themselves are not needed.

    Args:
        table: counts of each kind of row, shape (k,).
        statistic: maps counts of shape (resamples, k) to figures of shape (resamples,), NaN where undefined.

    Raises:
        ValueError: the figure is undefined in every resample.
    """
    n = sum(table)
    draws = np.random.default_rng(SEED).multinomial(n, np.asarray(table) / n, size=RESAMPLES).astype(np.float64)
    figures = statistic(draws)
    if np.isnan(figures).all():
        raise ValueError(f"the figure is undefined for counts like {list(table)}")
    low, high = np.nanpercentile(figures, [2.5, 97.5])
    return Interval(float(low), float(high))


def paired_difference(a: Sequence[bool], b: Sequence[bool], clusters: Sequence[str]) -> PairedDifference:
    """Compare two arms on the same prompts, where prompts of one cluster (one parent prompt) are not independent.

    The interval is the percentile interval of a bootstrap that draws whole clusters; the p value is that of a
    permutation test that swaps A and B in whole clusters (both by scipy).

    Args:
        a: what happened under A, one entry for each pair.
        b: what happened under B.
        clusters: what each pair belongs to.

    Raises:
        ValueError: fewer than two clusters.
    """
    names = sorted(set(clusters))
    if len(names) < 2:
        raise ValueError("a paired comparison needs at least two parent prompts")
    at = {name: i for i, name in enumerate(names)}
    sums = np.zeros((3, len(names)))
    for one, other, cluster in zip(a, b, clusters, strict=True):
        sums[:, at[cluster]] += (one, other, 1)
    in_a, in_b, sizes = sums

    def mean_difference(
        x: NDArray[np.float64], y: NDArray[np.float64], n: NDArray[np.float64], axis: int
    ) -> NDArray[np.float64]:
        return (x.sum(axis) - y.sum(axis)) / n.sum(axis)  # type: ignore[no-any-return]

    interval = stats.bootstrap(
        (in_a, in_b, sizes),
        mean_difference,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    test = stats.permutation_test(
        (in_a, in_b),
        lambda x, y, axis: (x - y).sum(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(SEED),
    )
    difference = (in_a.sum() - in_b.sum()) / sizes.sum()
    return PairedDifference(
        float(difference), float(interval.low), float(interval.high), float(test.pvalue), int(sizes.sum())
    )
