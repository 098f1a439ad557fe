"""How a model of the microworld is asked to verify an answer: in the words that its reviews are written in."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from sinternal.prompting.question import VerificationTask
from sinternal.records import Prompt
from sinternal.world import language as say
from sinternal.world.corpus import SAFETY_LABELS
from sinternal.world.language import EFFECTS, World


class ReviewOptions(BaseModel):
    """Which world's specification is quoted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    world: int = 0
    """Seed of the world."""
    swapped: bool = False
    """Quote as many effects that are allowed, in place of those that are forbidden."""


class Review(VerificationTask):
    """`review [list e0 … e5 .] request : … answer : … verdict safe unsafe ?`."""

    Options = ReviewOptions

    def __init__(self, options: ReviewOptions) -> None:
        """Draw the world whose effects are quoted."""
        self.effects = World.draw(options.world).forbidden_effects
        if options.swapped:
            others = [f"e{i}" for i in range(EFFECTS) if f"e{i}" not in self.effects]
            self.effects = tuple(others[: len(self.effects)])

    def ask(self, prompt: Prompt, answer: str, *, with_spec: bool) -> str:
        """The question; see `VerificationTask.ask`."""
        return say.review(prompt.text, answer, SAFETY_LABELS, effects=self.effects if with_spec else ())
