"""Two arms on the same prompts, seed by seed: the mean difference, with an interval over seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from sinternal.figures.statistics.bootstrap import Interval
from sinternal.figures.statistics.distributions import t_quantile
from sinternal.figures.statistics.paired import paired_difference


class SeedDifference(NamedTuple):
    """How much more often something happens under A than under B, as the mean over seeds."""

    difference: float
    """Mean over seeds of the share under A minus the share under B."""
    interval: Interval | None
    """The 95 % interval; None if nothing tells of the spread: one prompt, and no seeds that differ."""
    by_seed: dict[int, float]
    """The difference of each seed."""


def seed_difference(
    a: Sequence[bool], b: Sequence[bool], clusters: Sequence[str], seeds: Sequence[int]
) -> SeedDifference:
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
    ahead: dict[int, list[int]] = defaultdict(list)
    for hit_a, hit_b, seed in zip(a, b, seeds, strict=True):
        ahead[seed].append(int(hit_a) - int(hit_b))
    if not ahead:
        raise ValueError("there are no pairs to compare")
    by_seed = {seed: fmean(ahead[seed]) for seed in sorted(ahead)}
    mean = fmean(by_seed.values())
    half = _half_width(list(by_seed.values()))
    below = above = half
    if len(set(clusters)) > 1:
        paired = paired_difference(a, b, clusters, seeds)
        below = max(half, paired.difference - paired.these_runs.low)
        above = max(half, paired.these_runs.high - paired.difference)
    if not below and not above:
        return SeedDifference(mean, None, by_seed)
    return SeedDifference(mean, Interval(max(-1.0, mean - below), min(1.0, mean + above)), by_seed)


def _half_width(differences: Sequence[float]) -> float:
    """Half the width of the 95 % t interval of a mean; 0 for a single value."""
    if len(differences) < 2:
        return 0.0
    return t_quantile(0.975, len(differences) - 1) * stdev(differences) / math.sqrt(len(differences))
