"""Intervals by resampling whole clusters, for figures that are computed from counts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sinternal.figures.statistics.distributions import normal_tail, t_quantile

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Maps counts of shape (resamples, k) to figures of shape (resamples,), NaN where undefined."""

RESAMPLES = 19_999
"""So many that the ends of an interval move by less than a fiftieth of its width from one seed to another."""
FEW = 5
"""Clusters below which resampling knows too little of something to be trusted alone."""
CELLS = 4_000_000
"""Largest table of random numbers that is held at once."""
EXACT = 2**24
"""Whole numbers up to this are what they are in float32, too, which is twice as fast."""
KEPT = 256 * 2**20
"""Bytes of drawn tables that are kept: whoever asks for many intervals, asks for the same draws again and again."""
Kind = type[np.float32] | type[np.float64]
"""What sums are computed in."""
SEED = 0
"""Of the resampling, fixed so that the same rows always give the same interval."""


class Interval(NamedTuple):
    """The two ends of a 95 % interval."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""


def smooth(tables: NDArray[np.float64]) -> NDArray[np.float64]:
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


def table_interval(tables: NDArray[np.float64], statistic: Statistic) -> Interval | None:
    """The 95 % bootstrap interval of a figure that is computed from counts, drawing whole clusters.

    Args:
        tables: counts of each kind of row in each cluster, shape (clusters, k).
        statistic: the figure.

    Returns:
        None for a single cluster, which tells nothing of the spread.

    Raises:
        ValueError: the figure is undefined in every resample.
    """
    return _table_interval(np.ascontiguousarray(tables).tobytes(), tables.shape[1], statistic)


@lru_cache(maxsize=4096)
def _table_interval(tables: bytes, columns: int, statistic: Statistic) -> Interval | None:
    """The same, of tables as bytes: the same one is often asked for again, as a whole and as its only part."""
    counts = np.frombuffer(tables).reshape(-1, columns)
    if len(counts) < 2:
        return None
    figures = resample(counts, statistic)
    if np.isnan(figures).all():
        raise ValueError(f"the figure is undefined for counts like {counts.sum(0).tolist()}")
    low, high = np.nanpercentile(figures, tails(len(counts)))
    return Interval(float(low), float(high))


def resample(tables: NDArray[np.float64], statistic: Statistic) -> NDArray[np.float64]:
    """The figures of `RESAMPLES` samples of as many clusters, drawn with replacement: shape (resamples,)."""
    return statistic(_sums_of_tables(np.ascontiguousarray(tables).tobytes(), tables.shape[1]))


@lru_cache(maxsize=32)  # several statistics are taken of the same tables, in turn
def _sums_of_tables(tables: bytes, columns: int) -> NDArray[np.float64]:
    return sums(np.frombuffer(tables).reshape(-1, columns))


def sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What clusters add up to in `RESAMPLES` samples of as many of them, drawn with replacement.

    Args:
        values: shape (clusters,) or (clusters, k).

    Returns:
        Shape (resamples,) or (resamples, k).
    """
    exact = len(values) * np.abs(values).max() < EXACT and bool((values == np.rint(values)).all())
    if exact and (values == values[0]).all():  # so many of the same, whichever are drawn
        return np.broadcast_to(len(values) * values[0], (RESAMPLES, *values.shape[1:]))
    kind: Kind = np.float32 if exact else np.float64
    parts = [drawn @ values.astype(kind) for drawn in multiplicities(len(values), kind)]
    return np.concatenate(parts).astype(np.float64)


def tails(clusters: int) -> tuple[float, float]:
    """The percentiles of a bootstrap distribution between which a 95 % interval lies.

    Not 2.5 and 97.5, but further out for few clusters: the distribution is narrower than it should be by
    sqrt((n - 1) / n), and knows nothing of t quantiles ("expanded percentile interval", Hesterberg 2015, arXiv
    1411.5279, section 4.4).
    """
    reach = t_quantile(0.975, clusters - 1) * np.sqrt(clusters / (clusters - 1))
    low = 100 * normal_tail(float(reach))
    return low, 100 - low


def multiplicities(n: int, kind: Kind) -> Iterator[NDArray[Any]]:
    """How often each of n things is drawn, n times with replacement: tables of n columns, `RESAMPLES` rows in all."""
    chunk = max(1, min(RESAMPLES, CELLS // n))
    for start in range(0, RESAMPLES, chunk):
        if chunk == RESAMPLES:  # small enough to be kept as it is used
            yield _draw(n, chunk, start, kind)
        else:
            yield _draw(n, min(chunk, RESAMPLES - start), start, np.uint8).astype(kind)


_drawn: OrderedDict[tuple[Any, ...], NDArray[Any]] = OrderedDict()
"""Tables that were drawn, the one that was used last at the end."""


def _draw(n: int, resamples: int, start: int, kind: Kind | type[np.uint8]) -> NDArray[Any]:
    key = (n, resamples, start, kind)
    if key not in _drawn:
        draws = np.random.default_rng((SEED, n, start)).multinomial(n, np.full(n, 1 / n), size=resamples)
        _drawn[key] = draws.astype(kind)  # that one thing comes 256 times has less than one chance in 10^500
        while sum(table.nbytes for table in _drawn.values()) > KEPT and len(_drawn) > 1:
            _drawn.popitem(last=False)
    _drawn.move_to_end(key)
    return _drawn[key]
