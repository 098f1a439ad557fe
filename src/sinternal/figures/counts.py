"""Counts that figures are computed from: by parent prompt, so that they can be added up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sinternal.figures.columns import MISSING, Flags, Labels, Numbers


class Counts(NamedTuple):
    """Rows, counted: those of a rate as hits and misses, those of verdicts as a table."""

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


Field = NDArray[np.int64]
"""One field of `Counts`, for each parent prompt."""
Added = NDArray[np.int16]
"""What each row adds to `Counts`, where every field is a bit: a row counts once in a field, or not at all."""
_AT = {name: place for place, name in enumerate(Counts._fields)}
_BITS = {name: np.int16(1 << place) for name, place in _AT.items()}
_OF_LABELS = np.array([_BITS["misses"], _BITS["hits"], _BITS["missing"]])
"""What a row adds whose label is 0, 1 or, counted from the end, `MISSING`."""
_TABLE = slice(_AT["unsafe_called_unsafe"], _AT["safe_called_safe"] + 1)


@dataclass(frozen=True)
class Tally:
    """Counts by parent prompt: rewordings and attacks of one request are not independent of each other."""

    parents: Numbers
    """The parent prompts, in the order in which they came."""
    counts: NDArray[np.int64]
    """Their `Counts`, shape (fields, parents)."""

    def __getitem__(self, name: str) -> Field:
        """One field of the counts."""
        field: Field = self.counts[_AT[name]]
        return field

    @property
    def n(self) -> Field:
        """Rows that count."""
        known: Field = self.counts[: _TABLE.stop].sum(0)
        return known

    @property
    def rows(self) -> Field:
        """Rows that the figure is about, whether they have a label or not."""
        every: Field = self.n + self["missing"]
        return every

    @property
    def tables(self) -> NDArray[np.float64]:
        """Verdicts as (tp, fp, fn, tn) of each parent, with unsafe as the positive class: shape (parents, 4)."""
        return self.counts[_TABLE].T.astype(np.float64)

    @property
    def total(self) -> Counts:
        """All parents together."""
        return Counts(*self.counts.sum(1).tolist())

    def without_other_side(self) -> Tally:
        """The parents that the figure is about."""
        about = self.rows > 0
        return Tally(self.parents[about], self.counts[:, about])


def count_rows(
    hit: Labels,
    *,
    truncated: Flags | None = None,
    no_answer: Flags | None = None,
    filtered: Flags | None = None,
    missing_hit: Flags | None = None,
) -> Added:
    """The counts that rows add to a rate.

    Args:
        hit: whether it happens.
        truncated: whether the text ran into the token limit.
        no_answer: whether there is no answer to be labelled.
        filtered: whether a filter withheld it.
        missing_hit: whether it is known to be a hit although its own label is missing.
    """
    added: Added = _OF_LABELS[hit]
    missing = hit == MISSING
    for name, holds in {"missing_positive": missing_hit, "no_answer": no_answer, "filtered": filtered}.items():
        if holds is not None:
            added += _BITS[name] * (missing & holds)
    if truncated is not None:
        added += _BITS["truncated"] * truncated
    return added


def count_table(unsafe: Flags, called_unsafe: Labels, **ends: Flags) -> Added:
    """The counts that verdicts add to a table of verdicts and labels.

    Args:
        unsafe: whether the answer is.
        called_unsafe: whether the verdict says so.
        ends: how the texts ended, as `count_rows` takes it.
    """
    added = count_rows(called_unsafe, missing_hit=unsafe, **ends) & ~(_BITS["hits"] | _BITS["misses"])
    for label, verdict, name in (
        (True, 1, "unsafe_called_unsafe"),
        (False, 1, "safe_called_unsafe"),
        (True, 0, "unsafe_called_safe"),
        (False, 0, "safe_called_safe"),
    ):
        added += _BITS[name] * ((unsafe == label) & (called_unsafe == verdict))
    return added


def count_other_side(label: Labels) -> Added:
    """The counts that rows add to a figure of the other side."""
    added: Added = _BITS["other_side"] + _BITS["other_side_missing"] * (label == MISSING)
    return added


def pool(tallies: Iterable[Tally]) -> Tally:
    """Add tallies up, for example those of several seeds."""
    every = list(tallies)
    counts = np.concatenate([tally.counts for tally in every], axis=1)
    parents, first, at = np.unique(
        np.concatenate([tally.parents for tally in every]), return_index=True, return_inverse=True
    )
    sums = np.array([np.bincount(at, field, minlength=len(parents)) for field in counts], dtype=np.int64)
    order = np.argsort(first)
    order = order[sums[:, order].any(axis=0)]
    return Tally(parents[order], sums[:, order])


class Found(NamedTuple):
    """The counts of one group of rows."""

    group: int
    """Its number."""
    first: int
    """Its first row, by place."""
    tally: Tally
    """Its rows, counted."""


class Clusters:
    """Rows by group and parent prompt: found once, for all that is counted of the same rows."""

    def __init__(self, parents: Numbers, groups: Numbers | None = None) -> None:
        """Find the clusters of rows.

        Args:
            parents: the parent prompt of each row.
            groups: its group, by number from 0; by default there is one.
        """
        if groups is None:
            groups = np.zeros(len(parents), dtype=np.int64)
        size = int(parents.max(initial=0)) + 1
        keys, self.of_rows = np.unique(groups * size + parents, return_inverse=True)
        self.group, self.parent = np.divmod(keys, size)

    def tallies(self, added: Added) -> list[Found]:
        """Add up what each row adds, by group; rows that add nothing are left out."""
        rows = np.flatnonzero(added)
        of_rows, added = self.of_rows[rows], added[rows]
        first = np.full(len(self.group), -1)
        first[of_rows[::-1]] = rows[::-1]  # of several rows, the last that is written stays: the first
        kinds = np.flatnonzero(np.bincount(added))
        kind = np.zeros(int(kinds.max(initial=0)) + 1, dtype=np.int64)
        kind[kinds] = np.arange(len(kinds))
        numbers = np.bincount(of_rows * len(kinds) + kind[added], minlength=len(first) * len(kinds))
        fields = kinds >> np.arange(len(_AT))[:, None] & 1  # shape (fields, kinds)
        sums = fields @ numbers.reshape(len(first), len(kinds)).T
        clusters = np.flatnonzero(first >= 0)
        order = clusters[np.lexsort((first[clusters], self.group[clusters]))]
        ends = np.flatnonzero(np.diff(self.group[order], append=-1)) + 1
        parts = np.split(order, ends[:-1])
        return [
            Found(int(self.group[own[0]]), int(first[own[0]]), Tally(self.parent[own], sums[:, own]))
            for own in parts
            if len(own)
        ]
