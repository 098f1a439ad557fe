"""Untrained models: a study's target, or a model from elsewhere."""

from __future__ import annotations

from pathlib import Path

from sinternal.errors import ModelError
from sinternal.models.resolve import model_folder
from sinternal.settings.recipe import Recipe
from sinternal.settings.sources import Target
from sinternal.stages.target import STAGE, TargetConfig
from sinternal.study.contents import folder_contents
from sinternal.study.task import Task


def target_task(recipe: Recipe, model: Target, seed: int, label: str, named_by: str = "target.model") -> Task:
    """The task of an untrained model: the study's target, or one from elsewhere."""
    if is_served(recipe, model):
        return Task(STAGE, label, TargetConfig(model=model.model, served=True))
    trained = recipe.trains
    return Task(STAGE, label, target_config(model, seed, trained=trained, named_by=named_by))


def is_served(recipe: Recipe, model: Target) -> bool:
    """Whether a server knows a model by its name, and nothing of it is needed here: no arm is trained.

    What is a model directory on this machine is still looked at: the engine's option `model` says what it is called
    there.
    """
    if not recipe.measures_servers or model.source is not None:
        return False
    try:
        return model_folder(model.model) is None
    except ModelError:  # a name that only the server knows
        return True


def target_config(model: Target, seed: int, *, trained: bool, named_by: str = "target.model") -> TargetConfig:
    """How a model is found or built, with a hash of its files if they exist already.

    Args:
        model: which.
        seed: of one that is built for each seed.
        trained: whether arms are trained on it.
        named_by: the field that names it, for messages.

    Raises:
        ModelError: the name can only be a folder's, and there is no model in it.
    """
    own = fingerprint = None
    if source := model.source:
        fingerprint = source.open().identity()
        own = seed if model.build_for_each_seed else None
    elif (folder := _folder(model.model, named_by)) is not None:
        # One folder may be spelled in several ways.
        model = model.model_copy(update={"model": str(folder.resolve())})
        fingerprint = folder_contents(folder)
    return TargetConfig(
        model=model.model,
        revision=model.revision,
        options=model.options,
        seed=own,
        trained=trained,
        fingerprint=fingerprint if own is None else None,
    )


def _folder(model: str, named_by: str) -> Path | None:
    try:
        return model_folder(model)
    except ModelError as error:
        raise ModelError(f"{named_by}: {error}") from error
