"""LoRA adapters as vLLM takes them: what their directories say, and what vLLM cannot apply.

vLLM looks at an adapter only when the first text is asked for, minutes after the model was opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sinternal.errors import ModelError
from sinternal.models.resolve import ADAPTER, adapter_base

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The limits on an adapter's rank that vLLM has kernels for."""
REFUSED: Mapping[str, str] = {
    "use_dora": "is DoRA's (use_dora)",
    "modules_to_save": "holds layers that were trained whole (modules_to_save: {})",
    "trainable_token_indices": "holds embeddings of single tokens (trainable_token_indices)",
    "lora_bias": "holds biases (lora_bias)",
    "alora_invocation_tokens": "is an activated one (alora_invocation_tokens)",
    "layer_replication": "replicates layers (layer_replication)",
    "use_bdlora": "is block-diagonal (use_bdlora)",
    "use_qalora": "is QALoRA's (use_qalora)",
}
"""Fields of an adapter's configuration, each of which may only be empty, and what is said of one that is not:
`PEFTHelper._validate_features` of vLLM 0.32."""
PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Values of `init_lora_weights` that leave the base alone; by others, as PiSSA's, PEFT changes it as it loads."""


class Adapter(NamedTuple):
    """What a LoRA adapter's directory says about itself."""

    base: str
    """The model that it was trained on."""
    rank: int
    """The largest rank among its matrices."""


def read_adapter(folder: Path) -> Adapter | None:
    """The adapter in a directory, or None if there is none.

    Raises:
        ModelError: its configuration does not name a base model and a rank, the base is not there, or vLLM cannot
            apply it.
    """
    file = folder / ADAPTER
    if not file.exists():
        return None
    base = str(adapter_base(folder))
    try:
        config = json.loads(file.read_text())
        rank = max([config["r"], *config.get("rank_pattern", {}).values()])
    except (KeyError, ValueError) as error:
        raise ModelError(f"{file}: not the configuration of a LoRA adapter ({error})") from error
    if why := _why_not(config, rank) or _whole_tensors(folder / "adapter_model.safetensors"):
        raise ModelError(
            f"{folder}: vLLM cannot apply this adapter, which {why}: use engine transformers, or merge it into its "
            "base (PEFT's merge_and_unload) and give the merged model"
        )
    return Adapter(base, rank)


def adapter_arguments(model: Path) -> dict[str, object]:
    """The keyword arguments of `vllm.lora.request.LoRARequest`, for the one adapter that the engine serves."""
    return {"lora_name": model.name, "lora_int_id": 1, "lora_path": str(model.resolve())}


def _why_not(config: Mapping[str, Any], rank: int) -> str:
    """What vLLM cannot do about an adapter; empty if nothing."""
    for name, words in REFUSED.items():
        if value := config.get(name):
            return words.format(", ".join(map(str, value)) if isinstance(value, list) else value)
    if config.get("bias", "none") != "none":
        return f"holds biases (bias: {config['bias']})"
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower() not in PLAIN_STARTS:
        return f"changes its base (init_lora_weights: {start})"
    return f"has rank {rank}, where vLLM goes up to {LORA_RANKS[-1]}" if rank > LORA_RANKS[-1] else ""


def _whole_tensors(file: Path) -> str:
    """What an adapter holds beside low-rank matrices; empty if nothing."""
    if not file.exists():
        return ""
    with file.open("rb") as content:  # a length of eight bytes, and the tensors by name as JSON
        length = int.from_bytes(content.read(8), "little")
        try:
            names = json.loads(content.read(min(length, file.stat().st_size)))
        except ValueError:
            return ""  # vLLM says what is wrong with it
    whole = [name for name in names if not any(mark in name for mark in (".lora_", ".base_layer.", "__metadata__"))]
    return f"holds whole tensors ({', '.join(whole)})" if whole else ""
