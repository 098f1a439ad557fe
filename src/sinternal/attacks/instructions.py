"""Attacks that tell the model how to answer: competing instructions beside the request."""

from __future__ import annotations

import random

from sinternal.attacks import TextAttack, disguise
from sinternal.attacks.wording import WordedAttack
from sinternal.prompting.templates import render
from sinternal.records import Prompt


class PrefixInjection(WordedAttack):
    """The answer must begin with words that only an answer which helps would go on from.

    Wei et al. 2023, arXiv 2307.02483.
    """

    family = "prefix-injection"
    held_out = False


class RefusalSuppression(WordedAttack):
    """The usual words of a refusal are ruled out.

    Wei et al. 2023, arXiv 2307.02483.
    """

    family = "refusal-suppression"
    held_out = False


class SystemOverride(TextAttack):
    """The system message says that no request is turned down; it follows one that the prompt brings itself.

    Wei et al. 2023 (as "evil system prompt"), arXiv 2307.02483.
    """

    family = "system-override"

    def rewrite(self, prompt: Prompt, rng: random.Random) -> Prompt:
        """The same text under another system message; see `TextAttack.rewrite`."""
        system = "\n\n".join(filter(None, [prompt.system, render("attack_system_override")]))
        return disguise(prompt, self.family, prompt.text, system=system)
