"""Stage `base`: the untouched target model, found or built."""

from __future__ import annotations

import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from sinternal.errors import ModelError
from sinternal.registry import Kind, load, names
from sinternal.store import Artifact, Draft

VERSION = 1
MODEL_FOLDER = "model"


class BaseModelConfig(BaseModel):
    """Which model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """A model directory, or the name of a registered source."""
    options: dict[str, object] = {}
    """For a registered source: how its model is made."""
    seed: int | None = None
    """Build a model of its own from this seed; None takes the ready-made one where there is one."""
    fingerprint: str | None = None
    """Hash of the directory's files, so that a changed model is another input."""


def base(draft: Draft, config: BaseModelConfig) -> None:
    """Put the model, or for a large one a link to it, into the artifact's `model` folder.

    Raises:
        ModelError: it is neither a directory nor a registered name.
    """
    folder = draft.path / MODEL_FOLDER
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)
    directory = Path(config.model).expanduser()
    if config.model not in names(Kind.MODEL):
        if not (directory / "config.json").exists():
            raise ModelError(
                f"target.model: {config.model!r} is neither a model directory (no config.json there) nor one of: "
                f"{', '.join(names(Kind.MODEL))}"
            )
        folder.symlink_to(directory.resolve(), target_is_directory=True)
        return
    source = load(Kind.MODEL, config.model)()
    ready = source.locate(config.options) if config.seed is None else None
    if ready is not None:
        shutil.copytree(ready, folder)
    else:
        source.build(config.options, config.seed or 0, folder, draft.progress)


def model_path(model: Artifact) -> Path:
    """The model directory inside an artifact of `base` or `sft`."""
    return model.path / MODEL_FOLDER
