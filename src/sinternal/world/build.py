"""`sinternal world build`: a base model in a folder of the user's."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from sinternal.errors import DataError
from sinternal.store import Progress
from sinternal.validation import explain
from sinternal.world.settings import BaseConfig


def build_to(folder: Path, *, seed: int, settings: Mapping[str, object], progress: Progress) -> None:
    """Build a base model beside the folder and move it there when it is complete.

    Args:
        folder: receives the model.
        seed: of the corpus, the weights and the order.
        settings: fields of `BaseConfig` that are not those of the shipped base.
        progress: called with (steps done, steps in all).

    Raises:
        DataError: the folder exists already, or a setting does not fit.
    """
    from sinternal.world.base import build_base

    if folder.exists():
        raise DataError(f"{folder} exists already; name another with --to, or delete it")
    config = read_settings(settings)
    growing = folder.with_name(folder.name + ".partial")
    shutil.rmtree(growing, ignore_errors=True)
    build_base(config, seed, growing, progress)
    growing.rename(folder)


def read_settings(settings: Mapping[str, object]) -> BaseConfig:
    """How a base is made, from what a user wrote. Raises DataError if it does not fit."""
    try:
        return BaseConfig.model_validate(settings)
    except ValidationError as error:
        raise DataError(f"base of the microworld: {explain(error, BaseConfig)}") from error
