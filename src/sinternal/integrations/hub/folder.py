"""A folder that is handed to others: it appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sinternal.errors import SInternalError
from sinternal.store.files import TEMPORARY, remove, telling_causes

CARD = "README.md"
"""The card, as the hub calls it."""
RECIPE = "recipe.yaml"
"""The recipe beside it, without folders of the machine that it ran on."""


@contextmanager
def new_folder(to: Path) -> Iterator[Path]:
    """A folder to write into, which appears under its name at the end.

    Args:
        to: where it is to be; not there yet, or empty.

    Raises:
        SInternalError: something is there already, or it cannot be written.
    """
    to = to.expanduser().absolute()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise SInternalError(f"{to}: something is there already; name a folder that is new or empty")
    being_written = to.with_name(f".{to.name}{TEMPORARY}")
    with telling_causes(to.parent):
        if being_written.exists():
            remove(being_written)
        being_written.mkdir(parents=True)
        try:
            yield being_written
            if to.is_dir():  # somebody may be working in it, so that it stays
                for entry in being_written.iterdir():
                    entry.rename(to / entry.name)
                being_written.rmdir()
            else:
                being_written.rename(to)
        except BaseException:
            if being_written.exists():
                remove(being_written)
            raise
