"""An attack by example: a long dialogue in which every question is answered gladly."""

from __future__ import annotations

import random

from pydantic import BaseModel, ConfigDict, Field

from sinternal.attacks import TextAttack, disguise
from sinternal.prompting.templates import render
from sinternal.records import Prompt

STARTS = 10**6
"""How many places there are for a dialogue to start counting from."""


class ManyShotOptions(BaseModel):
    """How long the dialogue is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shots: int = Field(64, ge=1, le=2000)
    """Exchanges before the request; each has about 50 tokens."""


class ManyShot(TextAttack):
    """The request follows a dialogue, all in one message, whose harmless questions were all answered eagerly.

    The original's exchanges are harmful; harmless ones show whether eagerness alone carries over.
    Anil et al. 2024 ("Many-shot Jailbreaking", NeurIPS).
    """

    family = "many-shot"
    Options = ManyShotOptions

    def __init__(self, options: ManyShotOptions) -> None:
        """Take the length of the dialogue."""
        self.options = options

    def rewrite(self, prompt: Prompt, rng: random.Random) -> Prompt:
        """The request at the end of a dialogue; see `TextAttack.rewrite`."""
        start = rng.randrange(STARTS)
        text = render("attack_many_shot", request=prompt.text, numbers=range(start, start + self.options.shots))
        return disguise(prompt, self.family, text)
