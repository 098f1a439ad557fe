"""Rows from the plain values of a table, by the types of their fields."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

D = TypeVar("D")


def from_columns(row_type: type[D], values: Mapping[str, Any]) -> D:
    """Build a row from plain values, as Arrow gives them back."""
    enums = _enums(typing.cast(Any, row_type))
    made = {
        name: enums[name](value) if value is not None and name in enums else value for name, value in values.items()
    }
    return row_type(**made)


@cache  # resolving the hints of a class takes a hundred times as long as building a row
def _enums(row_type: type[Any]) -> Mapping[str, type[StrEnum]]:
    """The fields of a row that hold a member of an enumeration, and which."""
    hinted = {name: strip_none(hint)[0] for name, hint in typing.get_type_hints(row_type).items()}
    return {name: kind for name, kind in hinted.items() if issubclass(kind, StrEnum)}


def strip_none(hint: Any) -> tuple[type, bool]:
    """The type of a field, and whether it may be None."""
    if isinstance(hint, types.UnionType):
        (inner,) = [a for a in typing.get_args(hint) if a is not type(None)]
        return inner, True
    return hint, False
