"""The prompts of one repetition of a study."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from sinternal.settings.plugins import PLAIN, AttackPlugin
from sinternal.settings.recipe import Recipe
from sinternal.settings.sources import Source, without_parts
from sinternal.stages import prompts
from sinternal.study.task import Task

UNDISGUISED = (AttackPlugin(name=PLAIN),)
"""Prompts as they are."""


class PromptTasks:
    """The prompts of one variant and seed.

    Training prompts that overlap with evaluation prompts are dropped, and held-out ones that overlap with either.
    """

    def __init__(self, recipe: Recipe, seed: int, where: str) -> None:
        """Take the recipe, the seed, and a suffix for labels."""
        self._recipe, self._seed, self._where = recipe, seed, where

    @cached_property
    def evaluation(self) -> Task:
        """What every arm is measured on."""
        settings = self._recipe.prompts
        config = self._config(settings.eval, "eval", settings.eval_attacks, settings.eval_limit)
        return Task(prompts.STAGE, f"evaluation prompts, {self._where}", config)

    @cached_property
    def training(self) -> Task:
        """What arms are trained on."""
        settings = self._recipe.prompts
        config = self._config(settings.train, "train", settings.train_attacks, settings.train_limit)
        return Task(prompts.STAGE, f"training prompts, {self._where}", config, {"evaluation": self.evaluation})

    @cached_property
    def delivered(self) -> Task | None:
        """Evaluation prompts, delivered in the ways of `evaluation.stress.attacks`."""
        stress = self._recipe.evaluation.stress
        return self._stress_prompts("stress prompts", stress.attacks) if stress and stress.attacks else None

    @cached_property
    def repeated(self) -> Task | None:
        """Evaluation prompts without disguise, to be asked under stress."""
        return self._stress_prompts("plain stress prompts", UNDISGUISED) if self._recipe.evaluation.stress else None

    @cached_property
    def attacked(self) -> Task:
        """Evaluation prompts without disguise, whose harmful requests are attacked."""
        adaptive = self._recipe.evaluation.adaptive
        return self._again("plain prompts to attack", UNDISGUISED, adaptive.limit if adaptive else None)

    @cached_property
    def mathematics(self) -> Task | None:
        """Problems for rollouts; None if no arm is given any."""
        settings = self._recipe.grpo
        if settings is None or not settings.mixture.mathematics or not self._recipe.rewards_answers:
            return None
        config = self._config(self._recipe.rewards.mathematics, "train", UNDISGUISED, None)
        return Task(prompts.STAGE, f"mathematics prompts, {self._where}", config, {"evaluation": self.evaluation})

    @cached_property
    def held_out(self) -> Task | None:
        """Held-out prompts for the learning curve of rewards; None without one."""
        recipe, settings = self._recipe, self._recipe.grpo
        if settings is None or not settings.held_out_every or not recipe.uses_rewards:
            return None
        sources = recipe.rewards.held_out or without_parts(recipe.prompts.train)
        config = self._config(sources, "dev", recipe.prompts.train_attacks, recipe.rewards.held_out_limit)
        apart = {"evaluation": self.evaluation, "training": self.training}
        return Task(prompts.STAGE, f"held-out prompts, {self._where}", config, apart)

    def published(self, source: Source, label: str) -> Task:
        """All prompts of a published data set that is trained on."""
        config = prompts.PromptsConfig(
            sources=sources_of((source,), "train", UNDISGUISED),
            tuned_on=self._recipe.prompts.train_attacks,
            limit=None,
            for_training=True,
            seed=self._seed,
        )
        return Task(prompts.STAGE, f"dataset prompts {label}", config, {"evaluation": self.evaluation})

    def _stress_prompts(self, name: str, attacks: tuple[AttackPlugin, ...]) -> Task:
        stress = self._recipe.evaluation.stress
        return self._again(name, attacks, stress.limit if stress else None)

    def _again(self, name: str, attacks: tuple[AttackPlugin, ...], most: int | None) -> Task:
        """Prompts whose requests are asked again, of each benchmark at most so many."""
        limit = {"limit": most} if most else {}
        sources = tuple(source.model_copy(update={"attacks": None, **limit}) for source in self._recipe.prompts.eval)
        config = self._config(sources, "eval", attacks, None)
        return Task(prompts.STAGE, f"{name}, {self._where}", config, {"among": self.evaluation})

    def _config(
        self, sources: tuple[Source, ...], part: str, attacks: tuple[AttackPlugin, ...], limit: int | None
    ) -> prompts.PromptsConfig:
        return prompts.PromptsConfig(
            sources=sources_of(sources, part, attacks),
            tuned_on=self._recipe.prompts.train_attacks,
            limit=limit,
            for_training=part != "eval",
            seed=self._seed,
        )


def sources_of(
    sources: Iterable[Source], part: str, attacks: tuple[AttackPlugin, ...]
) -> tuple[prompts.SourceConfig, ...]:
    """Sources as the stage takes them: with the default part and attacks where a source names none."""
    return tuple(
        prompts.SourceConfig(
            benchmark=source.benchmark,
            options=source.options,
            part=source.part or part,
            limit=source.limit,
            attacks=source.attacks or attacks,
        )
        for source in sources
    )
