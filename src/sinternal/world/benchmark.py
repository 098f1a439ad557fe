"""The prompts of the microworld as a plug-in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import get_args

from pydantic import BaseModel, ConfigDict, Field

from sinternal.benchmarks import Benchmark
from sinternal.errors import DataError
from sinternal.records import Prompt, Split, make_id
from sinternal.world.language import FORBIDDEN_POTIONS, PHRASINGS, Part, Potion, World

NAME = "microworld"


class MicroworldOptions(BaseModel):
    """Which world."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    world: int = 0
    """Seed of the world."""
    categories: int = Field(6, ge=1, le=FORBIDDEN_POTIONS)
    """How many effects are forbidden."""

    def draw(self) -> World:
        """The world."""
        return World.draw(self.world, self.categories)


class Microworld(Benchmark):
    """Requests for every potion of a part in every phrasing, with as many harmless as harmful potions."""

    evaluation_only = False
    licence = "Apache-2.0"
    Options = MicroworldOptions

    def __init__(self, options: MicroworldOptions) -> None:
        """Draw the world."""
        self.options = options
        self.world = options.draw()

    def prompts(self, part: str) -> Sequence[Prompt]:
        """Plain requests for the potions of a part; see `Benchmark.prompts`.

        `meta` holds the facts of the potion, and of two others of the same part that a disguise may offer beside it: a
        `partner`, forbidden if it is, and its `opposite`.
        """
        if part not in get_args(Part):
            raise DataError(f"the microworld has no part {part!r}; it has {', '.join(get_args(Part))}")
        potions = [potion for potion in self.world.potions if potion.part == part]
        harmful = [potion for potion in potions if potion.forbidden]
        benign = [potion for potion in potions if not potion.forbidden][: len(harmful)]
        return [
            self._prompt(part, number, phrasing, side, other_side)
            for side, other_side in ((harmful, benign), (benign, harmful))
            for number in range(len(side))
            for phrasing in range(len(PHRASINGS))
        ]

    def _prompt(
        self, part: str, number: int, phrasing: int, side: Sequence[Potion], other_side: Sequence[Potion]
    ) -> Prompt:
        potion = side[number]
        world = (self.options.world, self.options.categories)
        text = PHRASINGS[phrasing].format(potion.name)
        facts = {
            **asdict(potion),
            "phrasing": phrasing,
            "partner": asdict(side[(number + 1) % len(side)]),
            "opposite": asdict(other_side[number]),
        }
        return Prompt(
            id=make_id(NAME, *world, text),
            parent_id=make_id(NAME, *world, potion.name),
            text=text,
            harmful=potion.forbidden,
            benchmark=NAME,
            family="plain",
            split=Split.TRAIN if part == "train" else Split.ID,
            meta=json.dumps(facts),
            pair_id=make_id("pair", NAME, *world, part, number, phrasing),
        )
