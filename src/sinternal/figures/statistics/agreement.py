"""How far two labellers agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def kappa(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cohen's kappa (1960) of tables (both, only theirs, only ours, neither), shape (k, 4); NaN where undefined."""
    n = tables.sum(1)
    both, theirs, ours, neither = tables.T
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = (both + neither) / n
        expected = ((both + theirs) * (both + ours) + (neither + theirs) * (neither + ours)) / n**2
        return (observed - expected) / np.where(expected < 1, 1 - expected, np.nan)  # type: ignore[no-any-return]
