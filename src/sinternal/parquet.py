"""Tables as Parquet files, by arro3: a fifth of pyarrow's size, which every install of this package would carry."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sinternal.columns import strip_none
from sinternal.errors import DataError
from sinternal.records import Row

if TYPE_CHECKING:
    from arro3.core import Schema

MAGIC = b"PAR1"
"""What a Parquet file begins and ends with."""
FOOTER = 8
"""Bytes at its end: the length of its metadata, and `MAGIC`."""
COMPRESSION = "zstd(3)"


class Columns(typing.NamedTuple):
    """A whole table."""

    names: list[str]
    """The names of its columns, some of which may be the same."""
    values: list[list[Any]]
    """The values of each."""


def write_rows(stream: IO[bytes], rows: Sequence[Row], row_type: type) -> None:
    """Write rows of one type."""
    from arro3.core import Array, Table
    from arro3.io import write_parquet

    schema = arrow_schema(row_type)
    typed = zip(schema.names, schema.types, strict=True)
    columns = [Array([getattr(row, name) for row in rows], kind) for name, kind in typed]
    write_parquet(Table.from_arrays(columns, schema=schema), stream, compression=COMPRESSION)


def read_columns(path: Path) -> Columns:
    """A whole table.

    Raises:
        DataError: it is no Parquet file, or damaged; the message is the reason alone.
        OSError: it cannot be opened.
    """
    from arro3.io import read_parquet

    with path.open("rb") as file:
        if reason := _reason_against(file):
            raise DataError(reason)
        try:
            table = read_parquet(file).read_all()
            values: list[list[Any]] = [list(table.column(i).to_pylist()) for i in range(table.num_columns)]
            return Columns(table.column_names, values)
        except BaseException as error:
            # arro3 panics at damaged metadata; its exception has no name to import and is no `Exception`.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise DataError(" ".join(str(error).split())) from error


def _reason_against(file: IO[bytes]) -> str | None:
    """Why a file cannot be Parquet, as far as its two ends tell; leaves it at its beginning."""
    size = file.seek(0, 2)
    if size < len(MAGIC) + FOOTER:
        return f"{size} bytes are too few"
    file.seek(-FOOTER, 2)
    footer = file.read()
    file.seek(0)
    if footer[4:] != MAGIC or file.read(len(MAGIC)) != MAGIC:
        return f"it does not begin and end with {MAGIC.decode()}: is it whole?"
    file.seek(0)
    if int.from_bytes(footer[:4], "little") > size - len(MAGIC) - FOOTER:
        return "its metadata are longer than the file"
    return None


def arrow_schema(row_type: type) -> Schema:
    """The Arrow schema of a row type: `str`, `int`, `float`, `bool` and their enums; only `X | None` is nullable."""
    from arro3.core import DataType, Field, Schema

    plain: Mapping[type, DataType] = {
        str: DataType.string(),
        int: DataType.int64(),
        float: DataType.float64(),
        bool: DataType.bool(),
    }
    hints = typing.get_type_hints(row_type)
    columns = []
    for field in fields(row_type):
        hint, nullable = strip_none(hints[field.name])
        base = str if issubclass(hint, StrEnum) else hint
        columns.append(Field(field.name, plain[base], nullable=nullable))
    return Schema(columns)
