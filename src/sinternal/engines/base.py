"""The contract of an engine, and the words in which it is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from sinternal.records import Finish


class Sampling(BaseModel):
    """How text is drawn. Recorded with every artifact that holds generated text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int = Field(1, ge=1)
    """Samples for each request."""
    temperature: float = Field(0.0, ge=0)
    """0 is greedy decoding."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Probability mass kept by nucleus sampling."""
    max_tokens: int = Field(2048, ge=1)
    """Limit on the tokens written; a text that runs into it is reported as truncated."""
    repetition_penalty: float = Field(1.0, gt=0)
    """Above 1, tokens already in the context become less likely (Keskar et al. 2019, arXiv 1909.05858)."""


@dataclass(frozen=True)
class Request:
    """One conversation that waits for the assistant's turn."""

    id: str
    """Returned with each completion."""
    messages: tuple[tuple[str, str], ...]
    """(role, content) pairs."""
    prefill: str = ""
    """Text that the assistant's turn is made to begin with; part of the completion's text."""


@dataclass(frozen=True)
class Completion:
    """One sample for one request."""

    request_id: str
    """The request."""
    sample: int
    """Its number, from 0 to n - 1."""
    thinking: str | None
    """The thinking, split off."""
    answer: str | None
    """The text after it; None if the thinking never closed or the request failed."""
    finish: Finish
    """Why it ended."""
    error: str | None = None
    """What went wrong, if the request failed for good."""
    prompt_tokens: int = 0
    """Tokens read."""
    tokens: int = 0
    """Tokens written, the end of turn included."""


class Engine(Protocol):
    """Writes text."""

    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        """Answer every request `sampling.n` times, in any order.

        A request that fails for good comes back as a completion with `error`; it is never left out, and never costs
        its neighbours their results.
        """
        ...


class EngineFactory(Protocol):
    """What an engine plug-in provides."""

    def __call__(self, model: Path, options: dict[str, object]) -> Engine:
        """Open a model. Raises ModelError if it cannot be used."""
        ...


def request_seed(seed: int, request_id: str, sample: int) -> int:
    """The seed of one sample: a 64-bit number that depends on nothing but the arguments."""
    digest = hashlib.sha256(f"{seed}/{request_id}/{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
