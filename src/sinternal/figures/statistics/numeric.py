"""Two sides on the same items by any number: what `paired` does for what happens or not, for scores of any kind.

Scores are brought to a range of one, so that the intervals are those of `paired`, and to whole numbers, so that its
exact test can be used. Where no small common step makes them whole, the same test is drawn from at random.
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sinternal.figures.statistics.bootstrap import SEED, Interval
from sinternal.figures.statistics.distributions import t_quantile
from sinternal.figures.statistics.paired import Column, _over_runs, _with_discord, add_up, of_these_runs, sign_flip

STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 20, 24, 25, 50, 100, 1000)
"""Parts that a unit may be divided into: of 1, halves (`P` is 0.5), thirds, … thousandths."""
LONGEST = 200_000
"""Largest sum, in steps, that the exact test is worked out for."""
MOST_SIZES = 300
"""Different sizes of differences that it is worked out for."""
FEW_DRAWS, DRAWS = 9_999, 99_999
"""Swaps that are drawn where it is not, and so many that no p value is below one in 100,000 where few reach far."""
ENOUGH = 500
"""Of the first that have reached as far as what was observed, for these to do."""
TOGETHER = 4_000_000
"""Signs that are drawn at a time."""


MANY = 1000
"""Clusters beyond which a mean is as good as normal, and drawing them again and again takes minutes for nothing."""


class NumericDifference(NamedTuple):
    """How much higher A scores than B, on the same items."""

    difference: float
    """Mean under A less mean under B."""
    low: float
    """Lower end of the 95 % interval: for other items and other runs or, if there was but one run, for other items."""
    high: float
    """Upper end."""
    p: float
    """Two-sided p value of the permutation test that swaps A and B in whole clusters, for these runs."""
    n: int
    """Pairs."""
    clusters: int
    """Clusters."""
    higher_a: int
    """Pairs in which A scores higher."""
    higher_b: int
    """Pairs in which B does."""
    runs: int
    """Runs of each side."""
    these_runs: Interval
    """The 95 % interval for other items and these runs."""
    exact: bool
    """Whether the p value is exact; else it was drawn."""


def numeric_difference(a: Column, b: Column, clusters: Column, runs: Column) -> NumericDifference:
    """Compare two sides on the same items, of which those of one cluster are not independent.

    Of scores that are 0 or 1, in up to `MANY` clusters, this is what `paired_difference` gives. For the interval, see
    there, and of more clusters `of_many`.

    Args:
        a: score under A, one for each pair; finite.
        b: score under B.
        clusters: what cluster each pair belongs to.
        runs: what run each pair belongs to.

    Raises:
        ValueError: fewer than two clusters.
    """
    ours, theirs = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    ahead = ours - theirs
    scale = float(np.abs(ahead).max(initial=0)) or 1.0
    totals, sizes = add_up(ahead / scale, np.zeros(len(ahead)), clusters, runs)
    number, groups = totals.shape
    if groups < 2:
        raise ValueError("a paired comparison needs at least two clusters")
    many = groups > MANY
    these = of_many(*(c.sum(0) for c in _with_discord(totals, sizes))) if many else of_these_runs(totals, sizes)
    low, high = these if number < 2 else _over_runs(totals, sizes, these)
    by_cluster = add_up(ours, theirs, clusters, runs).totals.sum(0)
    p, exact = swap_test(by_cluster)
    return NumericDifference(
        float(ahead.mean()),
        low * scale,
        high * scale,
        p,
        len(ahead),
        groups,
        int((ahead > 0).sum()),
        int((ahead < 0).sum()),
        number,
        Interval(these.low * scale, these.high * scale),
        exact,
    )


def of_many(totals: NDArray[np.float64], sizes: NDArray[np.float64]) -> Interval:
    """The 95 % interval of a mean over many clusters, by its standard error.

    With clusters as in Miller 2024 (arXiv 2411.00640, section 2.2), and their finite number as Inspect has it.

    Args:
        totals: by how much A is ahead in each cluster, as a part of the range of scores, shape (clusters,).
        sizes: pairs of each.
    """
    groups, difference = len(totals), totals.sum() / sizes.sum()
    error = np.sqrt(((totals - difference * sizes) ** 2).sum() * groups / (groups - 1)) / sizes.sum()
    half = t_quantile(0.975, groups - 1) * error
    return Interval(max(-1.0, float(difference - half)), min(1.0, float(difference + half)))


def swap_test(differences: NDArray[np.float64]) -> tuple[float, bool]:
    """The p value of the permutation test that swaps A and B in whole clusters, and whether it is exact.

    Args:
        differences: by how much A is ahead in each cluster, shape (clusters,).
    """
    differing = differences[~np.isclose(differences, 0, atol=1e-12)]
    if not len(differing):
        return 1.0, True
    for step in STEPS:
        steps = differing * step
        whole = np.round(steps)
        if np.allclose(steps, whole, rtol=0, atol=1e-6):
            whole = whole / gcd(*map(int, np.abs(whole)))
            if np.abs(whole).sum() <= LONGEST and len(np.unique(np.abs(whole))) <= MOST_SIZES:
                return sign_flip(whole), True
            break
    return _drawn(differing), False


def _drawn(differences: NDArray[np.float64]) -> float:
    """The same, of swaps that are drawn; few of them settle a large p value.

    The observed one counts as drawn (Phipson & Smyth 2010, doi 10.2202/1544-6115.1585).
    """
    random = np.random.default_rng(SEED)
    terms, total = differences.astype(np.float32), float(differences.sum())
    observed = abs(total) - 1e-5 * float(np.abs(differences).sum())  # float32 has seven digits
    reached = drawn = 0
    for most in (FEW_DRAWS, DRAWS):
        while drawn < most:
            rows = min(most - drawn, max(1, TOGETHER // len(terms)))
            bits = np.unpackbits(np.frombuffer(random.bytes(-(-rows * len(terms) // 8)), dtype=np.uint8))
            swapped = bits[: rows * len(terms)].reshape(rows, len(terms)).astype(np.float32) @ terms
            reached += int((np.abs(total - 2 * swapped) >= observed).sum())
            drawn += rows
        if reached > ENOUGH:
            break
    return (reached + 1) / (drawn + 1)
