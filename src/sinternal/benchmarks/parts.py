"""How a set without official parts is cut into `train`, `dev` and `eval`, and how its requests become prompts."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sinternal.errors import DataError
from sinternal.linked import first_linked
from sinternal.records import Prompt, Split, make_id

PARTS = ("train", "dev", "eval")
PLAIN = "plain"
_HASH_SPAN = 2**64


class Shares(BaseModel):
    """Which share of the prompts goes to which part; together 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: float = Field(default=0.0, ge=0, le=1)
    """For tuning."""
    dev: float = Field(default=0.0, ge=0, le=1)
    """For choosing settings."""
    eval: float = Field(default=0.0, ge=0, le=1)
    """For the figures that are reported."""

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        total = self.train + self.dev + self.eval
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"train, dev and eval are {total:g} together; they must be 1")
        return self

    def part_of(self, text: str) -> str:
        """The part of a request.

        It depends on the words alone, not on the order or number of the others, so that the parts stay disjoint when
        a later version of the set gains or loses prompts, and on neither case nor spacing, so that trivial variants
        of one request never face each other.
        """
        position = int.from_bytes(hashlib.sha256(words_alone(text).encode()).digest()[:8], "big") / _HASH_SPAN
        if position < self.train:
            return "train"
        return "dev" if position < self.train + self.dev else "eval"


def words_alone(text: str) -> str:
    """A request by which trivial variants of it are one: without case and spacing."""
    return " ".join(text.casefold().split())


def unite(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The same prompts, with one parent for all that ask for the same, from whatever benchmark they come.

    Two sets that hold one request know nothing of each other; that it was asked twice says no more of other requests
    than if it had been asked once. It is known by its words, and by what a set takes for rewordings of it.
    """
    links = ((row.parent_id, make_id("request", words_alone(row.plain_request))) for row in prompts)
    parent = first_linked(links)
    return [
        row if row.parent_id == parent[row.parent_id] else replace(row, parent_id=parent[row.parent_id])
        for row in prompts
    ]


class Request(NamedTuple):
    """One request of a set, before it becomes a prompt."""

    text: str
    """The user's message."""
    harmful: bool
    """Whether helping would be harmful."""
    category: str = ""
    """The set's own name for the kind of harm."""
    family: str = PLAIN
    """The attack family, if the set's prompts come disguised."""
    goal: str = ""
    """The plain request beneath the disguise."""
    pair: str = ""
    """What it shares with its benign or harmful twin in the same set."""
    facts: Mapping[str, object] = {}
    """What only the benchmark's own judge reads."""
    system: str = ""
    """The system message before it; empty for none."""
    answer: str = ""
    """The set's own answer, thinking tags spelled out; empty if it gives none."""


def check_part(benchmark: str, part: str, known: Iterable[str] = PARTS) -> None:
    """Make sure that a benchmark has a part.

    Raises:
        DataError: it has not.
    """
    if part not in (known := list(known)):
        raise DataError(f"benchmark {benchmark!r} has no part {part!r}; it has {', '.join(known)}")


def to_prompts(benchmark: str, part: str, requests: Iterable[Request]) -> list[Prompt]:
    """Original prompts, each request once.

    Raises:
        DataError: there are none.
    """
    prompts = list(_distinct(_to_prompt(benchmark, part, request) for request in requests))
    if not prompts:
        raise DataError(f"benchmark {benchmark!r} has no prompts in part {part!r}")
    return prompts


def to_answers(benchmark: str, requests: Iterable[Request]) -> dict[str, str]:
    """The sets' own answers, the first to each request, by the id of its prompt."""
    found: dict[str, str] = {}
    for request in requests:
        found.setdefault(_identity(benchmark, request), request.answer)
    return found


def _identity(benchmark: str, request: Request) -> str:
    return make_id(benchmark, request.text, *filter(None, [request.system]))


def _to_prompt(benchmark: str, part: str, request: Request) -> Prompt:
    identity = _identity(benchmark, request)
    return Prompt(
        id=identity,
        parent_id=make_id(benchmark, request.goal or request.text),
        text=request.text,
        harmful=request.harmful,
        benchmark=benchmark,
        family=request.family,
        split=Split.TRAIN if part == "train" else Split.ID,
        meta=json.dumps(dict(request.facts), sort_keys=True),
        goal=request.goal,
        category=request.category,
        system=request.system,
        pair_id=make_id("pair", benchmark, request.pair) if request.pair else "",
    )


def _distinct(prompts: Iterable[Prompt]) -> Iterator[Prompt]:
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.id not in seen:
            seen.add(prompt.id)
            yield prompt
