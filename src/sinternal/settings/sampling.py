"""How text is drawn."""

from __future__ import annotations

from pydantic import Field

from sinternal.settings.base import Section


class Sampling(Section):
    """How text is drawn: this alone, never what a model's own `generation_config.json` says.

    Every field is neutral unless it is set. Recorded with every artifact that holds generated text.
    """

    n: int = Field(default=1, ge=1)
    """Samples for each request."""
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy decoding."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Probability mass kept by nucleus sampling."""
    max_tokens: int = Field(default=2048, ge=1)
    """Limit on the tokens written; a text that runs into it is reported as truncated."""
    top_logprobs: int = Field(default=0, ge=0, le=20)
    """Most probable alternatives to record for each token; 0 records none."""
    repetition_penalty: float = Field(default=1.0, gt=0)
    """Above 1, tokens already in the context become less likely (Keskar et al. 2019, arXiv 1909.05858)."""
    top_k: int = Field(default=0, ge=0)
    """Only so many of the most probable tokens can be drawn; 0: all of them."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Only tokens at least this share as probable as the most probable one can be drawn (arXiv 2407.01082); 0: all."""
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    """Taken off the logit of every token that the text already holds, the prompt left out."""
