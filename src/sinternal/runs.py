"""Models that a run has left, by the run's folder and the arm's name: `runs/quickstart/sinternal`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sinternal.errors import ModelError
from sinternal.models import is_model
from sinternal.pipeline import Task, make_plan
from sinternal.recipe import DEFAULT_VARIANT, Recipe, load_recipe
from sinternal.stages.base import model_name
from sinternal.stages.critique import VerificationConfig
from sinternal.store import Store

RECIPE = "recipe.yaml"


class ArmModel(NamedTuple):
    """The model of one arm."""

    path: str
    """Its directory."""
    target: str
    """The model that the run is about."""
    verification: VerificationConfig
    """How the run asks its models to verify."""


def find_arm(name: str) -> ArmModel | None:
    """The model of an arm that a run has trained; of the recipe's first variant.

    Args:
        name: `RUN/ARM`, or `RUN/ARM/SEED` for another seed than the recipe's first.

    Returns:
        None if the name leads to no run: it is then another kind of name.

    Raises:
        ModelError: the run has no such arm or seed, or its model is not there.
    """
    place = Path(name).expanduser()
    if is_model(place):
        return None
    if (place.parent / RECIPE).is_file():
        return _arm(place.parent, place.name, None)
    if (place.parent.parent / RECIPE).is_file() and place.name.isdigit():
        return _arm(place.parent.parent, place.parent.name, int(place.name))
    return None


def _arm(run: Path, name: str, seed: int | None) -> ArmModel:
    recipe = load_recipe(str(run / RECIPE))
    arms = [arm.name for arm in recipe.arms]
    if name not in arms:
        raise ModelError(f"{run} has no arm {name!r}; it has: {', '.join(arms)}")
    if seed is not None and seed not in recipe.seeds:
        raise ModelError(f"{run} has no seed {seed}; it has: {', '.join(map(str, recipe.seeds))}")
    task = _model_task(recipe, name, recipe.seeds[0] if seed is None else seed)
    made = Store(run / "artifacts").find(task.stage, task.key)
    if made is None:
        raise ModelError(
            f"the model of {name!r} is not in {run / 'artifacts'}: finish the run, or, if it has another --store or "
            "was made by another version, name the model's own folder there"
        )
    return ArmModel(model_name(made), recipe.target.model, recipe.verification)


def _model_task(recipe: Recipe, name: str, seed: int) -> Task:
    """What the arm's responses are drawn from."""
    variant = next(iter(recipe.variants), DEFAULT_VARIANT)
    return make_plan(recipe).report.inputs[f"{variant}/{seed}/respond {name}"].inputs["model"]
