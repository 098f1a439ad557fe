"""The settings of a diagnosis: does a model know when its own answers are unsafe?"""

from __future__ import annotations

from pydantic import Field

from sinternal.settings.plugins import PLAIN, AttackConfig, EngineConfig, JudgeConfig, VerificationConfig
from sinternal.settings.recipe import Attack, Section, Seed, Source, Target
from sinternal.settings.sampling import Sampling


class DiagnosisPrompts(Section):
    """What the model is asked."""

    sources: tuple[Source, ...] = Field(min_length=1)
    """Benchmarks with harmful and with benign prompts."""
    attacks: tuple[Attack, ...] = Field((AttackConfig(name=PLAIN),), min_length=1)
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
    engine: EngineConfig = EngineConfig()
    """Who runs it."""
    sampling: Sampling
    """How its answers are drawn."""
    judge: JudgeConfig
    """Who labels them."""
    verification: VerificationConfig
    """How it is asked to verify them."""
    verification_sampling: Sampling
    """How it verifies; `n` times each."""
    seed: Seed = 0
    """Of the draws."""
