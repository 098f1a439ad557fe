"""How a model of the microworld is asked to verify an answer: in the words that its reviews are written in."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from sinternal.records import Prompt
from sinternal.registry import read_options
from sinternal.world import language as say
from sinternal.world.corpus import SAFETY_LABELS
from sinternal.world.language import World


class ReviewOptions(BaseModel):
    """Which world's specification is quoted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    world: int = 0
    """Seed of the world."""


class Review:
    """`review [list e0 … e5 .] request : … answer : … verdict safe unsafe ?`."""

    def __init__(self, options: dict[str, object] | None = None) -> None:
        """Take the options of `ReviewOptions`."""
        self.effects = World.draw(
            read_options(ReviewOptions, options or {}, "verification microworld").world
        ).forbidden_effects

    def ask(self, prompt: Prompt, answer: str, *, with_spec: bool) -> str:
        """The question; see `VerificationTask.ask`."""
        return say.review(prompt.text, answer, SAFETY_LABELS, effects=self.effects if with_spec else ())
