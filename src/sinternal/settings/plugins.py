"""Plug-ins of each kind, as settings name them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ValidationInfo, field_validator

from sinternal.registry import Kind, Plugin, registered, validate_options

PLAIN = "plain"
"""The family of prompts without any disguise."""


class EnginePlugin(Plugin):
    """Who writes the text."""

    kind: ClassVar[Kind] = Kind.ENGINE

    name: str = "transformers"
    """Name of a registered engine."""


class EngineWithModel(EnginePlugin):
    """An engine with the model that it runs: for judges, experts and attackers."""

    model: str
    """A model directory, a Hugging Face id, a registered source, or a name that the engine's server knows."""


class JudgePlugin(Plugin):
    """One judge."""

    kind: ClassVar[Kind] = Kind.JUDGE

    @property
    def model(self) -> str | None:
        """The model behind it, whatever it is asked; None for a rule, which has no blind spots to learn."""
        engine = self.options.get("engine")
        model = engine.get("model") if isinstance(engine, dict) else None
        return None if model is None else str(model)


class ExpertPlugin(Plugin):
    """Who writes what the arms are trained on."""

    kind: ClassVar[Kind] = Kind.EXPERT


class VerificationPlugin(Plugin):
    """How a model is asked to verify."""

    kind: ClassVar[Kind] = Kind.VERIFICATION


class BenchmarkPlugin(Plugin):
    """Where prompts come from."""

    kind: ClassVar[Kind] = Kind.BENCHMARK


class ModelSourcePlugin(Plugin):
    """A package that ships a model, or can build one."""

    kind: ClassVar[Kind] = Kind.MODEL


class AttackPlugin(Plugin):
    """One way of disguising prompts."""

    kind: ClassVar[Kind] = Kind.ATTACK

    name: str
    """Name of a registered attack; `plain` leaves a prompt as it is."""

    @field_validator("name")
    @classmethod
    def _is_registered(cls, name: str) -> str:
        return name if name == PLAIN else registered(cls.kind, name)

    @field_validator("options")
    @classmethod
    def _are_its_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        name = info.data.get("name")
        if name == PLAIN and options:
            raise ValueError("plain leaves a prompt as it is, and has no options")
        if name not in (None, PLAIN):
            validate_options(cls.kind, str(name), options)
        return options

    @property
    def family(self) -> str:
        """The attack family that it belongs to."""
        return PLAIN if self.name == PLAIN else str(self.plugin_class.family)


class AdaptiveAttackPlugin(Plugin):
    """One way to attack a model with queries that depend on its answers."""

    kind: ClassVar[Kind] = Kind.ADAPTIVE_ATTACK

    @property
    def family(self) -> str:
        """Its name in reports."""
        return str(self.plugin_class.family)


def plugins_in(values: object) -> Iterator[Plugin]:
    """The plug-ins that settings name, and those that their options name, at any depth."""
    if isinstance(values, Plugin):
        yield values
        if values.name != PLAIN or not isinstance(values, AttackPlugin):
            yield from plugins_in(values.validated_options)
    elif isinstance(values, BaseModel):
        yield from plugins_in([value for _, value in values])
    elif isinstance(values, list | tuple):
        for value in values:
            yield from plugins_in(value)


def _from_name(value: Any) -> Any:
    """Let a name stand for an attack without options."""
    return {"name": value} if isinstance(value, str) else value


AttackOrName = Annotated[AttackPlugin, BeforeValidator(_from_name)]
"""An attack: its name, or its name and options."""
AdaptiveAttackOrName = Annotated[AdaptiveAttackPlugin, BeforeValidator(_from_name)]
"""An adaptive attack: its name, or its name and options."""
