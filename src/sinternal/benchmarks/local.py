"""Benchmark `file`: prompts from a file of the user's own."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, model_validator

from sinternal.benchmarks.mathematics import as_problem
from sinternal.benchmarks.parts import PARTS, PLAIN, Request, Shares, check_part, to_answers, to_prompts
from sinternal.errors import DataError
from sinternal.records import Prompt
from sinternal.registry import read_options

SUFFIXES = (".jsonl", ".csv", ".parquet")
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Columns(BaseModel):
    """Which column holds what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = "prompt"
    """The request."""
    harmful: str | None = None
    """Whether helping would be harmful."""
    category: str | None = None
    """The kind of harm."""
    goal: str | None = None
    """The plain request beneath a disguise."""
    pair: str | None = None
    """What a harmful request and its benign twin share; empty in a row that has no twin."""
    part: str | None = None
    """The part: `train`, `dev` or `eval`."""
    solution: str | None = None
    """The right final answer, as LaTeX or a number: the requests are mathematics problems, which are harmless."""
    answer: str | None = None
    """A whole answer that an arm can be trained on, thinking tags spelled out: `<think>…</think>` and what follows."""


class FileOptions(BaseModel):
    """Which file, and how it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    """A file that ends in .jsonl, .csv or .parquet."""
    name: str | None = None
    """What the benchmark is called in reports; None takes the file's name."""
    columns: Columns = Columns()
    """Which column holds what."""
    harmful: bool | None = None
    """Whether all requests are harmful, or none, where no column says so; problems with a solution never are."""
    harmful_if: str | None = None
    """The value of the column `harmful` that means yes; None takes true/false, yes/no or 1/0."""
    family: str = PLAIN
    """The attack family, if the requests come disguised."""
    evaluation_only: bool = False
    """Whether training on it is to be refused."""
    shares: Shares | None = None
    """How much goes to which part, by a hash of the text; None: 80 % train and 20 % eval, or all eval if it is for
    evaluation only. Not used where a column names the part."""

    @model_validator(mode="after")
    def _one_source_of_labels(self) -> Self:
        if self.columns.solution is not None:
            if self.harmful or self.columns.harmful is not None or self.family != PLAIN:
                raise ValueError(
                    "columns.solution marks mathematics problems, which are harmless and plain: leave out harmful, "
                    "columns.harmful and family"
                )
        elif (self.harmful is None) == (self.columns.harmful is None):
            raise ValueError("give either harmful: true or false, or columns.harmful")
        return self


class Line(NamedTuple):
    """A row of a file, and where it stands."""

    place: str
    """For messages: file and line (or row, from 1)."""
    values: Mapping[str, Any]
    """Values by column."""

    def get(self, column: str) -> Any:
        """The value of a column. Raises DataError if there is no such column."""
        if column not in self.values:
            raise DataError(f"{self.place}: there is no column {column!r}; there are: {', '.join(self.values)}")
        return self.values[column]

    def text(self, column: str | None) -> str:
        """The value of a column as text; empty if the column is None or the value missing."""
        value = None if column is None else self.get(column)
        return "" if value is None else str(value).strip()


class LocalFile:
    """Prompts from a JSONL, CSV or Parquet file."""

    def __init__(self, options: dict[str, object]) -> None:
        """Take the options of `FileOptions`. Raises DataError if there is no such file."""
        self.options = read_options(FileOptions, options, "benchmark file")
        self.path = self.options.path.expanduser()
        self.name = self.options.name or self.path.stem
        self.evaluation_only = self.options.evaluation_only
        if self.path.suffix not in SUFFIXES:
            raise DataError(f"{self.path}: a benchmark file ends in {', '.join(SUFFIXES)}")
        if not self.path.is_file():
            raise DataError(f"{self.path}: there is no such file")

    def prompts(self, part: str) -> Sequence[Prompt]:
        """The prompts of one part; see `Benchmark.prompts`."""
        check_part(self.name, part)
        requests = (self._request(line) for line in read_lines(self.path) if self._part(line) == part)
        return to_prompts(self.name, part, requests)

    @property
    def holds_answers(self) -> bool:
        """Whether a column holds answers that can be trained on."""
        return self.options.columns.answer is not None

    def answers(self, part: str) -> Mapping[str, str]:
        """The file's own answers; see `Answered.answers`."""
        check_part(self.name, part)
        return to_answers(self.name, (self._request(row) for row in read_lines(self.path) if self._part(row) == part))

    def _part(self, line: Line) -> str:
        if column := self.options.columns.part:
            part = line.text(column)
            if part not in PARTS:
                raise DataError(f"{line.place}: {part!r} is not a part; the parts are {', '.join(PARTS)}")
            return part
        default = Shares(eval=1.0) if self.evaluation_only else Shares(train=0.8, eval=0.2)
        request = line.text(self.options.columns.goal) or line.text(self.options.columns.text)
        return (self.options.shares or default).part_of(request)

    def _request(self, line: Line) -> Request:
        columns = self.options.columns
        text = line.text(columns.text)
        if not text:
            raise DataError(f"{line.place}: column {columns.text!r} is empty")
        request = Request(
            text=text,
            harmful=self._harmful(line),
            category=line.text(columns.category),
            family=self.options.family,
            goal=line.text(columns.goal),
            pair=line.text(columns.pair),
            answer=line.text(columns.answer),
        )
        if columns.solution is None:
            return request
        solution = line.text(columns.solution)
        if not solution:
            raise DataError(
                f"{line.place}: column {columns.solution!r} is empty: write the final answer there, or delete the row"
            )
        return as_problem(request, solution)

    def _harmful(self, line: Line) -> bool:
        if self.options.columns.harmful is None:
            return bool(self.options.harmful)
        said = line.text(self.options.columns.harmful)
        if self.options.harmful_if is not None:
            return said == self.options.harmful_if
        if said.lower() not in _FLAGS:
            raise DataError(
                f"{line.place}: column {self.options.columns.harmful!r} says {said!r}, which is neither yes nor no; "
                "set harmful_if to the value that means harmful"
            )
        return _FLAGS[said.lower()]


def read_lines(path: Path) -> Iterator[Line]:
    """The rows of a file, by its suffix.

    Raises:
        DataError: a line cannot be read.
    """
    match path.suffix:
        case ".jsonl":
            yield from _json_lines(path)
        case ".csv":
            yield from _csv_lines(path)
        case _:
            yield from _parquet_lines(path)


def _json_lines(path: Path) -> Iterator[Line]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            try:
                values = json.loads(line)
            except ValueError as error:
                raise DataError(f"{place}: not valid JSON: {error}") from error
            if not isinstance(values, dict):
                raise DataError(f"{place}: a JSON object is expected, with one key a column")
            yield Line(place, values)


def _csv_lines(path: Path) -> Iterator[Line]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restkey="")
        try:
            for values in reader:
                place = f"{path}, line {reader.line_num}"
                if "" in values or None in values.values():
                    raise DataError(f"{place}: it has another number of columns than the first line")
                yield Line(place, values)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}, line {reader.line_num + 1}: not valid CSV in UTF-8: {error}") from error


def _parquet_lines(path: Path) -> Iterator[Line]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a valid Parquet file: {error}") from error
    for number, values in enumerate(table.to_pylist(), start=1):
        yield Line(f"{path}, row {number}", values)
