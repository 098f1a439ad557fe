"""What training shows each arm: different prompts, rows, rows seen, tokens under the loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sinternal.records import Prompt
from sinternal.settings.training import GrpoSettings
from sinternal.store import Artifact
from sinternal.training.lengths import rows_seen
from sinternal.training.schedule import schedule


@dataclass(frozen=True)
class Exposed:
    """What the training of one arm and seed itself showed the model; not what its start had seen before."""

    variant: str
    """The variant."""
    arm: str
    """The arm."""
    seed: int
    """The seed."""
    prompts: int
    """Different prompts behind the rows."""
    rows: int
    """Rows of the training set; for rewards, the prompts that rollouts are drawn for."""
    rows_seen: int
    """Rows that the optimiser saw, repeated ones counted; for rewards, rollouts."""
    loss_tokens_seen: int | None
    """Tokens under the loss in the rows seen: those of the set in one pass, times the passes. For rewards, all tokens
    of rollouts, of which those of masked rows and idle groups are not in the loss; None if they were not logged."""


def exposures(run: Mapping[str, Artifact], variant: str, arm: str, seed: int) -> Iterator[Exposed]:
    """The exposure of one arm and seed; none for an arm that is not trained.

    Args:
        run: artifacts, named `<variant>/<seed>/<what>`.
        variant: of the recipe.
        arm: which arm.
        seed: which seed.
    """
    where = f"{variant}/{seed}"
    if tuned := run.get(f"{where}/sft {arm}"):
        shown: dict[str, int] = run[f"{where}/examples {arm}"].json("exposure")
        settings: Mapping[str, Any] = tuned.manifest["config"]["settings"]
        seen = rows_seen(shown["rows"], settings["batch"], tuned.counts["steps"])
        tokens = round(shown["loss_tokens"] * seen / shown["rows"])
        yield Exposed(variant, arm, seed, shown["prompts"], shown["rows"], seen, tokens)
    elif rewarded := run.get(f"{where}/grpo {arm}"):
        pools = (run.get(f"{where}/{name}") for name in ("prompts", "mathematics prompts"))
        prompts = [row for pool in pools if pool is not None for row in pool.rows(Prompt)]
        yield _by_rewards(variant, arm, seed, prompts, rewarded)


def _by_rewards(variant: str, arm: str, seed: int, prompts: Sequence[Prompt], rewarded: Artifact) -> Exposed:
    config, steps = rewarded.manifest["config"], rewarded.counts["steps"]
    settings = GrpoSettings.model_validate(config["settings"])
    turns = schedule(prompts, settings.mixture, settings.prompts, steps, config["seed"])
    lengths = [row.get("length") for row in rewarded.json("training")]
    known = [length for length in lengths if length is not None]
    written = round(sum(known) * settings.prompts * settings.rollouts.n) if len(known) == len(lengths) else None
    drawn = len({turn.prompt.id for turn in turns})
    return Exposed(variant, arm, seed, drawn, len(turns), rewarded.counts["rollouts"], written)
