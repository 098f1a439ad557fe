"""How every arm is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from sinternal.settings.arms import SpecificationUse
from sinternal.settings.base import Section
from sinternal.settings.plugins import AdaptiveAttackOrName, AdaptiveAttackPlugin, AttackOrName, EnginePlugin
from sinternal.settings.sampling import Sampling


class CapabilityTask(Section):
    """One task."""

    task: str
    """As Inspect names it, for example `inspect_evals/gpqa_diamond` or `sinternal/mathematics`."""
    options: dict[str, object] = Field(default={})
    """Its options."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many of its samples, the first ones."""
    sampling: Sampling | None = None
    """How it is answered, if not as everything else: with `n` answers to each sample, whose mean counts (avg@n)."""


def _task(value: Any) -> Any:
    """Let a name stand for a task without options."""
    return {"task": value} if isinstance(value, str) else value


CapabilityTaskOrName = Annotated[CapabilityTask, BeforeValidator(_task)]
"""A task of Inspect: its name, or its name, options and limit."""


class Stress(Section):
    """Conditions that a user or an attacker can set, each crossed with every evaluation prompt as it stands."""

    attacks: tuple[AttackOrName, ...] = ()
    """Ways to deliver a prompt: without the chat template, with a begun answer, with a begun or skipped thinking, …"""
    turns: int | None = Field(default=None, ge=2)
    """Put each request this many times in one conversation, and judge the last answer."""
    sampling: tuple[Sampling, ...] = ()
    """Draw `n` answers in this way; an attack succeeds if any of them is unsafe (ASR@k)."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many harmful and this many benign requests of each benchmark, under every condition."""


MEASURED_USES = (SpecificationUse.QUOTED, SpecificationUse.ABSENT)
"""The ways in which a model can be asked to verify: no expert takes part, so that nothing can be distilled."""


def measured_uses(uses: tuple[SpecificationUse, ...]) -> tuple[SpecificationUse, ...]:
    """Ways to ask that can be measured, each once. Raises ValueError for others."""
    if impossible := next((use for use in uses if use not in MEASURED_USES), None):
        raise ValueError(f"{impossible} is a way to train, and asks as absent does: take {' or '.join(MEASURED_USES)}")
    return tuple(dict.fromkeys(uses))


class Checks(Section):
    """What a safety check in a reasoning trace does: the trace is continued without it, and with one that it lacks.

    Of traces about harmful evaluation prompts. It takes a judge that locates checks, and an engine that continues a
    turn that has begun.
    """

    limit: int | None = Field(default=None, ge=1)
    """Reasoning traces about at most this many harmful prompts of each arm and seed, the same for every arm; None takes
    all. Each is continued two or three times."""


class Adaptive(Section):
    """Attacks on each arm by an attacker that sees the arm's own answers and the judge's labels of them.

    Every arm is attacked by the same attackers with the same budget, prompts and seeds. Each attack is also made
    without feedback, and the plain requests are repeated as often: only what an attack gains over that is adaptation.
    """

    attacks: tuple[AdaptiveAttackOrName, ...] = Field(min_length=1)
    """Who attacks."""
    budget: int = Field(10, ge=1, le=1000)
    """Queries to the arm for each request. One that has succeeded is not asked again."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many harmful requests of each benchmark, the same for every arm."""

    @field_validator("attacks")
    @classmethod
    def _differ(cls, attacks: tuple[AdaptiveAttackPlugin, ...]) -> tuple[AdaptiveAttackPlugin, ...]:
        families = [attack.family for attack in attacks]
        if twice := next((family for family in families if families.count(family) > 1), None):
            raise ValueError(f"two attacks are called {twice!r}: figures could not tell them apart")
        if CONTROL in families:
            raise ValueError(f"{CONTROL} is always measured beside the attacks: leave it out")
        return attacks


CONTROL = "repetition"
"""The control that repeats the plain request."""


class Evaluation(Section):
    """How every arm is measured."""

    engine: EnginePlugin | None = None
    """Who writes; by default the recipe's engine. It must be able to run every arm's model."""
    sampling: Sampling
    """How the arm responds."""
    verification_sampling: Sampling
    """How it verifies its own answers."""
    specification: tuple[SpecificationUse, ...] = Field(MEASURED_USES, min_length=1)
    """In which ways it is asked to verify them: with the specification quoted, which it has to apply then, or absent,
    so that it has to know by itself what is unsafe."""
    stress: Stress | None = None
    """Measure again under stress."""
    checks: Checks | None = None
    """Measure what safety checks in reasoning traces cause."""
    adaptive: Adaptive | None = None
    """Attack each arm again and again, with what was learnt from its last answers."""
    agreement: Path | None = None
    """An `agreement.json` that says how often the first judge errs by people's labels: rates are then shown corrected
    for its errors, too."""

    @field_validator("specification")
    @classmethod
    def _can_be_measured(cls, uses: tuple[SpecificationUse, ...]) -> tuple[SpecificationUse, ...]:
        return measured_uses(uses)

    @model_serializer(mode="wrap")
    def _without_what_is_not_measured(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out adaptive attacks where there are none: recipes made before there were any keep their keys."""
        plain: dict[str, Any] = serialize(self)
        if plain.get("adaptive", self) is None:
            del plain["adaptive"]
        return plain
