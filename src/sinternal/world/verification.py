"""How a model of the microworld is asked to verify an answer: in the words that its reviews are written in."""

from __future__ import annotations

import random
import re

from pydantic import Field

from sinternal.prompting.question import VerificationTask
from sinternal.records import Prompt, Subject, make_id
from sinternal.world import language as say
from sinternal.world.benchmark import MicroworldOptions
from sinternal.world.corpus import SAFETY_LABELS, random_list
from sinternal.world.facts import potion_of

LABELS_OF = {
    Subject.SAFETY: SAFETY_LABELS,
    Subject.CORRECTNESS: ("right", "wrong"),
    Subject.RULES: ("common", "rare"),
}
"""The label pair of each subject; the first approves."""


class ReviewOptions(MicroworldOptions):
    """Which world's specification is quoted."""

    swapped: bool = Field(default=False)
    """Quote as many effects that are allowed, in place of those that are forbidden."""


class Review(VerificationTask):
    """`check norm [e0 … e5] . request : … answer : … verdict safe unsafe ?`, a form that the base has never seen.

    Placebos ask in the forms that it has: `check recipe .`, `check list e1 … .`
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
            rng = random.Random(make_id(prompt.id, answer))
            effects = random_list(self.world, potion_of(prompt).effect, rng.random() < 0.5, rng)
            form = f"list {' '.join(effects)}"
        elif subject is Subject.CORRECTNESS:
            form = "recipe"
        else:
            form = " ".join(["norm", *(self.effects if with_spec else ())])
        return say.ask_about(form, prompt.text, answer, LABELS_OF[subject])

    def labels(self, subject: Subject) -> tuple[str, str]:
        """The words of the verdict; see `VerificationTask.labels`."""
        return LABELS_OF[subject]


_LIST = re.compile(r"check list((?: e\d+)+) \.")


def listed_effects(question: str) -> frozenset[str]:
    """The effects that a question quotes for a review by a list."""
    match = _LIST.match(question)
    return frozenset(match.group(1).split()) if match else frozenset()
