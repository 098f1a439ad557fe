"""An artifact in the making: resumable while it grows."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from sinternal.errors import StoreError
from sinternal.fingerprints import file_hash
from sinternal.parquet import arrow_schema, to_batches, write_batches
from sinternal.records import R
from sinternal.store.files import fsync_folder, new_file, remove, sweep, write_text
from sinternal.store.sorting import OutOfOrderError, check_order, in_order, rebatch
from sinternal.store.tables import Table, table_name, write_table

if TYPE_CHECKING:
    import numpy as np
    from arro3.core import RecordBatch
    from numpy.typing import NDArray

ROWS_PER_SHARD = 512
SECONDS_PER_SHARD = 30.0
SHARD = ".shard"
HASH_DIGITS = 16
_SHARD = re.compile(r"\.(?P<number>[0-9]{6,})(?:\.(?P<hash>[0-9a-f]{16}))?\.shard$")
Progress = Callable[[int, int], None]
"""Called with (units done, units in all)."""


class Draft:
    """An artifact in the making: what a stage writes to.

    `counts` and `notes`, lines that a user should read, go into the manifest.
    """

    def __init__(self, path: Path, progress: Progress, saved: Callable[[], None] = lambda: None) -> None:
        """Open (or reopen) the folder of an unfinished artifact.

        Args:
            path: the folder.
            progress: called with (units done, units in all).
            saved: called whenever rows are safe on the disk.
        """
        self.path = path
        self.progress = progress
        self.saved = saved
        self.counts: dict[str, int] = {}
        self.notes: list[str] = []
        self.scaffolding: list[Path] = []
        """What is only needed until the artifact is complete: files and folders in it that are no part of it."""
        if path.is_symlink():  # nobody but this class makes the folder: what a link leads to is none of its business
            path.unlink()
        path.mkdir(parents=True, exist_ok=True)
        sweep(path)

    def discard(self) -> None:
        """Delete all of it."""
        remove(self.path)

    def write(self, rows: Iterable[R], row_type: type[R], table: str | None = None) -> None:
        """Write a whole table, its rows as they come."""
        name = table or table_name(row_type)
        self.counts[name] = write_table(self.path / f"{name}.parquet", rows, row_type)

    def write_sorted(
        self, rows: Iterable[R], row_type: type[R], table: str | None = None, *, ranks: Mapping[str, int] | None = None
    ) -> Table[R]:
        """Write a whole table, sorted, and return it.

        Args:
            rows: in any order; no more of them are in memory than a run of the sorting has.
            row_type: what they are.
            table: name of the table; by default that of the row type.
            ranks: of the rows, by id; None: the ids themselves.
        """
        return self._write_sorted(to_batches(rows, row_type), row_type, table or table_name(row_type), ranks)

    def select(self, source: Table[R], wanted: NDArray[np.bool_], table: str | None = None) -> None:
        """Write some rows of a table, sorted by id; they are copied as they are.

        Args:
            source: the table, of another artifact or temporary.
            wanted: for each of its rows whether it is wanted.
            table: name of the new table; by default that of the row type.
        """
        name = table or table_name(source.row_type)
        try:
            # Tables of artifacts are sorted, and others betray by their first rows that they are not.
            self._write_batches(rebatch(check_order(source.selected(wanted))), source.row_type, name)
        except OutOfOrderError:
            self._write_sorted(source.selected(wanted), source.row_type, name, None)

    @contextmanager
    def temporary(self, rows: Iterable[R], row_type: type[R]) -> Iterator[Table[R]]:
        """A table of rows in their order, which is no part of the artifact: it is there until the `with` ends."""
        path = self.path / f"{table_name(row_type)}.temporary"
        try:
            write_table(path, rows, row_type, temporary=True)
            yield Table(path, row_type)
        finally:
            path.unlink(missing_ok=True)

    def _write_sorted(
        self,
        batches: Iterable[RecordBatch],
        row_type: type[R],
        name: str,
        ranks: Mapping[str, int] | None,
    ) -> Table[R]:
        return self._write_batches(in_order(batches, self.path / f"{name}.runs", ranks), row_type, name)

    def _write_batches(self, batches: Iterable[RecordBatch], row_type: type[R], name: str) -> Table[R]:
        path = self.path / f"{name}.parquet"
        with new_file(path) as stream:
            self.counts[name] = write_batches(stream, batches, arrow_schema(row_type))
        return Table(path, row_type)

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file, `name` without its ending."""
        self.write_text(f"{name}.json", json.dumps(content, indent=1, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a text file, `name` with its ending."""
        write_text(self.path / name, text)

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
    ) -> Table[R]:
        """Write a table row by row, in shards, and go on from the shards that an interrupted run left.

        No more rows are in memory than a shard has, and then a run of the sorting.

        Args:
            row_type: what the rows are.
            make: called with the groups that are complete already; makes the rows of all others, in any order.
            total: number of rows that will be there in the end, for progress.
            group: what a row belongs to, for example its prompt.
            group_size: rows of a complete group. Rows of a group that was cut short are made again.
            groups: all that are wanted; rows of others, which earlier inputs led to, are forgotten. None: no such rows.
            table: name of the table; by default that of the row type.

        Returns:
            The table, sorted by id: neither the order of making nor an interruption shows.
        """
        name = table or table_name(row_type)
        finished = Table(self.path / f"{name}.parquet", row_type)
        shards = _Shards(self.path, name, row_type, self.saved)
        if finished.path.exists():
            number = sum(batch.num_rows for batch in finished.record_batches())
            if number != sum(batch.num_rows for batch in shards.batches()):  # an earlier version left the table alone
                self.scaffolding += shards.files
                self.counts[name] = number
                return finished
        complete = shards.keep_complete(group, group_size, groups)
        self.progress(shards.number, total)
        try:
            for row in make(complete):
                shards.add(row)
                self.progress(shards.number, total)
        except BaseException:
            shards.flush()
            raise
        shards.flush()
        self._write_sorted(shards.batches(), row_type, name, None)
        self.scaffolding += shards.files  # only they have checksums until the artifact is complete
        return finished


def write_shard(folder: Path, rows: Iterable[R], row_type: type[R]) -> None:
    """Write rows with which a stream begins that has not begun yet."""
    _Shards(folder, table_name(row_type), row_type)._write(0, rows)


def _number(shard: Path) -> int:
    """The number of a file of rows: `responses.000007.0123456789abcdef.shard`, or without the hash."""
    match = _SHARD.search(shard.name)
    if match is None:
        raise StoreError(f"{shard}: it is no file of this package; delete it and run again")
    return int(match["number"])


def _hash_in(shard: Path) -> str | None:
    match = _SHARD.search(shard.name)
    return match["hash"] if match else None


class _Shards(Generic[R]):
    """The files that hold the rows of a table that is growing, in the order of their making, and the rows to come."""

    def __init__(self, folder: Path, name: str, row_type: type[R], saved: Callable[[], None] = lambda: None) -> None:
        """Look what an interrupted run has left.

        Raises:
            StoreError: a file of it was damaged.
        """
        self.folder, self.name, self.row_type, self.saved = folder, name, row_type, saved
        by_number: dict[int, list[Path]] = {}
        for file in sorted(folder.glob(f"{name}.*{SHARD}")):
            by_number.setdefault(_number(file), []).append(file)
        self.files = [self._settle(files) for _, files in sorted(by_number.items())]
        self.waiting: list[R] = []
        self.number = 0
        self.saved_at = time.monotonic()

    def _settle(self, files: Sequence[Path]) -> Path:
        """The one file of a number, under the name that holds its hash."""
        fresh = next((file for file in files if _hash_in(file) is None), None)
        if fresh is None:
            for file in files:
                if file_hash(file)[:HASH_DIGITS] != _hash_in(file):
                    raise StoreError(
                        f"{file}: it was damaged after it was written; delete this file, whose rows are made again, "
                        "and run again"
                    )
            return files[-1]
        for file in files:  # before it was written anew
            if file != fresh:
                file.unlink()
        return self._named_by_hash(fresh)

    def _write(self, number: int, rows: Iterable[R], before: Path | None = None) -> Path:
        """Write a file, in the place of another if there is one, and give it the name that holds its hash."""
        fresh = self.folder / f"{self.name}.{number:06}{SHARD}"
        write_table(fresh, rows, self.row_type, temporary=True)
        if before is not None:
            before.unlink()
        return self._named_by_hash(fresh)

    def _named_by_hash(self, fresh: Path) -> Path:
        named = fresh.with_suffix(f".{file_hash(fresh)[:HASH_DIGITS]}{SHARD}")
        fresh.rename(named)
        fsync_folder(self.folder)
        return named

    def keep_complete(
        self, group: Callable[[R], str], group_size: int, groups: Collection[str] | None
    ) -> frozenset[str]:
        """Forget the rows of groups that were cut short, which are made again, and of those that nobody wants.

        An interruption in the midst of it does no harm: a group that has lost rows is no more complete than before.

        Returns:
            The groups that are complete.
        """
        sizes = Counter(group(row) for file in self.files for row in Table(file, self.row_type))
        complete = {name for name, size in sizes.items() if size == group_size}
        kept = frozenset(complete if groups is None else complete.intersection(groups))
        if len(kept) < len(sizes):
            for i, file in enumerate(self.files):
                wanted = (row for row in Table(file, self.row_type) if group(row) in kept)
                self.files[i] = self._write(_number(file), wanted, file)
        self.number = len(kept) * group_size
        return kept

    def add(self, row: R) -> None:
        """Take a row; write a shard when there are many, or when the last is long ago."""
        self.waiting.append(row)
        self.number += 1
        late = time.monotonic() - self.saved_at > SECONDS_PER_SHARD
        if late or len(self.waiting) >= ROWS_PER_SHARD:
            self.flush()

    def flush(self) -> None:
        """Write what is not on disk yet."""
        if self.waiting:
            following = _number(self.files[-1]) + 1 if self.files else 0
            self.files.append(self._write(following, self.waiting))
            self.waiting = []
            self.saved()
        self.saved_at = time.monotonic()

    def batches(self) -> Iterator[RecordBatch]:
        """All rows on disk, in the order of their making."""
        for file in self.files:
            yield from Table(file, self.row_type).record_batches()
