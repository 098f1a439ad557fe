"""Supervised fine-tuning by TRL's SFTTrainer, with the loss on the completion only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from peft import LoraConfig
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, SFTTrainer

from sinternal.errors import DataError, ModelError
from sinternal.records import Example
from sinternal.store import Progress
from sinternal.think import CLOSE, OPEN, write_completion
from sinternal.training.settings import Method, SftSettings

IGNORED = -100
"""The label of tokens outside the loss, as in torch's cross-entropy."""


def train(
    model_folder: Path,
    examples: Sequence[Example],
    settings: SftSettings,
    seed: int,
    out: Path,
    progress: Progress,
) -> list[dict[str, float]]:
    """Fine-tune a model and save it, merged, as a Hugging Face model directory.

    Args:
        model_folder: the model to start from.
        examples: what to train on.
        settings: how.
        seed: of the order of the rows and the adapters.
        out: receives the model; checkpoints stand beside it in `<out>.checkpoints`.
        progress: called with (steps done, steps in all).

    Returns:
        The training log: one entry with `step` and `loss` (mean cross-entropy, nats per token) every few steps.

    Raises:
        DataError: a row is too long, or its labels would not be the intended text.
        ModelError: the model directory cannot be used.
    """
    set_seed(seed)
    disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    if not tokenizer.chat_template:
        raise ModelError(f"{model_folder}: the tokenizer has no chat template; add a chat_template.jinja to it")
    checkpoints = out.with_suffix(".checkpoints")
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_folder, dtype="auto"),
        args=_arguments(settings, seed, checkpoints),
        train_dataset=to_dataset(examples),
        processing_class=tokenizer,
        peft_config=_adapters(settings),
        callbacks=[_Report(progress)],
    )
    trainer.remove_callback(PrinterCallback)  # the log is returned, not printed
    check_labels(trainer.train_dataset, examples, tokenizer, settings.max_length)
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.exists() else None  # type: ignore[no-untyped-call]
    trainer.train(resume_from_checkpoint=last)
    model = trainer.model.merge_and_unload() if settings.method is Method.LORA else trainer.model
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(out)
    return [{"step": e["step"], "loss": float(e["loss"])} for e in trainer.state.log_history if "loss" in e]


def to_dataset(examples: Sequence[Example]) -> Dataset:
    """Examples as conversational prompt / completion rows."""
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": row.prompt}],
                "completion": [{"role": "assistant", "content": write_completion(row.thinking, row.answer)}],
            }
            for row in examples
        ]
    )


def check_labels(
    tokenized: Dataset, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> None:
    """Make sure that the tokens under the loss are the intended thinking and answer, and the end of the turn.

    Some chat templates delete the thinking of assistant turns; training would then go on without its target.

    Args:
        tokenized: rows with `input_ids` and `labels`, in the order of the examples.
        examples: what was intended.
        tokenizer: to decode with.
        max_length: longest row in tokens.

    Raises:
        DataError: a row differs or is too long.
    """
    for number, (row, example) in enumerate(zip(tokenized, examples, strict=True)):
        if len(row["input_ids"]) > max_length:
            raise DataError(
                f"training example {example.id} has {len(row['input_ids'])} tokens; raise sft.max_length ({max_length})"
            )
        under_loss = [token for token in row["labels"] if token != IGNORED]
        found = _plain(str(tokenizer.decode(under_loss, skip_special_tokens=True)))
        wanted = _plain(f"{example.thinking} {CLOSE} {example.answer}")
        if found.removeprefix(OPEN).strip() != wanted:
            raise DataError(
                f"training example {number}: the chat template turns the target {wanted[:80]!r} into {found[:80]!r}; "
                "give the tokenizer a chat template that keeps the thinking"
            )


def _plain(text: str) -> str:
    return " ".join(text.split())


def _arguments(settings: SftSettings, seed: int, checkpoints: Path) -> SFTConfig:
    micro = settings.micro_batch or settings.batch
    if settings.batch % micro:
        raise DataError(f"sft.micro_batch ({micro}) must divide sft.batch ({settings.batch})")
    on_gpu = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(checkpoints),
        max_steps=settings.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=settings.batch // micro,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=settings.steps // 20,
        completion_only_loss=True,
        max_length=None,
        seed=seed,
        data_seed=seed,
        use_cpu=not on_gpu,
        bf16=on_gpu,
        activation_checkpointing=on_gpu,
        logging_steps=max(1, settings.steps // 30),
        save_strategy="steps" if settings.save_steps else "no",
        save_steps=settings.save_steps or settings.steps,
        save_total_limit=1,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=on_gpu,
    )


def _adapters(settings: SftSettings) -> LoraConfig | None:
    if settings.method is Method.FULL:
        return None
    return LoraConfig(
        r=settings.lora_r, lora_alpha=settings.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM"
    )


class _Report(TrainerCallback):
    """Passes the trainer's steps on."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.progress(state.global_step, state.max_steps)
