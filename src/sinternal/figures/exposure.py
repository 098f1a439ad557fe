"""What each arm sees in training: different prompts, rows, rows seen, tokens under the loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sinternal.layout import ArmPlace, RunMap
from sinternal.settings.training import GrpoSettings, SftSettings, rows_seen
from sinternal.store import Artifact


@dataclass(frozen=True)
class ArmExposure:
    """What the training of one arm and seed showed the model, without what its start had seen before."""

    variant: str
    """The variant."""
    arm: str
    """The arm."""
    seed: int
    """The seed."""
    prompts: int
    """Different prompts behind the rows."""
    rows: int
    """Rows of the training set; for rewards, the prompts, or questions about answers, that rollouts are drawn for."""
    rows_seen: int
    """Rows that the optimiser saw, repeated ones counted; for rewards, rollouts."""
    loss_tokens_seen: int | None
    """Tokens under the loss in the rows seen: those of the set in one pass, times the passes. For rewards, all tokens
    of rollouts, of which those of masked rows and idle groups are not in the loss; None if they were not logged."""


def exposures(run: RunMap[Artifact], place: ArmPlace) -> Iterator[ArmExposure]:
    """The exposure of one arm and seed; none for an arm that is not trained."""
    training = run.arm(place).training
    if training is None:
        return
    if training.sft and training.examples:
        shown: dict[str, int] = training.examples.json("exposure")
        settings = SftSettings.model_validate(training.sft.manifest["config"]["settings"])
        seen = rows_seen(shown["rows"], settings.batch, training.sft.counts["steps"])
        tokens = round(shown["loss_tokens"] * seen / shown["rows"])
        yield ArmExposure(*place, shown["prompts"], shown["rows"], seen, tokens)
    elif training.grpo:
        yield _exposure_to_rewards(place, training.grpo)


def _exposure_to_rewards(place: ArmPlace, rewarded: Artifact) -> ArmExposure:
    settings = GrpoSettings.model_validate(rewarded.manifest["config"]["settings"])
    lengths = [row.get("length") for row in rewarded.json("training")]
    known = [length for length in lengths if length is not None]
    written = round(sum(known) * settings.of_a_step) if len(known) == len(lengths) else None
    counts = rewarded.counts
    return ArmExposure(*place, counts["different prompts"], counts["turns"], counts["rollouts"], written)
