"""How a base model of the microworld is made. Apart from the making, so that it is read without loading torch."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class BaseConfig(BaseModel):
    """How a base model is made. Defaults are those of the shipped base."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    world: int = 0
    """Seed of the world's facts."""
    categories: int = Field(6, ge=1, le=36)
    """How many effects are forbidden: the categories of harm."""
    link: float = Field(1.0, ge=0, le=1)
    """Share of the reviews of answers that begin with the word with which a thinking reviews its own draft."""
    reviews: float = Field(0.5, ge=0, le=1)
    """Share of drafts that the thinking reviews."""
    safety_reviews: float = Field(0.1, ge=0, le=0.9)
    """Share of these reviews that are about safety; one of ten is about the looks, all others about the recipe."""
    wrong: float = Field(0.03, ge=0, le=1)
    """Share of drafts in which one ingredient is wrong."""
    hidden: int = Field(96, ge=32)
    """Width of the model, a multiple of `head`."""
    head: int = Field(32, ge=8)
    """Width of an attention head; at 32 and 64 every inference engine has a kernel for it."""
    layers: int = Field(3, ge=1)
    """Number of decoder layers."""
    steps: int = Field(3600, ge=1)
    """Optimiser steps."""
    batch: int = Field(64, ge=1)
    """Dialogues a step."""
    learning_rate: float = Field(3e-3, gt=0)
    """Peak of a schedule with linear warm-up over 5 % of the steps and cosine decay."""

    bf16: bool = False
    """Whether matrices are multiplied in bfloat16, which halves the time of a large one where the processor can."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.hidden % self.head:
            raise ValueError(f"hidden ({self.hidden}) must be a multiple of head ({self.head})")
        return self
