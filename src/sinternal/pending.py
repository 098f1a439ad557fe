"""What was handed in to a server and is not back yet: where that is remembered, and who hears how far it is.

A batch of calls takes up to a day, and is paid for whether or not anybody fetches it. While an artifact is made, its
batches are remembered in its unfinished folder: they live exactly as long as what they were asked for is not safe on
the disk. Elsewhere they are remembered in the user's cache.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sinternal.cache import cache_folder
from sinternal.visible import visible_line

_folder: Path | None = None
"""Of the artifact that this process makes; None between artifacts."""
_listener: Callable[[str], None] | None = None
"""Who is told; None: the standard error stream."""


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Remember what is handed in from now on in this folder, whose owner deletes it when all is safe elsewhere."""
    global _folder
    before, _folder = _folder, folder
    try:
        yield
    finally:
        _folder = before


def folder_of_artifact() -> Path | None:
    """The folder of the artifact that is being made; None if there is none."""
    return _folder


def folder_of_user() -> Path:
    """Where it is remembered that no artifact waits for."""
    return cache_folder() / "batches"


@contextmanager
def heard_by(listener: Callable[[str], None] | None) -> Iterator[None]:
    """Tell this listener, in this process, until the block ends; None: the standard error stream."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def tell(words: str) -> None:
    """Say how far something is, in one line."""
    if _listener is None:
        print(visible_line(words), file=sys.stderr, flush=True)
    else:
        _listener(words)
