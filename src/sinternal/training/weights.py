"""Which weights a trainer changes: how a model is opened for it, and saved after it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from sinternal.errors import ModelError
from sinternal.store import Progress
from sinternal.training.settings import Method, WeightSettings


def open_tokenizer(model_folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model that can be trained.

    Raises:
        ModelError: the folder holds an adapter, or the tokenizer has no chat template.
    """
    if (model_folder / "adapter_config.json").exists():
        raise ModelError(f"{model_folder}: a LoRA adapter cannot be trained further; merge it into its base first")
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model_folder)
    if not tokenizer.chat_template:
        raise ModelError(f"{model_folder}: the tokenizer has no chat template; add a chat_template.jinja to it")
    return tokenizer


class Opened(NamedTuple):
    """A model that is about to be trained."""

    model: Any
    """In the precision that its weights are changed in."""
    stored_as: torch.dtype
    """The precision of its files."""


def open_model(model_folder: Path, method: Method) -> Opened:
    """Load a model for training."""
    model: Any = AutoModelForCausalLM.from_pretrained(model_folder, dtype="auto")
    stored_as = model.dtype
    return Opened(model.to(_working_dtype(method, stored_as)), stored_as)


def save_model(trained: Any, stored_as: torch.dtype, model_folder: Path, out: Path) -> None:
    """Save a trained model, merged, with the tokenizer of the one that it started from."""
    model = trained.merge_and_unload() if isinstance(trained, PeftModel) else trained
    model.to(stored_as).save_pretrained(out)
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(out)


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is complete, if there is one; what a killed run left half-written is removed.

    The trainer writes `trainer_state.json` last.
    """
    for unfinished in folder.glob("checkpoint-*"):
        try:
            json.loads((unfinished / "trainer_state.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            shutil.rmtree(unfinished)
    return get_last_checkpoint(str(folder)) if folder.exists() else None  # type: ignore[no-untyped-call]


def adapters(settings: WeightSettings) -> LoraConfig | None:
    """The adapters that are trained; None trains all weights."""
    if settings.method is Method.FULL:
        return None
    return LoraConfig(
        r=settings.lora_r, lora_alpha=settings.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def hardware() -> dict[str, Any]:
    """What both trainers are told of the machine."""
    on_gpu = torch.cuda.is_available()
    return {
        "use_cpu": not on_gpu,
        "bf16": on_gpu,
        "dataloader_pin_memory": on_gpu,
        "report_to": [],
        "disable_tqdm": True,
    }


def _working_dtype(method: Method, stored_as: torch.dtype) -> torch.dtype:
    if method is Method.FULL:
        return torch.float32  # steps of 1e-5 are lost in the rounding of bfloat16 weights; a GPU still computes in it
    return torch.bfloat16 if torch.cuda.is_available() else stored_as


class Report(TrainerCallback):
    """Passes the trainer's steps on."""

    def __init__(self, progress: Progress) -> None:
        """Report to `progress`."""
        self.progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer after each optimiser step."""
        self.progress(state.global_step, state.max_steps)
