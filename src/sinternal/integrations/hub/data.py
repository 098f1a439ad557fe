"""A training set as a dataset that TRL's SFTTrainer takes: columns `prompt` and `completion`, with a data card.

Each row is compared with what this package trains on: if TRL's way to tokenise a conversation gives the same tokens and
labels, rows are conversations; else they are token ids, which TRL takes as they are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from sinternal.engines import TemplateOptions
from sinternal.errors import DataError, ModelError
from sinternal.integrations.hub.cards import (
    UNKNOWN_LICENCE,
    WARNING,
    front_matter,
    origins,
    origins_table,
    public_recipe,
    title_of,
)
from sinternal.integrations.hub.folder import CARD, RECIPE, new_folder
from sinternal.integrations.hub.models import artifact_of
from sinternal.models.resolve import tokenizer_folder
from sinternal.prompting.rendering import apply_template
from sinternal.records import Example
from sinternal.report.format import listing
from sinternal.report.markdown import pipe_table, plain
from sinternal.report.tables import TextTable
from sinternal.settings.training import Method
from sinternal.stages.sft import SftConfig
from sinternal.stages.target import model_path
from sinternal.store.files import new_file, write_text
from sinternal.study.named_arm import ArmOfRun

TRAIN = "train.jsonl"
TEMPLATE = "chat_template.jinja"
TUNED = {Method.FULL: "all weights", Method.LORA: "a LoRA adapter"}
FEW = 100
"""Rows below which a set can hardly teach anything."""
ON_THE_HUB = ("Apache-2.0", "MIT", "CC-BY-4.0", "CC0-1.0", "CC-BY-SA-4.0")
"""Licences that the hub knows by the same name in small letters."""


class Form(StrEnum):
    """How rows are written."""

    CONVERSATIONS = "conversations"
    """Messages: TRL renders and tokenises them, and trains on the same labels."""
    TOKENS = "tokens"
    """Token ids and labels beside the messages, which TRL would tokenise otherwise."""
    UNCHECKED = "unchecked"
    """Messages; the model's tokenizer is not here, so that they could not be compared."""


@dataclass
class ExportedData:
    """What was written."""

    folder: Path
    """Where."""
    rows: int
    """Rows."""
    form: Form
    """How they are written."""
    notes: list[str] = field(default_factory=list)
    """What whoever trains on it should know."""


def export_data(arm: ArmOfRun, to: Path) -> ExportedData:
    """Write the training set of an arm as a folder that `datasets` loads.

    Args:
        arm: which; trained on examples.
        to: the folder, new or empty.

    Raises:
        SInternalError: it has no training set, or that is not in the store.
    """
    examples, config, start = _training_of(arm)
    form, written, template = _rows(examples, config.speech, start)
    notes = [arm.note] if arm.note else []
    if form is Form.TOKENS:
        notes.append(
            "TRL would tokenise the messages otherwise: rows hold the input_ids and labels that were trained on"
        )
    elif form is Form.UNCHECKED:
        notes.append("the model's tokenizer is not here: whether TRL trains on the same labels was not compared")
    with new_folder(to) as folder:
        with new_file(folder / TRAIN) as stream:
            for row in written:
                stream.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        if template is not None:
            write_text(folder / TEMPLATE, template)
        write_text(folder / CARD, _card(arm, examples, form, config, has_template=template is not None))
        write_text(folder / RECIPE, public_recipe(arm.run.folder))
    return ExportedData(to, len(written), form, notes)


def _training_of(arm: ArmOfRun) -> tuple[list[Example], SftConfig, Path | None]:
    """An arm's examples, how it was trained on them, and where its start is; of a rewarded arm, those of none."""
    keys = arm.run.arm_keys(arm.arm, arm.seed, arm.variant)
    training = keys.training if keys else None
    if training is None or training.examples is None or training.sft is None:
        trained = [each.name for each in arm.recipe.arms if each.name != arm.arm]
        raise DataError(
            f"{arm.run.folder}: arm {arm.arm!r} was not trained on a set of examples; look at another: "
            f"{', '.join(trained)}"
            if keys
            else f"{arm.run.folder}: its artifacts are not in {arm.run.store.root}; name its --store"
        )
    examples, tuned = artifact_of(arm, training.examples), artifact_of(arm, training.sft)
    if examples is None or tuned is None:
        raise DataError(f"the training set of {arm.arm!r} is not in {arm.run.store.root}; name the run's --store")
    config = SftConfig.model_validate(tuned.manifest["config"])
    start = artifact_of(arm, str(tuned.manifest["inputs"]["model"]))
    return examples.rows(Example), config, None if start is None else model_path(start)


def _rows(
    examples: Sequence[Example], speech: TemplateOptions, start: Path | None
) -> tuple[Form, list[dict[str, Any]], str | None]:
    """The rows, and the chat template to train with if that is not the tokenizer's own."""
    try:
        folder = None if start is None else tokenizer_folder(start)
    except ModelError:
        folder = None
    if folder is None or start is None:
        return Form.UNCHECKED, [_messages(each, _plain_content(each)) for each in examples], None
    from sinternal.models.loading import open_tokenizer, stop_tokens
    from sinternal.prompting.chat import assistant_turn
    from sinternal.training.sft import form_of, to_dataset

    tokenizer = open_tokenizer(folder)
    own = str(tokenizer.get_chat_template())
    form = form_of(tokenizer, stop_tokens(start), speech)
    rows = [_messages(each, assistant_turn(form.prompt(each), each.thinking, each.answer)) for each in examples]
    ours = to_dataset(examples, form)
    template = None if form.template == own else form.template
    pairs = zip(rows, ours, strict=True)
    if all(_tokens_by_trl(tokenizer, form.template, row) == (our["input_ids"], our["labels"]) for row, our in pairs):
        return Form.CONVERSATIONS, rows, template
    tokens = [{"input_ids": our["input_ids"], "labels": our["labels"]} for our in ours]
    return Form.TOKENS, [{**row, **ids} for row, ids in zip(rows, tokens, strict=True)], template


def _plain_content(example: Example) -> str:
    from sinternal.prompting.think import write_completion

    return write_completion(example.thinking, example.answer)


def _messages(example: Example, content: str) -> dict[str, Any]:
    system = [{"role": "system", "content": example.system}] if example.system else []
    return {
        "prompt": [*system, {"role": "user", "content": example.prompt}],
        "completion": [{"role": "assistant", "content": content}],
        "id": example.id,
        "stratum": example.stratum,
    }


def _tokens_by_trl(tokenizer: Any, template: str, row: dict[str, Any]) -> tuple[list[int], list[int]] | None:
    """What TRL 1.16 makes of a conversation: `SFTTrainer._prepare_dataset`, the case of prompt and completion."""
    try:
        prompt = apply_template(tokenizer, row["prompt"], generate=True, template=template)
        turns = apply_template(tokenizer, [*row["prompt"], *row["completion"]], generate=False, template=template)
    except DataError:  # a template may refuse anything; the rows are then written as tokens
        return None
    before, whole = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, turns))
    shared = 0
    for ours, theirs in zip(before, whole, strict=False):
        if ours != theirs:
            break
        shared += 1
    return list(whole), [-100] * shared + list(whole[shared:])


def _card(arm: ArmOfRun, examples: Sequence[Example], form: Form, config: SftConfig, *, has_template: bool) -> str:
    return "\n\n".join(_parts(arm, examples, form, config, has_template=has_template)) + "\n"


def _parts(
    arm: ArmOfRun, examples: Sequence[Example], form: Form, config: SftConfig, *, has_template: bool
) -> Iterator[str]:
    recipe = arm.recipe
    facts = arm.figures()
    licences = dict.fromkeys(origin.licence for origin in origins(recipe.prompts.train))
    known = next(iter(licences)) if len(licences) == 1 and UNKNOWN_LICENCE not in licences else None
    yield front_matter(
        {
            "license": known.lower() if known in ON_THE_HUB else "other",
            "license_name": None if known in ON_THE_HUB else "see-sources",
            "task_categories": ["text-generation"],
            "size_categories": [_size_category(len(examples))],
            "tags": ["sinternal", "trl", "sft", "safety", "not-for-all-audiences"],
            "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": TRAIN}]}],
        }
    ).rstrip()
    yield f"# Training set of {title_of(arm)}, seed {arm.seed}"
    yield WARNING
    yield f"{len(examples):,} rows: {plain(facts.trained_on)}. Written by the expert {plain(recipe.writer.name)}."
    counts = Counter(example.stratum for example in examples)
    yield pipe_table(TextTable(["kind of row", "rows"], [[kind, f"{rows:,}"] for kind, rows in counts.items()]))
    yield (
        "Kinds: unsafe and safe answers to harmful requests, answers to benign ones; of demonstrations, harmful and "
        "benign requests."
    )
    yield "## Fields"
    fields = {
        "prompt": "messages: a system message if there is one, and the user's",
        "completion": "one message of the assistant's: thinking, with its tags, and answer",
        "id": "stable id of the row",
        "stratum": "what it balances: unsafe, safe, benign or harmful",
    }
    if form is Form.TOKENS:
        fields |= {
            "input_ids": "the tokens that were trained on",
            "labels": "the same, and -100 where there is no loss",
        }
    yield pipe_table(
        TextTable(["field", "what it holds"], [[name, words] for name, words in fields.items()]), words=True
    )
    yield "## How to train on it"
    yield from _how(form, config, has_template=has_template)
    yield "## Sources and licences"
    yield origins_table(recipe.prompts.train)
    yield (
        f"Prompts have the licences of their sources ({plain(listing(licences))}); answers and "
        f"critiques were written by models ({plain(recipe.target.model)} and the expert), whose terms hold for them."
    )
    yield "## Limits"
    yield "\n".join(_limits(arm, len(examples)))
    yield f"The recipe is in recipe.yaml beside this card; made by `sinternal export data`, seed {arm.seed}."


def _limits(arm: ArmOfRun, rows: int) -> Iterator[str]:
    recipe = arm.recipe
    yield (
        f"- Which answers are safe is what the judge {plain(recipe.labeller.name)} says: its errors are in the rows."
    )
    yield "- Critiques and answers are in the expert's words, which may be wrong about facts."
    if rows < FEW:
        yield f"- {rows:,} rows are few: they show the form, and teach little."
    yield (
        "- What training on it does was measured for this run's model alone: `sinternal export model` writes a card "
        "with these figures."
    )


def _how(form: Form, config: SftConfig, *, has_template: bool) -> Iterator[str]:
    settings = config.settings
    yield (
        "```python\n"
        "from datasets import load_dataset\n"
        "from trl import SFTConfig, SFTTrainer\n\n"
        'rows = load_dataset("PATH_OR_ID", split="train")\n'
        'trainer = SFTTrainer("MODEL", args=SFTConfig(max_length=None), train_dataset=rows)\n'
        "```"
    )
    match form:
        case Form.CONVERSATIONS:
            yield "TRL 1.16 then has the loss on the same tokens as the run had: every row was compared."
        case Form.TOKENS:
            yield "TRL takes `input_ids` and `labels` as they are, those of the run. For another model, drop both."
        case Form.UNCHECKED:
            yield "Whether TRL then has the loss on the same tokens as the run could not be compared."
    if has_template:
        yield f"Render with `{TEMPLATE}` of this folder (`chat_template_path`): the model's own deletes the thinking."
    yield (
        f"The run tuned {TUNED[settings.method]}: {settings.steps:,} optimiser steps of {settings.batch} rows, "
        f"learning rate {settings.learning_rate:g}."
    )


def _size_category(rows: int) -> str:
    for limit, name in ((1000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K")):
        if rows < limit:
            return name
    return "100K<n<1M"
