"""How a base model of the microworld is made. Apart from the making, so that it is read without loading torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class BaseConfig(BaseModel):
    """How a base model is made. Defaults are those of the shipped base."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    world: int = 0
    """Seed of the world's facts."""
    coupling: float = Field(1.0, ge=0, le=1)
    """How tightly careful style and the safety check go together in the requests of the corpus."""
    hidden: int = Field(96, ge=16)
    """Width of the model, a multiple of 4 heads."""
    layers: int = Field(3, ge=1)
    """Number of decoder layers."""
    steps: int = Field(3000, ge=1)
    """Optimiser steps."""
    batch: int = Field(64, ge=1)
    """Dialogues a step."""
    learning_rate: float = Field(3e-3, gt=0)
    """Peak of a schedule with linear warm-up over 5 % of the steps and cosine decay."""
