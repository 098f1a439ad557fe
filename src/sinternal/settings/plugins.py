"""Plug-ins and their options, as settings name them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from sinternal.registry import Kind, load

PLAIN = "plain"
"""The family of prompts without any disguise."""


class EngineConfig(BaseModel):
    """Who writes the text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "transformers"
    """Name of a registered engine."""
    options: dict[str, object] = {}
    """Its options."""


class ModelConfig(EngineConfig):
    """An engine with the model that it runs: for judges, experts and attackers."""

    model: str
    """A model directory, a Hugging Face id, a registered source, or a name that the engine's server knows."""


class JudgeConfig(BaseModel):
    """One judge."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Name of a registered judge."""
    options: dict[str, object] = {}
    """Its options."""


class ExpertConfig(BaseModel):
    """Who writes what the arms are trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Name of a registered expert."""
    options: dict[str, object] = {}
    """Its options."""


class VerificationConfig(BaseModel):
    """How a model is asked to verify."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Name of a registered verification task."""
    options: dict[str, object] = {}
    """Its options."""


class AttackConfig(BaseModel):
    """One way of disguising prompts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Name of a registered attack; `plain` leaves a prompt as it is."""
    options: dict[str, object] = {}
    """Its options."""

    @property
    def family(self) -> str:
        """The attack family that it belongs to."""
        return PLAIN if self.name == PLAIN else str(load(Kind.ATTACK, self.name).family)
