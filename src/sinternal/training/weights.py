"""Which weights a trainer changes: how a model is opened for it, and saved after it.

A LoRA adapter is saved as what it is, beside the name of its base. Merged into weights in bfloat16, whose spacing is
1/256 of their size, most of what it has learnt would be rounded away.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from sinternal.engines.local_options import SMALL
from sinternal.errors import DataError, LaunchError, ModelError
from sinternal.models.loading import apply_adapter, brings_embeddings, list_names, load_base, not_finite, open_tokenizer
from sinternal.models.resolve import ADAPTER, base_reference
from sinternal.settings.training import Method, WeightSettings

FEW = 0.1
"""Share of changed weights below which there is a note."""


class Start(NamedTuple):
    """A model that is about to be trained."""

    folder: Path
    """Where it comes from."""
    model: Any
    """The model, or its base with the adapter that is trained, in the precision that its weights are changed in."""
    stored_as: torch.dtype
    """The precision of its files."""
    before: dict[str, torch.Tensor]
    """The weights that are trained, as they would be saved now; none if they were not kept."""
    embeddings: bool = False
    """Whether its adapter brings embeddings of its own."""


def open_model(folder: Path, settings: WeightSettings | Method, *, keep: bool = True) -> Start:
    """Load a model for training.

    Args:
        folder: of a model or of a LoRA adapter. `lora` trains that adapter further; `full` merges it in float32 first.
        settings: which weights are trained; a method alone stands for its usual settings.
        keep: whether to keep a copy of the weights, with which `save_model` compares them.

    Raises:
        ModelError: the model is not whole, or its adapter is not one of these settings.
    """
    if isinstance(settings, Method):
        settings = WeightSettings(method=settings)
    adapted = (folder / ADAPTER).exists()
    base = load_base(folder)
    stored_as = base.dtype
    base.to(_working_dtype(settings.method, stored_as))
    embeddings = adapted and brings_embeddings(base, folder)
    if settings.method is Method.FULL:
        model = apply_adapter(base, folder).merge_and_unload() if adapted else base
        model.requires_grad_(True)  # PEFT has frozen it
        return Start(folder, model, stored_as, _copies(model, stored_as) if keep else {}, embeddings)
    if adapted:
        model = apply_adapter(base, folder, trainable=True)
        _check_adapter(model, settings, folder)
    else:
        model = get_peft_model(
            base,
            LoraConfig(
                r=settings.lora_r, lora_alpha=settings.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
        )
    return Start(folder, model, stored_as, _copies(model, None) if keep else {}, embeddings)


@contextmanager
def steady(model: Any) -> Iterator[None]:
    """Let a small model compute on one thread, with which it is not slower, as long as the `with` lasts.

    Threads divide sums among themselves: so it ends with the very same weights however many workers, which have one
    thread each if there are several, and however many cores there are.
    """
    threads = torch.get_num_threads()
    if sum(weight.numel() for weight in model.parameters()) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def save_trained(
    trainer: Any, start: Start, settings: WeightSettings, out: Path, *, section: str, moved: bool = True
) -> list[str]:
    """Save what a trainer has trained, in one process or in many; for the rest, see `save_model`.

    Of many processes the first one saves: it opens the start once more and puts the trained weights into it, which it
    gathers from the others if each holds a part of them.

    Args:
        trainer: of transformers.
        start: what the training started from.
        settings: which weights were trained.
        out: receives the model.
        section: the part of the recipe that says how it was trained.
        moved: whether there was a gradient to follow.
    """
    accelerator = trainer.accelerator
    if accelerator.num_processes == 1:
        return save_model(start, trainer.model, out, section=section, moved=moved)
    weights = accelerator.get_state_dict(trainer.model_wrapped)
    if not accelerator.is_main_process:
        return []
    whole = open_model(start.folder, settings)
    # A trainer may have put a copy of the start beside the adapter, as the reference of a divergence.
    whole.model.load_state_dict({name: weights[name] for name in whole.model.state_dict()})
    return save_model(whole, whole.model, out, section=section, moved=moved)


def save_model(start: Start, trained: Any, out: Path, *, section: str, moved: bool = True) -> list[str]:
    """Save a trained model, or the adapter that was trained, with the tokenizer of the start.

    Args:
        start: what the training started from.
        trained: the same model, trained.
        out: receives it.
        section: the part of the recipe that says how it was trained.
        moved: whether there was a gradient to follow.

    Returns:
        What a user should know.

    Raises:
        DataError: a weight is NaN or infinite, or none has changed although there was a gradient.
    """
    adapter = isinstance(trained, PeftModel)
    if not adapter:
        trained.to(start.stored_as)
    after = dict(trained.named_parameters())
    if names := list_names(not_finite((name, after[name]) for name in start.before)):
        raise DataError(f"training left NaN or infinite numbers in {names}; lower {section}.learning_rate")
    share = _changed_share(start.before, after)
    if moved and not share:
        raise DataError(
            f"training changed no weight as stored in {_name(start.stored_as)}; raise {section}.learning_rate or steps"
        )
    if adapter:
        _save_adapter(start, trained, out)
    else:
        trained.save_pretrained(out)
    open_tokenizer(start.folder).save_pretrained(out)
    if not moved or share >= FEW:
        return []
    return [
        f"training changed {share:.2%} of the weights as stored in {_name(start.stored_as)}: rounding takes smaller "
        f"changes back; raise {section}.learning_rate, or take {section}.method lora, whose adapter is stored apart"
    ]


def _save_adapter(start: Start, trained: PeftModel, out: Path) -> None:
    trained.peft_config["default"].base_model_name_or_path = base_reference(start.folder, out)
    trained.save_pretrained(out, selected_adapters=["default"], save_embedding_layers=start.embeddings)
    (out / "README.md").unlink()  # an empty model card
    file = out / ADAPTER
    config = json.loads(file.read_text())
    config["target_modules"] = sorted(config["target_modules"])  # a set, and so in another order each time
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _check_adapter(model: PeftModel, settings: WeightSettings, folder: Path) -> None:
    config = model.peft_config["default"]
    adapter = getattr(config, "r", None), getattr(config, "lora_alpha", None)
    if adapter != (settings.lora_r, settings.lora_alpha):
        raise ModelError(
            f"{folder} is a LoRA adapter of rank {adapter[0]} and alpha {adapter[1]}, which would be trained further: "
            f"set lora_r and lora_alpha to these (they are {settings.lora_r} and {settings.lora_alpha}), or method to "
            "full"
        )


def _copies(model: Any, dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    return {
        name: weight.detach().to("cpu", dtype or weight.dtype, copy=True)
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def _changed_share(before: dict[str, torch.Tensor], after: dict[str, Any]) -> float:
    """The share of weights that differ."""
    differ = sum(int((after[name].detach().cpu() != weight).sum()) for name, weight in before.items())
    return differ / sum(weight.numel() for weight in before.values())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def hardware() -> dict[str, Any]:
    """Both trainers' arguments for this machine.

    Raises:
        LaunchError: it has several GPUs, of which one process could use one.
    """
    on_gpu = torch.cuda.is_available()
    if (
        there := torch.cuda.device_count()
    ) > 1 and "WORLD_SIZE" not in os.environ:  # transformers would use DataParallel
        raise LaunchError(
            f"{there} GPUs are there, and one process trains on one: set launch.processes={there}, or make one visible "
            "by CUDA_VISIBLE_DEVICES"
        )
    # Of batches that are accumulated, the gradients of a sharded model would lie whole in every process until the last.
    sharded = os.environ.get("ACCELERATE_USE_FSDP") == "true"
    return {
        "accelerator_config": {"gradient_accumulation_kwargs": {"sync_each_batch": sharded}},
        "use_cpu": not on_gpu,
        "bf16": on_gpu,
        "dataloader_pin_memory": on_gpu,
        "report_to": [],
        "disable_tqdm": True,
    }


def _working_dtype(method: Method, stored_as: torch.dtype) -> torch.dtype:
    if method is Method.FULL:
        return torch.float32  # steps of 1e-5 are lost in the rounding of bfloat16 weights; a GPU still computes in it
    return stored_as  # as it is measured: the adapter fits the base's very rounding
