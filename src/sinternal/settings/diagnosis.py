"""Settings of a diagnosis: does a model know when its own answers are unsafe?"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from sinternal.settings.base import Section, Seed
from sinternal.settings.plugins import (
    PLAIN,
    AttackOrName,
    AttackPlugin,
    EnginePlugin,
    JudgePlugin,
    VerificationPlugin,
)
from sinternal.settings.sampling import Sampling
from sinternal.settings.sources import Source, Target


class DiagnosisPrompts(Section):
    """What the model is asked."""

    sources: tuple[Source, ...] = Field(min_length=1)
    """Benchmarks with harmful and with benign prompts."""
    attacks: tuple[AttackOrName, ...] = Field((AttackPlugin(name=PLAIN),), min_length=1)
    """Attacks on them; `plain` for none."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many harmful and this many benign prompts, disguised ones counted."""


class Diagnosis(Section):
    """One diagnosis."""

    name: str
    """Its name."""
    target: Target
    """The model."""
    prompts: DiagnosisPrompts
    """What it is asked."""
    engine: EnginePlugin = Field(default_factory=EnginePlugin)
    """Who runs it."""
    sampling: Sampling
    """How its answers are drawn."""
    judge: JudgePlugin
    """Who labels them."""
    verification: VerificationPlugin
    """How it is asked to verify them."""
    verification_sampling: Sampling
    """How it verifies; `n` times each."""
    seed: Seed = 0
    """Of the draws."""

    @model_validator(mode="after")
    def _samples_differ(self) -> Self:
        sampling = self.verification_sampling
        if sampling.n > 1 and sampling.temperature == 0:
            raise ValueError(
                f"verification_sampling: at temperature 0 all {sampling.n} samples are the same one; set n to 1 or "
                "raise the temperature"
            )
        return self

    @model_validator(mode="after")
    def _judge_labels_safety(self) -> Self:
        if not self.judge.plugin_class.tells_safety:
            raise ValueError(f"judge: {self.judge.name!r} does not label safety; take another")
        return self
