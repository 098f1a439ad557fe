"""Rollouts that vLLM writes for TRL's trainer: what TRL is told, and how memory is given back."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import torch

from sinternal.settings.training import GrpoSettings, RolloutEngine


def vllm_arguments(settings: GrpoSettings, ends: Sequence[int]) -> dict[str, Any]:
    """TRL's arguments for vLLM, if it writes the rollouts.

    Args:
        settings: of the training.
        ends: the tokens that end a turn.
    """
    rollouts = settings.rollouts
    if rollouts.engine is RolloutEngine.TRANSFORMERS:
        return {}
    arguments = {
        "use_vllm": True,
        "vllm_mode": rollouts.engine.value.removeprefix("vllm-"),
        "vllm_importance_sampling_correction": True,
        "vllm_importance_sampling_mode": "token_truncate",
        "vllm_importance_sampling_clip_max": rollouts.vllm_ratio_cap,
        "generation_kwargs": {"stop_token_ids": list(ends)},
    }
    if rollouts.engine is RolloutEngine.VLLM_SERVER:
        return {**arguments, "vllm_server_base_url": rollouts.vllm_server}
    return {**arguments, "vllm_gpu_memory_utilization": rollouts.vllm_memory}


def close_vllm(trainer: Any) -> None:
    """End the vLLM that has written in this process, if one has.

    Left to the garbage collector, it would hold its memory for a while, and, once found, take down the group of
    processes of the training that runs by then.

    Args:
        trainer: TRL's; it writes no more. One of many processes keeps its vLLM: it ends with its training.
    """
    if trainer.use_vllm and trainer.vllm_mode == "colocate" and trainer.accelerator.num_processes == 1:
        trainer.vllm_generation.llm.llm_engine.engine_core.shutdown()
        trainer.vllm_generation.llm = None
        gc.collect()
        torch.cuda.empty_cache()
