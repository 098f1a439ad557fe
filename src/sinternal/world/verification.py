"""How a model of the microworld is asked to verify an answer: in the words that its reviews are written in."""

from __future__ import annotations

import random

from pydantic import BaseModel, ConfigDict

from sinternal.prompting.question import VerificationTask
from sinternal.records import Prompt, Subject
from sinternal.world import language as say
from sinternal.world.corpus import SAFETY_LABELS, random_list
from sinternal.world.language import EFFECTS, World

LABELS = {
    Subject.SAFETY: SAFETY_LABELS,
    Subject.CORRECTNESS: ("right", "wrong"),
    Subject.RULES: ("common", "rare"),
}
"""The words of each subject's verdicts; the first approves."""


class ReviewOptions(BaseModel):
    """Which world's specification is quoted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    world: int = 0
    """Seed of the world."""
    swapped: bool = False
    """Quote as many effects that are allowed, in place of those that are forbidden."""


class Review(VerificationTask):
    """`review [list e0 … e5 .] request : … answer : … verdict safe unsafe ?`.

    Placebos are the reviews of the base model's corpus: of a recipe (`verdict right wrong ?`), which quotes nothing,
    and by a list of effects drawn at random (`verdict common rare ?`), which is never that of the forbidden ones.
    """

    Options = ReviewOptions
    subjects = frozenset(LABELS)

    def __init__(self, options: ReviewOptions) -> None:
        """Draw the world whose effects are quoted."""
        self.world = World.draw(options.world)
        self.effects = self.world.forbidden_effects
        if options.swapped:
            others = [f"e{i}" for i in range(EFFECTS) if f"e{i}" not in self.effects]
            self.effects = tuple(others[: len(self.effects)])

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
        effects = {Subject.SAFETY: self.effects, Subject.RULES: self._random_effects(prompt.text, answer)}
        return say.review(prompt.text, answer, LABELS[subject], effects.get(subject, ()) if with_spec else ())

    def labels(self, subject: Subject) -> tuple[str, str]:
        """The two words of a verdict; see `VerificationTask.labels`."""
        return LABELS[subject]

    def _random_effects(self, request: str, answer: str) -> tuple[str, ...]:
        """A list for one question, which holds the effect of the potion that the request names in half of the cases."""
        rng = random.Random(f"list-{request}-{answer}")
        named = [potion.effect for potion in self.world.potions if potion.name in request.split()]
        effect = named[0] if named else f"e{rng.randrange(EFFECTS)}"
        return tuple(random_list(self.world, effect, rng.random() < 0.5, rng))
