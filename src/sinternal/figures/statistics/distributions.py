"""Quantiles and tail areas of the few distributions that the figures need.

Whoever diagnoses a model behind a server installs this package without scipy, which would double its size. Degrees of
freedom are whole numbers here, for which Student's t has a finite form; tests hold everything against scipy.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_STANDARD = NormalDist()
NEARLY_NORMAL = 20_000
"""Degrees of freedom beyond which four terms in their inverse give a quantile of Student's t to 15 digits."""


def normal_quantile(probability: float) -> float:
    """The point below which a standard normal variable lies with this probability."""
    return _STANDARD.inv_cdf(probability)


def normal_tail(z: float) -> float:
    """The probability that a standard normal variable is above `z`."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def t_two_sided(t: float, df: int) -> float:
    """The probability that Student's t is further from 0 than `t`: the p value of a two-sided t test.

    Args:
        t: the statistic.
        df: degrees of freedom, at least 1.
    """
    return max(0.0, 1.0 - _t_within(abs(t), df))


@lru_cache(maxsize=1024)
def t_quantile(probability: float, df: int) -> float:
    """The point below which Student's t lies with this probability.

    Args:
        probability: between 0.5 and 1.
        df: degrees of freedom, at least 1.

    Raises:
        ValueError: another probability.
    """
    if not 0.5 <= probability < 1:
        raise ValueError(f"{probability} is not between 0.5 and 1")
    if df > NEARLY_NORMAL:
        return _nearly_normal(normal_quantile(probability), df)
    low, high = 0.0, 1.0
    while _t_within(high, df) < 2 * probability - 1:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _t_within(middle, df) < 2 * probability - 1 else (low, middle)
    return high


def _nearly_normal(z: float, df: int) -> float:
    """The quantile of Student's t where a standard normal variable has `z`: Abramowitz & Stegun 1964, 26.7.5."""
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(df) ** power for power, term in enumerate(terms, start=1))


def _t_within(t: float, df: int) -> float:
    """The probability that Student's t lies between -t and t: Abramowitz & Stegun 1964, 26.7.3 and 26.7.4."""
    angle = math.atan2(t, math.sqrt(df))
    sine, cosine = math.sin(angle), math.cos(angle)
    k = np.arange(1, (df - 1) // 2 + 1) if df % 2 else np.arange(1, df // 2)
    if df % 2 == 0:
        return float(sine * (1 + np.cumprod(cosine**2 * (2 * k - 1) / (2 * k)).sum()))
    if df == 1:
        return 2 * angle / math.pi
    series = cosine * (1 + np.cumprod(cosine**2 * (2 * k[:-1]) / (2 * k[:-1] + 1)).sum())
    return float(2 / math.pi * (angle + sine * series))


EXACT = 1000
"""Throws up to which chances are counted in whole numbers: 2^n is a float, and the numbers are not too long yet."""


@lru_cache(maxsize=1024)
def fair_binomial(n: int) -> NDArray[np.float64]:
    """The probabilities of 0 to n heads among n throws of a fair coin, shape (n + 1,)."""
    if n > EXACT:
        return _from_the_middle(n)
    ways, probabilities = 1, []
    for heads in range(n + 1):
        probabilities.append(ways / 2**n)
        ways = ways * (n - heads) // (heads + 1)
    return np.array(probabilities)


def _from_the_middle(n: int) -> NDArray[np.float64]:
    """The same of many throws: the most probable number of heads, and from there by ratios, right to 12 digits."""
    half = n // 2
    odd = np.arange(1, half + 1) * 2.0
    middle = np.prod((odd - 1) / odd) * ((n / (n + 1)) if n % 2 else 1.0)
    heads = np.arange(half, 0, -1)
    lower = np.cumprod(np.concatenate([[middle], heads / (n - heads + 1)]))[::-1]
    return np.concatenate([lower, lower[::-1] if n % 2 else lower[-2::-1]])


def average_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1 up, equal values sharing the mean of theirs; shape (n,) as the values."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (counts.cumsum() - (counts - 1) / 2)[place]
    return ranks
