"""Attacks on how a prompt is delivered; the request itself stays as it is."""

from __future__ import annotations

import random

from pydantic import BaseModel, ConfigDict

from sinternal.attacks import TextAttack, disguise
from sinternal.prompting.templates import render
from sinternal.prompting.think import CLOSE, OPEN
from sinternal.records import HarmShows, Prompt


class PrefillOptions(BaseModel):
    """What the model is made to begin with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = ""
    """The words; the attack's own if empty."""


class ThinkingPrefill(TextAttack):
    """The model's own thinking begins, in words put into its mouth, in the middle of carrying the request out.

    Kuo et al. 2025 ("H-CoT"), arXiv 2502.12893: a thinking that looks like an execution phase already under way leaves
    no place for the phase in which a model asks itself whether to help. Theirs are written for each request by another
    model, out of what the target thinks of harmless ones; ours speaks of the goal in general words and holds nothing
    of use to anyone.
    """

    family = "thinking-prefill"
    harm_shows = HarmShows.DRAFT
    prefills = True
    Options = PrefillOptions

    def __init__(self, options: PrefillOptions) -> None:
        """Take the words, or those of the attack's own template."""
        self.text = options.text or render("attack_thinking_prefill")

    def rewrite(self, prompt: Prompt, rng: random.Random) -> Prompt:
        """The same text and an opened thinking; see `TextAttack.rewrite`."""
        return disguise(prompt, self.family, prompt.text, prefill=f"{OPEN}\n{self.text}")


class SkipTheCheck(TextAttack):
    """The model's own thinking begins past all deliberation, with the heading of the draft of an answer.

    Whether the request is a bad one is no longer asked where it usually is: what is left is to look at one's own draft.
    """

    family = "skip-the-check"
    harm_shows = HarmShows.DRAFT
    prefills = True
    Options = PrefillOptions

    def __init__(self, options: PrefillOptions) -> None:
        """Take the words, or those of the attack's own template."""
        self.text = options.text or render("attack_skip_the_check")

    def rewrite(self, prompt: Prompt, rng: random.Random) -> Prompt:
        """The same text and a thinking that begins with a draft; see `TextAttack.rewrite`."""
        return disguise(prompt, self.family, prompt.text, prefill=f"{OPEN}\n{self.text}")


class AnswerPrefill(TextAttack):
    """The thinking is closed before it begins, and the answer begins, in words put into its mouth, by agreeing.

    Andriushchenko et al. 2024 ("prefilling attack"), arXiv 2404.02151; Qi et al. 2024, arXiv 2406.05946.
    """

    family = "answer-prefill"
    prefills = True
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
    prefills = True

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
