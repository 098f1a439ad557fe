"""Two arms on the same prompts: how large the difference is, whether there is any, and what it holds for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sinternal.figures.statistics.bootstrap import FEW, Interval, sums, tails
from sinternal.figures.statistics.distributions import fair_binomial, normal_quantile, t_quantile

DIGITS = 9
"""Decimals in which two shares are the same."""


class PairedDifference(NamedTuple):
    """How much more often something happens under A than under B, on the same prompts."""

    difference: float
    """Share under A minus share under B."""
    low: float
    """Lower end of the 95 % interval: for other prompts and other training runs or, if there was but one run, for
    other prompts and this run."""
    high: float
    """Upper end."""
    p: float
    """Two-sided p value, for these training runs."""
    n: int
    """Pairs that count."""
    only_a: int
    """Pairs in which it happens under A only."""
    only_b: int
    """Pairs in which it happens under B only."""
    runs: int
    """Training runs of each arm."""
    these_runs: Interval
    """The 95 % interval for other prompts and these training runs."""


def smallest_difference(low: float, high: float) -> float:
    """The smallest difference that a comparison could have shown, with 80 % power at the two-sided 5 % level.

    (1.96 + 0.84) standard errors, "minimum detectable effect" (Bloom 1995, Evaluation Review 19:547); the standard
    error is read off the 95 % interval, so that it holds for whatever the interval holds for.

    Args:
        low: lower end of the interval of the difference.
        high: upper end.
    """
    return (high - low) / (2 * normal_quantile(0.975)) * (normal_quantile(0.975) + normal_quantile(0.8))


Column = Sequence[Any] | NDArray[Any]
"""One value for each pair."""


class Pairs(NamedTuple):
    """Two arms on the same prompts, added up by training run and parent prompt: each of shape (runs, parents)."""

    totals: NDArray[np.float64]
    """By how many rows A is ahead."""
    sizes: NDArray[np.float64]
    """Rows."""


def add_up(a: Column, b: Column, clusters: Column, seeds: Column) -> Pairs:
    """Pairs by training run and parent prompt, both in their order; for the arguments, see `paired_difference`."""
    parents, at_parent = np.unique(np.asarray(clusters), return_inverse=True)
    runs, at_run = np.unique(np.asarray(seeds), return_inverse=True)
    cells, shape = at_run * len(parents) + at_parent, (len(runs), len(parents))
    ahead = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    totals, sizes = (np.bincount(cells, weights, minlength=len(runs) * len(parents)) for weights in (ahead, None))
    return Pairs(totals.reshape(shape).astype(np.float64), sizes.reshape(shape).astype(np.float64))


def paired_difference(a: Column, b: Column, clusters: Column, seeds: Column) -> PairedDifference:
    """Compare two arms on the same prompts, where prompts of one cluster (one parent prompt) are not independent.

    The interval for these training runs is that of a bootstrap that draws whole parents. With several runs, the
    interval for others adds what they differ by, see `_over_runs`; one run tells nothing of others. The p value is that
    of `sign_flip`, for these training runs.

    Where all parents but fewer than `FEW` are alike, resampling would say that others are, too: the interval is then
    that of the sample with two parents more, see `_with_discord`.

    Args:
        a: what happened under A, one entry for each pair.
        b: what happened under B.
        clusters: what parent each pair belongs to.
        seeds: what training run each pair belongs to.

    Raises:
        ValueError: fewer than two clusters.
    """
    totals, sizes = add_up(a, b, clusters, seeds)
    runs, parents = totals.shape
    if parents < 2:
        raise ValueError("a paired comparison needs at least two parent prompts")
    these = of_these_runs(totals, sizes)
    low, high = these if runs < 2 else _over_runs(totals, sizes, these)
    in_a, in_b = np.asarray(a, dtype=np.bool_), np.asarray(b, dtype=np.bool_)
    return PairedDifference(
        float(totals.sum() / sizes.sum()),
        low,
        high,
        sign_flip(totals.sum(0)),
        len(in_a),
        int((in_a & ~in_b).sum()),
        int((in_b & ~in_a).sum()),
        runs,
        these,
    )


def of_these_runs(totals: NDArray[np.float64], sizes: NDArray[np.float64]) -> Interval:
    """The interval for these training runs, for differences and sizes of shape (runs, parents), at least two."""
    totals, sizes = _with_discord(totals, sizes)
    return _resampled(totals.sum(0).tobytes(), sizes.sum(0).tobytes())


@lru_cache(maxsize=4096)
def _resampled(ahead: bytes, rows: bytes) -> Interval:
    """The bootstrap interval over parents; the same comparison is made for several tables."""
    ours, theirs = np.frombuffer(ahead), np.frombuffer(rows)
    low, high = np.percentile(sums(ours) / sums(theirs), tails(len(ours)))
    return Interval(float(low), float(high))


def sign_flip(differences: NDArray[np.float64]) -> float:
    """The two-sided p value of the permutation test that swaps A and B in whole parents: how often is the sum so large?

    Exact, not sampled, so that a correction for many comparisons has small values to work on: the distribution of the
    sum is the convolution of those of its terms (Pagano & Tritchler 1983, JASA 78:435, doi
    10.1080/01621459.1983.10477990); terms of equal size are binomial together.

    Args:
        differences: whole numbers, by how many rows A is ahead in each parent, shape (parents,).
    """
    sizes = Counter(abs(round(float(one))) for one in differences if one)
    observed, chances = abs(round(float(differences.sum()))), np.ones(1)
    for size, count in sizes.items():
        longer = np.zeros(len(chances) + 2 * size * count)
        for heads, chance in enumerate(fair_binomial(count)):
            longer[2 * size * heads :][: len(chances)] += chance * chances
        chances = longer
    reached = np.abs(np.arange(len(chances)) - len(chances) // 2) >= observed
    smallest = max(2.0 ** (1 - sizes.total()), np.finfo(np.float64).eps)  # rounding leaves less, or nothing
    return float(min(1.0, max(chances[reached].sum(), smallest)))


def _with_discord(
    totals: NDArray[np.float64], sizes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Differences and sizes of shape (seeds, parents), with two parents more, one for each arm, if few are unlike.

    Bonett & Price (2012, Journal of Educational and Behavioral Statistics 37:479) add one to each count of discordant
    pairs, so that no sample leaves the variance at 0. Where hardly any parent differs, the two differ in as many rows
    as those do on average, or in one; where nearly all differ by the same, as from 100 to 0 %, in all of their rows.
    """
    differing = np.abs(totals).sum(axis=0)
    differing = differing[differing > 0]
    one = sizes.mean(axis=1, keepdims=True)
    if len(differing) < FEW:
        rows = differing.mean() if len(differing) else 1.0
    elif _are_alike(totals.sum(axis=0) / sizes.sum(axis=0)):
        rows = one.sum()
    else:
        return totals, sizes
    more = one / one.sum() * rows
    return np.concatenate([totals, more, -more], axis=1), np.concatenate([sizes, one, one], axis=1)


def _are_alike(shares: NDArray[np.float64]) -> bool:
    """Whether nearly all parents have the same difference, which is not 0."""
    shares = shares.round(DIGITS)
    different, counts = np.unique(shares, return_counts=True)
    usual = counts.argmax()
    return bool(different[usual] and counts[usual] >= FEW > len(shares) - counts[usual])


def _over_runs(totals: NDArray[np.float64], sizes: NDArray[np.float64], these: Interval) -> Interval:
    """The interval for other parents and other training runs, from at least two runs.

    Runs are crossed with parents, so the variance of the mean difference has a part of the runs, with as many degrees
    of freedom as there are runs less one, and a part of the parents. What differs within both is in either estimate,
    and is taken out of that of the parents, as in the quasi-F of Clark 1973 (doi 10.1016/S0022-5371(73)80014-3). Half
    the width is the root of t^2 times the one plus z^2 times the other, with the t quantile of the runs alone (Howe
    1974, JASA 69:789, on the mean of a sum), on each side with the reach of the parents' own interval (Zou & Donner
    2008, doi 10.1002/sim.3095). It is never narrower than the interval for these runs, and never beyond -1 and 1.

    Args:
        totals: by how many rows A is ahead, shape (seeds, parents).
        sizes: rows, of the same shape.
        these: the interval for these runs.
    """
    runs, parents = totals.shape
    n, difference = sizes.sum(), totals.sum() / sizes.sum()
    by_run, by_parent = (totals.sum(axis) / sizes.sum(axis) - difference for axis in (1, 0))
    of_runs = ((by_run * sizes.sum(1)) ** 2).sum() * runs / (runs - 1) / n**2
    of_parents = ((by_parent * sizes.sum(0)) ** 2).sum() * parents / (parents - 1) / n**2
    within = totals - sizes * (difference + by_run[:, None] + by_parent)
    of_both = (within**2).sum() * runs * parents / ((runs - 1) * (parents - 1)) / n**2
    share = max(0.0, 1 - of_both / of_parents) if of_parents else 1.0
    variation = t_quantile(0.975, runs - 1) ** 2 * of_runs
    low, high = (max(reach, np.sqrt(share * reach**2 + variation)) for reach in np.abs(np.array(these) - difference))
    return Interval(max(-1.0, float(difference - low)), min(1.0, float(difference + high)))


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact two-sided p value of McNemar's test (1947): are the discordant pairs evenly split?

    Args:
        only_a: pairs in which it happened under A only.
        only_b: under B only.
    """
    tail = fair_binomial(only_a + only_b)[: min(only_a, only_b) + 1]
    return min(1.0, float(2 * tail.sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values, corrected for their number (Holm 1979), in the order in which they were given."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(factors * np.asarray(p_values)[order]))
    return [float(p) for p in corrected]
