"""Tables as Parquet files, by arro3: a fifth of pyarrow's size, which every install of this package would carry."""

from __future__ import annotations

import io
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from enum import StrEnum
from functools import cache
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sinternal.columns import field_types, strip_none
from sinternal.errors import DataError
from sinternal.records import Row
from sinternal.visible import whole_characters

if TYPE_CHECKING:
    import numpy as np
    from arro3.core import Array, DataType, RecordBatch, Schema
    from numpy.typing import NDArray

MAGIC = b"PAR1"
"""What a Parquet file begins and ends with."""
FOOTER = 8
"""Bytes at its end: the length of its metadata, and `MAGIC`."""
COMPRESSION = "zstd(3)"
TEMPORARY = "lz4_raw"
"""Compression of what is soon deleted: four times as fast, and twice as large."""
BATCH = 1024
"""Rows that are read or written at a time: what the Parquet writer itself does at a time."""
FEW = 64
"""Rows that are read at a time of files by others, whose texts may have any length."""
OF_A_VALUE = 64
"""Bytes that Python takes for a value beside what it holds."""
MOST_UNPACKED = 2 * 2**30
"""Bytes that a table of a file by others may take."""
ROW_GROUP = 64 * BATCH
"""Rows of which the writer holds the compressed columns in memory."""


class Columns(typing.NamedTuple):
    """A whole table."""

    names: list[str]
    """The names of its columns, some of which may be the same."""
    values: list[list[Any]]
    """The values of each."""


def write_rows(stream: IO[bytes], rows: Iterable[Row], row_type: type, *, temporary: bool = False) -> int:
    """Write rows of one type as they come, and tell how many there were; arguments are those of `write_batches`."""
    return write_batches(stream, to_batches(rows, row_type), arrow_schema(row_type), temporary=temporary)


def to_batches(rows: Iterable[Row], row_type: type) -> Iterator[RecordBatch]:
    """Rows of one type as they come, column by column, `BATCH` in each batch but the last."""
    source = iter(rows)
    while batch := list(islice(source, BATCH)):
        yield to_batch(batch, row_type)


def to_batch(rows: Sequence[Row], row_type: type) -> RecordBatch:
    """Rows of one type, column by column. Halves of characters in texts, which no file can hold, are replaced."""
    from arro3.core import RecordBatch

    schema = arrow_schema(row_type)
    typed = zip(schema.names, schema.types, strict=True)
    columns = [_array(list(map(attrgetter(name), rows)), kind) for name, kind in typed]
    return RecordBatch.from_arrays(columns, schema=schema)


def _array(values: list[Any], kind: DataType) -> Array:
    from arro3.core import Array

    try:
        return Array(values, kind)
    except UnicodeEncodeError:  # one row of a plug-in's must not cost its neighbours
        return Array([whole_characters(value) if isinstance(value, str) else value for value in values], kind)


def write_batches(stream: IO[bytes], batches: Iterable[RecordBatch], schema: Schema, *, temporary: bool = False) -> int:
    """Write a table as its batches come. The file depends on the rows alone if all batches but the last hold `BATCH`.

    Args:
        stream: where to.
        batches: the rows.
        schema: their columns.
        temporary: whether the file is soon read and deleted, so that speed counts for more than size.

    Returns:
        The number of rows.

    Raises:
        Exception: whatever the making of the batches raises.
    """
    from arro3.core import RecordBatchReader
    from arro3.io import write_parquet

    raised: list[BaseException] = []
    number = 0
    written = _Written(stream)

    def watched() -> Iterator[RecordBatch]:
        nonlocal number
        try:
            for batch in batches:
                written.check()
                yield batch
                number += batch.num_rows
        except BaseException as error:
            raised.append(error)
            raise

    try:
        reader = RecordBatchReader.from_batches(schema, watched())
        write_parquet(
            reader,
            typing.cast(IO[bytes], written),
            compression=TEMPORARY if temporary else COMPRESSION,
            dictionary_enabled=not temporary,
            max_row_group_size=ROW_GROUP,
        )
    except BaseException as error:
        if raised:
            raise raised[0] from None  # arro3 raises another in its stead, which has only its words
        raise error
    written.check()
    return number


class _Written(io.RawIOBase):
    """A stream that keeps the first error of its writes for later: arro3 panics at one, which no caller could read."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self.stream = stream
        self.error: OSError | None = None

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any) -> int:
        """Write, or nothing any more after an error."""
        if self.error is None:
            try:
                self.stream.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def check(self) -> None:
        """Raise the error, if there was one."""
        if self.error is not None:
            raise self.error


def read_columns(path: Path) -> Columns:
    """A whole table, of a file by others: a thousand bytes can hold a terabyte.

    Raises:
        DataError: it is no Parquet file, or damaged, or too large; the message is the reason alone.
        OSError: it cannot be opened.
    """
    from arro3.io import read_parquet

    with path.open("rb") as file, _damage_as_data_error():
        _check_ends(file)
        reader = read_parquet(file, batch_size=FEW)
        names = list(reader.schema.names)
        values: list[list[Any]] = [[] for _ in names]
        taken = 0
        for batch in reader:
            for column, packed in zip(values, batch.columns, strict=True):
                rows = packed.to_pylist()  # of a dictionary, whose text is stored once, as often as it is used
                column += rows
                texts = sum(len(row) for row in rows if isinstance(row, str | bytes))
                taken += max(texts, packed.nbytes) + OF_A_VALUE * len(rows)
            if taken > MOST_UNPACKED:
                raise DataError(f"it takes more than {MOST_UNPACKED >> 20:,} MiB of memory once it is unpacked")
        return Columns(names, values)


def read_batches(path: Path, size: int = BATCH) -> Iterator[RecordBatch]:
    """A table, so many rows at a time: no more of it is in memory.

    Raises:
        DataError: it is no Parquet file, or damaged; the message is the reason alone.
        OSError: it cannot be opened.
    """
    from arro3.io import read_parquet

    with path.open("rb") as file, _damage_as_data_error():
        _check_ends(file)
        yield from read_parquet(file, batch_size=size)


def values_of(rows: RecordBatch, name: str) -> list[Any]:
    """The plain values of a column."""
    values = array_of(rows, name)
    return values if isinstance(values, list) else typing.cast(list[Any], values.tolist())


def array_of(rows: RecordBatch, name: str) -> NDArray[Any] | list[Any]:
    """The plain values of a column; an array, which takes arro3 half the time, if none of them is None."""
    column = rows.column(name)
    return column.to_pylist() if column.null_count else column.to_numpy()


def present(rows: RecordBatch, name: str) -> NDArray[np.bool_]:
    """For each row whether a column has a value."""
    import numpy as np

    column = rows.column(name)
    if column.null_count in (0, rows.num_rows):
        return np.full(rows.num_rows, not column.null_count)
    return np.array([value is not None for value in column.to_pylist()])


def slices(rows: RecordBatch) -> Iterator[RecordBatch]:
    """The same rows, `BATCH` at a time."""
    for start in range(0, rows.num_rows, BATCH):
        yield rows.slice(start, min(BATCH, rows.num_rows - start))


def take(rows: RecordBatch, positions: Sequence[int] | NDArray[np.int64]) -> RecordBatch:
    """Some rows, in the order of their positions."""
    import numpy as np
    from arro3.core import Array

    return rows.take(Array.from_numpy(np.asarray(positions, dtype=np.int64)))


def concatenate(batches: Sequence[RecordBatch]) -> RecordBatch:
    """The rows of batches of one table, in one."""
    from arro3.core import Table

    if len(batches) == 1:
        return batches[0]
    (whole,) = Table.from_batches(batches).combine_chunks().to_batches() or batches[:1]
    return whole


@contextmanager
def _damage_as_data_error() -> Iterator[None]:
    """Say of a file that arro3 cannot read why it cannot."""
    try:
        yield
    except DataError:
        raise
    except BaseException as error:
        # arro3 panics at damaged metadata; its exception has no name to import and is no `Exception`.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DataError(" ".join(str(error).split())) from error


def _check_ends(file: IO[bytes]) -> None:
    """Make sure that a file can be Parquet, as far as its two ends tell; leaves it at its beginning.

    Raises:
        DataError: it cannot.
    """
    if reason := _reason_against(file):
        raise DataError(reason)


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
    return _arrow_schema(typing.cast(Any, row_type))


@cache
def _arrow_schema(row_type: type[Any]) -> Schema:
    from arro3.core import DataType, Field, Schema

    plain: Mapping[type, DataType] = {
        str: DataType.string(),
        int: DataType.int64(),
        float: DataType.float64(),
        bool: DataType.bool(),
    }
    hints = field_types(row_type)
    columns = []
    for field in fields(row_type):
        hint, nullable = strip_none(hints[field.name])
        base = str if issubclass(hint, StrEnum) else hint
        columns.append(Field(field.name, plain[base], nullable=nullable))
    return Schema(columns)
