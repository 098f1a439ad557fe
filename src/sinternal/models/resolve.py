"""Where a model comes from: a directory, the Hugging Face hub, or a package that ships one or can build one."""

from __future__ import annotations

import json
import os
import re
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel

from sinternal.errors import ModelError
from sinternal.extras import require
from sinternal.registry import Kind, NoOptions, names
from sinternal.settings.plugins import ModelSourcePlugin
from sinternal.store import Progress
from sinternal.validation import preview

ADAPTER = "adapter_config.json"
"""A folder with this file holds a LoRA adapter."""
MARKS = ("config.json", ADAPTER)
"""A folder with one of these files is a model, or an adapter that names its base."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class ModelSource(Protocol):
    """A model that a recipe can name. A source inherits from this class."""

    Options: ClassVar[type[BaseModel]] = NoOptions
    """How its model is made; a name or value that the model does not know is an error of the recipe."""
    verification: ClassVar[str] = "specification"
    """The way to put the question to its models: a registered verification."""
    diagnosis: ClassVar[str] = "default"
    """The packaged settings by which its models are diagnosed."""
    licence: ClassVar[str] = ""
    """Of its weights, as the hub names licences; empty: that of the card beside them, if there is one."""

    def __init__(self, options: Any) -> None:
        """Take the options, an object of `Options`."""

    @abstractmethod
    def locate(self) -> Path | None:
        """The ready-made model with these options, or None if it has to be built."""
        ...

    @abstractmethod
    def identity(self) -> str | None:
        """A hash, known before download, that distinguishes models of the same name; None if their seed does."""
        ...

    @abstractmethod
    def build(self, seed: int, out: Path, progress: Progress) -> None:
        """Make the model from scratch, or fetch it, and save it as a Hugging Face model directory."""
        ...


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model or an adapter."""
    return any((folder / mark).exists() for mark in MARKS)


def adapter_base(folder: Path) -> str | None:
    """The base of a LoRA adapter: a directory, or a Hugging Face id.

    Args:
        folder: the adapter's. A relative path in its configuration is taken from here, so that a store can be moved;
            failing that, from the working directory.

    Returns:
        None if the folder holds a whole model.

    Raises:
        ModelError: the configuration cannot be read, or its base is not there.
    """
    file = folder / ADAPTER
    if not file.exists():
        return None
    name = _base_name(file)
    for candidate in (folder.resolve() / name, Path(name).expanduser()):
        if is_model(candidate):  # of an empty folder, what opens the model would ask the hub, by its path
            return os.path.normpath(candidate)
    if not _HUB_ID.fullmatch(name):
        raise ModelError(
            f"{folder}: the base of this LoRA adapter is not at {name!r}: put it back, move both together, or "
            f"name its folder in base_model_name_or_path of {file.name}"
        )
    return name


def base_reference(start: Path, out: Path) -> str:
    """How an adapter in `out` names its base, if its training started from `start`.

    Returns:
        What the start says if it is an adapter that names a Hugging Face id or an absolute path; else the base's path
        from `out`, which holds wherever a store that holds both is moved.
    """
    base, name = adapter_base(start), _base_name(start / ADAPTER) if (start / ADAPTER).exists() else ""
    if base is not None and (Path(name).is_absolute() or not Path(base).is_dir()):
        return name
    base_path = start if base is None else Path(base)
    # What lies in a store may itself be a link, for example into the cache of the hub: the way to it is kept.
    return os.path.relpath(base_path.parent.resolve() / base_path.name, out.resolve())


def _base_name(file: Path) -> str:
    try:
        name = json.loads(file.read_text())["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{file}: not the configuration of a LoRA adapter ({error or type(error).__name__})"
        ) from error
    if not isinstance(name, str) or not name:
        raise ModelError(f"{file}: base_model_name_or_path does not name the base of the adapter; write it there")
    return name


def base_folder(folder: Path) -> Path:
    """Where the whole model is: for an adapter, at its base, which is downloaded if it has to be. Raises ModelError."""
    base = adapter_base(folder)
    if base is None:
        return folder
    try:
        return resolve_model(base)
    except ModelError as error:
        raise ModelError(f"{folder}: the base of this LoRA adapter: {error}") from error


def tokenizer_folder(folder: Path) -> Path:
    """Where a model's tokenizer is: for an adapter that was saved without one, at its base. Raises ModelError."""
    return folder if (folder / "tokenizer_config.json").exists() else base_folder(folder)


def model_folder(model: str) -> Path | None:
    """The directory that a name means if it is that of no registered source; None if it is an id on the hub.

    Raises:
        ModelError: there is no such directory, or no model in it, and the name cannot be an id.
    """
    try:
        folder = Path(model).expanduser()
        is_folder = folder.is_dir()
    except (RuntimeError, ValueError, OSError) as error:
        raise ModelError(f"{preview(model)} is not the path of a model directory ({error})") from error
    if model and is_model(folder):
        _check_files(folder)
        return folder
    if model and is_folder:
        raise ModelError(
            f"{model} is neither a model directory (the folder is there, but no config.json in it), nor an arm of a "
            f"finished run, nor one of: {', '.join(names(Kind.MODEL))}"
        )
    if folder.exists() and model:
        raise ModelError(f"{model} is a file; name the model directory that it lies in")
    if model.startswith((".", "~", "/")) or model.count("/") > 1:
        raise ModelError(f"{model}: there is no such model directory, nor such an arm of a finished run (RUN/ARM)")
    if not _HUB_ID.fullmatch(model):
        known = ", ".join(names(Kind.MODEL))
        raise ModelError(
            f"{preview(model)} is neither a model directory (no config.json there), nor an arm of a finished run (no "
            f"recipe.yaml in {folder.parent}), nor a Hugging Face id, nor one of: {known}"
        )
    return None


def _check_files(folder: Path) -> None:
    """Refuse what is no file, by way of a link too: to read a pipe, or a device, need not end."""
    for entry in folder.iterdir():
        if entry.exists() and not (entry.is_file() or entry.is_dir()):
            raise ModelError(f"{entry} is a pipe, a socket or a device, and no file of a model: take it away")


def resolve_model(model: str, revision: str | None = None) -> Path:
    """The directory of a model that needs no options.

    Args:
        model: a model directory, a registered source, or a Hugging Face id.
        revision: branch, tag or commit, for a Hugging Face id.

    Raises:
        ModelError: there is none, or it cannot be downloaded.
    """
    if model in names(Kind.MODEL):
        return locate_source(model)
    return model_folder(model) or download(model, revision)


def locate_source(name: str) -> Path:
    """The ready-made model of a registered source. Raises ModelError if it is not here."""
    source: ModelSource = ModelSourcePlugin(name=name).open()
    folder = source.locate()
    if folder is None:
        raise ModelError(f"model {name!r} is not here yet; run: sinternal fetch {name}")
    return folder


def download(hub_id: str, revision: str | None = None, *, cached_alone: bool = False) -> Path:
    """A model from the Hugging Face hub, by its cache.

    Args:
        hub_id: the model.
        revision: branch, tag or commit.
        cached_alone: whether only the cache is looked at.

    Raises:
        ModelError: it is gated, unknown, or out of reach and not in the cache.
    """
    require(f"model {hub_id}", "huggingface_hub")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    left_out = ["*.pth", "*.pt", "*.bin", "original/*", "*.gguf", "*.py"]
    try:
        return Path(
            snapshot_download(hub_id, revision=revision, ignore_patterns=left_out, local_files_only=cached_alone)
        )
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        raise explain_hub_error(error, hub_id, revision) from error


def explain_hub_error(error: Exception, hub_id: str, revision: str | None) -> ModelError:
    """What it means that the hub does not hand out a model, in one line with its mend."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, HFValidationError):
        return ModelError(f"{hub_id} is neither a model directory nor a Hugging Face id (owner/name)")
    if isinstance(error, GatedRepoError):
        return ModelError(f"{hub_id} is gated: accept its terms at https://huggingface.co/{hub_id} and set HF_TOKEN")
    if isinstance(error, RevisionNotFoundError):
        return ModelError(f"{hub_id} has no revision {revision!r}; see https://huggingface.co/{hub_id}/commits/main")
    if isinstance(error, RepositoryNotFoundError):
        return ModelError(f"the hub has no model {hub_id!r}, or it is private: set HF_TOKEN if it is yours")
    return ModelError(
        f"{hub_id} is not in the cache and the hub cannot be reached; connect, or give a model directory instead"
    )
