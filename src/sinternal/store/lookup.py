"""Rows by id, for joins: a table as Arrow holds it, which takes half of the memory of as many objects."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Generic

from sinternal.parquet import take, values_of
from sinternal.records import R
from sinternal.store.sorting import gather
from sinternal.store.tables import Table


class Lookup(Generic[R]):
    """The rows of a table, or some of them, made when they are asked for: best many at a time."""

    def __init__(self, table: Table[R], only: Collection[str] | None = None) -> None:
        """Read a table.

        Args:
            table: its rows have ids; of several with one id, the last counts.
            only: ids of all rows that will be asked for; None: any may be.
        """
        self._table = table
        self._chunks = list(
            gather(table.record_batches() if only is None else table.selected(table.having("id", frozenset(only))))
        )
        self._starts = [0]
        self._positions: dict[str, int] = {}
        for chunk in self._chunks:
            ids = values_of(chunk, "id")
            self._positions.update(zip(ids, range(self._starts[-1], self._starts[-1] + len(ids)), strict=True))
            self._starts.append(self._starts[-1] + len(ids))

    def rows(self, ids: Sequence[str]) -> list[R]:
        """The rows with these ids, in this order.

        Raises:
            KeyError: there is no such row.
        """
        import numpy as np

        positions = np.array([self._positions[each] for each in ids], dtype=np.int64)
        chunk_of = np.searchsorted(self._starts, positions, side="right") - 1
        by_place: dict[int, R] = {}
        for number in np.unique(chunk_of).tolist():
            places = np.flatnonzero(chunk_of == number)
            batch = take(self._chunks[number], positions[places] - self._starts[number])
            by_place.update(zip(places.tolist(), self._table.rows_of(batch), strict=True))
        return [by_place[place] for place in range(len(ids))]
