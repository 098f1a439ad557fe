"""What columns of responses are made of: arrays with one entry for each response."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
"""Whole numbers; of names, those that `Names` gave them."""
Flags = NDArray[np.bool_]
"""Whether something holds."""
Labels = NDArray[np.int8]
"""1 if something holds, 0 if it does not, `MISSING` without a label."""
MISSING = -1
C = TypeVar("C", bound="Columns")


class Names:
    """A number for each name, from 0, so that numpy can compare and count them: the same wherever the name comes."""

    def __init__(self) -> None:
        """Know none yet."""
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []

    def __getitem__(self, number: int) -> str:
        return self._names[number]

    def __len__(self) -> int:
        return len(self._names)

    def numbers(self, names: Iterable[str]) -> Numbers:
        """The numbers of some names, new ones for those that never came."""
        known = self._numbers
        numbers = np.array([known.setdefault(str(name), len(known)) for name in names], dtype=np.int64)
        self._names.extend(list(known)[len(self._names) :])
        return numbers

    def find(self, name: str) -> int:
        """The number of a name; -1 if it never came."""
        return self._numbers.get(name, -1)

    def in_order(self, numbers: Numbers) -> Numbers:
        """Other numbers for the same names, which stand in the order of the names."""
        different, at = np.unique(numbers, return_inverse=True)
        order = sorted(range(len(different)), key=lambda i: self._names[different[i]])
        places = np.empty(len(different), dtype=np.int64)
        places[order] = np.arange(len(different))
        return places[at]


class Columns:
    """A dataclass whose arrays all have one entry for each row."""

    def take(self, rows: Numbers | Flags) -> Self:
        """Some of the rows."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        taken: dict[str, Any] = {name: value[rows] for name, value in arrays.items() if isinstance(value, np.ndarray)}
        return replace(self, **taken)  # type: ignore[type-var]


def chain(parts: Sequence[C]) -> C:
    """The rows of several tables, one after the other."""
    arrays = {field.name: [getattr(part, field.name) for part in parts] for field in fields(parts[0])}  # type: ignore[arg-type]
    joined: dict[str, Any] = {
        name: np.concatenate(values) for name, values in arrays.items() if isinstance(values[0], np.ndarray)
    }
    return replace(parts[0], **joined)  # type: ignore[type-var]


def first_seen(numbers: Numbers) -> list[int]:
    """Different numbers, in the order in which they come."""
    different, first = np.unique(numbers, return_index=True)
    return [int(number) for number in different[np.argsort(first)]]


def first_seen_together(*columns: Numbers) -> list[tuple[int, ...]]:
    """The different rows of some columns, in the order in which they come."""
    groups = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        different, at = np.unique(column, return_inverse=True)
        groups = groups * len(different) + at
    _, first = np.unique(groups, return_index=True)
    return [tuple(int(column[row]) for column in columns) for row in np.sort(first)]


def number_in_order(numbers: Numbers) -> Numbers:
    """Other numbers instead, from 0 in the order in which they come."""
    different, first, at = np.unique(numbers, return_index=True, return_inverse=True)
    places = np.empty(len(different), dtype=np.int64)
    places[np.argsort(first)] = np.arange(len(different))
    return places[at]
