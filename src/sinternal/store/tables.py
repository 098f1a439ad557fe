"""Rows as Parquet files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from sinternal.columns import field_types, narrow, rows_from_columns
from sinternal.errors import DataError, StoreError
from sinternal.parquet import array_of, present, read_batches, take, values_of, write_rows
from sinternal.records import R
from sinternal.store.files import new_file

if TYPE_CHECKING:
    import numpy as np
    from arro3.core import RecordBatch
    from numpy.typing import NDArray

MEND = "delete its folder and run again"


def table_name(row_type: type[R]) -> str:
    """The default name of a table: the row type's, in the plural."""
    name = row_type.__name__.lower()
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


def write_table(path: Path, rows: Iterable[R], row_type: type[R], *, temporary: bool = False) -> int:
    """Write all rows of a table as they come.

    Args:
        path: the file, which appears once it is whole.
        rows: the rows.
        row_type: what they are.
        temporary: whether the file is soon read and deleted, so that speed counts for more than size.

    Returns:
        How many there were.
    """
    with new_file(path) as stream:
        return write_rows(stream, rows, row_type, temporary=temporary)


def read_table(path: Path, row_type: type[R]) -> list[R]:
    """All rows of a Parquet file. Raises StoreError if it is missing or damaged."""
    return list(Table(path, row_type))


@dataclass(frozen=True)
class Table(Generic[R]):
    """The rows in a Parquet file, read when they are asked for, and as often.

    Whatever reads it raises StoreError if it is missing or damaged.
    """

    path: Path
    """The file."""
    row_type: type[R]
    """What the rows are."""

    def __iter__(self) -> Iterator[R]:
        """Row by row, in their order."""
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[list[R]]:
        """Many rows at a time, in their order: no more of them are in memory."""
        return map(self.rows_of, self.record_batches())

    def columns(self, *names: str, known: Collection[str] = ()) -> dict[str, NDArray[Any]]:
        """Some columns, each as one array with an element for every row.

        Args:
            names: of the fields; at least one.
            known: names of fields, such as long texts, of which it is enough to know whether they are not None.

        Returns:
            By name: `str`, `str | None` and enumerations as objects (`str` or None; enumerations as their values);
            `bool` as bool, `int` as int64, `float` as float64; `bool | None` as int8 with -1 for None; `float | None`
            and `int | None` as float64 with NaN for None. Those of `known` as bool.
        """
        import numpy as np

        hints = field_types(self.row_type)
        pools: dict[str, dict[Any, Any]] = {name: {} for name in names}
        parts: dict[str, list[NDArray[Any]]] = {name: [narrow([], hints[name], {})] for name in names}
        parts |= {name: [np.zeros(0, dtype=np.bool_)] for name in known}
        for batch in self.record_batches():
            try:
                for name in names:
                    parts[name].append(narrow(array_of(batch, name), hints[name], pools[name]))
            except (ValueError, TypeError) as error:  # None where none may be
                raise self._unreadable(error) from error
            for name in known:
                parts[name].append(present(batch, name))
        return {name: np.concatenate(pieces) for name, pieces in parts.items()}

    def record_batches(self) -> Iterator[RecordBatch]:
        """The same as Arrow holds it."""
        known = {field.name for field in fields(self.row_type)}
        try:
            for batch in read_batches(self.path):
                if missing := known.difference(batch.column_names):
                    raise StoreError(
                        f"{self.path}: it has no column {', '.join(sorted(missing))}; another version wrote it: run "
                        "it again"
                    )
                if unknown := set(batch.column_names) - known:
                    raise self._unreadable(f"{self.row_type.__name__} has no field {', '.join(sorted(unknown))}")
                yield batch
        except StoreError:
            raise
        except (OSError, DataError) as error:
            raise self._unreadable(error) from error

    def values(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """Some fields of every row, as plain values, in the order of the rows; enumerations as their values."""
        for columns in self.value_batches(*names):
            yield from zip(*columns, strict=True)

    def value_batches(self, *names: str) -> Iterator[list[list[Any]]]:
        """The same many rows at a time, a list for each field."""
        for batch in self.record_batches():
            yield [values_of(batch, name) for name in names]

    def selected(self, wanted: NDArray[np.bool_]) -> Iterator[RecordBatch]:
        """Some rows, as Arrow holds them.

        Args:
            wanted: for each row whether it is wanted.
        """
        start = 0
        for batch in self.record_batches():
            places = wanted[start : start + batch.num_rows].nonzero()[0]
            start += batch.num_rows
            if len(places):
                yield batch if len(places) == batch.num_rows else take(batch, places)

    def at(self, places: NDArray[np.int64]) -> Iterator[tuple[RecordBatch, NDArray[np.int64]]]:
        """The rows at some places, as Arrow holds them.

        Args:
            places: in their order; some may be the same.

        Returns:
            Different rows, and for each of the next places the number of its row among these.
        """
        import numpy as np

        start = 0
        for batch in self.record_batches():
            first, last = np.searchsorted(places, (start, start + batch.num_rows))
            if first < last:
                different, numbers = np.unique(places[first:last] - start, return_inverse=True)
                yield take(batch, different), numbers
            start += batch.num_rows

    def having(self, name: str, values: Collection[Any]) -> NDArray[np.bool_]:
        """For each row whether a field has one of some values."""
        import numpy as np

        parts = [np.zeros(0, dtype=np.bool_)]
        for batch in self.record_batches():
            parts.append(np.fromiter(map(values.__contains__, values_of(batch, name)), np.bool_, batch.num_rows))
        return np.concatenate(parts)

    def rows_of(self, batch: RecordBatch) -> list[R]:
        """The rows that a batch of the table holds."""
        names = [field.name for field in fields(self.row_type)]
        try:
            return rows_from_columns(self.row_type, names, [values_of(batch, name) for name in names])
        except (ValueError, TypeError) as error:  # a value that no enum has
            raise self._unreadable(error) from error

    def _unreadable(self, reason: object) -> StoreError:
        return StoreError(f"{self.path}: cannot be read ({' '.join(str(reason).split())}); {MEND}")
