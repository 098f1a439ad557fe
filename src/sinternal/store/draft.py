"""An artifact in the making: resumable while it grows."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Generic

from sinternal.fingerprints import fingerprint as fingerprint  # part of a store's interface, too
from sinternal.records import R
from sinternal.store.files import write_text
from sinternal.store.tables import read_table, table_name, write_table

ROWS_PER_SHARD = 512
SECONDS_PER_SHARD = 30.0
Progress = Callable[[int, int], None]
"""Called with (units done, units in all)."""


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

    def write(self, rows: Iterable[R], row_type: type[R], table: str | None = None) -> None:
        """Write a whole table, its rows as they come."""
        name = table or table_name(row_type)
        self.counts[name] = write_table(self.path / f"{name}.parquet", rows, row_type)

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file, `name` without its ending."""
        write_text(self.path / f"{name}.json", json.dumps(content, indent=1, allow_nan=False) + "\n")

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
        complete = frozenset(group(row) for row in shards.rows)
        self.progress(len(shards.rows), total)
        try:
            for row in make(complete):
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
            write_table(file, self.rows[self.saved :], self.row_type)
            self.files.append(file)
            self.saved = len(self.rows)
        self.saved_at = time.monotonic()

    def delete(self) -> None:
        """Remove the files."""
        for file in self.files:
            file.unlink()
