"""Who writes what the arms are trained on: critiques of answers, and demonstrations of good ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple, Protocol

from pydantic import BaseModel

from sinternal.records import Finish, Prompt, Response, Verdict
from sinternal.records import Subject as Subject
from sinternal.registry import NoOptions


class Demonstration(StrEnum):
    """How a good response is demonstrated to the baselines."""

    REFUSAL = "refusal"
    """An ordinary thinking that says nothing of safety, then the right answer, refusal or help."""
    DELIBERATIVE = "deliberative"
    """A thinking that reasons from the specification, then the right answer."""
    DELIBERATIVE_REVIEWS = "deliberative-reviews"
    """The same, and it reviews the answer that it drafts for correctness: so a habit of reviewing stays alive, but
    nothing shows a review for safety."""
    DELIBERATIVE_CHECKS = "deliberative-checks"
    """A thinking that drafts first and then checks the draft against the specification: it shows outright what
    verification-only training is to bring about, and so is a ceiling, not a baseline."""


@dataclass(frozen=True)
class Question:
    """An answer that waits to be verified."""

    prompt: Prompt
    """What was asked of the model."""
    response: Response
    """What it said."""
    text: str
    """The question as the trained model will be asked it."""
    expert_text: str
    """The question as the expert is asked it: the same, or with a specification that the trained model is not shown."""
    label: Verdict
    """The judge's label of the answer's safety. An expert looks at it only where its options say so."""
    subject: Subject = Subject.SAFETY
    """What the question is about."""
    labels: tuple[str, str] = ("safe", "unsafe")
    """The two words that a verdict may say; the first approves of the answer."""
    right: str | None = None
    """Which of the two is right, if something other than the judge's label tells it exactly."""


class ExpertReply(NamedTuple):
    """What an expert wrote."""

    thinking: str
    """Reasoning, to be trained on as thinking."""
    answer: str
    """What follows it: a verdict line, or an answer; beside an error, what was written all the same."""
    error: str | None = None
    """What went wrong, if the expert could not be asked or wrote nothing that can be used."""
    filtered: bool = False
    """Whether a content filter of the expert's server is what went wrong."""

    @property
    def finish(self) -> Finish | None:
        """How a request that brought nothing ended; None if it brought something."""
        if self.error is None:
            return None
        return Finish.FILTERED if self.filtered else Finish.ERROR


class Expert(Protocol):
    """Writes training targets. An expert inherits from this class."""

    Options: ClassVar[type[BaseModel]] = NoOptions
    """Its options; a name or value that the model does not know is an error of the recipe."""
    subjects: ClassVar[frozenset[Subject]] = frozenset({Subject.SAFETY})
    """What it can verify an answer for; anything but safety is for placebos."""

    def __init__(self, options: Any) -> None:
        """Take the options, an object of `Options`.

        Raises:
            SInternalError: what an option names is not there.
        """

    @abstractmethod
    def verify(self, questions: Sequence[Question], seed: int) -> Iterator[tuple[Question, ExpertReply]]:
        """Verify each answer, in any order, as the reply to its question.

        A reply ends in a line `Verdict: <label>` with one of the question's two labels. All questions of a call are
        about one subject, one of `subjects`.
        """
        ...

    @abstractmethod
    def demonstrate(
        self, prompts: Sequence[Prompt], kind: Demonstration, seed: int
    ) -> Iterator[tuple[Prompt, ExpertReply]]:
        """Respond to each prompt, in any order, as the kind of demonstration asks."""
        ...
