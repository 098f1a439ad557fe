"""Artifacts on disk: named by what they were made from, complete or absent, and resumable while they grow.

<root>/<stage>/<key>/manifest.json     written last: its existence means that the artifact is complete
<root>/<stage>/<key>/responses.parquet
<root>/<stage>/<key>.partial/          the same artifact while it is being made
<root>/<stage>/<key>.lock              held by the process that makes it
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from filelock import FileLock

from sinternal import budget, pending
from sinternal.errors import StoreError
from sinternal.fingerprints import file_hash
from sinternal.fingerprints import fingerprint as fingerprint  # part of a store's interface, too
from sinternal.records import R
from sinternal.store.artifact import MANIFEST, Artifact
from sinternal.store.draft import Draft, Progress
from sinternal.store.files import fsync_folder, write_text
from sinternal.store.tables import table_name, write_table

REOPENED = "reopened.json"
"""In an artifact that was opened again: what it was before."""
SPENT = "spent.json"
"""In an unfinished artifact: what it has taken of servers so far."""
HANDED_IN = "batches"
"""In an unfinished artifact: what servers were handed for it that may not be back yet."""
RECORDED_PACKAGES = ("sinternal", "torch", "transformers", "trl", "peft", "tokenizers", "arro3-io")
NO_ROOM = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EROFS: "it is read-only"}
"""What ends a run wherever it meets it, in words."""


class Store:
    """A folder of artifacts. Several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        """Use a folder, which need not exist yet."""
        self.root = root

    def find(self, stage: str, key: str) -> Artifact | None:
        """The complete artifact with this key, if there is one."""
        artifact = Artifact(self.root / stage / key)
        return artifact if (artifact.path / MANIFEST).is_file() and artifact.is_complete() else None

    def check_writable(self) -> None:
        """Make sure that artifacts can be written, before any work is done.

        Raises:
            StoreError: they cannot.
        """
        check_writable(self.root, "--store")

    def discard(self, stage: str, key: str) -> bool:
        """Delete an artifact, and what there is of one in the making; whether there was any."""
        path = self.root / stage / key
        folders = [folder for folder in (path, path.with_suffix(".partial")) if folder.exists()]
        if folders:
            with self._lock(path):
                for folder in folders:
                    shutil.rmtree(folder, ignore_errors=True)
        return bool(folders)

    def make(
        self,
        stage: str,
        key: str,
        build: Callable[[Draft], None],
        *,
        stage_version: int,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        progress: Progress,
        plugins: Mapping[str, str] = MappingProxyType({}),
    ) -> Artifact:
        """Return the artifact with this key, building it if nobody has.

        A second process that asks for the same key waits for the first. If `build` raises, what it wrote stays in
        the `.partial` folder for the next attempt, and no artifact appears.

        Raises:
            StoreError: it cannot be written.
        """
        path = self.root / stage / key
        with self._lock(path), _telling_of_room(self.root):
            if complete := self.find(stage, key):
                return complete
            started, spent_before, clock = time.time(), budget.spent(), time.monotonic()
            draft = Draft(path.with_suffix(".partial"), progress)
            spent_earlier = _spent_earlier(draft.path)
            try:
                with pending.kept_in(draft.path / HANDED_IN):
                    build(draft)
            except BaseException:
                if draft.path.exists():  # else the stage itself has thrown it away
                    write_text(draft.path / SPENT, json.dumps(asdict(budget.spent() - spent_before + spent_earlier)))
                raise
            (draft.path / SPENT).unlink(missing_ok=True)
            shutil.rmtree(draft.path / HANDED_IN, ignore_errors=True)  # its tables hold all that came back
            manifest = {
                "stage": stage,
                "key": key,
                "version": stage_version,
                "config": config,
                "inputs": inputs,
                "counts": draft.counts,
                "notes": draft.notes,
                "packages": _package_versions(),
                "plugins": dict(plugins),
                "spent": asdict(budget.spent() - spent_before + spent_earlier),
                "started": started,
                "seconds": round(time.monotonic() - clock, 3),
                "files": _hashes(draft.path),
            }
            write_text(draft.path / MANIFEST, json.dumps(manifest, indent=1) + "\n")
            shutil.rmtree(path, ignore_errors=True)
            draft.path.rename(path)
            fsync_folder(path.parent)
            return Artifact(path)

    def reopen(self, artifact: Artifact, rows: Iterable[R], row_type: type[R]) -> None:
        """Make a finished artifact unfinished, with these rows in it, and remember what it was."""
        path = artifact.path
        with self._lock(path):
            partial = path.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            write_table(partial / f"{table_name(row_type)}.{0:06}.shard", rows, row_type, temporary=True)
            before = {"table": table_name(row_type), "sha256": file_hash(path / f"{table_name(row_type)}.parquet")}
            write_text(partial / REOPENED, json.dumps(before) + "\n")
            write_text(partial / SPENT, json.dumps(artifact.manifest.get("spent", {})))
            shutil.rmtree(path)

    def is_reopened(self, stage: str, key: str) -> bool:
        """Whether an artifact was opened again and is not finished yet."""
        return (self.root / stage / f"{key}.partial" / REOPENED).exists()

    def has_changed(self, artifact: Artifact) -> bool:
        """Whether a finished artifact was opened again and is not what it was before."""
        if not (artifact.path / REOPENED).exists():
            return False
        before = json.loads((artifact.path / REOPENED).read_text())
        return bool(before["sha256"] != file_hash(artifact.path / f"{before['table']}.parquet"))

    def settle(self, artifact: Artifact) -> None:
        """Forget that an artifact was opened again: what depended on it is undone."""
        (artifact.path / REOPENED).unlink(missing_ok=True)

    def forget(self, artifact: Artifact) -> None:
        """Remove an artifact."""
        with self._lock(artifact.path):
            shutil.rmtree(artifact.path, ignore_errors=True)

    @contextmanager
    def _lock(self, path: Path) -> Iterator[None]:
        self.check_writable()
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            yield


def check_writable(folder: Path, option: str) -> None:
    """Make a folder if need be, and make sure that files can be written there.

    Args:
        folder: which.
        option: by which a user chooses another.

    Raises:
        StoreError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".write-", dir=folder)
        os.close(descriptor)
        Path(name).unlink()
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreError(
            f"{folder}: cannot write there (a file is in the way); choose another with {option}"
        ) from error
    except OSError as error:
        raise StoreError(f"{folder}: cannot write there ({error.strerror}); choose another with {option}") from error


@contextmanager
def _telling_of_room(root: Path) -> Iterator[None]:
    """Say of a disk without room that it has none."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StoreError) or error.errno not in NO_ROOM:
            raise
        raise StoreError(f"{root}: cannot be written: {NO_ROOM[error.errno]}; make room, and run again") from error


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of an artifact, by its path inside; what links lead to belongs to others."""
    files = (Path(directory, name) for directory, _, names in os.walk(folder) for name in names)
    ours = sorted(file for file in files if file.is_file() and not file.is_symlink() and file.name != REOPENED)
    return {file.relative_to(folder).as_posix(): file_hash(file) for file in ours}


def _spent_earlier(partial: Path) -> budget.Spent:
    """What earlier attempts at an artifact have spent."""
    file = partial / SPENT
    return budget.Spent(**json.loads(file.read_text())) if file.exists() else budget.Spent()


def _package_versions() -> dict[str, str]:
    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
