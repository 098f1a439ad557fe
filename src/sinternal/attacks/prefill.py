"""Attacks on how a prompt is delivered; the request itself stays as it is."""

from __future__ import annotations

import random

from pydantic import BaseModel, ConfigDict

from sinternal.attacks import TextAttack, disguise
from sinternal.prompting.templates import render
from sinternal.prompting.think import CLOSE, OPEN
from sinternal.records import Prompt


class PrefillOptions(BaseModel):
    """What the model is made to begin with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = ""
    """The words; the attack's own if empty."""


class ThinkingPrefill(TextAttack):
    """The model's own thinking begins, in words put into its mouth, by resolving to help.

    Kuo et al. 2025 ("H-CoT"), arXiv 2502.12893.
    """

    family = "thinking-prefill"
    Options = PrefillOptions

    def __init__(self, options: PrefillOptions) -> None:
        """Take the words, or those of the attack's own template."""
        self.text = options.text or render("attack_thinking_prefill")

    def rewrite(self, prompt: Prompt, rng: random.Random) -> Prompt:
        """The same text and an opened thinking; see `TextAttack.rewrite`."""
        return disguise(prompt, self.family, prompt.text, prefill=f"{OPEN}\n{self.text}")


class AnswerPrefill(TextAttack):
    """The thinking is closed before it begins, and the answer begins, in words put into its mouth, by agreeing.

    Andriushchenko et al. 2024 ("prefilling attack"), arXiv 2404.02151; Qi et al. 2024, arXiv 2406.05946.
    """

    family = "answer-prefill"
    Options = PrefillOptions

    def __init__(self, options: PrefillOptions) -> None:
        """Take the words, or those of the attack's own template."""
        self.text = options.text or render("attack_answer_prefill")

    def rewrite(self, prompt: Prompt, rng: random.Random) -> Prompt:
        """The same text and a begun answer; see `TextAttack.rewrite`."""
        return disguise(prompt, self.family, prompt.text, prefill=f"{OPEN}\n\n{CLOSE}\n\n{self.text}")


class SkipThinking(TextAttack):
    """The thinking is closed before it begins, so that no deliberation comes before the answer.

    Jiang et al. 2025 ("ZeroThink" in SafeChain), arXiv 2502.12025.
    """

    family = "skip-thinking"

    def rewrite(self, prompt: Prompt, rng: random.Random) -> Prompt:
        """The same text and an empty thinking; see `TextAttack.rewrite`."""
        return disguise(prompt, self.family, prompt.text, prefill=f"{OPEN}\n\n{CLOSE}\n\n")


class TemplateStripping(TextAttack):
    """The text is sent without the chat template that the model was aligned in, and without any system message.

    Jiang et al. 2024 ("ChatBug"), arXiv 2406.12935.
    """

    family = "template-stripping"

    def rewrite(self, prompt: Prompt, rng: random.Random) -> Prompt:
        """The same text, raw; see `TextAttack.rewrite`."""
        return disguise(prompt, self.family, prompt.text, raw=True)
