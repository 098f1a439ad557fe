"""Intervals and paired tests, thin over statsmodels, scipy and numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

RESAMPLES = 19_999
"""Enough for a p value of 0.0001, which a correction for 250 comparisons leaves below 0.05."""
CELLS = 4_000_000
"""Largest table of random numbers that is held at once."""
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
    only_a: int
    """Pairs in which it happens under A only."""
    only_b: int
    """Pairs in which it happens under B only."""


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


def paired_difference(
    a: Sequence[bool], b: Sequence[bool], clusters: Sequence[str], seeds: Sequence[int]
) -> PairedDifference:
    """Compare two arms on the same prompts, where prompts of one cluster (one parent prompt) are not independent.

    The interval is the percentile interval of a bootstrap that draws whole parents and, if there are several, whole
    seeds, independently of each other; a row counts as often as both were drawn (Owen & Eckles 2012, arXiv 1106.2125).
    So it holds for other prompts and for other training runs. The p value is that of a permutation test that swaps A
    and B in whole parents (by scipy): it holds for these training runs.

    Args:
        a: what happened under A, one entry for each pair.
        b: what happened under B.
        clusters: what parent each pair belongs to.
        seeds: what training run each pair belongs to.

    Raises:
        ValueError: fewer than two clusters.
    """
    parents, runs = sorted(set(clusters)), sorted(set(seeds))
    if len(parents) < 2:
        raise ValueError("a paired comparison needs at least two parent prompts")
    at = {name: i for i, name in enumerate(parents)}
    of = {name: i for i, name in enumerate(runs)}
    sums = np.zeros((3, len(runs), len(parents)))
    for one, other, cluster, seed in zip(a, b, clusters, seeds, strict=True):
        sums[:, of[seed], at[cluster]] += (one, other, 1)
    in_a, in_b, sizes = sums
    drawn = _two_way_bootstrap(in_a - in_b, sizes)
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    test = stats.permutation_test(
        (in_a.sum(0), in_b.sum(0)),
        lambda x, y, axis: (x - y).sum(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(SEED),
    )
    difference = float((in_a.sum() - in_b.sum()) / sizes.sum())
    pairs = list(zip(a, b, strict=True))
    return PairedDifference(
        difference,
        float(low),
        float(high),
        float(test.pvalue),
        len(pairs),
        sum(one and not other for one, other in pairs),
        sum(other and not one for one, other in pairs),
    )


def _two_way_bootstrap(totals: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of resampled tables: totals and sizes of shape (seeds, parents), the result of shape (resamples,)."""
    seeds, parents = totals.shape
    chunk = max(1, min(RESAMPLES, CELLS // parents))
    found = []
    for number, start in enumerate(range(0, RESAMPLES, chunk)):
        size = min(chunk, RESAMPLES - start)
        of_seeds, of_parents = _multiplicities(seeds, size, number, 0), _multiplicities(parents, size, number, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append(((of_seeds @ totals) * of_parents).sum(1) / ((of_seeds @ sizes) * of_parents).sum(1))
    return np.concatenate(found)


@lru_cache(maxsize=8)
def _multiplicities(n: int, resamples: int, chunk: int, of: int) -> NDArray[np.float64]:
    """How often each of n things is drawn, n times with replacement: shape (resamples, n)."""
    draws = np.random.default_rng((SEED, n, chunk, of)).multinomial(n, np.full(n, 1 / n), size=resamples)
    return draws.astype(np.float64)


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact two-sided p value of McNemar's test (1947), by statsmodels: are the discordant pairs evenly split?

    Args:
        only_a: pairs in which it happened under A only.
        only_b: under B only.
    """
    if only_a + only_b == 0:
        return 1.0
    return float(contingency_tables.mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values, corrected for their number (Holm 1979), by statsmodels; in the order in which they were given."""
    return [float(p) for p in multipletests(p_values, method="holm")[1]] if len(p_values) else []


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
    """Compare two figures of the same seeds by the paired t test (by scipy).

    None if there are fewer than two seeds, or if all differ by the same, so that nothing can be said of the spread.
    """
    differences = np.asarray(x) - np.asarray(y)
    if len(differences) < 2 or np.allclose(differences, differences[0]):
        return None
    test = stats.ttest_rel(x, y)
    interval = test.confidence_interval(0.95)
    return MeanDifference(float(differences.mean()), float(interval.low), float(interval.high), float(test.pvalue))
