"""What a plan costs at most: rows, generation calls and tokens of each artifact, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import BaseModel

from sinternal.budget import Spent, money
from sinternal.engines.openai_options import Price
from sinternal.errors import SInternalError
from sinternal.judges import Judge
from sinternal.judges.guard import Guard
from sinternal.records import Prompt, Split
from sinternal.report.format import listing
from sinternal.settings.plugins import (
    PLAIN,
    AdaptiveAttackPlugin,
    AttackPlugin,
    ExpertPlugin,
    JudgePlugin,
    plugins_in,
)
from sinternal.settings.training import cautions as settings_cautions
from sinternal.stages import adapt
from sinternal.stages.critique import CritiqueConfig
from sinternal.stages.demonstrate import DemonstrateConfig
from sinternal.stages.grpo import GrpoConfig
from sinternal.stages.locate import LocateConfig
from sinternal.stages.prompts import PromptsConfig
from sinternal.stages.sample import SampleConfig
from sinternal.stages.self_verify import SelfVerifyConfig
from sinternal.stages.sft import SftConfig, settings_for
from sinternal.stages.stage import Costs
from sinternal.store import Store
from sinternal.study.preflight import Server, servers
from sinternal.study.task import Plan, Task


@dataclass(frozen=True)
class Row:
    """One line of the plan."""

    task: Task
    """The artifact."""
    cached: bool
    """Whether it is in the store."""
    costs: Costs
    """What it costs at most."""


def estimate(plan: Plan, store: Store) -> list[Row]:
    """Bounds for every artifact, from the counts of those that are there and the bounds of the others."""
    known: dict[str, Costs] = {}
    rows = []
    for task in plan.tasks:
        costs = task.stage.cost(task.config, {name: known[t.key].rows or 0 for name, t in task.inputs.items()})
        artifact = store.find(task.stage.name, task.key)
        if artifact is not None:
            costs = costs._replace(rows=artifact.counts.get(task.stage.counted_as, costs.rows))
        known[task.key] = costs
        rows.append(Row(task, artifact is not None, costs))
    return rows


def cautions(plan: Plan) -> list[str]:
    """What a user should know of a plan's trainings, each once."""
    settings = (task.config.settings for task in plan.tasks if isinstance(task.config, SftConfig | GrpoConfig))
    return list(dict.fromkeys(note for training in settings for note in settings_cautions(training)))


FEW_STEPS = 20
"""Optimiser steps below which a training is said to change next to nothing: a warm-up of 5 % is shorter than one step
then, and AdamW moves a weight by about the learning rate in a step, at most."""


class Lessons(NamedTuple):
    """How much trainings learn that have the same settings."""

    trainings: tuple[str, ...]
    """Which arms."""
    steps: int
    """Optimiser steps."""
    batch: int
    """Rows, or rollouts, to a step."""
    rows: int | None
    """Rows of the training set at most; None: they are made as training goes on."""
    rate: float
    """The highest learning rate."""

    def in_words(self) -> str:
        """One line."""
        seen = self.steps * self.batch
        passes = f", {seen / self.rows:.3g} passes over at most {self.rows:,}" if self.rows else ""
        what = "rows" if self.rows else "rollouts"
        return f"{listing(self.trainings)}: {self.steps:,} optimiser steps of {self.batch:,} {what} each{passes}"

    @property
    def caution(self) -> str | None:
        """What a user should know of it; None if nothing."""
        if self.steps >= FEW_STEPS:
            return None
        steps = f"{self.steps:,} optimiser {'step changes' if self.steps == 1 else 'steps change'}"
        return (
            f"{listing(self.trainings)}: {steps} next to nothing (fewer than {FEW_STEPS}): a weight moves by at most "
            f"about the learning rate in each, {self.steps * self.rate:.1g} in all, and a warm-up of 5 % is shorter "
            "than one step; take more prompts, or raise the steps"
        )


def lessons(rows: Sequence[Row]) -> list[Lessons]:
    """How much each training of a plan learns, those with the same numbers together.

    Args:
        rows: the lines of the plan, by `estimate`.
    """
    known = {row.task.key: row.costs for row in rows}
    together: dict[tuple[int, int, int | None, float], list[str]] = {}
    for row in rows:
        config, task = row.task.config, row.task
        if isinstance(config, SftConfig):
            size = known[task.inputs["examples"].key].rows
            settings = config.settings if size is None else settings_for(config, size)
            numbers = (settings.steps, settings.batch, size, settings.learning_rate)
        elif isinstance(config, GrpoConfig):
            training = config.settings
            numbers = (training.steps * training.minibatches, training.of_an_update, None, training.rate)
        else:
            continue
        together.setdefault(numbers, []).append(task.label)
    return [Lessons(_arms_of(labels), *numbers) for numbers, labels in together.items()]


def _arms_of(labels: Iterable[str]) -> tuple[str, ...]:
    """The arms that labels of tasks name, each once: `sft placebo, seed 1`."""
    return tuple(dict.fromkeys(label.partition(", ")[0].partition(" ")[2] for label in labels))


PROMPT = 4096
"""Tokens that a prompt may have, with specification, attack and chat template, for a bound on what servers read."""
UNKNOWN_LIMIT = 4096
"""Tokens that a reply may have where a plug-in does not say."""


class Bound(NamedTuple):
    """The most that calls to servers can take."""

    calls: int
    """Calls; those that are retried count once."""
    read: int
    """Tokens read, if no prompt has more than `PROMPT` beside the answer that it quotes."""
    written: int
    """Tokens written."""
    cost: float
    """By the prices that are given, for calls that are made one by one."""
    in_batches: float
    """The same for calls that are handed in as batches."""
    without_price: int
    """Servers without a price."""
    by_server: tuple[tuple[str, Bound], ...] = ()
    """The part of each server, by its name; empty if it is of a single one."""

    def in_words(self) -> str:
        """One sentence: what each server takes, where there are several."""
        amounts = f"at most {self.written:,} tokens written and {self.read:,} read{self._cost_in_words()}"
        several = len(self.by_server) > 1
        parts = [
            f"{name} at most {part.calls:,}, {part.written:,} tokens written, {part.read:,} read"
            f"{part._cost_in_words() or ', no price given'}"
            for name, part in (self.by_server if several else ())
        ]
        return "; ".join([f"servers are asked at most {self.calls:,} times: {amounts}", *parts])

    def _cost_in_words(self) -> str:
        cost = f", cost at most {money(self.cost)}, or {money(self.in_batches)} in batches" if self.cost else ""
        missing = " (by the prices that are given)" if cost and self.without_price else ""
        return f"{cost}{missing}"


def server_bound(plan: Plan, store: Store, rows: Sequence[Row] | None = None) -> Bound | None:
    """The most that the rest of a plan takes of servers; None if nothing, or if that is not known beforehand.

    Args:
        plan: the plan.
        store: where its artifacts are.
        rows: the lines of the plan, if they are known: to count them, files of prompts are read.
    """
    if store.find(plan.report.stage.name, plan.report.key) is not None:
        return None
    try:
        bounds = [(server.name, bound) for _, server, bound in _bounds(rows or estimate(plan, store))]
    except SInternalError:  # the stage that meets it says so
        return None
    if not bounds:
        return None
    names = dict.fromkeys(name for name, _ in bounds)
    by_server = tuple((name, _sum(bound for other, bound in bounds if other == name)) for name in names)
    return _sum(bound for _, bound in bounds)._replace(by_server=by_server)


def _sum(bounds: Iterable[Bound]) -> Bound:
    calls, read, written, cost, in_batches, without_price, _ = zip(*bounds, strict=True)
    return Bound(sum(calls), sum(read), sum(written), sum(cost), sum(in_batches), sum(without_price))


def server_bounds(rows: Iterable[Row]) -> Iterator[tuple[Row, Bound]]:
    """What each artifact that is still to be made takes of servers at most, if it asks any. Raises SInternalError."""
    yield from ((row, bound) for row, _, bound in _bounds(rows))


def _bounds(rows: Iterable[Row]) -> Iterator[tuple[Row, Server, Bound]]:
    for row in rows:
        if not row.cached:
            # Some stages ask several: an attack its attacker, target and judge, a training two judges.
            yield from ((row, server, _bound(row, server)) for server in servers([row.task]))


@dataclass
class Bill:
    """What calls took of each server, as far as stages tell them apart."""

    spent: dict[str, Spent] = field(default_factory=dict)
    """By the server's name; of a stage that asks several, by all of their names."""
    priced: dict[str, bool] = field(default_factory=dict)
    """Whether their calls have a price, by the same name."""

    def add(self, task: Task, spent: Spent) -> None:
        """Count what a task has taken."""
        if not spent.calls:
            return
        try:
            asked = list(servers([task]))
        except SInternalError:  # of settings that were valid when the run began
            asked = []
        name = " and ".join(dict.fromkeys(server.name for server in asked)) or "others"
        self.spent[name] = self.spent.get(name, Spent()) + spent
        self.priced[name] = any(server.has_a_price for server in asked)

    def lines(self) -> list[str]:
        """The sum and, where there are several servers, a line for each: calls, tokens, cost."""
        if not self.spent:
            return []
        total = sum(self.spent.values(), Spent()).in_words()
        each = (
            f"  {name}: {spent.in_words()}{'' if self.priced[name] else ', no price given'}"
            for name, spent in self.spent.items()
        )
        return [f"calls to servers: {total}", *(each if len(self.spent) > 1 else ())]


class Calls(NamedTuple):
    """What a stage asks of a model; of each, if it asks several."""

    number: int
    """Calls."""
    longest: int
    """Tokens of a reply at most."""
    quoted: int
    """Tokens of an answer that a question quotes at most."""


def calls_of(row: Row) -> Calls:
    """What an artifact asks of a model at most, but for rollouts."""
    task, config, rows = row.task, row.task.config, row.costs.rows or 0
    number, longest = row.costs.calls or rows, _longest_reply(config)
    questions = max(map(_questions, _judges_in(config)), default=1)
    match config:
        case adapt.AdaptConfig():
            each = max(1, questions, config.attack.plugin_class.asks)
            most = max(config.sampling.max_tokens, longest, UNKNOWN_LIMIT)
            return Calls(rows * each, most, config.budget * config.sampling.max_tokens)
        case GrpoConfig():
            return Calls(rows * questions, longest, config.settings.rollouts.max_tokens)
        case PromptsConfig():  # what an attack has tried is told to its attacker
            return Calls(number * questions, longest, number // max(1, rows) * longest)
        case SampleConfig() | SelfVerifyConfig():
            return Calls(number, config.sampling.max_tokens, _quoted(task))
        case CritiqueConfig():
            return Calls(2 * number, longest, _quoted(task))  # what cannot be read is asked for once more
        case JudgePlugin():
            return Calls(number * questions, longest, _quoted(task))
        case LocateConfig():
            return Calls(number, longest, _quoted(task))
    return Calls(number, longest, 0)


def _judges_in(config: BaseModel) -> list[Judge]:
    return [plugin.open() for plugin in plugins_in(config) if isinstance(plugin, JudgePlugin)]


def _questions(judge: Judge) -> int:
    """What a judge asks its model about a text."""
    return len(judge.ask_all(_ANY, "")) if isinstance(judge, Guard) else 1


def _longest_reply(config: BaseModel) -> int:
    """Tokens of a reply at most, as far as judges, experts and attackers say."""
    limits = [judge.max_tokens for judge in _judges_in(config) if isinstance(judge, Guard)]
    for plugin in plugins_in(config):
        if isinstance(plugin, ExpertPlugin | AttackPlugin | AdaptiveAttackPlugin) and plugin.name != PLAIN:
            limits += [value for name, value in plugin.validated_options if name.endswith("max_tokens")]
    return max(limits, default=UNKNOWN_LIMIT)


def _quoted(task: Task) -> int:
    """Tokens at most of an answer that a question quotes, by whoever has written it."""
    answers = task.inputs.get("responses") or task.inputs.get("pairs")
    if answers is None:
        return 0
    if isinstance(answers.config, SampleConfig):
        return answers.config.sampling.max_tokens
    return _longest_reply(answers.config) if isinstance(answers.config, DemonstrateConfig) else _quoted(answers)


def _bound(row: Row, server: Server) -> Bound:
    calls = calls_of(row)
    read, written = calls.number * (PROMPT + calls.quoted), calls.number * calls.longest
    price = server.options.get("price") if server.has_a_price else None
    cost = (read * float(price["read"]) + written * float(price["written"])) / 1e6 if price else 0.0
    share = float(price.get("batch", Price.model_fields["batch"].default)) if price else 0.0
    return Bound(calls.number, read, written, cost, share * cost, int(price is None))


_ANY = Prompt("", "", "", True, "", "plain", Split.ID)
