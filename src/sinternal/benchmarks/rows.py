"""Rows of a user's file, in JSON lines, JSON, CSV, TSV or Parquet: read as they are meant, or refused by their place.

Nothing is turned into text that is none. What two readers could take in two ways is an error that names file, line
and column.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from sinternal.errors import DataError
from sinternal.parquet import read_columns

LONGEST_CELL = 2**31 - 1
"""Characters; the csv module alone would stop at 131,072."""
SHOWN = 60
"""Characters of a value that a message shows."""
COLUMNS_SHOWN = 20
"""Columns that a message lists."""


UTF_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
"""What files in other encodings begin with."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
"""What may stand between two cells."""


class Conversation(NamedTuple):
    """What is asked, of a cell that holds text or a conversation."""

    text: str
    """The user's message."""
    system: str = ""
    """The system message before it; empty for none."""


@dataclass(frozen=True)
class Row:
    """One row of a file, and where it stands."""

    place: str
    """For messages: file and line (or row, from 1)."""
    values: Mapping[str, Any]
    """Values by column."""
    all_text: bool = False
    """Whether the format knows nothing but text, as CSV does."""

    def get(self, column: str) -> Any:
        """The value of a column; None if it is empty. Raises DataError if there is no such column."""
        if column not in self.values:
            known = ", ".join(str(name)[:SHOWN] for name in islice(self.values, COLUMNS_SHOWN))
            more = f" and {len(self.values) - COLUMNS_SHOWN} more" if len(self.values) > COLUMNS_SHOWN else ""
            raise DataError(f"{self.place}: there is no column {column!r}; there are: {known}{more}")
        value = self.values[column]
        return None if value == "" else value

    def text(self, column: str) -> str:
        """The text of a column, without blanks around it; empty if there is none.

        Raises:
            DataError: it holds something else.
        """
        value = self.get(column)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.error(column, f"holds {kind_of(value)}, not text")
        return self._whole(column, value).strip()

    def label(self, column: str) -> str:
        """A name, number or flag of a column, as text; empty if there is none.

        Raises:
            DataError: it holds something else.
        """
        value = self.get(column)
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int | float) and math.isfinite(value):
            # What holds whole numbers, and has a gap, comes out of pandas as fractions.
            return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
        if value is None or isinstance(value, str):
            return self.text(column)
        raise self.error(column, f"holds {kind_of(value)}, not a name or a number")

    def request(self, column: str) -> Conversation:
        """What a column asks: a text, or a conversation of one user's message, with a system message before it or not.

        Raises:
            DataError: it holds something else, or a conversation with more turns.
        """
        value = self.get(column)
        if self.all_text and isinstance(value, str) and value.lstrip().startswith("[{"):
            value = self._conversation_in(column, value)
        if not isinstance(value, list):
            return Conversation(self.text(column))
        messages = [self._message(column, entry) for entry in value]
        roles = [role for role, _ in messages]
        if roles == ["user"]:
            return Conversation(messages[0][1])
        if roles == ["system", "user"]:
            return Conversation(messages[1][1], messages[0][1])
        raise self.error(
            column,
            f"holds a conversation of {', '.join(roles) or 'no messages'}; a prompt is one user message, "
            "optionally after a system message: leave the other turns out",
        )

    def error(self, column: str, problem: str) -> DataError:
        """An error that names the place."""
        return DataError(f"{self.place}: column {column!r} {problem}")

    def _conversation_in(self, column: str, cell: str) -> Any:
        """The messages that a cell of CSV spells out."""
        try:
            value = json.loads(cell)
        except (ValueError, RecursionError):
            if "'role':" in cell:
                raise self.error(column, "holds a conversation in Python's notation; write it in JSON's") from None
            return cell
        spelled = all(isinstance(entry, dict) and "role" in entry for entry in value)
        return value if spelled else cell

    def _message(self, column: str, entry: Any) -> tuple[str, str]:
        """Role and text of a message."""
        if not isinstance(entry, Mapping):
            raise self.error(column, f"holds a list of {kind_of(entry)}, not text")
        extra = [name for name, value in entry.items() if name not in ("role", "content") and value is not None]
        role, content = entry.get("role"), entry.get("content")
        if isinstance(content, list) and len(content) == 1 and isinstance(content[0], Mapping):
            # One part of text is how some interfaces write a plain text.
            content = content[0].get("text") if content[0].get("type") == "text" else content
        if not isinstance(role, str) or not isinstance(content, str) or extra:
            raise self.error(
                column,
                "holds a list of objects that are not messages; a message is an object of role and content, both text",
            )
        return role, self._whole(column, content).strip()

    def _whole(self, column: str, text: str) -> str:
        """A text of whole characters."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self.error(column, "holds half of a character (a lone surrogate); write the text in UTF-8") from error
        return text


def kind_of(value: object) -> str:
    """What a value is, in words."""
    if isinstance(value, float) and not math.isfinite(value):
        return "a number that is none (NaN or infinity)"
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list", bytes: "bytes", str: "text"}
    if isinstance(value, Mapping):
        return "an object"
    return "nothing" if value is None else kinds.get(type(value), f"a {type(value).__name__}")


def abbreviate(value: str) -> str:
    """A text as a message shows it, shortened."""
    return repr(value if len(value) <= SHOWN else f"{value[:SHOWN]}…")


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, by its ending.

    Raises:
        DataError: the ending is none of `READERS`, or a row cannot be read.
    """
    if path.suffix.lower() not in READERS:
        raise DataError(f"{path}: a benchmark file ends in {', '.join(READERS)}")
    try:
        yield from READERS[path.suffix.lower()](path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def json_rows(lines: Iterable[bytes | str], where: str) -> Iterator[Row]:
    """Rows of lines that hold one JSON object each; blank lines count for nothing.

    Args:
        lines: split at line feeds alone; text in JSON may hold every other character that ends a line somewhere.
        where: what to call the file.

    Raises:
        DataError: a line is no JSON object.
    """
    for number, line in enumerate(lines, start=1):
        place = f"{where}, line {number}"
        text = decode_utf8(line, place) if isinstance(line, bytes) else line
        text = text.removeprefix("\ufeff") if number == 1 else text
        if text.strip():
            yield _object(parse_json(text, place), place)


def decode_utf8(data: bytes, place: str) -> str:
    """Bytes as text. Raises DataError if they are not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        seems = next((f", it seems to be {name}" for mark, name in UTF_MARKS.items() if data.startswith(mark)), "")
        raise DataError(
            f"{place}: not UTF-8{seems} ({error.reason} at byte {error.start}); save the file as UTF-8"
        ) from error


def parse_json(text: str, place: str) -> Any:
    """The value that JSON spells out. Raises DataError if it is none, or holds a key twice, or what is no number."""

    def refuse(literal: str) -> Any:
        raise ValueError(f"{literal} is not a number in JSON")

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):  # counted only then: files have a million rows
            twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            raise ValueError(f"the key {twice!r} comes twice in one object")
        return content

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    except RecursionError as error:
        raise DataError(f"{place}: not valid JSON: nested too deeply") from error
    except ValueError as error:
        raise DataError(f"{place}: not valid JSON: {error}") from error


def _object(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{place}: a JSON object is expected, with one key a column; this is {kind_of(value)}")
    return Row(place, value)


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        yield from json_rows(file, str(path))


def _json_list(path: Path) -> Iterator[Row]:
    content = parse_json(decode_utf8(path.read_bytes(), str(path)).removeprefix("\ufeff"), str(path))
    if not isinstance(content, list):
        raise DataError(f"{path}: a list of JSON objects is expected, one a row; this is {kind_of(content)}")
    for number, values in enumerate(content, start=1):
        yield _object(values, f"{path}, entry {number}")


def _delimited_reader(delimiter: str) -> Callable[[Path], Iterator[Row]]:
    def read(path: Path) -> Iterator[Row]:
        text = decode_utf8(path.read_bytes(), str(path)).removeprefix("\ufeff")
        yield from separated_rows(text, str(path), delimiter)

    return read


def separated_rows(text: str, where: str, delimiter: str = ",") -> Iterator[Row]:
    """Rows of CSV below a line of names.

    Args:
        text: all of it.
        where: what to call it.
        delimiter: what stands between two cells.

    Raises:
        DataError: a row has more or fewer cells than there are names, a name comes twice, or a quote is left open.
    """
    limit = csv.field_size_limit(LONGEST_CELL)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        names: list[str] = []
        line = 1
        for cells in _cells(reader, where):
            place, line = f"{where}, line {line}", reader.line_num + 1
            if not cells:
                continue
            if not names:
                names = _header(cells, place, delimiter)
            elif len(cells) != len(names):
                raise DataError(f"{place}: it has {len(cells)} columns, the first line {len(names)}")
            else:
                yield Row(place, dict(zip(names, cells, strict=True)), all_text=True)
    finally:
        csv.field_size_limit(limit)


def _cells(reader: Any, where: str) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise DataError(f"{where}, line {reader.line_num}: not valid CSV: {error}") from error


def _header(names: list[str], place: str, delimiter: str | None = None) -> list[str]:
    if delimiter and len(names) == 1 and (other := next((sign for sign in SEPARATORS if sign in names[0]), None)):
        raise DataError(
            f"{place}: there is one column, {abbreviate(names[0])}: cells seem to be parted by {SEPARATORS[other]}, "
            f"where {SEPARATORS[delimiter]} are expected; save the file so, or name it by what it is (.csv, .tsv)"
        )
    if twice := next((name for name, times in Counter(names).items() if times > 1), None):
        raise DataError(f"{place}: several columns are called {twice!r}; rename them")
    return names


def _parquet(path: Path) -> Iterator[Row]:
    try:
        table = read_columns(path)
    except (DataError, OSError) as error:
        raise DataError(f"{path}: not a valid Parquet file: {' '.join(str(error).split())}") from error
    _header(table.names, str(path))
    for number, values in enumerate(zip(*table.values, strict=True), start=1):
        yield Row(f"{path}, row {number}", dict(zip(table.names, values, strict=True)))


READERS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".json": _json_list,
    ".csv": _delimited_reader(","),
    ".tsv": _delimited_reader("\t"),
    ".parquet": _parquet,
}
"""How a file is read, by its ending."""
