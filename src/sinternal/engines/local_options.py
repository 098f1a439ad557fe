"""Settings of the engines that run a model in this process."""

from __future__ import annotations

from pydantic import Field

from sinternal.engines import TemplateOptions


class TransformersOptions(TemplateOptions):
    """Settings of engine `transformers`."""

    batch: int | None = Field(None, ge=1)
    """Texts written side by side; None: 32, or 256 by a model of fewer than 10 million weights, for which a pass takes
    about as long for one text as for hundreds."""


class VllmOptions(TemplateOptions):
    """Settings of engine `vllm`, where a model or a machine may need others than vLLM's own."""

    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that the model is spread over."""
    max_model_len: int | None = Field(default=None, ge=1)
    """Tokens of prompt and text together; None: what the model was made for. Less leaves more room for the cache."""
    gpu_memory_utilization: float = Field(default=0.92, gt=0, le=1)
    """Share of each GPU's memory that vLLM takes for itself."""
    dtype: str = "auto"
    """Type of the weights: auto, bfloat16, float16 or float32."""
    enforce_eager: bool = False
    """Run without CUDA graphs: starts sooner, writes slower."""
