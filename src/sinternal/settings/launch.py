"""How a training is spread over GPUs and machines: no part of what it computes, so no artifact depends on it."""

from __future__ import annotations

from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Self

import yaml
from pydantic import Field, model_validator

from sinternal.errors import RecipeError
from sinternal.settings.base import Section


class Sharing(StrEnum):
    """What each process has of a model that all of them train; also the names of the packaged configurations."""

    DDP = "ddp"
    """All of it."""
    FSDP2 = "fsdp2"
    """A share of weights, gradients and optimiser; torch gathers the layers that are at work."""
    ZERO3 = "zero3"
    """The same by DeepSpeed."""


PACKAGED = tuple(Sharing)
"""Configurations of accelerate that come with the package."""


class Launch(Section):
    """Fine-tuning and reinforcement learning in many processes, which `accelerate launch` starts.

    Batches are those of all processes together, so that the same recipe trains the same model on one GPU and on many.
    """

    processes: int = Field(ge=2)
    """Processes on all machines together, one for each GPU; without GPUs, on CPU cores."""
    config: str = "ddp"
    """How they share the work: `ddp`, `fsdp2`, `zero3`, or a file that `accelerate config` has written."""
    machines: int = Field(default=1, ge=1)
    """Machines, each with as many processes. The store has to lie at the same path on all of them."""
    address: str | None = None
    """With several machines: host:port on the first one, where they meet."""
    start: tuple[str, ...] = ()
    """With several machines: the command that runs what follows it once on each of them, for example
    `[srun, --ntasks-per-node=1]`."""

    @model_validator(mode="after")
    def _machines_can_meet(self) -> Self:
        if self.processes % self.machines:
            raise ValueError(f"machines ({self.machines}) must divide processes ({self.processes})")
        host, _, port = (self.address or "").rpartition(":")
        if self.machines > 1 and not (host and port.isdigit() and self.start):
            raise ValueError(
                "several machines need address, host:port on the first one, and start, the command that runs another "
                "one on each of them"
            )
        return self

    @property
    def sharing(self) -> Sharing:
        """What each process has of the model, by the type of distribution and the ZeRO stage. Raises RecipeError."""
        try:
            content = yaml.safe_load(self.configuration())
        except yaml.YAMLError as error:
            raise RecipeError(f"launch.config: {self.config} is no YAML that accelerate could read") from error
        settings = content if isinstance(content, dict) else {}
        match settings.get("distributed_type"), (settings.get("deepspeed_config") or {}).get("zero_stage"):
            case "FSDP", _:
                return Sharing.FSDP2
            case "DEEPSPEED", 3:
                return Sharing.ZERO3
        return Sharing.DDP

    def configuration(self) -> str:
        """The configuration for accelerate, as YAML. Raises RecipeError if there is no such file."""
        if self.config in PACKAGED:
            return (files("sinternal.settings.launches") / f"{self.config}.yaml").read_text()
        try:
            return Path(self.config).expanduser().read_text()
        except OSError as error:
            raise RecipeError(
                f"launch.config: there is no file {self.config!r}; name one, or take one of: {', '.join(PACKAGED)}"
            ) from error
