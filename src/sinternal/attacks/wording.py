"""What attacks by wording share: a template goes around the request, and a draw picks among its wordings."""

from __future__ import annotations

import random

from sinternal.attacks import TextAttack, disguise
from sinternal.prompting.templates import render
from sinternal.records import Prompt

DRAWS = 60
"""A template's `draw` is below this number, which has many divisors: short lists of wordings are drawn from evenly."""


class WordedAttack(TextAttack):
    """Puts the words of `templates/attack_<family>.jinja` around the request."""

    def rewrite(self, prompt: Prompt, rng: random.Random) -> Prompt:
        """The request in one of the template's wordings; see `TextAttack.rewrite`."""
        return disguise(prompt, self.family, self.frame(prompt.text, rng))

    def frame(self, request: str, rng: random.Random) -> str:
        """The message that is sent."""
        return render(self.template(), request=request, draw=rng.randrange(DRAWS))

    @classmethod
    def template(cls) -> str:
        """The name of the family's template."""
        return f"attack_{cls.family.replace('-', '_')}"
