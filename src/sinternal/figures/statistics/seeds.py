"""Two arms on the same prompts, seed by seed: the mean difference, with an interval over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np

from sinternal.figures.statistics.bootstrap import Interval
from sinternal.figures.statistics.distributions import t_quantile
from sinternal.figures.statistics.paired import Column, Pairs, add_up, of_these_runs


class SeedDifference(NamedTuple):
    """How much more often something happens under A than under B, as the mean over seeds."""

    difference: float
    """Mean over seeds of the share under A minus the share under B."""
    interval: Interval | None
    """The 95 % interval; None if nothing tells of the spread: one prompt, and no seeds that differ."""
    these_runs: Interval | None
    """The 95 % interval for other prompts and these training runs; None for a single parent prompt."""
    by_seed: dict[int, float]
    """The difference of each seed."""


def seed_difference(a: Column, b: Column, clusters: Column, seeds: Column) -> SeedDifference:
    """Compare two arms on the same prompts within each seed, and average over seeds, each with the same weight.

    With several seeds the interval is that of Student's t over them, with one degree of freedom less than there are
    seeds. Seeds that agree by chance, or all at 0 or 100 %, tell nothing of what other prompts would show, so that the
    interval is never narrower than that over whole parent prompts for these runs (`paired_difference`), which is all
    there is of a single seed.

    Args:
        a: what happened under A, one entry for each pair.
        b: what happened under B.
        clusters: what parent each pair belongs to.
        seeds: what seed each pair belongs to.

    Raises:
        ValueError: there are no pairs.
    """
    if not len(a):
        raise ValueError("there are no pairs to compare")
    pairs = add_up(a, b, clusters, seeds)
    of_seeds = pairs.totals.sum(1) / pairs.sizes.sum(1)
    by_seed = dict(zip(np.unique(np.asarray(seeds)).tolist(), of_seeds.tolist(), strict=True))
    mean = fmean(by_seed.values())
    half = _half_width(list(by_seed.values()))
    these = _of_these_runs(mean, pairs)
    below = max(half, mean - these.low if these else 0.0)
    above = max(half, these.high - mean if these else 0.0)
    return SeedDifference(mean, _within(mean - below, mean + above) if below or above else None, these, by_seed)


def _of_these_runs(mean: float, pairs: Pairs) -> Interval | None:
    """The interval over whole parents, around the mean over seeds; None for a single parent."""
    if pairs.totals.shape[1] < 2:
        return None
    difference = float(pairs.totals.sum() / pairs.sizes.sum())
    low, high = of_these_runs(*pairs)
    return _within(mean - (difference - low), mean + (high - difference))


def _within(low: float, high: float) -> Interval:
    """An interval of a difference of shares."""
    return Interval(max(-1.0, low), min(1.0, high))


def _half_width(differences: Sequence[float]) -> float:
    """Half the width of the 95 % t interval of a mean; 0 for a single value."""
    if len(differences) < 2:
        return 0.0
    return t_quantile(0.975, len(differences) - 1) * stdev(differences) / math.sqrt(len(differences))
