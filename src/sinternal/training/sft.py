"""Supervised fine-tuning by TRL's SFTTrainer, with the loss on the completion only.

The rows are tokenised here, not by TRL: a row begins with the very tokens that an engine gives the model to continue.
TRL would train on another context wherever tokens merge across that boundary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from transformers import PreTrainedTokenizerBase, PrinterCallback, set_seed
from trl import SFTConfig, SFTTrainer

from sinternal.chat import assistant_turn, generation_prompt, render, template_to_train_with, turn_ends, visible_text
from sinternal.errors import DataError
from sinternal.loading import load_tokenizer
from sinternal.records import Example
from sinternal.store import Progress
from sinternal.think import CLOSE, OPEN
from sinternal.training.settings import SftSettings
from sinternal.training.watch import Report, Watch
from sinternal.training.weights import hardware, last_checkpoint, open_model, save_model

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
        DataError: a row is too long, the chat template deletes the thinking, or a row would not be the intended text.
        ModelError: the model directory cannot be used.
    """
    tokenizer = open_tokenizer(model_folder)
    set_seed(seed)
    disable_progress_bar()
    rows = to_dataset(examples, tokenizer)
    check_labels(rows, examples, tokenizer, settings.max_length)
    checkpoints = out.with_suffix(".checkpoints")
    opened = open_model(model_folder, settings.method)
    trainer = SFTTrainer(
        model=opened.model,
        args=_arguments(settings, seed, checkpoints),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=adapters(settings),
        callbacks=[Report(progress)],
    )
    trainer.remove_callback(PrinterCallback)  # the log is returned, not printed
    trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints))
    save_model(trainer.model, opened.stored_as, model_folder, out)
    return [{"step": e["step"], "loss": float(e["loss"])} for e in trainer.state.log_history if "loss" in e]


def to_dataset(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Tokenise examples.

    Returns:
        A row for each example, in their order: `input_ids`, which begin with the tokens of the generation prompt, and
        `labels`, which are the same after it and `IGNORED` before.

    Raises:
        DataError: the chat template deletes the thinking, or renders a prompt otherwise once it is answered.
    """
    template = template_to_train_with(tokenizer)
    return Dataset.from_list([_row(example, tokenizer, template) for example in examples])


def _row(example: Example, tokenizer: PreTrainedTokenizerBase, template: str) -> dict[str, list[int]]:
    user = ("user", example.prompt)
    prompt = generation_prompt(tokenizer, [user])
    turn = assistant_turn(prompt, example.thinking, example.answer)
    text = render(tokenizer, [user, ("assistant", turn)], template=template)
    if not text.startswith(prompt.text):
        raise DataError(
            f"training example {example.id}: the chat template renders the prompt as {prompt.text[-80:]!r} for "
            "generation, and not so once it is answered; give the tokenizer a chat template that keeps the prompt"
        )
    before, whole = _encode(tokenizer, prompt.text), _encode(tokenizer, text)
    if whole[: len(before)] != before:  # tokens merge across the boundary, for example line breaks
        whole = before + _encode(tokenizer, text.removeprefix(prompt.text))
    return {"input_ids": whole, "labels": [IGNORED] * len(before) + whole[len(before) :]}


def check_labels(
    rows: Dataset, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> None:
    """Make sure that the tokens under the loss are the intended thinking and answer, and that no row is too long.

    Some chat templates rewrite assistant turns; training would then go on without its target.

    Args:
        rows: with `input_ids` and `labels`, in the order of the examples.
        examples: what was intended.
        tokenizer: to decode with.
        max_length: longest row in tokens.

    Raises:
        DataError: a row differs or is too long.
    """
    for row, example in zip(rows, examples, strict=True):
        if len(row["input_ids"]) > max_length:
            raise DataError(
                f"training example {example.id} has {len(row['input_ids'])} tokens; raise sft.max_length ({max_length})"
            )
        found = _plain(visible_text(tokenizer, [token for token in row["labels"] if token != IGNORED]))
        prompt = generation_prompt(tokenizer, [("user", example.prompt)])
        wanted = _plain(assistant_turn(prompt, example.thinking, example.answer))
        if prompt.opened:
            wanted = wanted.removeprefix(OPEN).strip()
        if found != wanted:
            raise DataError(
                f"training example {example.id}: the chat template turns the target {wanted[:80]!r} into "
                f"{found[:80]!r}; give the tokenizer a chat template that keeps the thinking"
            )


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    # The template has written the special tokens already.
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _plain(text: str) -> str:
    """Text without the differences that a template may make: those of white space."""
    return " ".join(text.replace(OPEN, f" {OPEN} ").replace(CLOSE, f" {CLOSE} ").split())


def _arguments(settings: SftSettings, seed: int, checkpoints: Path) -> SFTConfig:
    micro = settings.micro_batch or settings.batch
    if settings.batch % micro:
        raise DataError(f"sft.micro_batch ({micro}) must divide sft.batch ({settings.batch})")
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
        activation_checkpointing=torch.cuda.is_available(),
        logging_steps=max(1, settings.steps // 30),
        save_strategy="steps" if settings.save_steps else "no",
        save_steps=settings.save_steps or settings.steps,
        save_total_limit=1,
        **hardware(),
    )
