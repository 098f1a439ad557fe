"""Checkpoints of a training: which of them are whole, so that it goes on from there.

The trainer's own last file says what a killed process had still written, and nothing about what a power cut, or a
broken disk, has left of it; of many processes, others may still be writing then. So once all of them are through, each
checkpoint is brought to the disk and sealed with hashes of its files, and only then those before it go. One that is not
what its seal says is removed, and the training goes on from further back: it ends the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list

from sinternal.errors import StoreError
from sinternal.fingerprints import file_hash
from sinternal.store.files import fsync_folder, fsync_tree, remove, write_text

SEAL = "sealed.json"
STATE = "trainer_state.json"
PREFIX = "checkpoint-"


def seal(checkpoint: Path) -> None:
    """Bring a checkpoint to the disk, and note what it holds."""
    fsync_tree(checkpoint)
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != SEAL)
    hashes = {path.relative_to(checkpoint).as_posix(): file_hash(path) for path in files}
    write_text(checkpoint / SEAL, json.dumps(hashes, indent=1) + "\n")
    fsync_folder(checkpoint)
    fsync_folder(checkpoint.parent)


def keep_only(folder: Path, steps: set[int]) -> None:
    """Remove the checkpoints of all other steps."""
    for step, checkpoint in _checkpoints(folder):
        if step not in steps:
            remove(checkpoint)


def agree_on_last(folder: Path, process: int) -> str | None:
    """The checkpoint that all processes of a training go on from: the first one looks, and tells the others.

    Args:
        folder: of the checkpoints.
        process: which of them this is.
    """
    found = last_checkpoint(folder) if process == 0 else None
    agreed: list[str | None] = broadcast_object_list([str(found) if found else None])
    return agreed[0]


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole, if there is one; those that are not are removed.

    One is of no use, either, without the best one before it, if that is the model which the training is to end with.
    """
    whole: dict[int, Path] = {}
    for step, checkpoint in sorted(_checkpoints(folder)):
        state = _read_whole(checkpoint)
        if state is not None and state.get("best_global_step") in (None, 0, step, *whole):
            whole[step] = checkpoint
        else:
            remove(checkpoint)
    return whole[max(whole)] if whole else None


def _checkpoints(folder: Path) -> Iterator[tuple[int, Path]]:
    for checkpoint in folder.glob(f"{PREFIX}*"):
        step = checkpoint.name.removeprefix(PREFIX)
        if step.isdecimal():
            yield int(step), checkpoint
        else:
            remove(checkpoint)  # half removed


def _read_whole(checkpoint: Path) -> dict[str, Any] | None:
    """The trainer's state, if all is as it was sealed."""
    try:
        noted = json.loads((checkpoint / SEAL).read_bytes())
        if not all(file_hash(checkpoint / name) == digest for name, digest in noted.items()):
            return None
        state = json.loads((checkpoint / STATE).read_bytes())
        return state if STATE in noted and isinstance(state, dict) else None
    except (StoreError, OSError, ValueError, AttributeError, RecursionError):
        return None
