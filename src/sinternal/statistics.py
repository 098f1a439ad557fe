"""Intervals and paired tests, thin over statsmodels, scipy and numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

RESAMPLES = 19_999
"""Enough for a p value of 0.0001, which a correction for 250 comparisons leaves below 0.05."""
FEW = 5
"""Clusters below which resampling knows too little of something to be trusted alone."""
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


def clustered_wilson(hits: Sequence[int], sizes: Sequence[int]) -> Interval:
    """The 95 % Wilson interval of a proportion whose rows come in clusters, for example the rewordings of one prompt.

    n is replaced by the effective sample size n / deff, where deff compares the variance between clusters (by
    linearisation of the ratio) with that of independent rows, and by the t quantile for as many degrees of freedom as
    there are clusters less one: Korn & Graubard 1998, Survey Methodology 24:193, with Wilson's interval in place of
    Clopper and Pearson's (Dean & Pagano 2015, doi 10.1093/jssam/smv024). It is never narrower than for independent
    rows, and is that of `wilson` if every cluster has one row. A proportion of 0 or 1 tells nothing of deff, which is
    then taken as 1. A single cluster is a single observation, however many rows it has.

    Args:
        hits: what happened in each cluster, shape (clusters,).
        sizes: rows of each cluster, shape (clusters,).

    Raises:
        ValueError: there are no rows.
    """
    y, m = np.asarray(hits, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    y, m = y[m > 0], m[m > 0]
    clusters, n = len(m), float(m.sum())
    if clusters == n or not n:
        return wilson(int(y.sum()), int(n))
    share = float(y.sum() / n)
    if clusters == 1:
        return _wilson_of(share, 1.0)
    between = ((y - share * m) ** 2).sum() * clusters / (clusters - 1) / n**2
    independent = share * (1 - share) / n
    deff = max(1.0, between / independent) if independent else 1.0
    return _wilson_of(share, n / deff * (stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, clusters - 1)) ** 2)


def _wilson_of(share: float, effective: float) -> Interval:
    """The Wilson interval of a share in so many effective rows, which need not be a whole number."""
    low, high = proportion_confint(share * effective, effective, alpha=0.05, method="wilson")
    return Interval(min(float(low), share), max(float(high), share))


def smoothed(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tables of (tp, fp, fn, tn) by cluster, made fit for a bootstrap where some kind of row is rare.

    Resampling cannot draw what did not happen: without a mistake in the sample, no resample has one, and its interval
    has no width. For each kind of row that fewer than `FEW` clusters hold, one more cluster is added, with as many rows
    of that kind as these have on average, or one row if there is none: as Agresti & Coull (1998, American Statistician
    52:119) add rows to a proportion. That rows of a kind which never came would come alone is an assumption.

    Args:
        tables: shape (clusters, 4), the first and third of one class, the others of the other.
    """
    added = []
    for kind, other in ((0, 2), (2, 0), (1, 3), (3, 1)):
        held = tables[tables[:, kind] > 0, kind]
        if len(held) < FEW and (len(held) or tables[:, other].any()):
            extra = np.zeros(4)
            extra[kind] = held.mean() if len(held) else 1
            added.append(extra)
    return np.concatenate([tables, *(extra[None] for extra in added)])


def table_interval(
    tables: NDArray[np.float64], statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> Interval | None:
    """The 95 % bootstrap percentile interval of a figure that is computed from counts, drawing whole clusters.

    Args:
        tables: counts of each kind of row in each cluster, shape (clusters, k).
        statistic: maps counts of shape (resamples, k) to figures of shape (resamples,), NaN where undefined.

    Returns:
        None for a single cluster, which tells nothing of the spread.

    Raises:
        ValueError: the figure is undefined in every resample.
    """
    if len(tables) < 2:
        return None
    chunk = max(1, min(RESAMPLES, CELLS // len(tables)))
    starts = range(0, RESAMPLES, chunk)
    sizes = (min(chunk, RESAMPLES - start) for start in starts)
    drawn = [_multiplicities(len(tables), size, number, 1) @ tables for number, size in enumerate(sizes)]
    figures = statistic(np.concatenate(drawn))
    if np.isnan(figures).all():
        raise ValueError(f"the figure is undefined for counts like {tables.sum(0).tolist()}")
    low, high = np.nanpercentile(figures, [2.5, 97.5])
    return Interval(float(low), float(high))


def smallest_difference(low: float, high: float) -> float:
    """The smallest difference that a comparison could have shown, with 80 % power at the two-sided 5 % level.

    (1.96 + 0.84) standard errors, "minimum detectable effect" (Bloom 1995, Evaluation Review 19:547); the standard
    error is read off the 95 % interval, so that it holds for whatever the interval holds for.

    Args:
        low: lower end of the interval of the difference.
        high: upper end.
    """
    return float((high - low) / (2 * stats.norm.ppf(0.975)) * (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)))


class Accuracy(NamedTuple):
    """How often a judge is right about one kind of row, from rows that people have labelled."""

    right: int
    """Rows that it labels as people do."""
    n: int
    """Rows."""


def rogan_gladen(interval: Interval, rate: float, sensitivity: Accuracy, specificity: Accuracy) -> Corrected:
    """A rate as it would be by people's labels, from a judge's and how often that judge errs.

    (rate + specificity - 1) / (sensitivity + specificity - 1), cut to [0, 1]: Rogan & Gladen 1978, American Journal of
    Epidemiology 107:71. The interval draws the rate, the sensitivity and the specificity from their uncertainties,
    independently: the first from a beta distribution with the effective sample size that its own interval tells, the
    others from Jeffreys' posterior.

    A rate that a judge with these errors could not show, for example one below its share of false alarms, was made by
    other errors than those that were measured: there is then no figure.

    Args:
        interval: that of the rate.
        rate: share that the judge calls positive.
        sensitivity: on rows that people call positive.
        specificity: on rows that people call negative.

    Raises:
        ValueError: nothing can be said; the message says why.
    """
    if not sensitivity.n or not specificity.n:
        raise ValueError("people have labelled no answers of one kind, so that the judge's errors are not known")
    informed = sensitivity.right / sensitivity.n + specificity.right / specificity.n - 1
    if informed <= 0:
        raise ValueError("the judge is no better than chance")
    rng = np.random.default_rng(SEED)
    n = _effective_size(rate, interval)
    drawn = rng.beta(rate * n + 0.5, (1 - rate) * n + 0.5, RESAMPLES)
    right = [rng.beta(one.right + 0.5, one.n - one.right + 0.5, RESAMPLES) for one in (sensitivity, specificity)]
    with np.errstate(divide="ignore", invalid="ignore"):
        figures = (drawn + right[1] - 1) / (right[0] + right[1] - 1)
    figures = figures[right[0] + right[1] > 1]
    lowest, highest = np.percentile(figures, [2.5, 97.5])
    if highest < 0 or lowest > 1:
        raise ValueError("a judge with these errors could not show such a rate: they are those of other answers")
    figures = np.clip(figures, 0, 1)
    value = (rate + specificity.right / specificity.n - 1) / informed
    low, high = np.percentile(figures, [2.5, 97.5])
    return Corrected(float(np.clip(value, 0, 1)), Interval(float(low), float(high)))


class Corrected(NamedTuple):
    """A rate after correction for a judge's errors."""

    value: float
    """The rate."""
    interval: Interval
    """Its 95 % interval."""


def _effective_size(rate: float, interval: Interval) -> float:
    """The number of independent rows whose Wilson interval is as wide as this one.

    The half-width of Wilson's interval is z sqrt(p (1 - p) / n + z^2 / 4 n^2) / (1 + z^2 / n), solved here for n.
    """
    z = float(stats.norm.ppf(0.975))
    half = (interval.high - interval.low) / 2

    def excess(n: float) -> float:
        return float(z * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2)) / (1 + z**2 / n) - half)

    return float(optimize.brentq(excess, 1e-3, 1e9))


def paired_difference(
    a: Sequence[bool], b: Sequence[bool], clusters: Sequence[str], seeds: Sequence[int]
) -> PairedDifference:
    """Compare two arms on the same prompts, where prompts of one cluster (one parent prompt) are not independent.

    The interval is the percentile interval of a bootstrap that draws whole parents and, if there are several, whole
    seeds, independently of each other; a row counts as often as both were drawn (Owen & Eckles 2012, arXiv 1106.2125).
    So it holds for other prompts and for other training runs. The p value is that of a permutation test that swaps A
    and B in whole parents (by scipy): it holds for these training runs.

    Where A and B differ in fewer than `FEW` parents, resampling would say that they never differ more: the interval is
    then that of the sample with two parents more, one for A and one for B, that differ in as many rows as these do on
    average, or in one; Bonett & Price (2012, Journal of Educational and Behavioral Statistics 37:479) add one to each
    count of discordant pairs.

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
    drawn = _two_way_bootstrap(*_with_discord(in_a - in_b, sizes))
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


def _with_discord(
    totals: NDArray[np.float64], sizes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Differences and sizes of shape (seeds, parents), with two parents more that differ if few others do."""
    differing = np.abs(totals).sum(axis=0)
    differing = differing[differing > 0]
    if len(differing) >= FEW:
        return totals, sizes
    one = sizes.mean(axis=1, keepdims=True)
    more = one / one.sum() * (differing.mean() if len(differing) else 1)
    return np.concatenate([totals, more, -more], axis=1), np.concatenate([sizes, one, one], axis=1)


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
