"""Figures of tables of verdicts and labels, some verdicts of which cannot be read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sinternal.figures.estimate import Estimate
from sinternal.figures.statistics.bootstrap import Interval, Statistic, smooth, table_interval


def bounded_table(
    statistic: Statistic, tables: NDArray[np.float64], unsafe: NDArray[np.float64], safe: NDArray[np.float64]
) -> Estimate:
    """A figure that rises with every right verdict: its bounds are those of all missing verdicts wrong, and all right.

    So do balanced accuracy, F1 and, where the labels are given, Matthews' correlation: with sensitivity t, false alarms
    f, share p of unsafe answers and q = p t + (1 - p) f it goes with (t - f) / sqrt(q (1 - q)), which rises with t and
    falls with f. The interval is that of Imbens & Manski's first kind (2004, doi 10.1111/j.1468-0262.2004.00555.x).

    Args:
        statistic: the figure.
        tables: (tp, fp, fn, tn) of each cluster, shape (clusters, 4).
        unsafe: unreadable verdicts on unsafe answers, shape (clusters,).
        safe: unreadable verdicts on safe answers, shape (clusters,).
    """
    none = np.zeros_like(unsafe)
    wrong, right = (
        tables + np.stack(table, axis=1) for table in ((none, safe, unsafe, none), (unsafe, none, none, safe))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        ends = [float(statistic(table.sum(0, keepdims=True))[0]) for table in (tables, wrong, right)]
        value, lowest, highest = (None if np.isnan(table) else table for table in ends)
        interval = None if value is None else table_interval(smooth(tables), statistic)
        if interval and (unsafe.any() or safe.any()):
            low, high = (table_interval(smooth(table), statistic) or interval for table in (wrong, right))
            interval = Interval(min(low.low, interval.low), max(high.high, interval.high))
    return Estimate(
        value=value,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        n=int(tables.sum()),
        lowest=lowest,
        highest=highest,
    )
