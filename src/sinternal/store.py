"""Artifacts on disk: named by what they were made from, complete or absent, and resumable while they grow.

<root>/<stage>/<key>/manifest.json     written last: its existence means that the artifact is complete
<root>/<stage>/<key>/responses.parquet
<root>/<stage>/<key>.partial/          the same artifact while it is being made
<root>/<stage>/<key>.lock              held by the process that makes it
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Generic

from filelock import FileLock

from sinternal import budget
from sinternal.errors import StoreError
from sinternal.records import R, arrow_schema, from_columns, make_id

MANIFEST = "manifest.json"
ROWS_PER_SHARD = 512
SECONDS_PER_SHARD = 30.0
RECORDED_PACKAGES = ("sinternal", "torch", "transformers", "trl", "peft", "tokenizers", "pyarrow")

Progress = Callable[[int, int], None]
"""Called with (units done, units in all)."""


def artifact_key(stage: str, stage_version: int, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The key of an artifact: a hash of the stage, its version, its settings and the keys of its inputs."""
    return make_id(stage, stage_version, config, inputs)


def fingerprint(path: Path) -> str:
    """A hash of a file, or of the files in a folder, so that a changed model directory is another input.

    Files above 64 MiB count by size, first and last MiB.
    """
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) or [path]:
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path)}:{size}\n".encode())
        with file.open("rb") as stream:
            if size <= 64 << 20:
                digest.update(stream.read())
            else:
                digest.update(stream.read(1 << 20))
                stream.seek(-(1 << 20), os.SEEK_END)
                digest.update(stream.read())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Artifact:
    """What one stage made. Complete and never changed again."""

    path: Path
    """Its folder."""

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Stage, key, config, inputs, package versions, counts and timing."""
        content: dict[str, Any] = json.loads((self.path / MANIFEST).read_text())
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
        return read_table(self.path / f"{table or table_name(row_type)}.parquet", row_type)

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
        path.mkdir(parents=True, exist_ok=True)

    def write(self, rows: Sequence[R], row_type: type[R], table: str | None = None) -> None:
        """Write a whole table at once."""
        name = table or table_name(row_type)
        _write(self.path / f"{name}.parquet", rows, row_type)
        self.counts[name] = len(rows)

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file, `name` without its ending."""
        (self.path / f"{name}.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")

    def stream(
        self,
        row_type: type[R],
        make: Callable[[frozenset[str]], Iterable[R]],
        *,
        total: int,
        group: Callable[[R], str],
        group_size: int = 1,
        table: str | None = None,
    ) -> list[R]:
        """Write a table row by row, in shards, and go on from the shards that an interrupted run left.

        Args:
            row_type: what the rows are.
            make: called with the groups that are complete already; makes the rows of all others, in any order.
            total: number of rows that will be there in the end, for progress.
            group: what a row belongs to, for example its prompt.
            group_size: rows of a complete group. Rows of a group that was cut short are made again.
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
        shards.keep_complete(group, group_size)
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

    def keep_complete(self, group: Callable[[R], str], group_size: int) -> None:
        """Forget the rows of groups that were cut short: they are made again."""
        sizes = Counter(group(row) for row in self.rows)
        kept = [row for row in self.rows if sizes[group(row)] == group_size]
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
        path = self.root / stage / key
        return Artifact(path) if (path / MANIFEST).exists() else None

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
    ) -> Artifact:
        """Return the artifact with this key, building it if nobody has.

        A second process that asks for the same key waits for the first. If `build` raises, what it wrote stays in
        the `.partial` folder for the next attempt, and no artifact appears.
        """
        path = self.root / stage / key
        with self._locked(path):
            if found := self.find(stage, key):
                return found
            started, spent_before = time.time(), budget.spent()
            draft = Draft(path.with_suffix(".partial"), progress)
            build(draft)
            manifest = {
                "stage": stage,
                "key": key,
                "version": stage_version,
                "config": config,
                "inputs": inputs,
                "counts": draft.counts,
                "notes": draft.notes,
                "packages": _package_versions(),
                "spent": asdict(budget.spent() - spent_before),
                "started": started,
                "seconds": round(time.time() - started, 3),
            }
            _write_text(draft.path / MANIFEST, json.dumps(manifest, indent=1) + "\n")
            shutil.rmtree(path, ignore_errors=True)
            draft.path.rename(path)
            _fsync(path.parent)
            return Artifact(path)

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self.root}: cannot write the store ({error.strerror}); choose another with --store"
            ) from error
        with FileLock(path.with_suffix(".lock")):
            yield


def table_name(row_type: type[R]) -> str:
    """The default name of a table: the row type's, in the plural."""
    return f"{row_type.__name__.lower()}s"


def _write(path: Path, rows: Sequence[R], row_type: type[R]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=arrow_schema(row_type))
    temporary = path.with_suffix(".tmp")
    pq.write_table(table, temporary)
    _fsync(temporary)
    temporary.rename(path)


def read_table(path: Path, row_type: type[R]) -> list[R]:
    """All rows of a Parquet file. Raises StoreError if it is missing or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(f"{path}: cannot be read ({error}); delete its folder and run again") from error
    if missing := {field.name for field in fields(row_type)} - set(table.column_names):
        raise StoreError(
            f"{path}: it has no column {', '.join(sorted(missing))}; another version wrote it: run it again"
        )
    return [from_columns(row_type, values) for values in table.to_pylist()]


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    _fsync(temporary)
    temporary.rename(path)


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
