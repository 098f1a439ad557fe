"""Two arms on the same prompts, some of whose labels are missing: the one definition of a difference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sinternal.figures.columns import MISSING, Flags, Labels, Numbers
from sinternal.figures.statistics.bootstrap import Interval
from sinternal.figures.statistics.paired import PairedDifference, paired_difference


class BoundedDifference(NamedTuple):
    """How much more often something happens under A than under B, whatever the labels are that are missing."""

    value: float | None
    """Over the pairs that have both labels, or the bound that is nearest where that is beyond it: whatever the missing
    labels are, the difference over all pairs is not there. None if no pair has both."""
    lowest: float
    """Over all pairs, if every missing label speaks for B."""
    highest: float
    """If every one speaks for A."""
    interval: Interval | None
    """The 95 % interval, which covers both; None if all pairs come from a single prompt."""
    these_runs: Interval | None
    """The same for other prompts and these training runs."""
    by_run: dict[int, float]
    """The difference of each training run, over its pairs that have both labels."""
    known: PairedDifference | None
    """What the pairs that have both labels tell; None if they come from a single prompt."""
    n: int
    """Pairs that have both labels."""
    missing_a: int
    """Pairs in which A has none."""
    missing_b: int
    """Pairs in which B has none."""

    @property
    def runs(self) -> int:
        """Training runs in which a pair has both labels."""
        return len(self.by_run)


def bounded_difference(
    a: Labels,
    b: Labels,
    clusters: Numbers,
    seeds: Numbers,
    sure_a: Flags | None = None,
    sure_b: Flags | None = None,
) -> BoundedDifference:
    """Compare two arms on the same prompts; for what the interval holds, see `paired_difference`.

    Each end of the interval is that of the interval over all pairs if the missing labels speak against A, or for it, as
    far as they can; it covers that of the pairs with both labels, too (Imbens & Manski 2004, doi
    10.1111/j.1468-0262.2004.00555.x).

    Args:
        a: whether it happened under A, one entry for each pair.
        b: whether it happened under B.
        clusters: what parent each pair belongs to.
        seeds: what training run each pair belongs to.
        sure_a: where it is known to have happened under A although that has no label.
        sure_b: the same for B.

    Raises:
        ValueError: there are no pairs.
    """
    if not len(a):
        raise ValueError("there are no pairs to compare")
    both = (a != MISSING) & (b != MISSING)
    ahead = a[both].astype(np.int64) - b[both]
    runs = seeds[both]
    value = float(ahead.sum() / len(ahead)) if len(ahead) else None
    by_run = {int(run): float(ahead[runs == run].mean()) for run in np.unique(runs)}
    ends = [
        (_complete(a, hit=hit, sure=sure_a), _complete(b, hit=not hit, sure=sure_b), clusters, seeds)
        for hit in (False, True)
    ]
    lowest, highest = (float((end[0].astype(np.int64) - end[1]).sum() / len(a)) for end in ends)
    known = paired_difference(a[both], b[both], clusters[both], runs) if _several(clusters[both]) else None
    least = most = known
    if not both.all():
        least, most = (paired_difference(*end) if _several(clusters) else None for end in ends)
    missing_a, missing_b = (int((own == MISSING).sum()) for own in (a, b))
    return BoundedDifference(
        None if value is None else min(max(value, lowest), highest),
        lowest,
        highest,
        _cover([(one.low, one.high) for one in (known, least, most) if one]),
        _cover([one.these_runs for one in (known, least, most) if one]),
        by_run,
        known,
        len(ahead),
        missing_a,
        missing_b,
    )


def _several(clusters: Numbers) -> bool:
    return len(np.unique(clusters)) > 1


def _complete(labels: Labels, *, hit: bool, sure: Flags | None) -> Labels:
    """The same with each missing label as it is told, or as it is known to be."""
    filled = np.full(len(labels), hit) if sure is None else sure | hit
    return np.where(labels == MISSING, filled, labels).astype(np.int8)


def _cover(intervals: list[tuple[float, float]]) -> Interval | None:
    """What covers all of some intervals; None if there are none."""
    return Interval(min(low for low, _ in intervals), max(high for _, high in intervals)) if intervals else None
