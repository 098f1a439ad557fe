"""Turn a quantized GGUF file into a Hugging Face model directory with plain float32 weights."""

from __future__ import annotations

from pathlib import Path

from sinternal.extras import require

_FROM_THE_FILE = (
    "quantization_config",
    "_name_or_path",
    "_model_name_or_path",
    "architectures",
    "transformers_version",
    "dtype",
)
"""Entries of the configuration that describe the GGUF file, not the model."""


def dequantize(gguf: Path, out: Path) -> None:
    """Write weights, configuration, tokenizer and chat template of a GGUF file as a model directory.

    The weights are those that the quantized file stands for; what the quantization lost stays lost.

    Raises:
        MissingExtraError: the package `gguf`, which reads such files, or what it takes besides is not installed.
    """
    require("a GGUF file", "torch", "transformers", "gguf")
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    folder, file = gguf.parent, gguf.name
    quantized = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    entries = {key: value for key, value in quantized.config.to_dict().items() if key not in _FROM_THE_FILE}
    config = AutoConfig.for_model(**entries)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    model.load_state_dict(quantized.state_dict())
    model.generation_config = quantized.generation_config
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(folder, gguf_file=file).save_pretrained(out)
    for written in out.iterdir():
        written.chmod(0o644)  # safetensors writes files that only their owner can read
