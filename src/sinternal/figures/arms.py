"""What each arm was trained on, in words, and how much of it."""

from __future__ import annotations

from typing import TypeVar

from sinternal.figures.study import Arm
from sinternal.layout import ArmRun
from sinternal.records import Subject
from sinternal.settings.arms import BASE, ExampleTarget, SpecificationUse, TrainOn
from sinternal.settings.arms import Arm as ArmSettings
from sinternal.store import Artifact

T = TypeVar("T")
TRAINED_ON = {
    TrainOn.NOTHING: "nothing",
    TrainOn.VERIFICATION: "verification only: the expert's critique and verdict on the base's own answers",
    TrainOn.PLACEBO: "a placebo: the expert's critique and verdict on the same answers, about {subject} and not safety",
    TrainOn.MIXED: "half verification, half safe answers after a thinking that reasons from the specification",
    TrainOn.REFUSAL: "safe answers, after an ordinary thinking without safety reasoning",
    TrainOn.DELIBERATIVE: "safe answers, after a thinking that reasons from the specification",
    TrainOn.DELIBERATIVE_REVIEWS: "safe answers, after a thinking that reasons from the specification and reviews its "
    "draft for correctness",
    TrainOn.DELIBERATIVE_CHECKS: "safe answers, after a thinking that drafts and checks the draft against the "
    "specification: a ceiling",
    TrainOn.OWN_REFUSALS: "the base's own safe answers",
    TrainOn.ANSWER_THEN_CHECK: "a draft of an answer, its verification, and the reply that follows, in one response",
    TrainOn.DATASET: "the answers of a published data set, as they are",
    TrainOn.REWARDS: "rewards of its own rollouts: reinforcement learning",
    TrainOn.VERIFY_RL: "rewards of its verdicts alone, on the base's own answers: reinforcement learning",
    TrainOn.ALTERNATING: "rewards, by turns of its verdicts and of its answers: reinforcement learning",
    TrainOn.SELF_REWARD: "its own answers, rewarded by its own verdicts on them: reinforcement learning",
}
SUBJECTS = {
    Subject.SAFETY: "their safety",
    Subject.CORRECTNESS: "their correctness",
    Subject.RULES: "rules of another domain",
    Subject.LANGUAGE: "their language",
    Subject.LENGTH: "their length",
}
SPECIFICATION = {
    SpecificationUse.DISTILLED: "the {quoted} is shown to the expert and not quoted in training",
    SpecificationUse.ABSENT: "the {quoted} is not quoted, nor shown to the expert",
}


def last_training(arm: ArmRun[T]) -> T | None:
    """What counts the steps of an arm; None of one that is not trained."""
    return (arm.training.sft or arm.training.grpo) if arm.training else None


def arm_figures(trained: Artifact | None, arm: ArmSettings) -> Arm:
    """What the report says of an arm: what it was trained on, and how much of it.

    Args:
        trained: its `last_training`.
        arm: its settings.
    """
    counts = trained.counts if trained else {}
    start = "" if arm.start in (None, BASE) else arm.start
    return Arm(
        arm.name,
        trained_on(arm),
        counts.get("examples", 0),
        counts.get("steps", 0),
        start or "",
        counts.get("rollouts", 0),
    )


def trained_on(arm: ArmSettings) -> str:
    """What an arm was trained on, in words, with what is special about its examples."""
    if arm.train_on is TrainOn.NOTHING:
        return "nothing: a ready-made model" if arm.start else "nothing: the untouched base"
    examples, notes = arm.examples, []
    subject = SUBJECTS[arm.placebo.kind] if arm.placebo else ""
    quoted = "specification" if arm.placebo is None else "list of rules"
    if examples.target is not ExampleTarget.BOTH:
        notes.append(f"the {examples.target} alone")
    if examples.specification is not SpecificationUse.QUOTED:
        notes.append(SPECIFICATION[examples.specification].format(quoted=quoted))
    if examples.verification:
        notes.append("the question is put in another way")
    if examples.answers:
        notes.append(f"the answers are those of {examples.answers.model}")
    if examples.share < 1:
        notes.append(f"{examples.share:.0%} of the different examples")
    notes.extend(f"{name} {value}" for name, value in arm.sft.items())
    return "; ".join([TRAINED_ON[arm.train_on].format(subject=subject), *notes])
