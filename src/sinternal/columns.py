"""Rows from the plain values of a table, by the types of their fields."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

D = TypeVar("D")


def from_columns(row_type: type[D], values: Mapping[str, Any]) -> D:
    """Build a row from plain values, as Arrow gives them back."""
    hints = typing.get_type_hints(row_type)
    made: dict[str, Any] = {}
    for name, value in values.items():
        hint, _ = strip_none(hints[name])
        made[name] = hint(value) if value is not None and issubclass(hint, StrEnum) else value
    return row_type(**made)


def strip_none(hint: Any) -> tuple[type, bool]:
    """The type of a field, and whether it may be None."""
    if isinstance(hint, types.UnionType):
        (inner,) = [a for a in typing.get_args(hint) if a is not type(None)]
        return inner, True
    return hint, False
