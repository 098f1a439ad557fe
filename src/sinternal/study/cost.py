"""What a plan costs at most: rows, generation calls and tokens of each artifact, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sinternal.errors import DataError, SInternalError
from sinternal.judges import Judge
from sinternal.judges.guard import Guard
from sinternal.records import Prompt, Split
from sinternal.registry import Kind, load
from sinternal.settings.plugins import JudgePlugin
from sinternal.settings.sampling import Sampling
from sinternal.settings.training import cautions as settings_cautions
from sinternal.stages.grpo import GrpoConfig
from sinternal.stages.prompts import SourceConfig
from sinternal.stages.sft import SftConfig
from sinternal.stages.verify import SPEC_SETTINGS
from sinternal.store import Store
from sinternal.study.plan import Plan, Task
from sinternal.study.preflight import Server, servers


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


def cautions(plan: Plan) -> list[str]:
    """What a user should mind in a plan's trainings, each once."""
    settings = (task.config.settings for task in plan.tasks if isinstance(task.config, SftConfig | GrpoConfig))
    return list(dict.fromkeys(note for one in settings for note in settings_cautions(one)))


def _prompts(config: Any, inputs: Mapping[str, int]) -> Costs:
    sides = [0, 0]
    for source in config.sources:
        for at, there in enumerate(_originals(source)):
            known = min(there, inputs.get("among", there))
            sides[at] += min(known, source.limit or known) * len(source.attacks)
    return Costs(sum(min(side, config.limit or side) for side in sides), 0, None)


def _originals(source: SourceConfig) -> tuple[int, int]:
    """Harmful and benign prompts of a benchmark; if it cannot be read here, all that it is known to hold for each."""
    try:
        rows = source.open().prompts(source.part)
    except DataError:
        size: int | None = load(Kind.BENCHMARK, source.benchmark).size
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
    """By the prices that are given."""
    without_price: int
    """Servers without a price."""

    def in_words(self) -> str:
        """One sentence."""
        cost = f", cost at most {self.cost:,.2f}" if self.cost else ""
        missing = " (by the prices that are given)" if cost and self.without_price else ""
        return (
            f"servers are asked at most {self.calls:,} times: at most {self.written:,} tokens written and "
            f"{self.read:,} read{cost}{missing}"
        )


def to_servers(plan: Plan, store: Store) -> Bound | None:
    """What is left of a plan takes of servers at most; None if nothing, or if that cannot be told beforehand."""
    if store.find(plan.report.stage, plan.report.key) is not None:
        return None
    try:
        left = [(row, list(servers([row.task]))) for row in estimate(plan, store) if not row.cached]
        bounds = [_bound(row, asked[0]) for row, asked in left if asked]
    except SInternalError:  # the stage that meets it says so
        return None
    if not bounds:
        return None
    return Bound(*(sum(column) for column in zip(*bounds, strict=True)))


def _bound(row: Row, server: Server) -> Bound:
    stage, config = row.task.stage, row.task.config
    calls, limit, quoted = row.costs.calls or row.costs.rows or 0, UNKNOWN_LIMIT, 0
    answer = getattr(getattr(row.task.inputs.get("responses"), "config", None), "sampling", None)
    if stage in ("sample", "repeat", "verify"):
        sampling: Sampling = config.sampling  # type: ignore[attr-defined]
        limit = sampling.max_tokens
    if stage in ("judge", "verify") and answer is not None:
        quoted = answer.max_tokens
    if isinstance(config, JudgePlugin):
        judge: Judge = config.open()
        if isinstance(judge, Guard):
            calls, limit = calls * len(judge.ask_all(_ANY, "")), judge.max_tokens
    if stage == "critique":
        calls *= 2  # what cannot be read is asked for once more
    read, written = calls * (PROMPT + quoted), calls * limit
    price = server.options.get("price") if server.has_a_price else None
    cost = (read * float(price["read"]) + written * float(price["written"])) / 1e6 if price else 0.0
    return Bound(calls, read, written, cost, int(price is None))


_ANY = Prompt("", "", "", True, "", "plain", Split.ID)
