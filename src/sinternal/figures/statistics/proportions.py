"""Intervals of proportions: of independent rows, of clustered rows, and of rates that an erring judge measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sinternal.figures.statistics.bootstrap import RESAMPLES, SEED, Interval
from sinternal.figures.statistics.distributions import normal_quantile, t_quantile

BELIEF = 4
"""How many clusters of evidence it takes to outweigh the belief that rows of one cluster are all alike."""


def wilson(successes: int, n: int) -> Interval:
    """The 95 % Wilson score interval of a proportion (Wilson 1927).

    Raises:
        ValueError: n is 0, or successes are not between 0 and n.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} of {n} is not a proportion")
    return _wilson_ends(successes / n, n)


Whole = Sequence[int] | NDArray[np.int64]
"""A whole number for each cluster."""


def clustered_wilson(hits: Whole, sizes: Whole) -> Interval:
    """The 95 % Wilson interval of a proportion whose rows come in clusters, for example the rewordings of one prompt.

    n is replaced by `effective_size`: Korn & Graubard 1998, Survey Methodology 24:193, with Wilson's interval in place
    of Clopper and Pearson's (Dean & Pagano 2015, doi 10.1093/jssam/smv024). It is never narrower than for independent
    rows, and is that of `wilson` if every cluster has one row.

    Args:
        hits: what happened in each cluster, shape (clusters,).
        sizes: rows of each cluster, shape (clusters,).

    Raises:
        ValueError: there are no rows.
    """
    rows = np.asarray(sizes, dtype=np.int64)
    n, happened = int(rows.sum()), int(np.sum(hits))
    if not n or rows.max() == 1:
        return wilson(happened, n)
    return _wilson_of(happened / n, effective_size(hits, sizes))


class Bounded(NamedTuple):
    """What is known of a proportion of which some rows are not."""

    lowest: float
    """The proportion if no unknown row is a hit."""
    highest: float
    """The proportion if all are."""
    interval: Interval
    """A 95 % interval that covers both."""


def bounded_wilson(hits: Whole, sizes: Whole, missing: Whole, sure: Whole | None = None) -> Bounded:
    """A proportion of rows in clusters, some of which are missing for a reason that is not known.

    The bounds are those of Manski 1990 (American Economic Review 80:319; Horowitz & Manski 2000, doi
    10.1080/01621459.2000.10473902). The interval reaches from the lower end of `clustered_wilson` at the one to its
    upper end at the other, so that it covers the proportion wherever it is between them (Horowitz & Manski; Imbens &
    Manski 2004, doi 10.1111/j.1468-0262.2004.00555.x, have a shorter one for the proportion alone).

    Args:
        hits: what happened in each cluster, shape (clusters,).
        sizes: known rows of each cluster, shape (clusters,).
        missing: unknown rows of each cluster, shape (clusters,).
        sure: of these, rows that are hits all the same, shape (clusters,).

    Raises:
        ValueError: there are no rows.
    """
    known, unknown = np.asarray(hits, dtype=np.int64), np.asarray(missing, dtype=np.int64)
    rows = np.asarray(sizes, dtype=np.int64) + unknown
    at_least, at_most = known + (0 if sure is None else np.asarray(sure, dtype=np.int64)), known + unknown
    low = clustered_wilson(at_least, rows)
    high = clustered_wilson(at_most, rows) if unknown.any() else low
    n = int(rows.sum())
    return Bounded(int(at_least.sum()) / n, int(at_most.sum()) / n, Interval(low.low, high.high))


def effective_size(hits: Whole, sizes: Whole) -> float:
    """How many independent rows tell as much of a proportion as these rows in clusters.

    n / deff, where deff compares the variance between clusters (by linearisation of the ratio) with that of independent
    rows and is at least 1, times the squared ratio of the t quantiles for n and for as many degrees of freedom as there
    are clusters, less one (Korn & Graubard 1998). A single cluster is a single row, however many it has. Where a few
    clusters have most of the rows, degrees of freedom are those that the large ones leave (Satterthwaite 1946,
    Biometrics Bulletin 2:110), and residuals are corrected for a share that follows these.

    Where few clusters hold a hit, these tell little of deff, and without any hit nothing: it is then not 1, as surveys
    take it, which lets intervals of rare events cover in 70 % of samples. deff is that of the sample or, if that is
    larger, of the sample with one cluster more for hits and one for misses. Such a cluster, of average size, holds as
    many as the others that hold any do on average, where `BELIEF` clusters that hold nothing else are counted with
    them: as Agresti & Coull (1998, American Statistician 52:119) add rows, so that the variance is never taken from
    the sample alone where that is degenerate (Franco et al. 2019, doi 10.1093/jssam/smy019, on why it should not be).

    Args:
        hits: what happened in each cluster, shape (clusters,).
        sizes: rows of each cluster, shape (clusters,).

    Raises:
        ValueError: there are no rows.
    """
    y, m = np.asarray(hits, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    y, m = y[m > 0], m[m > 0]
    clusters, n = len(m), float(m.sum())
    if not clusters:
        raise ValueError("there are no rows")
    if clusters in (1, n):
        return float(clusters)
    deff = max(1.0, _design_effect(y, m), _design_effect(*_with_belief(y, m)))
    return max(1.0, n / deff * (t_quantile(0.975, round(n) - 1) / t_quantile(0.975, _degrees(m))) ** 2)


def _design_effect(y: NDArray[np.float64], m: NDArray[np.float64]) -> float:
    """Variance of y.sum() / m.sum() between clusters, as a multiple of that of independent rows; 0 if undefined."""
    n = m.sum()
    share = y.sum() / n
    between = ((y - share * m) ** 2).sum() * _correction(m) / n**2
    independent = share * (1 - share) / n
    return float(between / independent) if independent else 0.0


def _are_unequal(m: NDArray[np.float64]) -> bool:
    """Whether a few clusters have most of the rows: of as many as there are, they are worth half or less."""
    return bool(_worth(m) <= len(m) / 2)


def _worth(m: NDArray[np.float64]) -> float:
    """How many clusters of one size tell as much of the variance between clusters as these."""
    return float((m**2).sum() ** 2 / (m**4).sum())


def _degrees(m: NDArray[np.float64]) -> int:
    """Degrees of freedom of the variance between clusters: Satterthwaite's where a few have most of the rows."""
    return max(1, int(_worth(m)) - 1) if _are_unequal(m) else len(m) - 1


def _correction(m: NDArray[np.float64]) -> float:
    """What squared residuals are multiplied by: k / (k - 1), or the same where a few clusters have most of the rows.

    The share follows a large cluster, so that its residual is too small: of rows that are all alike in each cluster, by
    1 - 2 m / n + sum(m^2) / n^2, as a linearised ratio has it (Bell & McCaffrey 2002, Survey Methodology 28:169, for
    regression).
    """
    k, n, squares = len(m), m.sum(), (m**2).sum()
    usual = k / (k - 1)
    if not _are_unequal(m):
        return usual
    return max(usual, float(squares / (m**2 * (1 - 2 * m / n + squares / n**2)).sum()))


def _with_belief(y: NDArray[np.float64], m: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hits and sizes with two clusters more."""
    usual = m.mean()
    hits, misses = (
        min(usual, (held.sum() + BELIEF * usual) / (np.count_nonzero(held) + BELIEF)) for held in (y, m - y)
    )
    return np.append(y, [hits, usual - misses]), np.append(m, [usual, usual])


def _wilson_of(share: float, effective: float) -> Interval:
    """The Wilson interval of a share in so many effective rows, which need not be a whole number."""
    low, high = _wilson_ends(share, effective)
    return Interval(min(low, share), max(high, share))


def _wilson_ends(share: float, n: float) -> Interval:
    z2 = normal_quantile(0.975) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2) * math.sqrt(share * (1 - share) / n + z2 / (4 * n**2)) / (1 + z2 / n)
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


class Accuracy(NamedTuple):
    """How often a judge is right about one kind of row, from rows that people have labelled."""

    right: int
    """Rows that it labels as people do."""
    n: int
    """Rows."""
    effective: float | None = None
    """How many independent rows tell as much (`effective_size`); None if they are independent of each other."""
    missing: int = 0
    """Rows beside these that the judge gave no label."""

    @property
    def share_missing(self) -> float:
        """The share of all rows that have no label; 0 if there are none."""
        return self.missing / (self.n + self.missing) if self.missing else 0.0

    @property
    def completed(self) -> tuple[Accuracy, Accuracy]:
        """What it is if the judge would be wrong in all rows without a label, and if it would be right."""
        rows = self.n + self.missing
        effective = None if self.effective is None else self.effective * rows / self.n
        return (Accuracy(self.right, rows, effective), Accuracy(self.right + self.missing, rows, effective))


ONE_SIDED = 0.05
"""Difference of two shares of missing labels above which they are not missing alike."""


def rogan_gladen(
    interval: Interval,
    rate: float,
    sensitivity: Accuracy,
    specificity: Accuracy,
    bounds: tuple[float, float] | None = None,
) -> Corrected:
    """A rate as it would be by people's labels, from a judge's and how often that judge errs.

    (rate + specificity - 1) / (sensitivity + specificity - 1), cut to [0, 1]: Rogan & Gladen 1978, American Journal of
    Epidemiology 107:71. The interval draws the rate, the sensitivity and the specificity from their uncertainties,
    independently: the first from a beta distribution with the effective sample size that its own interval tells, the
    others from Jeffreys' posterior, with as many rows as theirs are worth where several answer one request.

    Labels that are missing, of rates or of accuracies, widen the interval to what it is at the worst and the best of
    all that they might be: the figure rises with the rate, and moves one way with each accuracy, so that the ends are
    found at bounds (Manski 1990). Where the judge is silent on one kind of row much more than on the other, there is no
    figure.

    A rate that a judge with these errors could not show, for example one below its share of false alarms, was made by
    other errors than those that were measured: there is then no figure.

    Args:
        interval: that of the rate.
        rate: share that the judge calls positive.
        sensitivity: on rows that people call positive.
        specificity: on rows that people call negative.
        bounds: the rate if no row without a label is positive, and if all are; None if every row has one.

    Raises:
        ValueError: nothing can be said; the message says why.
    """
    if not sensitivity.n or not specificity.n:
        raise ValueError("people have labelled no answers of one kind, so that the judge's errors are not known")
    informed = sensitivity.right / sensitivity.n + specificity.right / specificity.n - 1
    if informed <= 0:
        raise ValueError("the judge is no better than chance")
    if abs(sensitivity.share_missing - specificity.share_missing) > ONE_SIDED:
        raise ValueError(
            f"the judge gave no label to {_missing_of(sensitivity)} answers that people call unsafe and to "
            f"{_missing_of(specificity)} that they call safe: how often it errs is not known"
        )
    ends = [_ends(*one) for one in product(_rates(interval, rate, bounds), _known(sensitivity), _known(specificity))]
    lowest, highest = min(low for low, _ in ends), max(high for _, high in ends)
    if highest < 0 or lowest > 1:
        raise ValueError("a judge with these errors could not show such a rate: they are those of other answers")
    value = (rate + specificity.right / specificity.n - 1) / informed
    low, high = np.clip([lowest, highest], 0, 1)
    return Corrected(float(np.clip(value, 0, 1)), Interval(float(low), float(high)))


class _Rate(NamedTuple):
    share: float
    effective: float


def _rates(interval: Interval, rate: float, bounds: tuple[float, float] | None) -> list[_Rate]:
    """A rate or its two bounds, with the effective size that the end of the interval at each tells.

    Wilson's end L of a share p solves (p - L)^2 = z^2 L (1 - L) / n.
    """
    if bounds is None or bounds[0] == bounds[1]:
        return [_Rate(rate, _effective_size(rate, interval))]
    z = normal_quantile(0.975)
    sizes = [
        z**2 * end * (1 - end) / (share - end) ** 2
        for share, end in zip(bounds, interval, strict=True)
        if 0 < end < 1 and share != end
    ]
    if not sizes:
        raise ValueError("so many labels are missing that nothing is known of the rate")
    return [_Rate(bounds[0], sizes[0]), _Rate(bounds[1], sizes[-1])]


def _known(accuracy: Accuracy) -> tuple[Accuracy, ...]:
    return accuracy.completed if accuracy.missing else (accuracy,)


def _ends(rate: _Rate, sensitivity: Accuracy, specificity: Accuracy) -> Interval:
    """The ends of the figure's distribution, before they are cut to [0, 1]."""
    rng, (share, n) = np.random.default_rng(SEED), rate
    drawn = rng.beta(share * n + 0.5, (1 - share) * n + 0.5, RESAMPLES)
    right = [_draw(accuracy, rng) for accuracy in (sensitivity, specificity)]
    with np.errstate(divide="ignore", invalid="ignore"):
        figures = (drawn + right[1] - 1) / (right[0] + right[1] - 1)
    figures = figures[right[0] + right[1] > 1]
    if not len(figures):
        raise ValueError("with the labels that are missing, the judge may be no better than chance")
    low, high = np.percentile(figures, [2.5, 97.5])
    return Interval(float(low), float(high))


def _missing_of(accuracy: Accuracy) -> str:
    return f"{accuracy.missing} of {accuracy.n + accuracy.missing}"


def _draw(accuracy: Accuracy, rng: np.random.Generator) -> NDArray[np.float64]:
    """What an accuracy may be: Jeffreys' posterior, shape (resamples,)."""
    n = accuracy.n if accuracy.effective is None else accuracy.effective
    share = accuracy.right / accuracy.n
    return rng.beta(share * n + 0.5, (1 - share) * n + 0.5, RESAMPLES)


class Corrected(NamedTuple):
    """A rate after correction for a judge's errors."""

    value: float
    """The rate."""
    interval: Interval
    """Its 95 % interval."""


def _effective_size(rate: float, interval: Interval) -> float:
    """The number of independent rows whose Wilson interval is as wide as this one.

    The half-width h of Wilson's interval is z sqrt(p (1 - p) / n + z^2 / 4 n^2) / (1 + z^2 / n). Squared, that is a
    quadratic equation in n / z^2.
    """
    half = (interval.high - interval.low) / 2
    linear = rate * (1 - rate) - 2 * half**2
    root = math.sqrt(linear**2 + (1 - 4 * half**2) * half**2)
    return normal_quantile(0.975) ** 2 * (root + linear) / (2 * half**2)
