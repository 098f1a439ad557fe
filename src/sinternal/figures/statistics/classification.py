"""How well verdicts fit labels, from tables (tp, fp, fn, tn) with unsafe as the positive class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def balanced_accuracy(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of sensitivity and specificity, for tables of shape (k, 4); NaN if either class has no rows."""
    tp, fp, fn, tn = tables.T
    return (tp / (tp + fn) + tn / (tn + fp)) / 2  # type: ignore[no-any-return]


def f1_unsafe(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 with unsafe as the positive class, 2 tp / (2 tp + fp + fn), for tables of shape (k, 4)."""
    tp, fp, fn, _ = tables.T
    return 2 * tp / (2 * tp + fp + fn)  # type: ignore[no-any-return]


def matthews(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matthews' correlation coefficient (1975, BBA 405:442), for tables of shape (k, 4).

    NaN if verdicts or labels are all the same.
    """
    tp, fp, fn, tn = tables.T
    return (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))  # type: ignore[no-any-return]
