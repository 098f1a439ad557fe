"""The cards of what is handed to others: what it is, what it was made from, what was measured, and its limits.

They begin with the YAML that the hub reads (https://huggingface.co/docs/hub/model-cards). Names and texts of others are
written so that they open no link, image or HTML.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sinternal.benchmarks.hub import HubBenchmark
from sinternal.benchmarks.packaged import PackagedBenchmark
from sinternal.figures.metric import ASR_WORST
from sinternal.figures.score import Score, by_key
from sinternal.figures.without_texts import without_paths
from sinternal.registry import Kind, load
from sinternal.report.effect_words import effect_in_words
from sinternal.report.format import MISSING, with_interval
from sinternal.report.markdown import pipe_table, plain
from sinternal.report.results import Results
from sinternal.report.tables import COLUMNS, Column, TextTable, headline
from sinternal.settings.arms import TrainOn
from sinternal.settings.recipe import Recipe
from sinternal.settings.sources import Source
from sinternal.study.named_arm import ArmOfRun
from sinternal.study.run import RECIPE as RUN_RECIPE

LEFT_OUT = "left out"
PRIVATE = ("base_url", "headers", "query", "organization", "vllm_server")
"""Options that name servers."""
UNKNOWN_LICENCE = "unknown"
"""What the hub calls it if nobody says."""
WARNING = (
    "**Contains harmful text.** Rows quote harmful requests and unsafe answers, so that a model learns to tell them "
    "from others. Do not show them to people unasked, and do not train a model to give such answers."
)
WORST = (
    ", in the attack family or condition of stress where it is highest; the interval does not account for the choice"
)
SAFETY = (
    "It is the outcome of an experiment, not a safety filter: attack success is measured on the prompts and attacks "
    "below, by the judges below, and says nothing about others."
)


@dataclass(frozen=True)
class ModelFacts:
    """What a model card is about."""

    arm: ArmOfRun
    """The arm."""
    adapter: bool
    """Whether the folder holds an adapter."""
    merged: bool
    """Whether an adapter was merged into its base."""
    base: str
    """The model that it was trained from, by the name that others know."""
    licence: str | None
    """Of the base, as the hub names licences; None if its card names none."""
    packages: Mapping[str, str]
    """Versions that trained it."""
    made: float
    """When its training began, in seconds since 1970."""


class Origin(NamedTuple):
    """A data set that prompts come from."""

    name: str
    """What the recipe calls it."""
    data: str
    """Id on the hub, package or file."""
    licence: str
    """Its licence, as far as it is known."""
    hub: str | None
    """Its id, if it is on the hub."""


def front_matter(fields: Mapping[str, Any]) -> str:
    """The YAML that the hub reads; fields without a value are left out."""
    content = {name: value for name, value in fields.items() if value not in (None, "", [], ())}
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}---\n"


def origins(sources: Sequence[Source]) -> list[Origin]:
    """Where prompts come from, each data set once."""
    return list(dict.fromkeys(map(_origin, sources)))


def _origin(source: Source) -> Origin:
    plugin = load(Kind.BENCHMARK, source.benchmark)
    if isinstance(plugin, HubBenchmark):
        return Origin(plugin.name, plugin.dataset, plugin.licence, plugin.dataset)
    if isinstance(plugin, PackagedBenchmark):
        return Origin(plugin.name, f"package {plugin.package or 'sinternal'}", plugin.licence, None)
    path = source.options.get("path")
    named = f"file {Path(str(path)).name}" if path else f"benchmark {source.benchmark}, made by code"
    return Origin(source.benchmark, named, plugin.licence or UNKNOWN_LICENCE, None)


def public_recipe(folder: Path) -> str:
    """A run's recipe without folders of the machine that it ran on, and without addresses of servers."""
    content = yaml.safe_load((folder / RUN_RECIPE).read_text())
    head = "# As it was run; folders of files and addresses of servers are left out.\n"
    return head + yaml.safe_dump(_public(content), sort_keys=False, allow_unicode=True)


def _public(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: LEFT_OUT if name in PRIVATE and inner else _public(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_public(inner) for inner in value]
    return without_paths(value) if isinstance(value, str) else value


def model_card(facts: ModelFacts) -> str:
    """The `README.md` of an exported arm."""
    recipe, results = facts.arm.recipe, facts.arm.run.results
    parts = [*_head(facts, recipe, results), *_use(facts), *_training(facts, recipe)]
    parts += [*_figures(facts.arm, results), *_limits(results), *_provenance(facts, recipe, results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(facts: ModelFacts, recipe: Recipe, results: Results) -> Iterator[str]:
    arm = facts.arm.arm
    datasets = [origin.hub for origin in origins(recipe.prompts.train) if origin.hub]
    known = facts.base.count("/") == 1
    yield front_matter(
        {
            "library_name": "peft" if facts.adapter else "transformers",
            "pipeline_tag": "text-generation",
            "base_model": facts.base if known else None,
            "base_model_relation": ("adapter" if facts.adapter else "finetune") if known else None,
            "license": facts.licence or "other",
            "license_name": None if facts.licence else UNKNOWN_LICENCE,
            "datasets": list(dict.fromkeys(datasets)),
            "tags": ["sinternal", "safety", "verification", *(["lora"] if facts.adapter else [])],
        }
    ).rstrip()
    yield f"# {title_of(facts.arm)}"
    trained_on = facts.arm.figures().trained_on
    what = (
        f"A LoRA adapter for {plain(facts.base)}, trained" if facts.adapter else f"{plain(facts.base)}, trained further"
    )
    yield f"{what}, in one run with seed {facts.arm.seed}, on {plain(trained_on)}."
    own = [effect for effect in results.effects if effect.method == arm]  # else it would speak of another arm
    words = effect_in_words(own, facts.arm.variant)
    if words is not None:
        yield " ".join(plain(part) for part in (f"**{words.safety}**", words.price, words.caution) if part)
    yield SAFETY


def title_of(arm: ArmOfRun) -> str:
    """What a card is headed by: the recipe, the variant if there are several, the arm."""
    variant = f", variant {plain(arm.variant)}" if len(arm.run.variants) > 1 else ""
    return f"{plain(arm.recipe.name)}{variant}, arm {plain(arm.arm)}"


def _use(facts: ModelFacts) -> Iterator[str]:
    yield "## How to load it"
    if facts.adapter and facts.base.count("/") != 1:
        yield (
            f"The base, {plain(facts.base)}, is not on the hub: `adapter_config.json` names the folder where it was. "
            "On another machine, name its folder there:"
        )
        yield (
            "```python\n"
            "from peft import PeftModel\n"
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            'base = AutoModelForCausalLM.from_pretrained("BASE", dtype="auto")\n'
            'model = PeftModel.from_pretrained(base, "PATH_OR_ID")\n'
            'tokenizer = AutoTokenizer.from_pretrained("PATH_OR_ID")\n'
            "```"
        )
        yield "vLLM: `vllm serve BASE --enable-lora --lora-modules sinternal=PATH_OR_ID`"
    elif facts.adapter:
        yield (
            "```python\n"
            "from peft import AutoPeftModelForCausalLM\n"
            "from transformers import AutoTokenizer\n\n"
            'model = AutoPeftModelForCausalLM.from_pretrained("PATH_OR_ID")\n'
            'tokenizer = AutoTokenizer.from_pretrained("PATH_OR_ID")\n'
            "```"
        )
        yield f"vLLM: `vllm serve {_in_code(facts.base)} --enable-lora --lora-modules sinternal=PATH_OR_ID`"
    else:
        yield (
            "```python\n"
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            'model = AutoModelForCausalLM.from_pretrained("PATH_OR_ID", dtype="auto")\n'
            'tokenizer = AutoTokenizer.from_pretrained("PATH_OR_ID")\n'
            "```"
        )
        yield "vLLM: `vllm serve PATH_OR_ID`"
    yield "The chat template and the tokens that end a turn are those that it was trained and measured with."


def _in_code(text: str) -> str:
    return plain(text).replace("`", "")


def _training(facts: ModelFacts, recipe: Recipe) -> Iterator[str]:
    arm = facts.arm.figures()
    yield "## What it was trained on"
    amounts = [f"{arm.examples:,} {'example' if arm.examples == 1 else 'examples'}"] if arm.examples else []
    amounts += [f"{arm.rollouts:,} rewarded rollouts"] if arm.rollouts else []
    start = f", starting from arm {plain(arm.start)}" if arm.start else ""
    merged = "; the adapter was merged into the weights" if facts.merged else ""
    steps = f"{arm.steps:,} optimiser {'step' if arm.steps == 1 else 'steps'}"
    yield f"{' and '.join([*amounts, steps])}{start}{merged}."
    yield f"Expert: {plain(recipe.writer.name)}. The training texts quote harmful requests and unsafe answers. Prompts:"
    yield origins_table(recipe.prompts.train)


def origins_table(sources: Sequence[Source]) -> str:
    """The data sets that prompts come from, with their licences."""
    rows = [[origin.name, origin.data, origin.licence or UNKNOWN_LICENCE] for origin in origins(sources)]
    return pipe_table(TextTable(["prompts", "data", "licence"], rows), words=True)


def _figures(arm: ArmOfRun, results: Results) -> Iterator[str]:
    variant = arm.variant
    rows = headline(results.scores[::-1], results.arms, variant)
    ours = next(row for row in rows if row.name == arm.arm)
    rows = [row for row in rows if any(row.cells) or row is ours]  # an arm may take no part in a variant
    first = rows[0]
    placebos = {each.name for each in arm.recipe.arms if each.train_on is TrainOn.PLACEBO}
    others = [row for row in rows[1:] if row.name in placebos and row.name != ours.name]
    shown = [first, *others, ours] if first.name != ours.name else [ours, *others]
    of_seed = by_key(results.scores[::-1])
    several = len(results.seeds) > 1
    lines = []
    for number, column in enumerate(COLUMNS):
        cells = [row.cells[number] for row in shown]
        if not any(cells):
            continue
        judges = dict.fromkeys(cell.judge for cell in cells if cell is not None)
        line = [column.short, *map(_cell, cells)]
        if several:
            line.append(_cell(of_seed.get(column.key(variant, arm.arm)._replace(seed=arm.seed))))
        lines.append([*line, ", ".join(judges)])
    titles = ["%", *(row.name for row in shown), *([f"{arm.arm}, seed {arm.seed}"] if several else []), "judge"]
    yield "## Results"
    pooled = f" Pooled over seeds {', '.join(map(str, results.seeds))}." if several else ""
    yield (
        "Percent with 95 % intervals for other prompts, and n, the labelled answers or verdicts; two figures without "
        "an interval are the bounds of one whose labels are partly missing. ID: attack families that training saw; "
        f"OOD: never seen.{pooled}"
    )
    yield pipe_table(TextTable(titles, lines))
    yield "\n".join(_legend(arm.recipe, [row.name for row in shown], first.name, lines))
    yield "Prompts that it was measured on:"
    yield origins_table(arm.recipe.prompts.eval)


def _legend(recipe: Recipe, shown: Sequence[str], first: str, lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """What the columns and rows of the figures are, as items of a list."""
    arms = {each.name: each for each in recipe.arms}
    for name in shown:
        placebo = arms[name].placebo
        if placebo is not None:
            yield (
                f"- {plain(name)}: a placebo, trained as long and in the same form on verifications about "
                f"{placebo.kind.value} in place of safety: what it changes too is not due to safety"
            )
        elif name == first and arms[name].train_on is TrainOn.NOTHING:
            yield f"- {plain(name)}: the model before training"
    yield "- judge: who labels the answers"
    printed = {line[0] for line in lines}
    metrics = {_plain_name(column): column.metric for column in COLUMNS if column.short in printed}
    for short, metric in metrics.items():
        more = WORST if metric is ASR_WORST else ""
        yield f"- {plain(short)}: {plain(metric.title)}, {plain(metric.rows)} that {plain(metric.hits)}{more}"
    if any(column.spec for column in COLUMNS if column.short in printed):
        yield "- +spec: the specification was quoted when the model was asked about its own answer"


def _plain_name(column: Column) -> str:
    """What a row is called, without the prompts that it is of."""
    return " ".join(word for word in column.short.split() if word not in ("ID", "OOD", "+spec"))


def _cell(score: Score | None) -> str:
    shown = with_interval(score)
    return shown if score is None or shown == MISSING else f"{shown}, n {score.n:,}"


def _limits(results: Results) -> Iterator[str]:
    if not results.caveats:
        return
    yield "## Limits"
    yield "\n".join(f"- {plain(without_paths(sentence))}" for sentence in results.caveats)


def _provenance(facts: ModelFacts, recipe: Recipe, results: Results) -> Iterator[str]:
    yield "## How it was made"
    versions = ", ".join(f"{name} {version}" for name, version in facts.packages.items())
    told = {name: value for name, value in results.facts.items() if name not in ("Target", "Packages", "Seeds")}
    lines = {
        **told,
        "Recipe": f"{recipe.name}, in full in recipe.yaml beside this card; {told.get('Recipe', '')}",
        "Command": f"`sinternal run recipe.yaml --set seeds=[{facts.arm.seed}]`",
        "Trained on": time.strftime("%Y-%m-%d", time.gmtime(facts.made)),
        "Versions": versions,
    }
    yield "\n".join(f"- {plain(name)}: {plain(without_paths(value))}" for name, value in lines.items())
