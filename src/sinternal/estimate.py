"""What a plan costs at most: rows, generation calls and tokens of each artifact, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sinternal.errors import DataError
from sinternal.pipeline import Plan, Task
from sinternal.registry import Kind, load
from sinternal.stages.verify import SPEC_SETTINGS
from sinternal.store import Store


class Costs(NamedTuple):
    """Upper bounds; None where the number does not apply."""

    rows: int | None
    """Rows written."""
    calls: int | None
    """Generation calls: to the target, to a judge or to the expert."""
    tokens: int | None
    """Tokens that the target may write."""


@dataclass(frozen=True)
class Row:
    """One line of the plan."""

    task: Task
    """The artifact."""
    cached: bool
    """Whether it is in the store."""
    costs: Costs
    """What it costs at most."""


ROWS = ("examples", "verifications", "judgements", "responses", "prompts", "transcripts")
"""Tables by which the rows of a finished artifact are counted: the first that it has."""


def estimate(plan: Plan, store: Store) -> list[Row]:
    """Bounds for every artifact, from the counts of those that are there and the bounds of the others."""
    known: dict[str, Costs] = {}
    rows = []
    for task in plan.tasks:
        costs = _ESTIMATES[task.stage](task.config, {name: known[t.key].rows or 0 for name, t in task.inputs.items()})
        found = store.find(task.stage, task.key)
        if found is not None:
            counted = next((found.counts[name] for name in ROWS if name in found.counts), costs.rows)
            costs = costs._replace(rows=counted)
        known[task.key] = costs
        rows.append(Row(task, found is not None, costs))
    return rows


def _prompts(config: Any, inputs: Mapping[str, int]) -> Costs:
    sides = [0, 0]
    for source in config.sources:
        for at, there in enumerate(_originals(source)):
            known = min(there, inputs.get("among", there))
            sides[at] += min(known, source.limit or known) * len(source.attacks)
    return Costs(sum(min(side, config.limit or side) for side in sides), 0, None)


def _originals(source: Any) -> tuple[int, int]:
    """Harmful and benign prompts of a benchmark; if it cannot be read here, all that it is known to hold for each."""
    plugin = load(Kind.BENCHMARK, source.benchmark)
    try:
        rows = plugin(source.options).prompts(source.part)
    except DataError:
        size = getattr(plugin, "size", None)
        if size is None:
            raise
        return size, size
    harmful = sum(row.harmful for row in rows)
    return harmful, len(rows) - harmful


def _sample(config: Any, inputs: Mapping[str, int]) -> Costs:
    rows = inputs["prompts"] * config.sampling.n
    return Costs(rows, rows, rows * config.sampling.max_tokens)


def _repeat(config: Any, inputs: Mapping[str, int]) -> Costs:
    rows = inputs["prompts"] * config.sampling.n
    return Costs(rows, rows * config.turns, rows * config.turns * config.sampling.max_tokens)


def _judge(_: Any, inputs: Mapping[str, int]) -> Costs:
    return Costs(inputs["responses"], inputs["responses"], None)


def _pair(_: Any, inputs: Mapping[str, int]) -> Costs:
    return Costs(min(2 * inputs["prompts"], inputs["responses"]), 0, None)


def _critique(config: Any, inputs: Mapping[str, int]) -> Costs:
    return _asked(inputs["pairs"], config)


def _demonstrate(config: Any, inputs: Mapping[str, int]) -> Costs:
    return _asked(inputs["prompts"], config)


def _asked(there: int, config: Any) -> Costs:
    """What an expert is asked: no more than there is, and than is wanted."""
    rows = there if config.wanted is None else min(there, sum(config.wanted.values()))
    return Costs(rows, rows, None)


def _verify(config: Any, inputs: Mapping[str, int]) -> Costs:
    rows = len(SPEC_SETTINGS) * inputs["responses"] * config.sampling.n
    return Costs(rows, rows, rows * config.sampling.max_tokens)


def _grpo(config: Any, inputs: Mapping[str, int]) -> Costs:
    settings = config.settings
    rollouts = settings.steps * settings.prompts * settings.rollouts.n
    if settings.held_out_every:
        rollouts += inputs.get("held_out", 0) * (1 + settings.steps // settings.held_out_every)
    return Costs(rollouts, rollouts, rollouts * settings.rollouts.max_tokens)


_ESTIMATES: Mapping[str, Callable[[Any, Mapping[str, int]], Costs]] = {
    "base": lambda _config, _inputs: Costs(None, 0, None),
    "prompts": _prompts,
    "sample": _sample,
    "repeat": _repeat,
    "judge": _judge,
    "pair": _pair,
    "critique": _critique,
    "dataset": lambda _config, inputs: Costs(inputs["prompts"], 0, None),
    "demonstrate": _demonstrate,
    "examples": lambda config, inputs: Costs(config.size or inputs["responses"], 0, None),
    "sft": lambda config, _inputs: Costs(config.settings.steps * config.settings.batch, 0, None),
    "grpo": _grpo,
    "verify": _verify,
    "report": lambda _config, _inputs: Costs(None, 0, None),
    "capability": lambda _config, _inputs: Costs(None, None, None),
    "diagnosis": lambda _config, _inputs: Costs(None, 0, None),
}
