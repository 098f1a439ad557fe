"""`sinternal init`: a recipe for a model, data, judge and expert of the user's own, as short as it can be.

Each field stands under its own words, those of `sinternal schema recipe`; what most people leave alone is there as a
comment, with its default.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from sinternal.benchmarks.rows import read_rows
from sinternal.errors import DataError, RecipeError, SInternalError
from sinternal.registry import Kind, load, names
from sinternal.settings.base import validate_settings
from sinternal.settings.recipe import Recipe
from sinternal.settings.sources import Source
from sinternal.settings.words import field_words
from sinternal.study.cost import FEW_STEPS
from sinternal.tools.init_answers import check_wishes
from sinternal.tools.init_sources import FILL_IN, check_columns, read_source
from sinternal.tools.init_wishes import Wishes
from sinternal.visible import visible_line

WIDTH = 110
SHARES = {"train": 0.8, "eval": 0.2}
BATCH, SMALLEST_BATCH = 16, 4
PASSES = 2
"""Over the training set."""
MOST_EXAMPLES = 2000
LOCAL_GUARD = "Qwen/Qwen3Guard-Gen-0.6B"
"""A judge that a machine without a GPU can still run (Apache-2.0)."""
OFFLINE = ("advbench-pyrit", "everyday")
"""Harmful and benign requests that come with packages."""


def write_recipe(wishes: Wishes) -> str:
    """The recipe, as text that is valid.

    Args:
        wishes: what is None is filled in, and named in `taken`.

    Raises:
        SInternalError: a file cannot be read, or lacks a column that was named.
    """
    check_wishes(wishes)
    content = _content(wishes)
    validate_settings(Recipe, content, "init")
    text = "\n".join(_lines(wishes, content)) + "\n"
    if yaml.safe_load(text) != content:
        raise RecipeError("init: the recipe would not be read as it is meant; write its names without odd characters")
    return text


def _content(wishes: Wishes) -> dict[str, Any]:
    check_columns(wishes)
    train = [read_source(text, wishes, "train") for text in wishes.data or _default_data(wishes)]
    measured = [read_source(text, wishes, "eval") for text in wishes.evaluation]
    if twice := [source for source in train if source in measured]:
        train, measured = ([_divided(each) if each in twice else each for each in side] for side in (train, measured))
        wishes.taken.append("data: what stands in both --data and --eval is divided by a hash of the text")
    if not measured:
        measured = train = [_divided(source) for source in train]
        wishes.taken.append(
            "data: a fifth of it, drawn by a hash of the text, is kept for measuring (--eval names other)"
        )
    size = _size(train)
    batch = _batch(size)
    steps = max(FEW_STEPS, ceil(PASSES * size / batch))
    if batch != BATCH:
        wishes.taken.append(
            f"sft: {steps} steps of {batch} rows, not of {BATCH}, as there are {size}: fewer than {FEW_STEPS} steps "
            "change next to nothing"
        )
    if wishes.model is None:
        wishes.model = "smollm2"
        wishes.taken.append("model: smollm2, which comes from PyPI and tests the pipeline only (--model)")
    return {
        "name": wishes.name,
        "seeds": [0],
        "target": {"model": wishes.model},
        "prompts": {
            "train": train,
            "train_attacks": ["plain", "prefix-injection", "role-play"],
            "eval": measured,
            "eval_attacks": ["plain", "prefix-injection", "fiction", "base64"],
        },
        "engine": {"name": wishes.engine},
        "sampling": {"n": 4, "temperature": 0.6, "top_p": 0.95, "max_tokens": 4096},
        "judges": [_judge(wishes)],
        "expert": _expert(wishes),
        "verification": {"name": "specification"},
        "examples": {"size": size},
        "sft": {
            "method": wishes.method,
            "steps": steps,
            "batch": batch,
            "micro_batch": 1,
            "learning_rate": 2e-4 if wishes.method == "lora" else 1e-5,
        },
        "evaluation": {
            "sampling": {"max_tokens": 4096},
            "verification_sampling": {"max_tokens": 4096},
        },
        "arms": [
            {"name": "base"},
            {"name": "sinternal", "train_on": "verification"},
            {"name": "placebo", "train_on": "placebo", "placebo": {"kind": "correctness"}},
        ],
    }


def _default_data(wishes: Wishes) -> tuple[str, ...]:
    wishes.taken.append(f"data: {' and '.join(OFFLINE)}, which come with packages (--data)")
    return OFFLINE


def _divided(source: dict[str, Any]) -> dict[str, Any]:
    options = dict(source.get("options", {}))
    plugin = load(Kind.BENCHMARK, source["benchmark"])
    if "part" in options.get("columns", {}) or "shares" not in plugin.Options.model_fields:
        return source
    return {**source, "options": {**options, "shares": SHARES}}


def _size(train: Sequence[dict[str, Any]]) -> int:
    """A number of examples that the data can fill: as many as there are prompts, up to a limit."""
    rows = 0
    for source in train:
        if source["benchmark"] == "file":
            try:
                rows += len(Source.model_validate(source).plugin.open().prompts("train"))
            except DataError:  # what is wrong with its rows, or is still to be filled in, `check` says
                rows += sum(1 for _ in read_rows(Path(source["options"]["path"]).expanduser()))
        else:
            rows += load(Kind.BENCHMARK, source["benchmark"]).size or 0
    return max(BATCH, min(MOST_EXAMPLES, rows))


def _batch(size: int) -> int:
    """The usual batch, or as much less as it takes for enough steps."""
    batch = BATCH
    while batch > SMALLEST_BATCH and PASSES * size / batch < FEW_STEPS:
        batch //= 2
    return batch


def _judge(wishes: Wishes) -> dict[str, Any]:
    name = wishes.judge or "qwen3guard"
    plugin = load(Kind.JUDGE, name)
    if "engine" not in plugin.Options.model_fields:
        return {"name": name}
    model = wishes.judge_model
    if model is None:
        model = LOCAL_GUARD if name == "qwen3guard" else None
        if model is None:
            raise SInternalError(f"--judge {name}: name its model with --judge-model")
        where = f"at {wishes.judge_url}" if wishes.judge_url else "here"
        wishes.taken.append(f"judge: {name} with {model}, run {where} (--judge, --judge-model, --judge-url)")
    engine: dict[str, Any] = {"name": "transformers", "model": model}
    if wishes.judge_url:
        engine = {"name": "openai", "model": model, "options": {"base_url": wishes.judge_url}}
    return {"name": name, "options": {"engine": engine}}


def _expert(wishes: Wishes) -> dict[str, Any]:
    if wishes.expert in names(Kind.EXPERT) and wishes.expert != "chat":
        return {"name": wishes.expert}
    model = wishes.expert
    if model is None or model == "chat":
        if wishes.expert_url:
            raise SInternalError(f"{wishes.expert_url}: name the expert's model there with --expert MODEL")
        model = "gpt-4o-2024-11-20"
        wishes.taken.append(f"expert: {model} of OpenAI, which costs money (--expert MODEL, --expert-url)")
    options: dict[str, Any] = {"base_url": wishes.expert_url or "https://api.openai.com/v1"}
    if wishes.expert_key:
        options["api_key_env"] = wishes.expert_key
    return {"name": "chat", "options": {"engine": {"name": "openai", "model": model, "options": options}}}


SHOWN_AS_COMMENTS: Mapping[str, Sequence[tuple[str, str]]] = {
    "": (
        ("workers", "1"),
        ("trackers", "[tensorboard]"),
        ("rewards", "{judge: {name: llama-guard, options: {engine: {…}}}}"),
        ("capability", "[{task: sinternal/mathematics, options: {benchmark: math-500}}]"),
    ),
    "target": (("system", '""'),),
    "prompts": (("train_limit", "1000"), ("eval_limit", "200")),
    "sft": (("lora_r", "16"), ("max_length", "4096"), ("save_steps", "50")),
    "evaluation": (("stress", "{turns: 3, sampling: [{n: 4, temperature: 0.6, max_tokens: 4096}]}"),),
}
"""Fields that people change next, by section, with their defaults or an example."""
PRICE = "# price: {read: 3.0, written: 15.0}  # what a million tokens cost: without it, --max-cost limits nothing"


def _lines(wishes: Wishes, content: Mapping[str, Any]) -> Iterator[str]:
    yield f"# A study of {' '.join(str(wishes.model).split())}, written by `sinternal init`. Next:"
    file = shlex.quote(wishes.file)
    steps = {
        f"check {file}": "what is missing, before anything is spent",
        f"plan {file} --hardware 1xH100": "what it takes",
        f"run {file}": "stopped, it goes on from there",
    }
    longest = max(map(len, steps))
    yield from (f"#   sinternal {command:<{longest}}  {words}" for command, words in steps.items())
    yield "# All fields: `sinternal schema recipe`."
    yield from (f"# {FILL_IN}: {visible_line(words)}" for words in dict.fromkeys(wishes.missing))
    yield from _section(content, Recipe, "", "")


def _section(content: Mapping[str, Any], model: type[BaseModel], indent: str, path: str) -> Iterator[str]:
    words = field_words(model)
    for name, value in content.items():
        yield from _comment(words.get(name, ""), indent)
        inner = _model_of(model, name)
        if isinstance(value, Mapping) and inner is not None and not _is_plugin(value):
            yield f"{indent}{name}:"
            yield from _section(value, inner, f"{indent}  ", f"{path}.{name}".lstrip("."))
        else:
            yield from _value(name, value, indent)
    for name, example in SHOWN_AS_COMMENTS.get(path, ()):
        yield from _comment(words.get(name, ""), indent)
        yield f"{indent}# {name}: {example}"


def _is_plugin(value: Mapping[str, Any]) -> bool:
    return "name" in value


def _value(name: str, value: Any, indent: str) -> Iterator[str]:
    """A value: lists of mappings with an entry a line, servers in full, all else on one line."""
    flow = _flow(value)
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        yield f"{indent}{name}:"
        for entry in value:
            if "engine" in entry.get("options", {}):
                block = _block(entry, f"{indent}    ")
                yield f"{indent}  - {block[0].lstrip()}"
                yield from block[1:]
            else:
                yield f"{indent}  - {_flow(entry)}"
    elif isinstance(value, Mapping) and "engine" in value.get("options", {}):
        yield f"{indent}{name}:"
        yield from _block(value, f"{indent}  ")
    else:
        yield f"{indent}{name}: {flow}"


def _block(value: Mapping[str, Any], indent: str) -> list[str]:
    lines = yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=1000).splitlines()
    shown = [f"{indent}{line}" for line in lines]
    if any("base_url" in line for line in lines):
        last = next(line for line in reversed(shown) if "base_url" in line)
        shown.append(f"{' ' * (len(last) - len(last.lstrip()))}{PRICE}")
    return shown


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _comment(words: str, indent: str) -> Iterator[str]:
    """The first paragraph of a docstring, as comment lines."""
    first = " ".join(words.partition("\n\n")[0].split())
    for line in textwrap.wrap(first, WIDTH - len(indent) - 2):
        yield f"{indent}# {line}"


def _model_of(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The section that a field holds, if it holds one and not a list of them."""
    annotation = model.model_fields[name].annotation if name in model.model_fields else None
    candidates = (annotation, *get_args(annotation))
    if getattr(annotation, "__origin__", None) is tuple:
        return None
    return next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), None)
