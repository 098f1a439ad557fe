"""What a study is about: the model, and the prompts that it is asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from sinternal.registry import Kind, names, registered, validate_options
from sinternal.settings.base import Section
from sinternal.settings.plugins import PLAIN, AttackOrName, AttackPlugin, BenchmarkPlugin, ModelSourcePlugin


class Target(Section):
    """The model that is studied."""

    model: str
    """A model directory, a Hugging Face id, or the name of a registered source."""
    revision: str | None = None
    """Branch, tag or commit of a Hugging Face model."""
    options: dict[str, Any] = Field(default={}, validate_default=True)
    """For a registered source: how its model is made; nothing else has options."""
    system: str = ""
    """System message under which every arm responds; empty for none."""
    build_for_each_seed: bool = False
    """For a registered source: build a base of its own for each seed, so that the spread includes the base."""

    @field_validator("options")
    @classmethod
    def _are_those_of_the_source(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if (model := info.data.get("model")) in names(Kind.MODEL):
            validate_options(Kind.MODEL, str(model), options)
        return options

    @property
    def source(self) -> ModelSourcePlugin | None:
        """The registered source that it names; None for a directory, or an id on the hub."""
        return ModelSourcePlugin(name=self.model, options=self.options) if self.model in names(Kind.MODEL) else None


class Source(Section):
    """Prompts of one benchmark."""

    benchmark: str
    """Name of a registered benchmark."""
    options: dict[str, Any] = Field(default={}, validate_default=True)
    """Its options."""
    part: str | None = None
    """Which of its parts; by default `train` for tuning and `eval` for measuring. `dev` is for choosing settings."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many harmful and this many benign ones, drawn at random before they are disguised."""
    attacks: tuple[AttackOrName, ...] | None = Field(default=None, min_length=1)
    """Attacks for this benchmark alone; by default those of all."""

    @field_validator("benchmark")
    @classmethod
    def _is_registered(cls, benchmark: str) -> str:
        return registered(Kind.BENCHMARK, benchmark)

    @field_validator("options")
    @classmethod
    def _are_its_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "benchmark" in info.data:
            validate_options(Kind.BENCHMARK, info.data["benchmark"], options)
        return options

    @property
    def plugin(self) -> BenchmarkPlugin:
        """The benchmark, to be opened."""
        return BenchmarkPlugin(name=self.benchmark, options=self.options)


class Prompts(Section):
    """What the arms are tuned on, and what they are measured on."""

    train: tuple[Source, ...] = ()
    """Benchmarks to tune on; needed if an arm is trained."""
    train_attacks: tuple[AttackOrName, ...] = Field((AttackPlugin(name=PLAIN),), min_length=1)
    """Attacks on the training prompts."""
    train_limit: int | None = Field(default=None, ge=1)
    """At most this many harmful and this many benign training prompts of all."""
    eval: tuple[Source, ...] = Field(min_length=1)
    """Benchmarks to measure on."""
    eval_attacks: tuple[AttackOrName, ...] = Field((AttackPlugin(name=PLAIN),), min_length=1)
    """Attacks on the evaluation prompts."""
    eval_limit: int | None = Field(default=None, ge=1)
    """At most this many harmful and this many benign evaluation prompts of all."""


def without_parts(sources: Iterable[Source]) -> tuple[Source, ...]:
    """The same benchmarks, to be asked for the usual part of another side."""
    return tuple(source.model_copy(update={"part": None}) for source in sources)
