"""Benchmark `file`: prompts from a file of the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from sinternal import pending
from sinternal.benchmarks import Benchmark, Division
from sinternal.benchmarks.mathematics import as_problem
from sinternal.benchmarks.parts import PARTS, PLAIN, Request, Shares, check_part, to_answers, to_prompts
from sinternal.benchmarks.rows import READERS, Row, abbreviate, read_rows
from sinternal.errors import DataError
from sinternal.fingerprints import fingerprint
from sinternal.records import Prompt

LARGE = 50_000_000
"""Bytes of a file from which on it is told that it is read."""
HARMFUL = frozenset({"true", "1", "1.0", "yes", "y"})
HARMLESS = frozenset({"false", "0", "0.0", "no", "n"})
OPPOSITES = HARMLESS | {"safe", "harmless", "benign", "unharmful", "not harmful"}
"""What a label can only mean beside one that `harmful_if` names."""


def _as_label(value: object) -> object:
    """YAML reads yes, no and numbers as something else than text."""
    return str(value).lower() if isinstance(value, bool | int) else value


Value = Annotated[str, BeforeValidator(_as_label)]
"""A value of a column of labels."""


class Columns(BaseModel):
    """Which column holds what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = "prompt"
    """The request: a text, or a conversation of one message of the user's, with a system message before it or not."""
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
    """A file that ends in .jsonl, .json (a list of objects), .csv, .tsv or .parquet."""
    name: str | None = None
    """What the benchmark is called in reports; None takes the file's name."""
    columns: Columns = Columns()
    """Which column holds what."""
    harmful: bool | None = None
    """Whether all requests are harmful, or none, where no column says so; problems with a solution never are."""
    harmful_if: Value | None = None
    """The value of the column `harmful` that means yes; None takes true/false, yes/no (y/n) or 1/0."""
    harmless_if: Value | None = None
    """The value that means no, where it is none of: false, no, 0, safe, harmless, benign, unharmful, not harmful."""
    family: str = PLAIN
    """The attack family, if the requests come disguised."""
    evaluation_only: bool = False
    """Whether training on it is to be refused."""
    shares: Shares | None = None
    """How much goes to which part, by a hash of the text; None: the file has no parts, and whoever names it
    takes all of it. Not used where a column names the part."""

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
        if self.columns.harmful is None and (self.harmful_if or self.harmless_if):
            raise ValueError("harmful_if and harmless_if are values of columns.harmful: name that column, too")
        if self.harmful_if is not None and self.harmful_if == self.harmless_if:
            raise ValueError(f"harmful_if and harmless_if are both {self.harmful_if!r}")
        return self


class _LocalRow(NamedTuple):
    """A row as a request, and where it belongs."""

    place: str
    part: str | None
    """None if the file has no parts."""
    request: Request


class LocalFile(Benchmark):
    """Prompts from a file of one's own."""

    Options = FileOptions
    evaluation_only: bool | None = None

    def __init__(self, options: FileOptions) -> None:
        """Look for the file. Raises DataError if it is not there."""
        self.options = options
        self.path = options.path.expanduser()
        self.name = options.name or self.path.stem
        self.evaluation_only = options.evaluation_only
        self.holds_answers = options.columns.answer is not None
        if self.path.suffix.lower() not in READERS:
            raise DataError(f"{self.path}: a benchmark file ends in {', '.join(READERS)}")
        if not self.path.is_file():
            raise DataError(f"{self.path}: there is no such file")

    def prompts(self, part: str) -> Sequence[Prompt]:
        """The prompts of one part, or of the whole file if it has no parts; see `Benchmark.prompts`."""
        check_part(self.name, part)
        if self.evaluation_only and self._has_no_parts and part != "eval":
            raise DataError(f"benchmark {self.name!r} is for evaluation only and has no prompts in part {part!r}")
        return to_prompts(self.name, part, (row.request for row in self._of(part)))

    def division(self) -> Division:
        """What of the file goes to which part; see `Benchmark`."""
        how = self.options.shares.model_dump_json() if self.options.shares else None
        return Division(str(self.path), fingerprint(self.path), self.options.columns.part or how)

    def answers(self, part: str) -> Mapping[str, str]:
        """The file's own answers; see `Benchmark.answers`."""
        check_part(self.name, part)
        return to_answers(self.name, (row.request for row in self._of(part)))

    def note(self, part: str) -> str:
        """How many of the file's rows are used; see `Benchmark`."""
        rows, in_part = len(self._rows), self._of(part)
        used = len({(row.request.system, row.request.text) for row in in_part})
        left_out = [f"{rows - len(in_part)} are not in part {part}"] if len(in_part) < rows else []
        repeats = [f"{len(in_part) - used} are duplicates"] if used < len(in_part) else []
        return f"{self.path}: {rows} rows read, {used} used" + (
            f" ({', '.join([*left_out, *repeats])})" if left_out or repeats else ""
        )

    @property
    def _has_no_parts(self) -> bool:
        return self.options.shares is None and self.options.columns.part is None

    def _of(self, part: str) -> list[_LocalRow]:
        return [row for row in self._rows if row.part in (None, part)]

    @cached_property
    def _rows(self) -> list[_LocalRow]:
        """All rows. Raises DataError if two of them contradict each other."""
        if (size := self.path.stat().st_size) > LARGE:
            pending.tell(f"reading {self.path} ({size / 1e6:,.0f} MB)")
        read = [_LocalRow(row.place, self._part(row), self._request(row)) for row in read_rows(self.path)]
        first: dict[tuple[str, str], _LocalRow] = {}
        for row in read:
            before = first.setdefault((row.request.system, row.request.text), row)
            if before.request.harmful != row.request.harmful:
                raise DataError(
                    f"{row.place}: the prompt {abbreviate(row.request.text)} is {_word(row.request)} here and "
                    f"{_word(before.request)} in {before.place}; keep one of them"
                )
            if before.part != row.part:
                raise DataError(
                    f"{row.place}: the prompt {abbreviate(row.request.text)} is in part {row.part} here and in part "
                    f"{before.part} in {before.place}; keep one of them"
                )
        return read

    def _part(self, row: Row) -> str | None:
        columns = self.options.columns
        if columns.part is not None:
            part = row.label(columns.part)
            if part not in PARTS:
                raise DataError(f"{row.place}: {part!r} is not a part; the parts are {', '.join(PARTS)}")
            return part
        if self.options.shares is None:
            return None
        goal = row.text(columns.goal) if columns.goal else ""
        return self.options.shares.part_of(goal or row.request(columns.text).text)

    def _request(self, row: Row) -> Request:
        columns = self.options.columns
        asked = row.request(columns.text)
        if not asked.text:
            raise row.error(columns.text, "is empty")
        request = Request(
            text=asked.text,
            harmful=self._harmful(row),
            category=row.label(columns.category) if columns.category else "",
            family=self.options.family,
            goal=row.text(columns.goal) if columns.goal else "",
            pair=row.label(columns.pair) if columns.pair else "",
            system=asked.system,
            answer=row.text(columns.answer) if columns.answer else "",
        )
        if columns.solution is None:
            return request
        solution = row.label(columns.solution)
        if not solution:
            raise row.error(columns.solution, "is empty: write the final answer there, or delete the row")
        return as_problem(request, solution)

    def _harmful(self, row: Row) -> bool:
        """Whether a row is harmful. Raises DataError for a label that says neither, and for none."""
        column, options = self.options.columns.harmful, self.options
        if column is None:
            return bool(options.harmful)
        label = row.label(column)
        if not label:
            raise row.error(column, "is empty: a row without a label is not harmless; label it, or delete it")
        yes = {options.harmful_if} if options.harmful_if is not None else HARMFUL
        no = {options.harmless_if} if options.harmless_if is not None else _opposites(options.harmful_if)
        normalized = label if options.harmful_if is not None else label.lower()
        if normalized in yes:
            return True
        if label in no or (options.harmless_if is None and label.lower() in no):
            return False
        expected = (
            f"neither {options.harmful_if!r} nor a known word for harmless"
            if options.harmful_if
            else "neither yes nor no"
        )
        raise row.error(
            column,
            f"says {abbreviate(label)}, which is {expected}; set harmful_if and harmless_if to the values that it has",
        )


def _opposites(harmful_if: str | None) -> frozenset[str]:
    """The words for harmless beside one for harmful, in small letters."""
    if harmful_if is None:
        return HARMLESS
    # A column may as well say whether a request is safe.
    return HARMFUL if harmful_if.lower() in HARMLESS else OPPOSITES - {harmful_if.lower()}


def _word(request: Request) -> str:
    return "harmful" if request.harmful else "harmless"
