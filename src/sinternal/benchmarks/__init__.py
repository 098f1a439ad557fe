"""Where prompts come from: a benchmark gives original prompts, which attacks may wrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from sinternal.records import Prompt


class Division(NamedTuple):
    """What a benchmark is cut into parts of, and how."""

    what: str
    """What it is, for people."""
    content: str
    """A hash of it."""
    how: str | None
    """By what it is cut; None if it is not: whatever part is asked for is all of it."""


class Benchmark(Protocol):
    """A source of original prompts."""

    evaluation_only: bool
    """Whether its licence or purpose forbids training on it."""

    def __init__(self, options: dict[str, object]) -> None:
        """Open the benchmark. Raises DataError if it cannot be read."""
        ...

    def prompts(self, part: str) -> Sequence[Prompt]:
        """The prompts of one part (`train`, `dev` or `eval`), as families `plain`. Raises DataError for another."""
        ...


@runtime_checkable
class Divided(Benchmark, Protocol):
    """A benchmark whose user decides what goes to which part."""

    def division(self) -> Division:
        """How it is cut. Raises StoreError if it cannot be read."""
        ...

    def note(self, part: str) -> str:
        """In one line, how much was read and how much of it the part takes."""
        ...


@runtime_checkable
class Answered(Protocol):
    """A benchmark that may hold an answer to each of its prompts, which can be trained on."""

    evaluation_only: bool
    """Whether its licence or purpose forbids training on it."""
    holds_answers: bool
    """Whether it does."""

    def answers(self, part: str) -> Mapping[str, str]:
        """The answers of one part by the id of their prompt, thinking tags spelled out.

        Raises:
            DataError: there is no such part, or there are no answers.
        """
        ...
