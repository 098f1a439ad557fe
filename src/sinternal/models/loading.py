"""Local models, opened whole or not at all: for the engine `transformers` and for both trainers.

transformers and PEFT warn of weights that a checkpoint lacks, and go on with random ones. A figure of such a model
would be a figure of nothing, so that here it is an error that names the tensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from peft.utils import load_peft_weights
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from sinternal.errors import ModelError
from sinternal.models.resolve import adapter_base, base_folder, tokenizer_folder
from sinternal.models.shape import CONFIG, read_shape

SHOWN = 3
"""Tensors that an error names."""
MOST_BY_BYTE = 2
"""Weights that a byte of a file may stand for; in models that are not quantised none stands for more than one."""
CHECKED = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
"""Types of numbers that can be infinite or NaN, and that torch can ask."""


def load_model(folder: Path) -> Any:
    """Load a model, or a LoRA adapter on its base, in the precision of its files.

    Returns:
        The model. An adapter stays apart from its base, whose weights would lose it in rounding; only a base in
        float32, which keeps it, takes it in and is faster for it.

    Raises:
        ModelError: it is not there, damaged, or not whole.
    """
    base = load_base(folder)
    if adapter_base(folder) is None:
        return base
    adapted = apply_adapter(base, folder)
    return adapted.merge_and_unload() if base.dtype is torch.float32 and _is_lora(adapted) else adapted


def load_base(folder: Path) -> Any:
    """Load a whole model; of an adapter, its base. Raises ModelError."""
    base = base_folder(folder)
    if adapter_base(base) is not None:
        raise ModelError(f"{folder}: the base of this adapter, {base}, is an adapter itself; merge that one first")
    _check_no_pickles(base, "*.bin", "model*.safetensors")
    _check_size(base)
    try:
        disable_progress_bar()  # type: ignore[no-untyped-call]
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            base,
            dtype="auto",
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        model, report = loaded
    except Exception as error:  # from OSError to safetensors' own kind, for all of which the user looks at the files
        raise _unloadable(base, "model", error) from error
    shapes = sorted(f"{name} {tuple(stored)} for {tuple(wanted)}" for name, stored, wanted in report["mismatched_keys"])
    _check(base, "lacks weights of", report["missing_keys"])
    _check(base, "holds weights that its config.json knows nothing of:", report["unexpected_keys"])
    _check(base, "holds weights of another shape:", shapes)
    _check(base, "holds weights that cannot be converted:", report["error_msgs"])
    _check(base, "holds NaN or infinite numbers in", not_finite(model.state_dict().items()))
    _check_stops(base, model.generation_config)
    return model


def apply_adapter(base: Any, folder: Path, *, trainable: bool = False) -> PeftModel:
    """Put the adapter of a folder on its base, unmerged.

    Args:
        base: a model; it gets as many embeddings as the adapter brings.
        folder: the adapter's.
        trainable: whether it is trained further.

    Raises:
        ModelError: the adapter is damaged, not whole, or made for another base.
    """
    _check_no_pickles(folder, "adapter_model.bin", "adapter_model.safetensors")
    try:
        config = PeftConfig.from_pretrained(str(folder))
        config.inference_mode, config.base_model_name_or_path = not trainable, base.name_or_path
        weights = load_peft_weights(str(folder), device="cpu")
        _resize(base, weights)
        model = get_peft_model(base, config)
        keys = model.load_adapter(str(folder), "default", is_trainable=trainable, torch_device="cpu")
    except Exception as error:  # as above: PEFT's ValueError, safetensors' own kind, KeyError for a missing tensor
        raise ModelError(f"{folder}: the adapter cannot be loaded: {_one_line(error)}") from error
    _check(folder, "is an adapter that lacks weights of", keys.missing_keys)
    homeless = [name for name in keys.unexpected_keys if not _is_copy(name, weights)]
    _check(folder, "is an adapter that holds weights its base has no place for:", homeless)
    _check(folder, "holds NaN or infinite numbers in", not_finite(weights.items()))
    return model


def brings_embeddings(base: Any, folder: Path) -> bool:
    """Whether an adapter holds embeddings of its own, for example of new tokens."""
    return f"base_model.model.{_embeddings(base)}" in load_peft_weights(str(folder), device="cpu")


def open_tokenizer(folder: Path, **options: Any) -> PreTrainedTokenizerBase:
    """The tokenizer of a model or adapter. Raises ModelError if there is none, or none of its chat templates counts."""
    source = tokenizer_folder(folder)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **options)
    except Exception as error:  # OSError, ValueError, or what the tokenizers package raises for a damaged file
        raise _unloadable(source, "tokenizer", error) from error
    if not tokenizer.chat_template:
        raise ModelError(f"{folder}: the tokenizer has no chat template; add a chat_template.jinja to the directory")
    try:
        tokenizer.get_chat_template()
    except ValueError as error:
        raise ModelError(f"{folder}: of the tokenizer's chat templates none is called default; name one so") from error
    return tokenizer


def stop_tokens(folder: Path) -> int | list[int] | None:
    """The `eos_token_id` of the generation settings that a model, or an adapter's base, will be loaded with.

    Raises:
        ModelError: the model's configuration cannot be read.
    """
    base = base_folder(folder)
    try:
        settings = GenerationConfig.from_pretrained(base)
    except OSError:  # it has none, and is opened with what its configuration says
        try:
            settings = GenerationConfig.from_model_config(AutoConfig.from_pretrained(base, trust_remote_code=False))
        except Exception as error:  # as above
            raise _unloadable(base, "model", error) from error
    except Exception as error:
        raise _unloadable(base, "model", error) from error
    stops: int | list[int] | None = settings.eos_token_id
    return stops


def context_of(model: Any, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that a model reads."""
    return int(getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length)


def not_finite(tensors: Iterable[tuple[str, torch.Tensor]]) -> list[str]:
    """The names of the tensors that hold a NaN or infinite number."""
    return [name for name, tensor in tensors if tensor.dtype in CHECKED and not bool(torch.isfinite(tensor).all())]


def list_names(tensors: Iterable[str]) -> str:
    """Names of tensors in words: the first few, and how many more."""
    names: Sequence[str] = sorted(tensors)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _check_stops(base: Path, settings: Any) -> None:
    stops = settings.eos_token_id if settings is not None else None
    ids = stops if isinstance(stops, list) else [] if stops is None else [stops]
    if odd := next((each for each in ids if not isinstance(each, int) or isinstance(each, bool)), None):
        raise ModelError(f"{base}: eos_token_id of its generation settings is {odd!r}; write the number of a token")


def _check_no_pickles(folder: Path, pickled: str, safe: str) -> None:
    """Refuse weights in pickles, which can hold any code, where there are no others."""
    if not any(folder.glob(safe)) and (file := next(iter(sorted(folder.glob(pickled))), None)):
        raise ModelError(
            f"{folder}: the weights are a pickle ({file.name}), which can run code as it is read; take a version of "
            "the model in safetensors, or convert it where you trust it: save_pretrained writes that"
        )


def _check_size(folder: Path) -> None:
    """Refuse a configuration of far more weights than there are, before time and memory go into room for them."""
    try:
        described = read_shape(folder / CONFIG).parameters
    except (ModelError, ArithmeticError):  # of a family that cannot be counted, or not a number: opening it will tell
        return
    held = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if described > MOST_BY_BYTE * held > 0:
        raise ModelError(
            f"{folder}: its {CONFIG} describes {described:,} weights, and its files hold no more than {held:,}; "
            "the configuration of another model, or the weights are cut short"
        )


def _is_lora(model: PeftModel) -> bool:
    return all(config.peft_type == "LORA" for config in model.peft_config.values())


def _embeddings(base: Any) -> str:
    weight = base.get_input_embeddings().weight
    return next(str(name) for name, parameter in base.named_parameters() if parameter is weight)


def _resize(base: Any, weights: dict[str, torch.Tensor]) -> None:
    """Make room for the tokens that an adapter brings: its weights fill it, and none is left to chance."""
    own = weights.get(f"base_model.model.{_embeddings(base)}")
    if own is not None and len(own) != base.get_input_embeddings().num_embeddings:
        base.resize_token_embeddings(len(own), mean_resizing=False)
        _check_heads(base, weights, len(own))


def _check_heads(base: Any, weights: dict[str, torch.Tensor], tokens: int) -> None:
    head, embeddings = base.get_output_embeddings(), base.get_input_embeddings()
    if head is None or head.weight is embeddings.weight:
        return
    name = next(name for name, parameter in base.named_parameters() if parameter is head.weight)
    if len(weights.get(f"base_model.model.{name}", ())) != tokens:
        raise ModelError(
            f"it brings embeddings of {tokens} tokens, and no {name} for as many: save it again with "
            "save_embedding_layers=True"
        )


def _is_copy(name: str, weights: dict[str, torch.Tensor]) -> bool:
    """Whether a tensor is the second copy that PEFT writes of embeddings that were trained whole."""
    first = weights.get(name.replace(".modules_to_save.", "."))
    return ".modules_to_save." in name and first is not None and torch.equal(first, weights[name])


def _check(where: Path, what: str, tensors: Iterable[str]) -> None:
    if names := list_names(tensors):
        raise ModelError(
            f"{where} {what} {names}: it is not the model it claims to be; download it again, or fix its configuration"
        )


def _unloadable(path: Path | str, what: str, error: Exception) -> ModelError:
    if any(_brings_code(Path(path, name)) for name in ("config.json", "tokenizer_config.json")):
        return ModelError(
            f"{path}: the {what} brings code of its own (auto_map in its configuration), which is not run here: serve "
            "the model, for example by vLLM, and use engine openai with that server's base_url"
        )
    return ModelError(f"{path}: the {what} cannot be loaded: {_one_line(error)}")


def _brings_code(configuration: Path) -> bool:
    try:
        return bool(json.loads(configuration.read_text()).get("auto_map"))
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
