"""Supervised fine-tuning by TRL's SFTTrainer, with the loss on the completion only.

The rows are tokenised here, not by TRL: a row begins with the very tokens that an engine gives the model to continue.
TRL would train on another context wherever tokens merge across that boundary. Steps are cut into forward passes here,
too, which saves padding, and lets several processes share a step without a change of its rows or its loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.utils import DistributedType
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase, PrinterCallback, set_seed
from trl import SFTConfig, SFTTrainer

from sinternal.engines import TemplateOptions
from sinternal.errors import DataError
from sinternal.models.loading import context_of, open_tokenizer, stop_tokens
from sinternal.prompting.chat import (
    GenerationPrompt,
    assistant_turn,
    finished_turn,
    generation_prompt,
    template_to_train_with,
    turn_ends,
    visible_text,
    without_end,
)
from sinternal.prompting.encoding import encode
from sinternal.prompting.rendering import set_template_arguments
from sinternal.prompting.think import Tags
from sinternal.records import Example
from sinternal.settings.training import SftSettings
from sinternal.store import Progress
from sinternal.training.batches import Share, cut, draw, share
from sinternal.training.checkpoints import agree_on_last
from sinternal.training.names import TRAINING
from sinternal.training.tracking import NOBODY, Tracking
from sinternal.training.watch import Curve, Point, Report, Seal, Watch
from sinternal.training.weights import hardware, open_model, save_trained, steady

IGNORED = -100
"""The label of tokens outside the loss, as in torch's cross-entropy."""


class Log(NamedTuple):
    """What happened."""

    training: list[dict[str, float]]
    """One entry with `step` and `loss` (mean cross-entropy, nats per token) every few steps."""
    notes: list[str]
    """What a user should know."""


def train(
    model_folder: Path,
    examples: Sequence[Example],
    settings: SftSettings,
    seed: int,
    out: Path,
    progress: Progress,
    speech: TemplateOptions | None = None,
    tracking: Tracking = NOBODY,
) -> Log:
    """Fine-tune a model and save it as a Hugging Face model directory, or what was trained of it as a LoRA adapter.

    Args:
        model_folder: the model to start from, or an adapter to train further.
        examples: what to train on.
        settings: how.
        seed: of the order of the rows and the adapters.
        out: receives the model; checkpoints stand beside it in `<out>.checkpoints`.
        progress: called with (steps done, steps in all).
        speech: the chat-template options of the engine that measures the model.
        tracking: who is told how it goes.

    Raises:
        DataError: a row is too long, the chat template deletes the thinking or never ends a turn, a row would not be
            the intended text, or the training diverges or changes nothing.
        ModelError: the model directory cannot be used.
    """
    form = form_of(open_tokenizer(model_folder), stop_tokens(model_folder), speech)
    set_seed(seed)
    disable_progress_bar()
    rows = to_dataset(examples, form)
    check_labels(rows, examples, form, settings.max_length)
    checkpoints = out.with_suffix(".checkpoints")
    arguments = _arguments(settings, seed, checkpoints)
    tracking.put_into(arguments)
    start = open_model(model_folder, settings, keep=arguments.world_size == 1)
    _check_context(rows, examples, start.model, form.tokenizer)
    trainer = _Trainer(
        settings=settings,
        model=start.model,
        args=arguments,
        train_dataset=rows,
        processing_class=form.tokenizer,
        callbacks=[Report(progress), Watch("sft"), Curve(_points), Seal()],
    )
    trainer.remove_callback(PrinterCallback)  # the log is returned, not printed
    with steady(start.model):
        trainer.train(resume_from_checkpoint=agree_on_last(checkpoints, arguments.process_index))
    notes = save_trained(trainer, start, settings, out, section="sft")
    return Log([figures for entry in trainer.state.log_history for figures in _figures(entry)], notes)


def _figures(entry: Mapping[str, Any]) -> Iterator[dict[str, float]]:
    """What is kept of an entry of the trainer's log, if anything is."""
    if "loss" in entry:
        yield {"step": entry["step"], "loss": float(entry["loss"])}


def _points(entry: Mapping[str, Any]) -> Iterator[Point]:
    return ((TRAINING, figures) for figures in _figures(entry))


class _Trainer(SFTTrainer):  # type: ignore[misc]  # TRL has no types
    """TRL's trainer, with steps that are cut by `sinternal.training.batches`."""

    def __init__(self, *, settings: SftSettings, **arguments: Any) -> None:
        self.settings = settings
        super().__init__(**arguments)
        self.balance: float = self.router_aux_loss_coef
        """Weight of the balance of a mixture of experts."""

    def get_train_dataloader(self) -> DataLoader[Any]:
        """One batch for each step: what this process has to compute in it; see `Trainer.get_train_dataloader`."""
        lengths = [len(ids) for ids in self.train_dataset["input_ids"]]
        drawn = draw(len(lengths), self.settings.batch, self.args.data_seed)
        processes, process = self.args.world_size, self.args.process_index
        steps = [
            [
                share(part, lengths, processes, process)
                for part in cut(rows, lengths, self.settings.micro_batch, processes)
            ]
            for rows in islice(drawn, self.settings.steps)
        ]
        # Not prepared by accelerate, which would deal the steps out to the processes.
        return DataLoader(steps, batch_size=1, collate_fn=self._collate)  # type: ignore[arg-type]  # a list is enough

    def _collate(self, steps: Sequence[Sequence[Share]]) -> dict[str, torch.Tensor]:
        """The rows of a step, all padded alike, and the part that each belongs to."""
        rows, parts = [], []
        for number, (numbers, idle) in enumerate(steps[0]):
            for row in map(self.train_dataset.__getitem__, numbers):
                labels = [IGNORED] * len(row["labels"]) if idle else row["labels"]
                rows.append({"input_ids": row["input_ids"], "labels": labels})
                parts.append(number)
        return {**self.data_collator(rows), "part": torch.tensor(parts)}

    def training_step(
        self, model: Any, inputs: dict[str, torch.Tensor], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """The gradient of a step, part by part; see `Trainer.training_step`.

        Args:
            model: as it is wrapped.
            inputs: of a step, by `_collate`; tensors of shape (rows, tokens), and `part` of shape (rows,).
            num_items_in_batch: target tokens of the step in all processes, by which every part's loss is divided, so
                that the sum is the mean over them.
        """
        if num_items_in_batch is None:  # transformers does not count for models that would not take the number
            targets = (inputs["labels"][:, 1:] != IGNORED).sum().to(self.args.device)
            num_items_in_batch = self.accelerator.gather(targets).sum()
        tokens = inputs["attention_mask"].sum()
        parts = list(_parts(inputs))
        losses = []
        for number, part in enumerate(parts, 1):
            last = number == len(parts)
            # A mean over a part, which TRL would add whole for each of them.
            self.router_aux_loss_coef = self.balance * float(part["attention_mask"].sum() / tokens)
            # As transformers does for the batches that it accumulates: gradients meet once a step, unless the model is
            # sharded, whose gradients would lie whole in every process until then.
            self.accelerator.gradient_state._set_sync_gradients(last)
            meets = last or self.accelerator.distributed_type in (DistributedType.DEEPSPEED, DistributedType.FSDP)
            with nullcontext() if meets else self.accelerator.no_sync(model):
                losses.append(super().training_step(model, part, num_items_in_batch))
        return torch.stack(losses).sum()


def _parts(inputs: dict[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """The rows of each part, padded to the longest among them."""
    numbers = inputs.pop("part")
    for number in range(int(numbers.max()) + 1):
        rows = {name: values[numbers == number] for name, values in inputs.items()}
        longest = int(rows["attention_mask"].sum(dim=1).max())
        yield {name: values[:, :longest] for name, values in rows.items()}


class Form(NamedTuple):
    """What rows are written with."""

    tokenizer: PreTrainedTokenizerBase
    """With the chat template that engines ask the model with."""
    template: str
    """The one that renders a finished turn."""
    ends: Sequence[int]
    """The tokens that end a turn. What a template writes after one is not trained on: a model stops there."""
    tags: Tags | None = None
    """How the model spells its thinking; None: as its template and its tokens tell."""

    def prompt(self, example: Example) -> GenerationPrompt:
        """What an engine gives the model to continue, for the same question."""
        return generation_prompt(self.tokenizer, _messages(example), quotes=example.quotes, tags=self.tags)


def form_of(
    tokenizer: PreTrainedTokenizerBase, stops: int | Sequence[int] | None = None, speech: TemplateOptions | None = None
) -> Form:
    """Work out how a model's rows are written.

    Args:
        tokenizer: with a chat template, which is changed in place if `speech` has values for it.
        stops: `eos_token_id` of the model's generation settings.
        speech: the chat-template options of the engine that measures the model.

    Raises:
        DataError: the template deletes the thinking.
    """
    speech = speech or TemplateOptions()
    template, own = template_to_train_with(tokenizer), tokenizer.chat_template
    tokenizer.chat_template = template
    set_template_arguments(tokenizer, speech.chat_template_kwargs)
    template, tokenizer.chat_template = str(tokenizer.chat_template), own
    set_template_arguments(tokenizer, speech.chat_template_kwargs)
    return Form(tokenizer, template, turn_ends(tokenizer, stops), speech.tags)


def to_dataset(examples: Sequence[Example], form: Form | PreTrainedTokenizerBase) -> Dataset:
    """Tokenise examples.

    Args:
        examples: what to write.
        form: how to write them; worked out from a bare tokenizer.

    Returns:
        A row for each example, in their order: `input_ids`, which begin with the tokens of the generation prompt, and
        `labels`, which are the same after it and `IGNORED` before.

    Raises:
        DataError: the chat template refuses a prompt, or renders it differently once it is answered.
    """
    known_form = form if isinstance(form, Form) else form_of(form)
    return Dataset.from_list([_row(example, known_form) for example in examples])


def _row(example: Example, form: Form) -> dict[str, list[int]]:
    try:
        prompt = form.prompt(example)
        turn = finished_turn(
            form.tokenizer,
            _messages(example),
            example.thinking,
            example.answer,
            quotes=example.quotes,
            tags=form.tags,
            template=form.template,
        )
        before = prompt.encode(form.tokenizer).ids
        whole = encode(form.tokenizer, turn.text, turn.quoted).ids
        if whole[: len(before)] != before:  # tokens merge across the boundary, for example line breaks
            at = len(prompt.text)
            quoted = [(start - at, end - at) for start, end in turn.quoted if start >= at]
            whole = before + encode(form.tokenizer, turn.text[at:], quoted).ids
    except DataError as error:
        raise DataError(f"training example {example.id}: {error}") from error
    if not turn.text.startswith(prompt.text):
        raise DataError(
            f"training example {example.id}: the chat template renders the prompt as {prompt.text[-80:]!r} for "
            "generation, and not so once it is answered; give the tokenizer a chat template that keeps the prompt"
        )
    completion = whole[len(before) :]
    end = next((position for position, token in enumerate(completion) if token in form.ends), len(completion))
    completion = completion[: end + 1]
    return {"input_ids": before + completion, "labels": [IGNORED] * len(before) + completion}


def _messages(example: Example) -> list[tuple[str, str]]:
    """What an engine is sent for the same question."""
    return [*([("system", example.system)] if example.system else []), ("user", example.prompt)]


def check_labels(rows: Dataset, examples: Sequence[Example], form: Form, max_length: int) -> None:
    """Make sure that the tokens under the loss are the intended thinking, answer and end, and that no row is too long.

    Some chat templates rewrite assistant turns; training would then go on without its target.

    Args:
        rows: with `input_ids` and `labels`, in the order of the examples.
        examples: what was intended.
        form: what the rows were written with.
        max_length: longest row in tokens.

    Raises:
        DataError: a row differs, does not end its turn, or is too long.
    """
    for row, example in zip(rows, examples, strict=True):
        if len(row["input_ids"]) > max_length:
            raise DataError(
                f"training example {example.id} has {len(row['input_ids'])} tokens; raise sft.max_length ({max_length})"
            )
        labels = [token for token in row["labels"] if token != IGNORED]
        prompt = form.prompt(example)
        tags = prompt.tags[0]
        rendered = _plain(visible_text(form.tokenizer, without_end(labels, form.ends)), tags)
        intended = _plain(assistant_turn(prompt, example.thinking, example.answer), tags)
        if prompt.opened:
            intended = intended.removeprefix(tags.open).strip()
        if rendered != intended:
            raise DataError(
                f"training example {example.id}: the chat template turns the target {intended[:80]!r} into "
                f"{rendered[:80]!r}; give the tokenizer a chat template that keeps the thinking"
            )
        if not labels or labels[-1] not in form.ends:
            known = ", ".join(map(repr, form.tokenizer.convert_ids_to_tokens(list(form.ends)))) or "none is known"
            raise DataError(
                f"training example {example.id}: after the answer the chat template writes no token that ends the turn "
                f"({known}), so that the model would never learn to stop; end the assistant's turn with one of them in "
                "the chat template"
            )


def _check_context(rows: Dataset, examples: Sequence[Example], model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make sure that the model can read each row: an engine would cut its text there. Raises DataError."""
    context = context_of(model, tokenizer)
    for row, example in zip(rows, examples, strict=True):
        if len(row["input_ids"]) > context:
            raise DataError(
                f"training example {example.id} has {len(row['input_ids'])} tokens, the model reads {context}; take "
                "shorter answers and critiques (max_tokens of sampling and expert), or a model that reads more"
            )


def _plain(text: str, tags: Tags) -> str:
    """Text without the differences that a template may make: those of white space."""
    return " ".join(text.replace(tags.open, f" {tags.open} ").replace(tags.close, f" {tags.close} ").split())


def _arguments(settings: SftSettings, seed: int, checkpoints: Path) -> SFTConfig:
    return SFTConfig(
        output_dir=str(checkpoints),
        max_steps=settings.steps,
        per_device_train_batch_size=1,  # a step, whatever it holds
        learning_rate=settings.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=settings.steps // 20,
        completion_only_loss=True,
        max_length=None,
        seed=seed,
        data_seed=seed,
        gradient_checkpointing=torch.cuda.is_available(),
        logging_nan_inf_filter=False,  # it would show a loss of 0 where there is none
        logging_steps=max(1, settings.steps // 30),
        save_strategy="steps" if settings.save_steps else "no",
        save_steps=settings.save_steps or settings.steps,
        **hardware(),
    )
