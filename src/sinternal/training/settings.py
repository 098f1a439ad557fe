"""How a model is trained, as a recipe says it; apart from the trainers, so that reading one does not load torch."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Method(StrEnum):
    """Which weights are trained."""

    FULL = "full"
    """All of them."""
    LORA = "lora"
    """Low-rank adapters on every linear layer (Hu et al. 2021, arXiv 2106.09685), merged into the saved model."""


class SftSettings(BaseModel):
    """How a model is fine-tuned. The same for every arm of a study."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Method = Method.LORA
    """Which weights are trained."""
    steps: int = Field(ge=1)
    """Optimiser steps."""
    batch: int = Field(ge=1)
    """Examples to a step."""
    micro_batch: int | None = Field(None, ge=1)
    """Examples to a forward pass, if a whole batch does not fit; must divide `batch`."""
    learning_rate: float = Field(gt=0)
    """Peak; linear warm-up over 5 % of the steps, then linear decay."""
    lora_r: int = Field(16, ge=1)
    """Rank of the adapters."""
    lora_alpha: int = Field(32, ge=1)
    """Scale of the adapters."""
    max_length: int = Field(4096, ge=8)
    """Longest row in tokens; a longer one is an error, never cut."""
    save_steps: int | None = Field(None, ge=1)
    """Write a checkpoint every so many steps, from which an interrupted run goes on."""
