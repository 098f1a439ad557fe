"""Settings of the engines that run a model in this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from sinternal.engines import TemplateOptions

SET_BY_OPTIONS: Mapping[str, str] = {
    "tensor_parallel_size": "tensor_parallel",
    "max_model_len": "max_model_len",
    "gpu_memory_utilization": "gpu_memory_utilization",
    "dtype": "dtype",
    "enforce_eager": "enforce_eager",
}
"""Arguments of `vllm.LLM` that an option of its own sets, and which one."""
SET_HERE = frozenset(
    (
        "model",
        "tokenizer",
        "enable_prefix_caching",
        "generation_config",
        "logprobs_mode",
        "enable_lora",
        "max_lora_rank",
    )
)
"""Arguments of `vllm.LLM` that follow from the model, or that figures depend on."""
RUNS_CODE = frozenset(
    (
        "additional_config",
        "compilation_config",
        "ec_transfer_config",
        "io_processor_plugin",
        "kv_transfer_config",
        "load_format",
        "log_config_file",
        "logging_config",
        "logits_processors",
        "model_class_overrides",
        "model_loader_extra_config",
        "reasoning_parser_plugin",
        "scheduler_cls",
        "tool_parser_plugin",
        "trust_remote_code",
        "worker_cls",
        "worker_extension_cls",
    )
)
"""Arguments of `vllm.LLM` by which a recipe could run code that it or a model brings, or have pickles read."""


SIDE_BY_SIDE, SMALL_SIDE_BY_SIDE, SMALL = 32, 256, 10_000_000
"""Texts written side by side, by a small model more; and the weights up to which a model is small."""


class TransformersOptions(TemplateOptions):
    """Settings of engine `transformers`."""

    batch: int | None = Field(None, ge=1)
    """Texts written side by side; None: 32, or 256 by a model of fewer than 10 million weights, for which a pass takes
    about as long for one text as for hundreds."""

    def side_by_side(self, weights: int) -> int:
        """Texts that a model of so many weights writes side by side."""
        return self.batch or (SMALL_SIDE_BY_SIDE if weights < SMALL else SIDE_BY_SIDE)


class VllmOptions(TemplateOptions):
    """Settings of engine `vllm`, where a model or a machine may need others than vLLM's own."""

    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that the model is spread over."""
    max_model_len: int | None = Field(default=None, ge=1)
    """Tokens of prompt and text together; None: what the model was made for. Less leaves more room for the cache."""
    gpu_memory_utilization: float = Field(default=0.92, gt=0, le=1)
    """Share of each GPU's memory that vLLM takes for itself; on a machine without, of its main memory."""
    dtype: str = "auto"
    """Type of the weights: auto, bfloat16, float16 or float32. auto: as its files have them, as by `transformers`."""
    enforce_eager: bool = False
    """Run without CUDA graphs: starts sooner, writes slower."""
    extra: dict[str, Any] = Field(default={})
    """Further arguments of `vllm.LLM`, as vLLM spells them: `{pipeline_parallel_size: 2, kv_cache_dtype: fp8}`."""

    @field_validator("extra")
    @classmethod
    def _overrides_nothing(cls, extra: dict[str, Any]) -> dict[str, Any]:
        for name in extra:
            if name in SET_BY_OPTIONS:
                raise ValueError(f"{name} has an option of its own: {SET_BY_OPTIONS[name]}")
            if name in SET_HERE:
                raise ValueError(f"{name} is set by the engine, and cannot be changed")
            if name in RUNS_CODE or (name == "distributed_executor_backend" and "." in str(extra[name])):
                raise ValueError(
                    f"{name} can run code that a recipe or a model brings; serve the model by vLLM yourself, and use "
                    "engine openai with its base_url"
                )
        return extra
