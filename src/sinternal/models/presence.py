"""Whether a model can be had: on this disk, in the cache of the hub, or handed out by the hub. Nothing is loaded.

A model that is gated, unknown or damaged is so noticed before anything is paid for that needs it later.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from sinternal.errors import ModelError
from sinternal.extras import is_there, require
from sinternal.models.files import faults
from sinternal.models.resolve import (
    MARKS,
    adapter_base,
    download,
    explain_hub_error,
    locate_source,
    model_folder,
)
from sinternal.registry import Kind, names

PATIENCE = 10.0
"""Seconds that the hub has to answer."""


class Presence(NamedTuple):
    """Where a model is."""

    words: str
    """In a few words."""
    folder: Path | None = None
    """Its directory, of transformers' form; None where nothing more can be looked at."""
    faults: tuple[str, ...] = ()
    """What is wrong with its files or with those of its base, each with its mend."""

    def check(self) -> None:
        """Raise ModelError if it cannot be opened."""
        if self.faults:
            raise ModelError("; ".join(self.faults))


def find_model(model: str, revision: str | None = None) -> Presence:
    """Look for a model as `resolve_model` does, without downloading it.

    Args:
        model: a model directory, a registered source, or a Hugging Face id.
        revision: branch, tag or commit, for a Hugging Face id.

    Raises:
        ModelError: there is none; or it is gated, unknown, or out of reach and not in the cache.
    """
    folder = find_here(model, revision)
    if folder is None:
        _ask_hub(model, revision)
        return Presence(f"{model} is on the hub, and downloaded when it is opened: its files were not looked at")
    base = adapter_base(folder)
    beneath = find_model(base).faults if base is not None else ()
    return Presence(str(folder), folder, (*faults(folder), *beneath))


def find_here(model: str, revision: str | None = None) -> Path | None:
    """The directory of a model on this disk; None if it is an id on the hub of which the cache lacks a part.

    For the arguments, see `find_model`. Raises ModelError if it is neither.
    """
    folder = locate_source(model) if model in names(Kind.MODEL) else model_folder(model)
    if folder is None and is_there("huggingface_hub"):
        with suppress(ModelError):
            cached = download(model, revision, cached_alone=True)
            return None if any(faults(cached)) else cached
    return folder


def _ask_hub(hub_id: str, revision: str | None) -> None:
    """Make sure that the hub hands out a model to this user, by asking about its smallest file. Raises ModelError."""
    require(f"model {hub_id}", "huggingface_hub")
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    for name in MARKS:
        try:
            get_hf_file_metadata(hf_hub_url(hub_id, name, revision=revision), timeout=PATIENCE)
        except EntryNotFoundError:
            continue
        except Exception as error:  # its client's own classes are those of the HTTP library of its version
            raise explain_hub_error(error, hub_id, revision) from error
        return
    raise ModelError(f"{hub_id} on the hub is no model for transformers: it has neither {' nor '.join(MARKS)}")
