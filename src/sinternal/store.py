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
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Generic

from filelock import FileLock

from sinternal import budget
from sinternal.errors import DataError, StoreError
from sinternal.fingerprints import file_hash
from sinternal.fingerprints import fingerprint as fingerprint  # part of a store's interface, too
from sinternal.parquet import read_columns, write_rows
from sinternal.records import R, from_columns, make_id

MANIFEST = "manifest.json"
REOPENED = "reopened.json"
"""In an artifact that was opened again: what it was before."""
SPENT = "spent.json"
"""In an unfinished artifact: what it has taken of servers so far."""
ROWS_PER_SHARD = 512
SECONDS_PER_SHARD = 30.0
RECORDED_PACKAGES = ("sinternal", "torch", "transformers", "trl", "peft", "tokenizers", "arro3-io")

NO_ROOM = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EROFS: "it is read-only"}
"""What ends a run wherever it meets it, in words."""
_checked: set[tuple[Path, str]] = set()
"""Files of artifacts that this process has compared with their hashes."""

Progress = Callable[[int, int], None]
"""Called with (units done, units in all)."""


def artifact_key(stage: str, stage_version: int, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The key of an artifact: a hash of the stage, its version, its settings and the keys of its inputs."""
    return make_id(stage, stage_version, config, inputs)


MANIFEST_FIELDS = frozenset({"stage", "key", "config", "inputs", "counts", "notes", "packages", "started", "seconds"})
"""Without one of these a manifest is not whole."""
_MEND = "delete its folder and run again"


@dataclass(frozen=True)
class Artifact:
    """What one stage made. Complete and never changed again."""

    path: Path
    """Its folder."""

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Stage, key, config, inputs, package versions, counts, timing, and a hash of every file.

        Raises:
            StoreError: it is missing or damaged.
        """
        try:
            content = json.loads((self.path / MANIFEST).read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(f"{self.path / MANIFEST}: cannot be read ({error}); {_MEND}") from error
        if not isinstance(content, dict) or not MANIFEST_FIELDS.issubset(content):
            raise StoreError(f"{self.path / MANIFEST}: it is cut short or no manifest; {_MEND}")
        return content

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each table, and whatever else the stage counted."""
        return dict(self.manifest["counts"])

    def rows(self, row_type: type[R], table: str | None = None) -> list[R]:
        """All rows of a table.

        Args:
            row_type: what the rows are.
            table: name of the table; by default that of the row type.

        Raises:
            StoreError: the table is missing or damaged.
        """
        return read_table(self.file(f"{table or table_name(row_type)}.parquet"), row_type)

    def file(self, name: str) -> Path:
        """One of its files, as it was when the artifact was completed; compared with its hash once in a process.

        Raises:
            StoreError: it is missing, or another than it was.
        """
        path = self.path / name
        if not path.is_file():
            raise StoreError(f"{path}: it is missing; {_MEND}")
        noted = self.manifest.get("files", {}).get(name)
        if noted is not None and (path, noted) not in _checked:
            if file_hash(path) != noted:
                raise StoreError(f"{path}: cannot be read as it was written: it was damaged or edited; {_MEND}")
            _checked.add((path, noted))
        return path

    def is_complete(self) -> bool:
        """Whether it has a manifest, and one of its own."""
        try:
            manifest = self.manifest
        except StoreError:
            return False
        return (manifest["stage"], manifest["key"]) == (self.path.parent.name, self.path.name)

    def json(self, name: str) -> Any:
        """The content of a JSON file, `name` without its ending. Raises StoreError if it is missing or damaged."""
        path = self.path / f"{name}.json"
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: cannot be read ({error}); delete its folder and run again") from error

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}


class Draft:
    """An artifact in the making: what a stage writes to.

    `counts` and `notes`, lines that a user should read, go into the manifest.
    """

    def __init__(self, path: Path, progress: Progress) -> None:
        """Open (or reopen) the folder of an unfinished artifact."""
        self.path = path
        self.progress = progress
        self.counts: dict[str, int] = {}
        self.notes: list[str] = []
        if path.is_symlink():  # nobody but this class makes the folder: what a link leads to is none of its business
            path.unlink()
        path.mkdir(parents=True, exist_ok=True)

    def discard(self) -> None:
        """Delete all of it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def write(self, rows: Sequence[R], row_type: type[R], table: str | None = None) -> None:
        """Write a whole table at once."""
        name = table or table_name(row_type)
        _write(self.path / f"{name}.parquet", rows, row_type)
        self.counts[name] = len(rows)

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file, `name` without its ending."""
        _write_text(self.path / f"{name}.json", json.dumps(content, indent=1, allow_nan=False) + "\n")

    def stream(
        self,
        row_type: type[R],
        make: Callable[[frozenset[str]], Iterable[R]],
        *,
        total: int,
        group: Callable[[R], str],
        group_size: int = 1,
        groups: Collection[str] | None = None,
        table: str | None = None,
    ) -> list[R]:
        """Write a table row by row, in shards, and go on from the shards that an interrupted run left.

        Args:
            row_type: what the rows are.
            make: called with the groups that are complete already; makes the rows of all others, in any order.
            total: number of rows that will be there in the end, for progress.
            group: what a row belongs to, for example its prompt.
            group_size: rows of a complete group. Rows of a group that was cut short are made again.
            groups: all that are wanted; rows of others, which earlier inputs led to, are forgotten. None: no such rows.
            table: name of the table; by default that of the row type.

        Returns:
            All rows, sorted by id: neither the order of making nor an interruption shows.
        """
        name = table or table_name(row_type)
        finished = self.path / f"{name}.parquet"
        if finished.exists():
            rows = read_table(finished, row_type)
            self.counts[name] = len(rows)
            return rows
        shards = _Shards(self.path, name, row_type)
        shards.keep_complete(group, group_size, groups)
        done = frozenset(group(row) for row in shards.rows)
        self.progress(len(shards.rows), total)
        try:
            for row in make(done):
                shards.add(row)
                self.progress(len(shards.rows), total)
        except BaseException:
            shards.flush()
            raise
        rows = sorted(shards.rows, key=lambda row: row.id)
        self.write(rows, row_type, name)
        shards.delete()
        return rows


class _Shards(Generic[R]):
    """The rows of a table that is growing, and the files that hold those which are safe on disk."""

    def __init__(self, folder: Path, name: str, row_type: type[R]) -> None:
        """Read what an interrupted run has left."""
        self.folder, self.name, self.row_type = folder, name, row_type
        self.files = sorted(folder.glob(f"{name}.*.shard"))
        self.rows = [row for file in self.files for row in read_table(file, row_type)]
        self.saved = len(self.rows)
        self.saved_at = time.monotonic()

    def keep_complete(self, group: Callable[[R], str], group_size: int, groups: Collection[str] | None) -> None:
        """Forget the rows of groups that were cut short, which are made again, and of those that nobody wants."""
        sizes = Counter(group(row) for row in self.rows)
        wanted = sizes if groups is None else frozenset(groups)
        kept = [row for row in self.rows if sizes[group(row)] == group_size and group(row) in wanted]
        if len(kept) < len(self.rows):
            before, self.files, self.rows, self.saved = self.files, [], kept, 0
            self.flush()
            for file in set(before) - set(self.files):
                file.unlink()

    def add(self, row: R) -> None:
        """Take a row; write a shard when there are many, or when the last is long ago."""
        self.rows.append(row)
        late = time.monotonic() - self.saved_at > SECONDS_PER_SHARD
        if late or len(self.rows) - self.saved >= ROWS_PER_SHARD:
            self.flush()

    def flush(self) -> None:
        """Write what is not on disk yet."""
        if len(self.rows) > self.saved:
            file = self.folder / f"{self.name}.{len(self.files):06}.shard"
            _write(file, self.rows[self.saved :], self.row_type)
            self.files.append(file)
            self.saved = len(self.rows)
        self.saved_at = time.monotonic()

    def delete(self) -> None:
        """Remove the files."""
        for file in self.files:
            file.unlink()


class Store:
    """A folder of artifacts. Several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        """Use a folder, which need not exist yet."""
        self.root = root

    def find(self, stage: str, key: str) -> Artifact | None:
        """The complete artifact with this key, if there is one."""
        found = Artifact(self.root / stage / key)
        return found if (found.path / MANIFEST).is_file() and found.is_complete() else None

    def check_writable(self) -> None:
        """Make sure that artifacts can be written, before any work is done.

        Raises:
            StoreError: they cannot.
        """
        check_writable(self.root, "--store")

    def discard(self, stage: str, key: str) -> bool:
        """Delete an artifact, and what there is of one in the making; whether there was any."""
        path = self.root / stage / key
        places = [place for place in (path, path.with_suffix(".partial")) if place.exists()]
        if places:
            with self._locked(path):
                for place in places:
                    shutil.rmtree(place, ignore_errors=True)
        return bool(places)

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
        with self._locked(path), _telling_of_room(self.root):
            if found := self.find(stage, key):
                return found
            started, spent_before, clock = time.time(), budget.spent(), time.monotonic()
            draft = Draft(path.with_suffix(".partial"), progress)
            spent_earlier = _spent_earlier(draft.path)
            try:
                build(draft)
            except BaseException:
                if draft.path.exists():  # else the stage itself has thrown it away
                    _write_text(draft.path / SPENT, json.dumps(asdict(budget.spent() - spent_before + spent_earlier)))
                raise
            (draft.path / SPENT).unlink(missing_ok=True)
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
            _write_text(draft.path / MANIFEST, json.dumps(manifest, indent=1) + "\n")
            shutil.rmtree(path, ignore_errors=True)
            draft.path.rename(path)
            _fsync(path.parent)
            return Artifact(path)

    def reopen(self, artifact: Artifact, rows: Sequence[R], row_type: type[R]) -> None:
        """Make a finished artifact unfinished, with these rows in it, and remember what it was."""
        path = artifact.path
        with self._locked(path):
            partial = path.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            if rows:
                _write(partial / f"{table_name(row_type)}.{0:06}.shard", rows, row_type)
            before = {"table": table_name(row_type), "sha256": file_hash(path / f"{table_name(row_type)}.parquet")}
            _write_text(partial / REOPENED, json.dumps(before) + "\n")
            _write_text(partial / SPENT, json.dumps(artifact.manifest.get("spent", {})))
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
        with self._locked(artifact.path):
            shutil.rmtree(artifact.path, ignore_errors=True)

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
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
    files = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    ours = sorted(file for file in files if file.is_file() and not file.is_symlink() and file.name != REOPENED)
    return {file.relative_to(folder).as_posix(): file_hash(file) for file in ours}


def table_name(row_type: type[R]) -> str:
    """The default name of a table: the row type's, in the plural."""
    return f"{row_type.__name__.lower()}s"


def _write(path: Path, rows: Sequence[R], row_type: type[R]) -> None:
    with _new(path) as stream:
        write_rows(stream, rows, row_type)


def read_table(path: Path, row_type: type[R]) -> list[R]:
    """All rows of a Parquet file. Raises StoreError if it is missing or damaged."""
    try:
        table = read_columns(path)
    except (OSError, DataError) as error:
        raise StoreError(f"{path}: cannot be read ({' '.join(str(error).split())}); {_MEND}") from error
    if missing := {field.name for field in fields(row_type)} - set(table.names):
        raise StoreError(
            f"{path}: it has no column {', '.join(sorted(missing))}; another version wrote it: run it again"
        )
    try:
        rows = zip(*table.values, strict=True)
        return [from_columns(row_type, dict(zip(table.names, values, strict=True))) for values in rows]
    except (ValueError, TypeError, KeyError) as error:  # a value that no enum has, a column that no row type has
        raise StoreError(f"{path}: cannot be read ({error}); {_MEND}") from error


def _write_text(path: Path, text: str) -> None:
    with _new(path) as stream:
        stream.write(text.encode())


@contextmanager
def _new(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name once it is whole and on the disk; never written through a link of others."""
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(path)


def _spent_earlier(partial: Path) -> budget.Spent:
    """What earlier attempts at an artifact have spent."""
    file = partial / SPENT
    return budget.Spent(**json.loads(file.read_text())) if file.exists() else budget.Spent()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _package_versions() -> dict[str, str]:
    found = {}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
