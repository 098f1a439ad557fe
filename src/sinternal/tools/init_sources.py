"""The sources of prompts in a recipe that `sinternal init` writes: which column of a user's file holds what.

Columns are those that the user names, and else found by their names. What neither says is left to be filled in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from sinternal.benchmarks.local import HARMFUL as HARMFUL_WORDS
from sinternal.benchmarks.local import HARMLESS as HARMLESS_WORDS
from sinternal.benchmarks.local import Columns
from sinternal.benchmarks.rows import READERS, Row, abbreviate, kind_of, read_rows
from sinternal.errors import RegistryError, SInternalError
from sinternal.registry import Kind, check_name
from sinternal.tools.init_wishes import Wishes
from sinternal.validation import nearest

HARMFUL, BENIGN = "harmful", "benign"
FILL_IN = "FILL_IN"
"""Stands in a recipe where something has to be written by hand."""
TEXTS = ("prompt", "request", "instruction", "question", "text", "behavior", "goal", "query", "input", "messages")
"""Names of columns that hold requests, the likeliest first."""
LABELS = ("harmful", "is_harmful", "unsafe", "is_unsafe", "label", "harm", "safe", "is_safe", "prompt_harm_label")
"""Names of columns that say whether a request is harmful."""
OTHERS = {"category": ("category", "harm_category", "hazard"), "pair": ("pair", "pair_id"), "part": ("part", "split")}
"""Names of other columns that a file may have."""
MEANING_YES = {"harmful", "unsafe", "malicious", "toxic", "harm"}
"""Words for harmful that a file may use in place of yes."""
SYNONYMS = {"prompt": "text", "label": "harmful"}
"""What else columns may be called on the command line."""
LOOKED_AT = 10_000
"""Rows whose labels are looked at."""
SHOWN = 12
"""Columns, or values, that a message shows."""


def read_columns_given(texts: Sequence[str]) -> dict[str, str]:
    """Columns as they are typed: `prompt=question,harmful=label`. Raises SInternalError for anything else."""
    columns = {}
    for part in (part for text in texts for part in text.split(",")):
        name, equals, column = (each.strip() for each in part.partition("="))
        name = SYNONYMS.get(name, name)
        if not equals or not column or name not in Columns.model_fields:
            known = ", ".join(["prompt", *(field for field in Columns.model_fields if field != "text")])
            raise SInternalError(
                f"--columns {part.strip()}: write NAME=COLUMN, for example prompt=question,harmful=label; names are: "
                f"{known}"
            )
        columns[name] = column
    return columns


class Named(NamedTuple):
    """What a user types for a source of prompts."""

    path: str
    """A file, or the name of a benchmark."""
    said: str
    """`harmful` or `benign`, if all of it is; else empty."""

    @property
    def is_file(self) -> bool:
        """Whether it is a file."""
        return bool(self.said) or Path(self.path).suffix.lower() in READERS

    @classmethod
    def of(cls, text: str) -> Named:
        """Take `FILE`, `FILE:harmful`, `FILE:benign`, or the name of a benchmark apart."""
        path, _, said = text.rpartition(":")
        return cls(path, said) if said in (HARMFUL, BENIGN) and path else cls(text, "")


def check_columns(wishes: Wishes) -> None:
    """Make sure that each column that was named is in a file. Raises SInternalError."""
    files = [named.path for text in (*wishes.data, *wishes.evaluation) if (named := Named.of(text)).is_file]
    if (wishes.columns or wishes.harmful_if is not None) and not files:
        raise SInternalError(f"{'--columns' if wishes.columns else '--harmful-if'} is for files; name one with --data")
    for name, column in wishes.columns.items():
        check_column(files, name, column)


def check_column(files: Sequence[str], name: str, column: str) -> None:
    """Make sure that one of some files has a column. Raises SInternalError."""
    names = list(dict.fromkeys(name for path in files for name in map(str, _first_row(path).values)))
    if column not in names:
        near = nearest(column, names)
        hint = f"did you mean {near!r}? " if near else ""
        raise SInternalError(
            f"--columns {name}={column}: there is no such column in {', '.join(files)}; {hint}there are: {_some(names)}"
        )


def read_source(text: str, wishes: Wishes, side: str) -> dict[str, Any]:
    """What a source of prompts looks like in a recipe.

    Args:
        text: `FILE`, `FILE:harmful`, `FILE:benign`, or the name of a benchmark.
        wishes: names columns, and gets a note of what was guessed, and of what is missing.
        side: `train` or `eval`.

    Raises:
        SInternalError: there is neither, or the file cannot be read.
    """
    named = Named.of(text)
    path = named.path
    option = "--data" if side == "train" else "--eval"
    if not named.is_file:
        _check_benchmark(option, path)
        return {"benchmark": path}
    if not Path(path).expanduser().is_file():
        raise SInternalError(f"{option} {path}: there is no such file{_near_file(path)}")
    row = _first_row(path)
    options: dict[str, Any] = {"path": path}
    columns = _columns(path, row, wishes, labelled=not named.said)
    if named.said:
        options["harmful"] = named.said == HARMFUL
    elif columns["harmful"] != FILL_IN:
        options |= _meaning_of(path, row, columns["harmful"], wishes)
    usual = {"text": "prompt"}
    if chosen := {name: column for name, column in columns.items() if usual.get(name) != column}:
        options["columns"] = chosen
        certain = (FILL_IN, *wishes.columns.values(), *Columns.model_fields)
        guessed = {name: column for name, column in chosen.items() if column not in certain}
        if guessed:
            wishes.taken.append(
                f"{path}: columns {', '.join(f'{column} ({name})' for name, column in guessed.items())} (--columns)"
            )
    return {"benchmark": "file", "options": options}


def _check_benchmark(option: str, name: str) -> None:
    """Make sure that what is no file of a known kind is the name of a benchmark. Raises SInternalError."""
    try:
        check_name(Kind.BENCHMARK, name)
    except RegistryError as error:
        said = name.rpartition(":")[2]
        if meant := get_close_matches(said, (HARMFUL, BENIGN), n=1) if ":" in name else []:
            raise SInternalError(f"{option} {name}: did you mean {name.removesuffix(said)}{meant[0]}?") from error
        path = Path(name).expanduser()
        if path.is_dir():
            raise SInternalError(f"{option} {name}: that is a folder; name a file in it") from error
        if path.suffix or path.is_file() or len(path.parts) > 1:
            raise SInternalError(
                f"{option} {name}: a file of prompts ends in {', '.join(READERS)}{_near_file(name)}"
            ) from error
        words = str(error).partition("; there are:")[0]
        raise SInternalError(
            f"{option} {name}: no file that ends in {', '.join(READERS)}, and {words} (see `sinternal list benchmarks`)"
        ) from error


def _near_file(path: str) -> str:
    """The nearest name of a file of prompts beside a path, as a hint."""
    folder = Path(path).expanduser().parent
    files = [each.name for each in folder.iterdir() if each.suffix in READERS] if folder.is_dir() else []
    near = nearest(Path(path).name, files)
    return f"; did you mean {Path(path).with_name(near)}?" if near else ""


def _meaning_of(path: str, row: Row, label: str, wishes: Wishes) -> dict[str, str]:
    """Which value of a column means harmful, where it is no flag, as options."""
    flag = _is_flag(str(row.values[label]).lower())
    if wishes.harmful_if is not None and not (flag and not _has_label(path, label, wishes.harmful_if)):
        check_label(path, label, wishes.harmful_if)
        others = [value for value in labels_of(path, label) if value != wishes.harmful_if]
        return {"harmful_if": wishes.harmful_if, **({"harmless_if": others[0]} if len(others) == 1 else {})}
    if label.lower() in ("safe", "is_safe"):
        return {"harmful_if": "false"}
    if flag:
        return {}
    return {"harmful_if": _word_for_yes(path, label, wishes)}


def _first_row(path: str) -> Row:
    row = next(iter(read_rows(Path(path).expanduser())), None)
    if row is None:
        raise SInternalError(f"{path}: the file is empty")
    return row


def describe_columns(path: str) -> str:
    """The columns of a file, each with what its first row has there. Raises SInternalError if it cannot be read."""
    values = _first_row(path).values.items()
    shown = (
        f"{name}: {abbreviate(' '.join(value.split())) if isinstance(value, str) else kind_of(value)}"
        for name, value in islice(values, SHOWN)
    )
    return "; ".join(shown)


def _columns(path: str, row: Row, wishes: Wishes, *, labelled: bool) -> dict[str, str]:
    """Which column of a file holds what: as the user says, or by their names."""
    by_name = {str(name).lower(): str(name) for name in row.values}
    given = {name: column for name, column in wishes.columns.items() if column in row.values}
    text = given.get("text") or next((by_name[name] for name in TEXTS if name in by_name), None)
    if text is None:
        wishes.missing.append(
            f"{path}: options.columns.text, the column that holds requests; there are: {_some(row.values)} (or "
            "--columns prompt=COLUMN)"
        )
    columns = {"text": text or FILL_IN}
    if labelled:
        label = given.get("harmful") or next((by_name[name] for name in LABELS if name in by_name), None)
        if label is None:
            wishes.missing.append(
                f"{path}: options.columns.harmful, the column that says what is harmful; there are: "
                f"{_some(row.values)} (or --columns harmful=COLUMN; if all of it is harmful, --data {path}:{HARMFUL}; "
                f"if none is, {path}:{BENIGN})"
            )
        columns["harmful"] = label or FILL_IN
    taken = set(columns.values())
    for name, likely in OTHERS.items():
        column = next((by_name[each] for each in likely if each in by_name), None)
        if column is not None and column not in taken and name not in given:
            columns[name] = column
    if "part" in columns and str(row.values[columns["part"]]).strip() not in ("train", "dev", "eval"):
        del columns["part"]
    return columns | {name: column for name, column in given.items() if labelled or name != "harmful"}


def _is_flag(value: str) -> bool:
    return value.strip() in HARMFUL_WORDS | HARMLESS_WORDS


def labels_of(path: str, column: str) -> list[str]:
    """The different values of a column among the first rows."""
    rows: Iterator[Row] = islice(read_rows(Path(path).expanduser()), LOOKED_AT)
    return list(dict.fromkeys(str(row.values.get(column)) for row in rows))


def check_label(path: str, column: str, value: str) -> None:
    """Make sure that a column has a value. Raises SInternalError."""
    if not _has_label(path, column, value):
        seen = labels_of(path, column)
        near = nearest(value, seen)
        hint = f"did you mean {near!r}? " if near else ""
        raise SInternalError(f"--harmful-if {value}: {path} never has it in {column}; {hint}there are: {_some(seen)}")


def _has_label(path: str, column: str, value: str) -> bool:
    rows = read_rows(Path(path).expanduser())
    return any(str(row.values.get(column)).lower() == value.lower() for row in rows)


def _word_for_yes(path: str, column: str, wishes: Wishes) -> str:
    """The word of a column that means harmful; it is to be filled in if none is known for that."""
    seen = labels_of(path, column)
    if word := next((value for value in seen if value.lower() in MEANING_YES), None):
        return word
    wishes.missing.append(
        f"{path}: options.harmful_if, the value of column {column!r} that means harmful; there are: {_some(seen)} (or "
        "--harmful-if VALUE)"
    )
    return FILL_IN


def _some(names: Sequence[str] | Mapping[str, Any]) -> str:
    shown = ", ".join(abbreviate(str(name)) for name in islice(names, SHOWN))
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
