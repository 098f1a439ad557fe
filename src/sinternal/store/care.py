"""Looking after a store: what of it is damaged, what of it no run needs, and how large it is."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from filelock import Timeout

from sinternal.errors import StoreError
from sinternal.store.artifact import MANIFEST, PARTIAL, Artifact, files_in
from sinternal.store.files import REMOVED, lock, remove, telling_causes
from sinternal.store.runs import RUNS, having_all, noted_runs
from sinternal.store.tables import MEND


@dataclass
class Checkup:
    """What a look at every byte of a store has shown."""

    artifacts: int = 0
    """Complete ones."""
    files: int = 0
    """Their files."""
    size: int = 0
    """Bytes of these."""
    unguarded: int = 0
    """Artifacts of an earlier version, some or all of whose content has no checksum."""
    unfinished: int = 0
    """Artifacts in the making, which are looked at when they go on."""
    damage: list[str] = field(default_factory=list)
    """One line for each damaged artifact: what, where, and how to mend it."""


def check(root: Path) -> Checkup:
    """Compare every file of every artifact with its checksum; each byte is read, whatever was read before.

    Args:
        root: of the store.

    Raises:
        StoreError: there is no store.
    """
    _check_there(root)
    found = Checkup(unfinished=sum(1 for _ in root.glob(f"*/*{PARTIAL}")))
    for folder in _folders(root):
        artifact = Artifact(folder)
        found.artifacts += 1
        try:
            if not (folder / MANIFEST).is_file():
                raise StoreError(f"{folder}: it has no {MANIFEST}; {MEND}")
            artifact.check_identity()
            found.unguarded += "format" not in artifact.manifest
            for name in files_in(folder):
                found.size += (folder / name).stat().st_size
                found.files += 1
            _check_files(artifact)
        except OSError as error:
            words = str(error) if isinstance(error, StoreError) else f"{error.filename}: {error.strerror}; {MEND}"
            found.damage.append(words)
    return found


def _check_files(artifact: Artifact) -> None:
    noted = artifact.files
    if noted is None:
        return
    there = set(files_in(artifact.path))
    for name in sorted({*noted, *there}):
        path = artifact.path / name
        if name not in there:
            raise StoreError(f"{path}: it is missing; {MEND}")
        if name not in noted:
            raise StoreError(f"{path}: it was put there after the artifact was written; delete it")
        if _hash(path) != noted[name]:
            raise StoreError(f"{path}: it was damaged or edited after it was written; {MEND}")


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Why(StrEnum):
    """Why something can be removed."""

    UNNEEDED = "no run needs it any more"
    """A run had it made, and none that is there does."""
    LEFT_OVER = "an interruption left it"
    """It was being removed, or its artifact is complete."""
    UNKNOWN = "no run that the store knows of asked for it"
    """It was made by an earlier version, or for a run that had another store."""
    UNFINISHED = "unfinished, and its run would go on with it"
    """Work of a run that has not ended."""


class Garbage(NamedTuple):
    """Something in a store that can be removed."""

    path: Path
    """A folder."""
    size: int
    """Bytes that this frees."""
    why: Why
    """The reason."""

    @property
    def stage(self) -> str:
        """The stage that made it."""
        return self.path.parent.name


class Freed(NamedTuple):
    """What was removed."""

    garbage: list[Garbage]
    """What is gone, or would be."""
    in_use: list[Path]
    """What another process is at, and so stayed."""


def garbage(
    root: Path, kept: Collection[str] = (), *, unknown: bool = False, unfinished: bool = False
) -> list[Garbage]:
    """What can be removed without a loss to any run that is there.

    Args:
        root: of the store.
        kept: further artifacts that are needed: `stage/key`.
        unknown: whether that counts of which no run is known.
        unfinished: whether unfinished work counts that a run would go on with.

    Raises:
        StoreError: there is no store, or a note of a run in it is damaged.
    """
    _check_there(root)
    runs = noted_runs(root)
    needed = set(kept).union(*(run.note.needs for run in runs if run.lives))
    going_on = set[str]().union(*(run.note.needs for run in runs if run.goes_on))
    once_needed = set[str]().union(*(run.note.needs for run in runs))
    found = []
    for folder in sorted(path for path in root.glob("*/*") if path.is_dir() and path.parent.name != RUNS):
        key = folder.name.removesuffix(REMOVED).removesuffix(PARTIAL)
        name = f"{folder.parent.name}/{key}"
        if name not in once_needed and not _is_ours(folder, key):
            continue
        if folder.name.endswith(REMOVED):
            why = Why.LEFT_OVER
        elif name in going_on:
            continue
        elif name not in needed:
            why = Why.UNNEEDED if name in once_needed else Why.UNKNOWN
        elif folder.name.endswith(PARTIAL):
            why = Why.LEFT_OVER if (folder.with_suffix("") / MANIFEST).is_file() else Why.UNFINISHED
        else:
            continue
        if (why is not Why.UNKNOWN or unknown) and (why is not Why.UNFINISHED or unfinished):
            found.append(Garbage(folder, size_of(folder), why))
    return found


def _is_ours(folder: Path, key: str) -> bool:
    """Whether a folder of which no note speaks is an artifact: another folder may have been named by mistake."""
    if folder.name != key:
        return folder.with_name(f"{key}.lock").is_file()
    try:
        Artifact(folder).check_identity()
    except StoreError:
        return False
    return True


def collect(
    root: Path, kept: Collection[str] = (), *, unknown: bool = False, unfinished: bool = False, delete: bool = False
) -> Freed:
    """Remove what no run needs, or say what that would be; arguments and errors are those of `garbage`.

    No run can begin meanwhile; what a process is making at the moment stays.

    Args:
        root: of the store.
        kept: see `garbage`.
        unknown: see `garbage`.
        unfinished: see `garbage`.
        delete: whether it is removed.
    """
    if not delete:
        return Freed(garbage(root, kept, unknown=unknown, unfinished=unfinished), [])
    _check_there(root)
    freed: list[Garbage] = []
    in_use: list[Path] = []
    with telling_causes(root):
        (root / RUNS).mkdir(exist_ok=True)
        with having_all(root):
            for each in garbage(root, kept, unknown=unknown, unfinished=unfinished):
                key = each.path.name.removesuffix(REMOVED).removesuffix(PARTIAL)
                try:
                    with lock(each.path.with_name(f"{key}.lock"), timeout=0):
                        remove(each.path)
                    freed.append(each)
                except Timeout:
                    in_use.append(each.path)
            _forget_runs(root)
    return Freed(freed, in_use)


def _forget_runs(root: Path) -> None:
    """Remove the notes of runs that are gone, once nothing of what they needed alone is left."""
    runs = noted_runs(root)
    needed = set[str]().union(*(run.note.needs for run in runs if run.lives))
    for run in runs:
        if not run.lives and not any((root / name).exists() for name in run.note.needs - needed):
            run.file.unlink(missing_ok=True)


class Share(NamedTuple):
    """How much of a store a stage takes."""

    stage: str
    """The stage."""
    artifacts: int
    """Complete ones."""
    size: int
    """Bytes of these."""
    unfinished: int
    """Bytes of those in the making, and of what is being removed."""


def shares(root: Path) -> list[Share]:
    """What takes the room in a store, largest first. Raises StoreError if there is none."""
    _check_there(root)
    number, size, unfinished = Counter[str](), Counter[str](), Counter[str]()
    for folder in root.glob("*/*"):
        if folder.is_dir() and not folder.is_symlink() and folder.parent.name != RUNS:
            stage = folder.parent.name
            passing = folder.name.endswith((PARTIAL, REMOVED))
            number[stage] += not passing
            (unfinished if passing else size)[stage] += size_of(folder)
    every = [Share(stage, number[stage], size[stage], unfinished[stage]) for stage in number]
    return sorted(every, key=lambda share: (-share.size - share.unfinished, share.stage))


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder that deleting it would free: those that lie elsewhere, too, are not."""
    return sum(status.st_size for status in _statuses(folder) if status.st_nlink == 1)


def _statuses(folder: Path) -> Iterator[os.stat_result]:
    for directory, _, names in os.walk(folder):
        for name in names:
            if not (file := Path(directory, name)).is_symlink():
                yield file.lstat()


def _folders(root: Path) -> list[Path]:
    """The artifacts of a store, complete by their names."""
    folders = (path for path in root.glob("*/*") if path.is_dir() and path.parent.name != RUNS)
    return sorted(path for path in folders if not path.name.endswith((PARTIAL, REMOVED)))


def _check_there(root: Path) -> None:
    if not root.is_dir():
        raise StoreError(f"{root}: there is no store; name a run's folder, or the folder that --store had")


def needed_by(root: Path, report: Artifact) -> set[str]:
    """An artifact and all that it was made from, as far as it is still there: `stage/key`.

    Args:
        root: of the store.
        report: the artifact.

    Raises:
        StoreError: a manifest is damaged.
    """
    by_key: dict[str, list[Path]] = {}
    for folder in _folders(root):
        by_key.setdefault(folder.name, []).append(folder)
    needed: set[str] = set()
    waiting = [report.path]
    while waiting:
        folder = waiting.pop()
        name = f"{folder.parent.name}/{folder.name}"
        if name not in needed:
            needed.add(name)
            for key in Artifact(folder).manifest["inputs"].values():
                waiting += by_key.get(key, [])
    return needed
