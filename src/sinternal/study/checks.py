"""Cheap checks of the data that a recipe names, before anything is run.

What settings alone can get wrong is reported where they are read.
"""

from __future__ import annotations

from typing import NamedTuple

from sinternal.benchmarks import Benchmark, Division
from sinternal.errors import DataError, RecipeError
from sinternal.registry import Plugin
from sinternal.settings.recipe import Recipe
from sinternal.settings.sources import without_parts
from sinternal.stages.dataset import open_with_answers


class _Use(NamedTuple):
    """What one part of divided data is used for."""

    side: str
    """The field that names it."""
    part: str
    """The part."""
    division: Division
    """How the data is divided."""


def check_data(recipe: Recipe) -> None:
    """Open all that judges, experts, tasks and benchmarks name, so that a missing file shows now and not hours later.

    Raises:
        RecipeError: the same file would be trained on and measured.
        DataError: a file is not there, or a data set that an arm is trained on holds no answers.
    """
    judges = (*recipe.judges, recipe.labeller, recipe.rewards.refusals or recipe.labeller)
    check_openable(*judges, *([recipe.writer] if recipe.trains else []), recipe.verification)
    _check_divisions(recipe)
    for arm in recipe.arms:
        if source := arm.examples.dataset:
            try:
                open_with_answers(source.plugin)
            except DataError as error:
                raise RecipeError(f"arm {arm.name!r}: {error}") from error


def check_openable(*plugins: Plugin) -> None:
    """Open plug-ins, which load nothing yet. Raises SInternalError if what their options name is not there."""
    for plugin in plugins:
        plugin.open()


def _check_divisions(recipe: Recipe) -> None:
    prompts, grpo = recipe.prompts, recipe.grpo if recipe.uses_rewards else None
    sides = {"prompts.train": ("train", prompts.train)} if recipe.trains else {}
    sides["prompts.eval"] = ("eval", prompts.eval)
    if grpo and grpo.mixture.mathematics and recipe.rewards_answers:
        sides["rewards.mathematics"] = ("train", recipe.rewards.mathematics)
    if grpo and grpo.held_out_every:
        sides["rewards.held_out"] = ("dev", recipe.rewards.held_out or without_parts(prompts.train))
    first_uses: dict[str, _Use] = {}
    for side, (usual_part, sources) in sides.items():
        for source in sources:
            benchmark: Benchmark = source.plugin.open()
            if (division := benchmark.division()) is None:
                continue
            use = _Use(side, source.part or usual_part, division)
            first = first_uses.setdefault(division.content, use)
            if use.part != first.part and (division.how is None or division.how != first.division.how):
                raise RecipeError(
                    f"{first.side} and {side} both name {division.what}, and nothing says which of its rows are for "
                    "which: give it the same options.shares in both, for example {train: 0.8, eval: 0.2} (dev for "
                    "rewards.held_out), or options.columns.part, the column that says train, dev or eval"
                )
