"""How far two labellers agree."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from sinternal.figures.estimate import Estimate
from sinternal.figures.statistics.bootstrap import Interval, smooth, table_interval

_CELLS = ((0, 2), (1, 3), (0, 1), (2, 3))
"""Where a row may stand of which a label is missing: theirs, where ours says yes, or no; ours, where theirs does."""


def kappa(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cohen's kappa (1960) of tables (both, only theirs, only ours, neither), shape (k, 4); NaN where undefined."""
    n = tables.sum(1)
    both, theirs, ours, neither = tables.T
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = (both + neither) / n
        expected = ((both + theirs) * (both + ours) + (neither + theirs) * (neither + ours)) / n**2
        return (observed - expected) / np.where(expected < 1, 1 - expected, np.nan)  # type: ignore[no-any-return]


def bounded_kappa(tables: NDArray[np.float64], silent: NDArray[np.float64]) -> Estimate:
    """Cohen's kappa of the rows that both have labelled, with bounds for those that one of them has not.

    Rows of one kind of label that is known fall on either side of the one that is not. In the number that falls on one
    side, chance and observed agreement are both linear, so that kappa rises or falls throughout, and its extremes are
    among those where each kind falls on one side as a whole. The interval covers those of both extremes.

    Args:
        tables: (both, only theirs, only ours, neither) of each cluster, shape (clusters, 4).
        silent: rows without their label where ours says yes, and no; without ours where theirs does; same shape.

    Returns:
        No value if a labeller always says the same, no interval if all rows come from one cluster.
    """
    n, known = int(tables.sum()), tables[tables.any(axis=1)]
    value = _defined(known)
    lowest, highest = value, value
    ends = [known]
    if silent.any():
        completed = {at: _complete(tables, silent, at) for at in product(*_CELLS)}
        figures = {at: figure for at, table in completed.items() if (figure := _defined(table)) is not None}
        if figures:
            least, most = (choose(figures, key=figures.__getitem__) for choose in (min, max))
            lowest, highest = figures[least], figures[most]
            ends += [completed[least], completed[most]]
    if value is None:
        return Estimate(value=None, low=None, high=None, n=n, lowest=lowest, highest=highest)
    intervals = [found for table in ends if (found := table_interval(smooth(table), kappa) if len(known) > 1 else None)]
    interval = Interval(min(it.low for it in intervals), max(it.high for it in intervals)) if intervals else None
    return Estimate(
        value=value if lowest is None or highest is None else min(max(value, lowest), highest),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        n=n,
        lowest=lowest,
        highest=highest,
    )


def _defined(tables: NDArray[np.float64]) -> float | None:
    """Kappa of all clusters together; None if a labeller always says the same."""
    both, theirs, ours, neither = whole = tables.sum(0)
    if 0 in (both + theirs, both + ours, neither + theirs, neither + ours):
        return None
    return float(kappa(whole[None])[0])


def _complete(tables: NDArray[np.float64], silent: NDArray[np.float64], at: tuple[int, ...]) -> NDArray[np.float64]:
    """The tables with each kind of silent rows in one cell."""
    completed = tables.copy()
    for kind, cell in enumerate(at):
        completed[:, cell] += silent[:, kind]
    return completed
