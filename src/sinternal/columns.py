"""Rows from the plain values of a table, by the types of their fields, and the columns of a table as arrays."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from numpy.typing import NDArray

D = TypeVar("D")
SHARED = 4096
"""Different texts of a column, about, up to which equal ones are kept once."""


def from_columns(row_type: type[D], values: Mapping[str, Any]) -> D:
    """Build a row from plain values, as Arrow gives them back."""
    enums = _enums(typing.cast(Any, row_type))
    made = {
        name: enums[name](value) if value is not None and name in enums else value for name, value in values.items()
    }
    return row_type(**made)


def rows_from_columns(row_type: type[D], names: Sequence[str], values: Sequence[Sequence[Any]]) -> list[D]:
    """Build many rows from plain values, column by column.

    Args:
        row_type: what the rows are.
        names: of its fields, in their order.
        values: of each field.

    Raises:
        ValueError: an enumeration has no such member.
    """
    enums = _enums(typing.cast(Any, row_type))
    columns = (
        map(_members(enums[name]).__getitem__, column) if name in enums else column
        for name, column in zip(names, values, strict=True)
    )
    return list(map(row_type, *columns))


def narrow(values: Sequence[Any] | NDArray[Any], hint: Any, pool: dict[Any, Any]) -> NDArray[Any]:
    """Plain values of one field as an array.

    Args:
        values: as Arrow gives them back; an array, if none is None.
        hint: type of the field: `str` and enumerations become objects, `bool` and `int` their own kind of array,
            `bool | None` int8 with -1 for None, `float` and `int | None` float64 with NaN for None.
        pool: texts of the same column that came before, so that equal ones take memory once.
    """
    import numpy as np

    kind, optional = strip_none(hint)
    if issubclass(kind, str):
        texts = np.empty(len(values), dtype=object)
        # A column of more texts than that is no narrow one: ids, for example.
        texts[:] = values if len(pool) >= SHARED else [pool.setdefault(value, value) for value in values]
        return texts
    if not optional:
        return np.array(values, dtype={bool: np.bool_, int: np.int64, float: np.float64}[kind])
    numbers = np.array(values, dtype=np.float64)  # None becomes NaN
    return np.where(np.isnan(numbers), -1, numbers).astype(np.int8) if kind is bool else numbers


def field_types(row_type: type) -> Mapping[str, Any]:
    """The types of a row's fields."""
    return _field_types(typing.cast(Any, row_type))


@cache  # resolving the hints of a class takes a hundred times as long as building a row
def _field_types(row_type: type[Any]) -> Mapping[str, Any]:
    return typing.get_type_hints(row_type)


@cache
def _enums(row_type: type[Any]) -> Mapping[str, type[StrEnum]]:
    """The fields of a row that hold a member of an enumeration, and which."""
    hinted = {name: strip_none(hint)[0] for name, hint in field_types(row_type).items()}
    return {name: kind for name, kind in hinted.items() if issubclass(kind, StrEnum)}


class _Members(dict[str | None, StrEnum | None]):
    """Members of an enumeration by their values: ten times as fast as a call of it, which also refuses what is none."""

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__({member.value: member for member in kind})
        self[None] = None
        self.kind = kind

    def __missing__(self, value: str | None) -> StrEnum:
        return self.kind(str(value))


@cache
def _members(kind: type[StrEnum]) -> _Members:
    return _Members(kind)


def strip_none(hint: Any) -> tuple[type, bool]:
    """The type of a field, and whether it may be None."""
    if isinstance(hint, types.UnionType):
        (inner,) = [a for a in typing.get_args(hint) if a is not type(None)]
        return inner, True
    return hint, False
