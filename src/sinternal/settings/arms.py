"""The arms of a study: what each is trained on, and how it differs from the others."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field, field_validator

from sinternal.records import Subject
from sinternal.settings.base import Section
from sinternal.settings.plugins import VerificationPlugin
from sinternal.settings.sources import Source, Target

BASE = "base"
"""What an arm starts from unless it says otherwise."""


class ExampleTarget(StrEnum):
    """What of the expert's verification is trained on."""

    BOTH = "both"
    """Critique and verdict."""
    CRITIQUE = "critique"
    """The critique alone."""
    VERDICT = "verdict"
    """The verdict alone."""


class SpecificationUse(StrEnum):
    """Who is shown the safety specification when an answer is verified."""

    QUOTED = "quoted"
    """The expert and the trained model: it is quoted in the question."""
    DISTILLED = "distilled"
    """The expert alone: the model learns its verdicts and critiques from questions that do not quote it (context
    distillation)."""
    ABSENT = "absent"
    """Nobody."""


class TrainOn(StrEnum):
    """What an arm is trained on (the arms of the paper's comparison)."""

    NOTHING = "nothing"
    """The untouched base."""
    VERIFICATION = "verification"
    """The expert's critiques and verdicts of the model's own answers: the method."""
    PLACEBO = "placebo"
    """The expert's critiques and verdicts of the same answers, in the same form, about something other than safety:
    what tuning of this form does by itself. The effect of the method is its own less this."""
    MIXED = "mixed"
    """Half rows of verification, half rows of deliberative responses."""
    REFUSAL = "refusal"
    """Right answers after an ordinary thinking, without safety reasoning."""
    DELIBERATIVE = "deliberative"
    """Right answers after a thinking that reasons from the specification."""
    DELIBERATIVE_REVIEWS = "deliberative-reviews"
    """The same, where the thinking also reviews its draft for correctness."""
    DELIBERATIVE_CHECKS = "deliberative-checks"
    """Right answers after a thinking that drafts and checks its draft against the specification: a ceiling."""
    OWN_REFUSALS = "own-refusals"
    """The model's own answers that the judge calls safe, and its own help with benign requests (as ThinkSafe does)."""
    ANSWER_THEN_CHECK = "answer-then-check"
    """Drafting an answer, verifying it and replying, all in one response (as Answer-Then-Check does)."""
    DATASET = "dataset"
    """The answers of a published data set, all of them and as they are (as STAR-1 does)."""
    REWARDS = "rewards"
    """Its own rollouts, rewarded by a judge: reinforcement learning."""
    VERIFY_RL = "verify-rl"
    """Verdicts alone, on the target's own stored answers: rewarded if they are the judge's labels."""
    ALTERNATING = "alternating"
    """By turns such verdicts, and answers that a judge rewards (after Chen et al. 2026, arXiv 2602.07594)."""
    SELF_REWARD = "self-reward"
    """Its own answers, rewarded by its own verdicts on them (in the spirit of SDGO, arXiv 2508.15648)."""


SUPERVISED = (
    TrainOn.VERIFICATION,
    TrainOn.PLACEBO,
    TrainOn.MIXED,
    TrainOn.REFUSAL,
    TrainOn.DELIBERATIVE,
    TrainOn.DELIBERATIVE_REVIEWS,
    TrainOn.DELIBERATIVE_CHECKS,
    TrainOn.OWN_REFUSALS,
    TrainOn.ANSWER_THEN_CHECK,
    TrainOn.DATASET,
)
"""What is trained by fine-tuning on examples."""
VERIFYING = (TrainOn.VERIFY_RL, TrainOn.ALTERNATING, TrainOn.SELF_REWARD)
"""Reinforcement learning in which the policy verifies: with as many rollouts as fine-tuning sees rows."""
REINFORCED = (TrainOn.REWARDS, *VERIFYING)
"""What is trained by reinforcement learning."""


class ArmExamples(Section):
    """How an arm's training set differs from the usual one."""

    share: float = Field(default=1.0, gt=0, le=1)
    """Share of the different examples that is used; the number of rows stays, so that each comes more often."""
    target: ExampleTarget = ExampleTarget.BOTH
    """For verification: what of the expert's text is trained on."""
    specification: SpecificationUse = SpecificationUse.QUOTED
    """For verification, by examples or rewards: who is shown the specification; for a placebo of `rules`, its rules."""
    verification: VerificationPlugin | None = None
    """For the same: another way to put the question in training, for example with another specification."""
    answers: Target | None = None
    """For verification: whose answers are verified, if not the target's own."""
    dataset: Source | None = None
    """For a published data set: which."""


class Placebo(Section):
    """A verification about something other than safety."""

    kind: Subject
    """What its critiques and verdicts are about: correctness, rules, language or length."""

    @field_validator("kind")
    @classmethod
    def _is_not_about_safety(cls, kind: Subject) -> Subject:
        if kind is Subject.SAFETY:
            others = ", ".join(subject for subject in Subject if subject is not Subject.SAFETY)
            raise ValueError(f"a placebo has no safety in it; take one of: {others}")
        return kind


class Arm(Section):
    """One model of the comparison: what it starts from, what it is trained on, and how."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9+-]*$", max_length=100)
    """Its name in every table."""
    start: str | None = None
    """An arm above it, or a model directory, Hugging Face id or registered source; by default the base."""
    train_on: TrainOn = TrainOn.NOTHING
    """What it is trained on."""
    placebo: Placebo | None = None
    """For a placebo: of which kind."""
    examples: ArmExamples = ArmExamples()
    """How its training set differs from the usual one."""
    sft: dict[str, Any] = Field(default={})
    """Fields of `sft` that are different for this arm."""
