"""How far stated probabilities are from what happens, without the bias that small bins have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sinternal.figures.statistics.bootstrap import SEED, Interval, sums, tails

BINS = 10
"""Of equal width (Guo et al. 2017, arXiv 1706.04599)."""
SUMS = 4
"""Of each bin and cluster: rows; stated probability less what happened, summed; the square of either."""
DRAWS = 400
"""Simulated verifiers: enough for their mean error to three decimals."""


class Calibration(NamedTuple):
    """An expected calibration error."""

    value: float
    """The error, 0 or more."""
    interval: Interval
    """Its 95 % interval."""


def calibration(stated: NDArray[np.float64], happened: NDArray[np.bool_], clusters: NDArray[np.int64]) -> Calibration:
    """The expected calibration error in the L2 norm, debiased, with an interval over whole clusters.

    The root of the mean, over rows, of the squared gap between the probability that is stated in a row's bin and the
    share that happened there. Squared gaps of noise do not cancel: the plain error of a perfect verifier grows as its
    bins shrink. Here the squared gap of a bin is the mean product of the gaps of two *different* clusters, whose
    noise does cancel. Where each cluster has one row, that is the debiased estimator of Kumar et al. 2019 (arXiv
    1909.10155, definition 4.1); a mean below 0 counts as 0. A bin that a single cluster reaches is left out: nothing
    tells its gap from noise.

    The interval is the basic one, of the mean squared gap, before the root: the bootstrap shows by how much the
    estimate misses the plain squared gap, which is the truth of the resamples (a percentile interval would count the
    bias twice). That of a calibrated verifier begins at 0: on the need for both regimes, Sun et al. 2024 (arXiv
    2408.08998).

    Args:
        stated: probabilities, shape (rows,).
        happened: whether it did, shape (rows,).
        clusters: which rows belong together, by number from 0, shape (rows,).

    Raises:
        ValueError: no bin is reached by two clusters.
    """
    tables = _tables(stated, stated - happened, clusters)
    whole = tables.sum(0, keepdims=True)
    square = float(_squared(whole)[0])
    if np.isnan(square):
        raise ValueError("no two prompts have verdicts with alike probabilities")
    plain = float(_plain_squared(whole)[0])
    misses = _squared(sums(tables)) - plain
    low, high = np.nanpercentile(misses, tails(len(tables)))
    ends = min(square - high, square), max(square - low, square)
    value, lowest, highest = np.sqrt(np.clip([square, *ends], 0, 1))
    return Calibration(float(value), Interval(float(lowest), float(highest)))


def calibrated_error(stated: NDArray[np.float64], clusters: NDArray[np.int64], answers: NDArray[np.int64]) -> float:
    """The mean error that a calibrated verifier with these probabilities would show, in as many rows.

    Simulated: what happens is drawn from the stated probabilities, once for each answer, so that verdicts on one answer
    share it, as they do in fact.

    Args:
        stated: probabilities, shape (rows,).
        clusters: which rows belong together, by number from 0, shape (rows,).
        answers: what each row is about, by number from 0, shape (rows,).
    """
    rng = np.random.default_rng(SEED)
    squared_gaps = []
    for _ in range(DRAWS):
        happened = rng.random(int(answers.max()) + 1)[answers] < stated
        squared_gaps.append(float(_squared(_tables(stated, stated - happened, clusters).sum(0, keepdims=True))[0]))
    return float(np.sqrt(np.clip(squared_gaps, 0, 1)).mean())


def _tables(stated: NDArray[np.float64], gaps: NDArray[np.float64], clusters: NDArray[np.int64]) -> NDArray[np.float64]:
    """The `SUMS` of each bin, by cluster: shape (clusters, SUMS * BINS)."""
    count = int(clusters.max()) + 1
    cell = clusters * BINS + np.minimum((stated * BINS).astype(np.int64), BINS - 1)
    rows = np.bincount(cell, minlength=count * BINS).astype(np.float64)
    gap = np.bincount(cell, gaps, minlength=count * BINS)
    return np.stack([rows, gap, rows**2, gap**2], axis=-1).reshape(count, SUMS * BINS)


def _squared(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean squared gap without bias, for sums of shape (k, SUMS * BINS); NaN if no bin allows it."""
    rows, gap, rows_squared, gap_squared = (sums[:, i::SUMS] for i in range(SUMS))
    pairs = rows**2 - rows_squared
    with np.errstate(invalid="ignore", divide="ignore"):
        square = np.where(pairs > 0, (gap**2 - gap_squared) / pairs, 0)
        return (square * rows).sum(1) / (rows * (pairs > 0)).sum(1)  # type: ignore[no-any-return]


def _plain_squared(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean squared gap as observed, in the bins that allow the one without bias."""
    rows, gap, rows_squared, _ = (sums[:, i::SUMS] for i in range(SUMS))
    informative = rows**2 > rows_squared
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(informative, gap**2 / rows, 0).sum(1) / (rows * informative).sum(1)  # type: ignore[no-any-return]
