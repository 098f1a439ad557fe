"""`sinternal world build`: a base model in a folder of the user's."""

from __future__ import annotations

import shutil
from pathlib import Path

from sinternal.errors import DataError
from sinternal.store import Progress
from sinternal.world.settings import BaseConfig


def build_to(folder: Path, *, seed: int, coupling: float, steps: int | None, progress: Progress) -> None:
    """Build a base model beside the folder and move it there when it is complete.

    Raises:
        DataError: the folder exists already, or the coupling is not between 0 and 1.
    """
    from sinternal.world.base import build_base

    if folder.exists():
        raise DataError(f"{folder} exists already; name another with --to, or delete it")
    if not 0 <= coupling <= 1:
        raise DataError(f"--coupling is a probability between 0 and 1, not {coupling}")
    growing = folder.with_name(folder.name + ".partial")
    shutil.rmtree(growing, ignore_errors=True)
    settings = {"coupling": coupling} if steps is None else {"coupling": coupling, "steps": steps}
    build_base(BaseConfig.model_validate(settings), seed, growing, progress)
    growing.rename(folder)
