"""What reinforcement learning has to keep to if the policy verifies: balance, budget, and whose verdicts reward."""

from __future__ import annotations

from sinternal.settings.arms import Arm, SpecificationUse, TrainOn
from sinternal.settings.training import GrpoSettings

STRATA = 4
"""A step's questions are divided by this: half about unsafe answers, a quarter about either kind of safe ones."""


def with_equal_steps(settings: GrpoSettings, rows: int) -> GrpoSettings:
    """The settings with the steps of an arm that verifies.

    Args:
        settings: those of the recipe.
        rows: what fine-tuning sees in all its steps, which as many rollouts as whole steps allow are to match.
    """
    steps = settings.verifying_steps or max(1, round(rows / settings.of_a_step))
    return settings.model_copy(update={"steps": steps})


def check_verifying(arm: Arm, settings: GrpoSettings, rows: int) -> None:
    """Make sure that an arm that verifies can be trained as is said of it.

    Args:
        arm: the arm.
        settings: how, with its own number of steps.
        rows: what fine-tuning sees in all its steps.

    Raises:
        ValueError: its budget, its balance or the source of its rewards would be another.
    """
    where = f"arm {arm.name!r}"
    if arm.sft:
        raise ValueError(f"{where} is not fine-tuned on examples: take `sft` out")
    if arm.examples.specification is SpecificationUse.DISTILLED:
        raise ValueError(
            f"{where}: there is no expert from whom rewards could distil the specification; take quoted or absent for "
            "examples.specification"
        )
    if settings.patience is not None:
        raise ValueError(
            f"{where}: grpo.patience would end it early, and choose its model by the judge's labels of held-out "
            "answers, so that neither its budget nor what it learned from would be as said; take it out"
        )
    if arm.train_on is TrainOn.SELF_REWARD:
        if settings.mixture.verification:
            raise ValueError(
                f"{where}: grpo.mixture.verification rewards verdicts by the judge's labels, and no judge of safety is "
                "to reward this arm; set it to 0"
            )
        return
    if settings.prompts % STRATA:
        raise ValueError(
            f"{where}: of a step's questions half are about unsafe answers, a quarter about safe ones to harmful "
            f"prompts and a quarter about safe ones to benign prompts, so grpo.prompts ({settings.prompts}) must be a "
            f"multiple of {STRATA}"
        )
    if arm.train_on is TrainOn.ALTERNATING and settings.steps < 2:
        raise ValueError(
            f"{where}: the {rows:,} rows that fine-tuning sees are one step of {settings.of_a_step:,} rollouts, which "
            "cannot alternate; lower grpo.prompts or set grpo.verifying_steps to 2 or more"
        )
