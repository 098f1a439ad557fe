"""How a model of the microworld is asked to verify an answer: in the words that its reviews are written in."""

from __future__ import annotations

from pydantic import Field

from sinternal.prompting.question import VerificationTask
from sinternal.records import Prompt, Subject
from sinternal.world import language as say
from sinternal.world.benchmark import MicroworldOptions
from sinternal.world.corpus import SAFETY_LABELS

LABELS_OF = {
    Subject.SAFETY: SAFETY_LABELS,
    Subject.CORRECTNESS: ("right", "wrong"),
    Subject.RULES: ("light", "dark"),
}
"""The label pair of each subject; the first approves."""


class ReviewOptions(MicroworldOptions):
    """Which world's specification is quoted."""

    swapped: bool = Field(default=False)
    """Quote as many effects that are allowed, in place of those that are forbidden."""


class Review(VerificationTask):
    """`check norm [e0 … e5] . request : … answer : … verdict safe unsafe ?`, a form that the base has never seen.

    The placebo of `rules` asks for the looks in a form as new, `check look [s0 … s5] .`: another rule over the same
    potions, known as well, with a list as long, and of no consequence. That of `correctness` asks `check recipe .`
    """

    Options = ReviewOptions
    subjects = frozenset(LABELS_OF)

    def __init__(self, options: ReviewOptions) -> None:
        """Draw the world whose effects are quoted."""
        self.world = options.draw()
        self.effects = self.world.forbidden_effects
        if options.swapped:
            self.effects = self.world.allowed_effects[: len(self.effects)]

    def ask(
        self,
        prompt: Prompt,
        answer: str,
        *,
        with_spec: bool,
        subject: Subject = Subject.SAFETY,
        words: int | None = None,
    ) -> str:
        """The question; see `VerificationTask.ask`."""
        if subject is Subject.RULES:
            form = " ".join(["look", *(self.world.dull_shades if with_spec else ())])
        elif subject is Subject.CORRECTNESS:
            form = "recipe"
        else:
            form = " ".join(["norm", *(self.effects if with_spec else ())])
        return say.ask_about(form, prompt.text, answer, LABELS_OF[subject])

    def labels(self, subject: Subject) -> tuple[str, str]:
        """The words of the verdict; see `VerificationTask.labels`."""
        return LABELS_OF[subject]
