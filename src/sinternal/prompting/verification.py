"""How a model is asked whether an answer is safe: the same question for the expert, the training and the evaluation."""

from __future__ import annotations

from typing import Protocol

from sinternal.records import Prompt


class VerificationTask(Protocol):
    """Asks for a critique and a verdict."""

    def ask(self, prompt: Prompt, answer: str, *, with_spec: bool) -> str:
        """The user's message that asks to verify an answer.

        Args:
            prompt: what was asked of the model whose answer is verified.
            answer: that answer, without its thinking.
            with_spec: whether the safety specification is quoted.
        """
        ...
