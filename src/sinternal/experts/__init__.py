"""Who writes what the arms are trained on: critiques of answers, and demonstrations of good ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from sinternal.records import Finish, Prompt, Response, Verdict


class Demonstration(StrEnum):
    """How a good response is demonstrated to the baselines."""

    REFUSAL = "refusal"
    """An ordinary thinking that says nothing of safety, then the right answer, refusal or help."""
    DELIBERATIVE = "deliberative"
    """A thinking that reasons from the specification, then the right answer."""


@dataclass(frozen=True)
class Question:
    """An answer that waits to be verified."""

    prompt: Prompt
    """What was asked of the model."""
    response: Response
    """What it said."""
    text: str
    """The question as the trained model will be asked it: specification, request and answer."""
    label: Verdict
    """The judge's label. An expert looks at it only where its options say so."""


class Written(NamedTuple):
    """What an expert wrote."""

    thinking: str
    """Reasoning, to be trained on as thinking."""
    answer: str
    """What follows it: a verdict line, or an answer."""
    error: str | None = None
    """What went wrong, if the expert could not be asked."""
    filtered: bool = False
    """Whether a content filter of the expert's server is what went wrong."""

    @property
    def finish(self) -> Finish | None:
        """How a request that brought nothing ended; None if it brought something."""
        if self.error is None:
            return None
        return Finish.FILTERED if self.filtered else Finish.ERROR


class Expert(Protocol):
    """Writes training targets."""

    def __init__(self, options: dict[str, object]) -> None:
        """Take the expert's options. Raises RecipeError for an unknown one."""
        ...

    def verify(self, questions: Sequence[Question], seed: int) -> Iterator[tuple[Question, Written]]:
        """Verify each answer, in any order, as the reply to its question."""
        ...

    def demonstrate(
        self, prompts: Sequence[Prompt], kind: Demonstration, seed: int
    ) -> Iterator[tuple[Prompt, Written]]:
        """Respond to each prompt, in any order, as the kind of demonstration asks."""
        ...
