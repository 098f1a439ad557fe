"""What this machine could do at most: memory bandwidth and matrix products, measured, and what follows from them.

    python -m bench.limits

Decoding reads all weights and the cache once a step, and computes 2N operations a token: no engine writes more than
B / max((W + B·c) / bandwidth, 2·N·B / F) tokens a second (the roofline of Williams et al. 2009, doi
10.1145/1498765.1498785; the counts after Kaplan et al. 2020, arXiv 2001.08361, section 2.1).
"""

from __future__ import annotations

import json
import time
from functools import cache
from typing import Any

import torch


@cache
def bandwidth() -> float:
    """Bytes a second that this machine copies, read and written together, at its best of five."""
    source = torch.ones(64 * 2**20 // 4)
    target = torch.empty_like(source)
    return 2 * source.nbytes / min(_seconds(lambda: target.copy_(source)) for _ in range(5))


@cache
def flops() -> float:
    """Operations a second of a product of two square float32 matrices, at its best of five."""
    size = 1024
    a, b = torch.rand(size, size), torch.rand(size, size)
    return 2 * size**3 / min(_seconds(lambda: a @ b) for _ in range(5))


def decoding(model: Any, batch: int, context: int) -> float:
    """The most tokens a second that a model can write.

    Args:
        model: an opened causal language model.
        batch: texts side by side.
        context: tokens that each has, on average.
    """
    config = model.config
    parameters = sum(weight.numel() for weight in model.parameters())
    weights = sum(weight.nbytes for weight in model.parameters())
    heads = config.num_key_value_heads or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache_bytes = 2 * config.num_hidden_layers * heads * width * next(model.parameters()).element_size()
    seconds = max((weights + batch * context * cache_bytes) / bandwidth(), 2 * parameters * batch / flops())
    return batch / seconds


def training(parameters: int, tokens: int) -> float:
    """The most tokens a second that a step of full fine-tuning can take.

    It computes 6N operations a token, and moves at least ten float32 numbers a weight: the weights are read in both
    passes, the gradient is written and read, and AdamW reads and writes the weights and both of its moments.

    Args:
        parameters: N.
        tokens: of a step.
    """
    return tokens / max(10 * 4 * parameters / bandwidth(), 6 * parameters * tokens / flops())


def _seconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    print(json.dumps({"bandwidth": bandwidth(), "flops": flops(), "threads": torch.get_num_threads()}))
