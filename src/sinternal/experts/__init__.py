"""Who writes what the arms are trained on: critiques of answers, and demonstrations of good ones."""

from __future__ import annotations

import random
from enum import StrEnum
from typing import NamedTuple, Protocol

from sinternal.records import Prompt, Response


class Demonstration(StrEnum):
    """How a good response is demonstrated to the baselines."""

    REFUSAL = "refusal"
    """The right answer, refusal or help, without safety reasoning."""
    DELIBERATIVE = "deliberative"
    """A thinking that reasons from the specification, then the right answer."""


class Written(NamedTuple):
    """What an expert wrote."""

    thinking: str
    """Reasoning, to be trained on as thinking."""
    answer: str
    """What follows it: a verdict line, or an answer."""


class Expert(Protocol):
    """Writes training targets. It is never told the judge's label."""

    def verify(self, prompt: Prompt, response: Response, question: str) -> Written:
        """Verify an answer, as the reply to `question` (specification, request and answer)."""
        ...

    def demonstrate(self, prompt: Prompt, kind: Demonstration, rng: random.Random) -> Written:
        """Respond to a prompt as the kind of demonstration asks."""
        ...
