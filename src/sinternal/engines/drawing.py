"""How the engine `transformers` draws a token. Importing it loads torch.

Sampling uses one uniform number per token, drawn ahead from the sample's own seed, and inverts the cumulative
distribution with it. So a sample depends on its request and seed, not on its neighbours in the batch. The promise has
one limit: batches of another shape may round logits differently in the last bits, and a draw that falls on a boundary
can then flip. In float32 on the CPU a test holds it under one text in a hundred; in bfloat16 expect more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from sinternal.settings.sampling import Sampling

Top = list[tuple[int, float]]
"""The most probable tokens of one step, and their natural log-probabilities."""


class Draw:
    """Draws one token for each row; penalties, temperature, min_p, top_k and top_p in this order, which is vLLM's."""

    def __init__(self, sampling: Sampling) -> None:
        self.greedy = sampling.temperature == 0
        self.presence = sampling.presence_penalty
        # Keskar et al. 2019 (arXiv 1909.05858): over prompt and text.
        self.repetition: Any = (
            RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty) if sampling.repetition_penalty != 1 else None
        )
        self.limits: Any = LogitsProcessorList()
        if self.greedy:
            return
        self.limits.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.min_p:
            self.limits.append(MinPLogitsWarper(sampling.min_p))
        if sampling.top_k:
            self.limits.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1:
            self.limits.append(TopPLogitsWarper(sampling.top_p))

    def __call__(
        self, scores: torch.Tensor, ids: torch.Tensor, written: torch.Tensor, uniforms: torch.Tensor
    ) -> torch.Tensor:
        """Draw.

        Args:
            scores: logits in float32, shape (rows, vocabulary).
            ids: the tokens so far, shape (rows, columns). Where a row has a gap, a token that it holds anyway: the
                penalty on repetition counts each once, and would count padding that is often the end of a turn.
            written: which of them are text and not prompt, the same shape.
            uniforms: a number in [0, 1) for each row.

        Returns:
            The tokens, shape (rows,).
        """
        if self.repetition is not None:
            scores = self.repetition(ids, scores)
        if self.presence:
            penalties = written.to(scores.dtype) * self.presence
            scores = scores - _largest_by_token(scores, ids, penalties)
        if self.greedy:
            return scores.argmax(-1)
        cumulative = self.limits(ids, scores).double().softmax(-1).cumsum(-1)
        threshold = uniforms[:, None] * cumulative[:, -1:]
        return torch.searchsorted(cumulative, threshold, right=True).clamp(max=scores.shape[1] - 1)[:, 0]


NO_NUMBERS = "the model computes NaN or infinite logits: its precision is too small for it, or its weights are damaged"
"""What is wrong with a text of which a token cannot be drawn."""


def have_no_numbers(scores: torch.Tensor) -> list[bool]:
    """For each row of logits whether one is NaN, or infinitely large: whatever was drawn from it would mean nothing."""
    odd: list[bool] = (~torch.isfinite(scores.amax(-1))).tolist()
    return odd


def _largest_by_token(scores: torch.Tensor, ids: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """For each row and token of the vocabulary, the value that is farthest from 0 among those of its places."""
    zeros = torch.zeros_like(scores)
    return zeros.scatter_reduce(1, ids, values, "amax") + zeros.scatter_reduce(1, ids, values, "amin")


def draw_ahead(seed: int, tokens: int) -> NDArray[np.float64]:
    """The uniform numbers of one sample, one for each token that it may write."""
    return np.random.Generator(np.random.Philox(seed)).random(tokens)


def most_probable(scores: torch.Tensor, k: int) -> list[Top]:
    """Of each row, the `k` most probable tokens before anything changes their probabilities."""
    top = scores.float().log_softmax(-1).topk(min(k, scores.shape[1]))
    rows = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return [list(zip(ids, values, strict=True)) for ids, values in rows]
