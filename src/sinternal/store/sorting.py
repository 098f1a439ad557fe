"""A table in another order, of its ids or of ranks, however large it is: an external merge sort.

Sorted runs that fit into memory are written beside the table and merged. A table of one run is never written twice.
Rows of the same rank stay in the order in which they came.
"""

from __future__ import annotations

import shutil
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import le
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinternal.parquet import BATCH, concatenate, read_batches, slices, take, values_of, write_batches

if TYPE_CHECKING:
    from arro3.core import RecordBatch

RUN_ROWS = 64 * BATCH
"""Rows of a run, at most about."""
RUN_BYTES = 32 << 20
"""Bytes of a run in memory, at most about: texts may be long."""


class OutOfOrderError(Exception):
    """Rows that should be sorted are not."""


def check_order(batches: Iterable[RecordBatch]) -> Iterator[RecordBatch]:
    """The same batches, whose rows are sorted by id.

    Raises:
        OutOfOrderError: they are not.
    """
    last: list[str] = []
    for batch in batches:
        ids = last + values_of(batch, "id")
        if not all(map(le, ids, ids[1:])):
            raise OutOfOrderError
        last = ids[-1:]
        yield batch


def in_order(
    batches: Iterable[RecordBatch], folder: Path, ranks: Mapping[str, int] | None = None
) -> Iterator[RecordBatch]:
    """The rows of some batches, sorted, `BATCH` at a time.

    Args:
        batches: of one table with a column `id`.
        folder: where runs may be kept meanwhile; deleted before and after.
        ranks: of the rows, by id; None: the ids themselves.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        runs: list[_Run] = []
        for rows in gather(batches):
            if runs:
                runs[-1].save(folder / f"{len(runs):06}.run")
            runs.append(_Run(rows, ranks))
        if len(runs) > 1:
            runs[-1].save(folder / f"{len(runs):06}.run")
        yield from rebatch(_merge(runs))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Run:
    """Sorted rows, in memory or on disk, of which the first are at hand."""

    def __init__(self, rows: RecordBatch, ranks: Mapping[str, int] | None) -> None:
        self.ranks, self.size = ranks, rows.num_rows
        self.head, self.keys = _sort(rows, self._keys(rows))
        self.whole = True
        """Whether all the rows that are left are at hand."""
        self.rest: Iterator[RecordBatch] = iter(())
        self.path: Path | None = None

    def _keys(self, rows: RecordBatch) -> list[Any]:
        ids = values_of(rows, "id")
        return ids if self.ranks is None else [self.ranks[each] for each in ids]

    def save(self, path: Path) -> None:
        """Put the rows on disk."""
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as stream:
            write_batches(stream, slices(self.head), self.head.schema, temporary=True)
        self.path, self.whole = path, False
        self.head, self.keys = take(self.head, []), []  # a slice, even of nothing, would keep all of it in memory

    def open(self, runs: int) -> None:
        """Read the first rows from disk: of all runs together, as many as fit into memory."""
        if self.path is not None:
            self.rest = read_batches(self.path, max(1, min(BATCH, self.size // runs)))
            self.read()

    def read(self) -> None:
        """Have more rows at hand."""
        following = next(self.rest, None)
        if following is None:
            self.whole = True
        else:
            self.head = concatenate([self.head, following])
            self.keys += self._keys(following)

    def take_below(self, bound: Any) -> tuple[RecordBatch, list[Any]]:
        """Remove the rows at hand whose keys come before one, or all of them; and their keys."""
        number = len(self.keys) if bound is None else bisect_left(self.keys, bound)
        taken = self.head.slice(0, number), self.keys[:number]
        self.head, self.keys = self.head.slice(number), self.keys[number:]
        return taken


def _merge(runs: Sequence[_Run]) -> Iterator[RecordBatch]:
    """All rows of sorted runs, sorted."""
    for run in runs:
        run.open(len(runs))
    while unread := [run for run in runs if not run.whole]:
        # What is not at hand yet comes behind the last row at hand of its own run.
        bound = min(run.keys[-1] for run in unread)
        yield _merge_heads(runs, bound)
        for run in unread:
            if not run.keys or run.keys[-1] == bound:
                run.read()
    if runs:
        yield _merge_heads(runs, None)


def _merge_heads(runs: Sequence[_Run], bound: Any) -> RecordBatch:
    heads, keys = zip(*(run.take_below(bound) for run in runs), strict=True)
    return _sort(concatenate(heads), list(chain.from_iterable(keys)))[0]


def gather(batches: Iterable[RecordBatch]) -> Iterator[RecordBatch]:
    """Batches put together, as many as make a run."""
    gathered: list[RecordBatch] = []
    for batch in batches:
        gathered.append(batch)
        if sum(it.num_rows for it in gathered) >= RUN_ROWS or sum(it.nbytes for it in gathered) >= RUN_BYTES:
            yield concatenate(gathered)
            gathered = []
    if gathered:
        yield concatenate(gathered)


def rebatch(batches: Iterable[RecordBatch]) -> Iterator[RecordBatch]:
    """The same rows, `BATCH` in each batch but the last."""
    waiting: list[RecordBatch] = []
    number = 0
    for batch in batches:
        waiting.append(batch)
        number += batch.num_rows
        if number >= BATCH:
            *full, last = slices(concatenate(waiting))
            yield from full
            waiting, number = [last], last.num_rows
    if number:
        yield concatenate(waiting)


def _sort(rows: RecordBatch, keys: Sequence[Any]) -> tuple[RecordBatch, list[Any]]:
    """Rows in the order of their keys, and these."""
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return take(rows, order), [keys[i] for i in order]
