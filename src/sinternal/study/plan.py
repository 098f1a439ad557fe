"""From a recipe to a plan: which artifacts it needs, and how they depend on each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from sinternal.errors import RecipeError
from sinternal.fingerprints import fingerprint
from sinternal.layout import ArmRun, Place, RunMap, SeedRun
from sinternal.redaction import redacted
from sinternal.settings.recipe import DEFAULT_VARIANT, Recipe
from sinternal.stages import report
from sinternal.study.arms import own_answers, plan_arm
from sinternal.study.batches import batch_notes
from sinternal.study.checks import check_data
from sinternal.study.prompts import PromptTasks
from sinternal.study.targets import target_task
from sinternal.study.task import Plan, Task


def make_plan(recipe: Recipe, notes: Iterable[str] = ()) -> Plan:
    """Lay out every artifact of a recipe. Reads no artifact and runs nothing.

    Args:
        recipe: of a study.
        notes: what a user should know of where it comes from.

    Raises:
        RecipeError, DataError: data that the recipe names is missing, or unfit for its purpose.
    """
    check_data(recipe)
    variants = {variant: recipe.variant(variant) for variant in recipe.variants or {DEFAULT_VARIANT: {}}}
    run = RunMap(
        {
            Place(name, seed): _plan_seed(variant, seed, f"{_prefix(name)}seed {seed}")
            for name, variant in variants.items()
            for seed in recipe.seeds
        }
    )
    config = report.ReportConfig(
        recipe=_as_reported(recipe),
        variants={name: _as_reported(variant) for name, variant in variants.items()},
        agreement=_agreement(recipe.evaluation.agreement),
    )
    last = Task(report.STAGE, "report", config, run.flat())
    unique: dict[str, Task] = {}
    for task in [*last.ancestors(), last]:
        unique.setdefault(task.key, task)
    # Prompts need nothing but prompts: a data set that cannot be read is reported before anything is sampled.
    ordered = tuple(sorted(unique.values(), key=lambda task: task.stage.name != "prompts"))
    notes = [*notes, *(note for variant in variants.values() for note in _notes(variant)), *batch_notes(ordered)]
    return Plan(ordered, tuple(dict.fromkeys(notes)))


def _prefix(variant: str) -> str:
    return "" if variant == DEFAULT_VARIANT else f"{variant} "


def _as_reported(recipe: Recipe) -> Recipe:
    """A recipe without its secrets, and without what changes no figure."""
    return Recipe.model_validate(redacted(recipe.model_dump(mode="json", exclude={"workers"})))


def _notes(recipe: Recipe) -> Iterator[str]:
    """Warnings about settings that are allowed."""
    if not recipe.trains:
        return
    ours, theirs = (judge.model for judge in (recipe.judges[0], recipe.labeller))
    if ours is not None and ours == theirs:
        yield (
            f"judge {ours} labels what the arms learn from and also decides on their answers: arms may learn "
            "its mistakes, which it then cannot see; name another in rewards.judge"
        )


def _agreement(path: Path | None) -> str | None:
    """Hash of the file that says how often the judge errs. Raises RecipeError if there is no such file."""
    if path is None:
        return None
    if not path.is_file():
        raise RecipeError(f"evaluation.agreement: there is no file {path}; `sinternal agree` writes one")
    return fingerprint(path)


def _plan_seed(recipe: Recipe, seed: int, where: str) -> SeedRun[Task]:
    """The artifacts of one variant and seed."""
    target = target_task(recipe, recipe.target, seed, f"target, {where}")
    prompts = PromptTasks(recipe, seed, where)
    arms: dict[str, ArmRun[Task]] = {}
    run = SeedRun(target, prompts.evaluation, arms=arms)
    if recipe.trains:
        answers = own_answers(recipe, target, prompts.training, seed, where)
        run = replace(run, training_prompts=prompts.training, answers=answers)
    for arm in recipe.arms:
        arms[arm.name] = plan_arm(recipe, arm, seed, where, run, prompts)
    return run
