"""What an arm's effect is measured by: its placebos, and what it was before training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sinternal.settings.arms import BASE, Arm, TrainOn
from sinternal.settings.questions import Question


class Trial(NamedTuple):
    """One arm with the arms that tell what its training did."""

    method: str
    """The arm whose effect is measured."""
    placebos: tuple[str, ...]
    """Arms that were trained alike, on verifications that have nothing to do with safety; empty if there are none."""
    base: str | None
    """The arm as it was without what it was trained on; None if that was not measured."""


def trials(arms: Sequence[Arm], questions: Sequence[Question]) -> tuple[Trial, ...]:
    """A trial for each arm that a question is about, and then for every other one that is trained on verification.

    Untouched models and placebos have no effect of their own. A question about an arm that is not there asks nothing: a
    variant need not have every arm.
    """
    by_name = {arm.name: arm for arm in arms}
    asked = [by_name[question.arm] for question in questions if question.arm in by_name]
    others = [arm for arm in arms if arm.train_on is TrainOn.VERIFICATION]
    methods = {arm.name: arm for arm in (*asked, *others) if not _has_no_effect(arm, arms)}
    return tuple(
        Trial(arm.name, tuple(other.name for other in placebos_of(arm, arms)), base.name if base else None)
        for arm in methods.values()
        for base in (_base_of(arm, arms),)
    )


def placebos_of(arm: Arm, arms: Sequence[Arm]) -> list[Arm]:
    """The placebos of an arm that is trained on verification, from the same start; after rewards, theirs after rewards.

    Demonstrations have another form than verifications, so that no placebo is one of theirs.
    """
    if arm.train_on is TrainOn.REWARDS:
        before = _start_of(arm, arms)
        starts = [other.name for other in placebos_of(before, arms)] if before else []
        return [other for other in arms if other.train_on is TrainOn.REWARDS and other.start in starts]
    if arm.train_on is not TrainOn.VERIFICATION:
        return []
    start = arm.start or BASE
    return [other for other in arms if other.train_on is TrainOn.PLACEBO and (other.start or BASE) == start]


def _base_of(arm: Arm, arms: Sequence[Arm]) -> Arm | None:
    """The arm that it started from; after rewards, what that one's own base became by the same training."""
    before = _start_of(arm, arms)
    if arm.train_on is not TrainOn.REWARDS:
        return before
    base = _base_of(before, arms) if before and before.train_on is not TrainOn.NOTHING else before
    alike = (other for other in arms if other.train_on is TrainOn.REWARDS and other is not arm)
    return next((other for other in alike if base is not None and _start_of(other, arms) is base), None)


def _start_of(arm: Arm, arms: Sequence[Arm]) -> Arm | None:
    """The arm that another one starts from, or an untouched model that is the same as its start."""
    named = next((other for other in arms if other.name == arm.start and other is not arm), None)
    start = arm.start or BASE
    untouched = (other for other in arms if other.train_on is TrainOn.NOTHING and other is not arm)
    return named or next((other for other in untouched if (other.start or BASE) == start), None)


def _has_no_effect(arm: Arm, arms: Sequence[Arm]) -> bool:
    """Whether an arm is a reference for others: untouched, a placebo, or one of these after rewards."""
    if arm.train_on is not TrainOn.REWARDS:
        return arm.train_on in (TrainOn.NOTHING, TrainOn.PLACEBO)
    before = _start_of(arm, arms)
    return before is not None and before.train_on is TrainOn.PLACEBO
