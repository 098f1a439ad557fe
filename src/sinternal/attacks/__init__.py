"""How a prompt is disguised: jailbreak families, each tagged as used for tuning or held out."""

from __future__ import annotations

import random
from typing import Protocol

from sinternal.records import Prompt


class Attack(Protocol):
    """One family of ways to ask."""

    family: str
    """Its name in reports."""
    held_out: bool
    """Whether it is kept from all tuning (out of distribution)."""

    def wrap(self, prompt: Prompt, rng: random.Random) -> Prompt:
        """The prompt in its disguise: another text and id, the same `parent_id`, this family."""
        ...
