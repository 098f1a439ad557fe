"""Checkpoints of a training: which of them are whole, so that it goes on from there.

The trainer writes `trainer_state.json` last. That says what a killed process had still written, and nothing about what
a power cut, or a broken disk, has left of it: so each checkpoint is brought to the disk and sealed with hashes of its
files. One that is not what its seal says is removed, and the training goes on from further back: it ends the
same. Of a training in many processes the others may still be writing when the first is through: its have no seal.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from sinternal.errors import StoreError
from sinternal.fingerprints import file_hash
from sinternal.store.files import fsync_tree, remove, write_text

SEAL = "sealed.json"
STATE = "trainer_state.json"
PREFIX = "checkpoint-"


def seal(checkpoint: Path) -> None:
    """Bring a checkpoint to the disk, and note what it holds."""
    fsync_tree(checkpoint)
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != SEAL)
    hashes = {path.relative_to(checkpoint).as_posix(): file_hash(path) for path in files}
    write_text(checkpoint / SEAL, json.dumps(hashes, indent=1) + "\n")


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole, if there is one; those that are not are removed."""
    whole = {}
    for checkpoint in folder.glob(f"{PREFIX}*"):
        number = checkpoint.name.removeprefix(PREFIX)
        if number.isdecimal() and _is_whole(checkpoint):
            whole[int(number)] = checkpoint
        elif process_number() == 0:
            remove(checkpoint)
    return str(whole[max(whole)]) if whole else None


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / STATE).read_bytes())
        if not (checkpoint / SEAL).exists():
            return True
        noted = json.loads((checkpoint / SEAL).read_bytes())
        return all(file_hash(checkpoint / name) == digest for name, digest in noted.items())
    except (StoreError, OSError, ValueError, AttributeError, RecursionError):
        return False


def process_number() -> int:
    """Which of the processes of a training this is; 0 for the first or only one. torchrun says so to all it starts."""
    return int(os.environ.get("RANK", 0))
