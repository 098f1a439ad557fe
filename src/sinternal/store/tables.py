"""Rows as Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from sinternal.columns import from_columns
from sinternal.errors import DataError, StoreError
from sinternal.fingerprints import fingerprint as fingerprint  # part of a store's interface, too
from sinternal.parquet import read_columns, write_rows
from sinternal.records import R
from sinternal.store.files import new_file

MEND = "delete its folder and run again"


def table_name(row_type: type[R]) -> str:
    """The default name of a table: the row type's, in the plural."""
    return f"{row_type.__name__.lower()}s"


def write_table(path: Path, rows: Sequence[R], row_type: type[R]) -> None:
    """Write all rows of a table."""
    with new_file(path) as stream:
        write_rows(stream, rows, row_type)


def read_table(path: Path, row_type: type[R]) -> list[R]:
    """All rows of a Parquet file. Raises StoreError if it is missing or damaged."""
    try:
        table = read_columns(path)
    except (OSError, DataError) as error:
        raise StoreError(f"{path}: cannot be read ({' '.join(str(error).split())}); {MEND}") from error
    if missing := {field.name for field in fields(row_type)} - set(table.names):
        raise StoreError(
            f"{path}: it has no column {', '.join(sorted(missing))}; another version wrote it: run it again"
        )
    try:
        rows = zip(*table.values, strict=True)
        return [from_columns(row_type, dict(zip(table.names, values, strict=True))) for values in rows]
    except (ValueError, TypeError, KeyError) as error:  # a value that no enum has, a column that no row type has
        raise StoreError(f"{path}: cannot be read ({error}); {MEND}") from error
