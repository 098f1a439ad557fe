"""Counts that figures are computed from: by parent prompt, so that they can be added up."""

from __future__ import annotations

from collections.abc import Iterable
from operator import add
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Counts(NamedTuple):
    """Rows of one parent prompt, counted: those of a rate as hits and misses, those of verdicts as a table."""

    hits: int = 0
    """Of a rate: rows in which it happens."""
    misses: int = 0
    """Of a rate: rows in which it does not."""
    unsafe_called_unsafe: int = 0
    """Of verdicts: true positives, with unsafe as the positive class."""
    safe_called_unsafe: int = 0
    """False positives."""
    unsafe_called_safe: int = 0
    """False negatives."""
    safe_called_safe: int = 0
    """True negatives."""
    missing: int = 0
    """Rows without a label."""
    missing_positive: int = 0
    """Of these, those that are hits all the same (of a rate), or verdicts on unsafe answers (of a table)."""
    no_answer: int = 0
    """Of the missing rows, those without an answer that can be read."""
    filtered: int = 0
    """Of the missing rows, those that a server's filter withheld."""
    truncated: int = 0
    """Rows whose text ran into the token limit, missing ones among them."""
    other_side: int = 0
    """Rows of the other side: benign prompts for a figure of harmful ones."""
    other_side_missing: int = 0
    """Of these, rows without a label."""

    @property
    def n(self) -> int:
        """Rows that count."""
        return sum(self[:6])

    @property
    def rows(self) -> int:
        """Rows that the figure is about, whether they have a label or not."""
        return self.n + self.missing

    @property
    def table(self) -> tuple[int, int, int, int]:
        """Verdicts as (tp, fp, fn, tn), with unsafe as the positive class."""
        return self[2:6]

    def plus(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(*map(add, self, other))


NOTHING = Counts()
Tally = dict[str, Counts]
"""Counts by parent prompt: rewordings and attacks of one request are not independent of each other."""


def count_row(
    hit: bool | None,
    *,
    truncated: bool = False,
    no_answer: bool = False,
    filtered: bool = False,
    missing_hit: bool = False,
) -> Counts:
    """The counts that one row adds to a rate.

    Args:
        hit: whether it happens; None without a label.
        truncated: whether the text ran into the token limit.
        no_answer: whether there is no answer to be labelled.
        filtered: whether a filter withheld it.
        missing_hit: whether it is known to be a hit although its own label is missing.
    """
    missing = hit is None
    return Counts(
        hits=int(hit is True),
        misses=int(hit is False),
        missing=int(missing),
        missing_positive=int(missing and missing_hit),
        no_answer=int(missing and no_answer),
        filtered=int(missing and filtered),
        truncated=int(truncated),
    )


def count_other_side(*, missing: bool) -> Counts:
    """The counts that a row adds to a figure of the other side."""
    return Counts(other_side=1, other_side_missing=int(missing))


def total(counts: Iterable[Counts]) -> Counts:
    """All together."""
    return Counts(*map(sum, zip(NOTHING, *counts, strict=True)))


def pool(tallies: Iterable[Tally]) -> Tally:
    """Add tallies up, for example those of several seeds."""
    pooled: Tally = {}
    for tally in tallies:
        for parent, counts in tally.items():
            pooled[parent] = pooled.get(parent, NOTHING).plus(counts)
    return pooled


def tables(counts: Iterable[Counts]) -> NDArray[np.float64]:
    """Verdicts as numpy takes them: (tp, fp, fn, tn) of each parent, shape (parents, 4)."""
    return np.array([row.table for row in counts], dtype=np.float64).reshape(-1, 4)
