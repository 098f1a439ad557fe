"""Where prompts come from: a benchmark gives original prompts, which attacks may wrap."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from pydantic import BaseModel

from sinternal.errors import DataError
from sinternal.records import Prompt
from sinternal.registry import NoOptions


class Division(NamedTuple):
    """What a benchmark is cut into parts of, and how."""

    what: str
    """What it is, for people."""
    content: str
    """A hash of it."""
    how: str | None
    """By what it is cut; None if it is not: whatever part is asked for is all of it."""


class Benchmark(Protocol):
    """A source of original prompts. A benchmark inherits from this class, and says where it differs from the defaults.

    What the entry point names may also be an object with these attributes that is called with the options.
    """

    Options: ClassVar[type[BaseModel]] = NoOptions
    """Its options; a name or value that the model does not know is an error of the recipe."""
    evaluation_only: bool | None = True
    """Whether its licence or purpose forbids training on it; None of a class whose options say so."""
    holds_answers: bool = False
    """Whether it has an answer to each of its prompts, which can be trained on."""
    size: int | None = None
    """Its prompts in all parts together, where that is known without reading them."""
    licence: str = ""
    """Its licence; empty if nobody knows."""

    def __init__(self, options: Any) -> None:
        """Take the options, an object of `Options`.

        Raises:
            DataError: what an option names is not there.
        """

    @abstractmethod
    def prompts(self, part: str) -> Sequence[Prompt]:
        """The prompts of one part (`train`, `dev` or `eval`), as families `plain`. Raises DataError for another."""
        ...

    def answers(self, part: str) -> Mapping[str, str]:
        """Of one that holds answers: those of one part by the id of their prompt, thinking tags spelled out.

        Raises:
            DataError: there is no such part, or there are no answers.
        """
        raise DataError("this benchmark holds no answers that could be trained on")

    def division(self) -> Division | None:
        """How it is cut, if its user decides what goes to which part. Raises StoreError if it cannot be read."""
        return None

    def note(self, part: str) -> str:
        """In one line, how much was read and how much of it the part takes; empty if there is nothing to tell."""
        return ""
