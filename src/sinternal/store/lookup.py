"""Rows by id, for joins: a table as Arrow holds it, which takes half of the memory of as many objects."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, Generic

from sinternal.parquet import take, values_of
from sinternal.records import R
from sinternal.store.sorting import gather
from sinternal.store.tables import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Index:
    """Where ids stand in a column. Sorted hashes are searched several times as fast as a dictionary of strangers."""

    def __init__(self, ids: NDArray[Any]) -> None:
        """Take a column, as objects; of several equal ids, the last counts."""
        self._ids = ids
        hashes = _hashes(ids)
        self._order = hashes.argsort(kind="stable")
        self._hashes = hashes[self._order]

    def __len__(self) -> int:
        return len(self._ids)

    def places(self, ids: NDArray[Any]) -> NDArray[np.int64]:
        """The places of some ids, as objects; -1 for one that is not there."""
        import numpy as np

        if not len(self._ids):
            return np.full(len(ids), -1)
        hashes = _hashes(ids)
        places = self._order[np.maximum(np.searchsorted(self._hashes, hashes, side="right") - 1, 0)]
        # Two ids of one column with one hash are as good as impossible, and one of them would not be found.
        return np.where(self._ids[places] == ids, places, -1)

    def all_places(self, ids: NDArray[Any]) -> NDArray[np.int64]:
        """The same of ids that must be there.

        Raises:
            KeyError: one is not.
        """
        places = self.places(ids)
        if (places < 0).any():
            raise KeyError(ids[(places < 0).argmax()])
        return places


def _hashes(ids: NDArray[Any]) -> NDArray[np.int64]:
    import numpy as np

    return np.fromiter(map(hash, ids.tolist()), np.int64, len(ids))


class Lookup(Generic[R]):
    """The rows of a table, or some of them, made when they are asked for: best many at a time."""

    def __init__(self, table: Table[R], only: Collection[str] | None = None) -> None:
        """Read a table.

        Args:
            table: its rows have ids; of several with one id, the last counts.
            only: ids of all rows that will be asked for; None: any may be.
        """
        import numpy as np

        self._table = table
        self._chunks = list(
            gather(table.record_batches() if only is None else table.selected(table.having("id", frozenset(only))))
        )
        ids = [values_of(chunk, "id") for chunk in self._chunks]
        self._starts = [0, *accumulate(map(len, ids))]
        self._index = Index(np.array(list(chain.from_iterable(ids)), dtype=object))

    def rows(self, ids: Sequence[str]) -> list[R]:
        """The rows with these ids, in this order.

        Raises:
            KeyError: there is no such row.
        """
        import numpy as np

        positions = self._index.all_places(np.array(ids, dtype=object))
        chunk_of = np.searchsorted(self._starts, positions, side="right") - 1
        by_place: dict[int, R] = {}
        for number in np.unique(chunk_of).tolist():
            places = np.flatnonzero(chunk_of == number)
            batch = take(self._chunks[number], positions[places] - self._starts[number])
            by_place.update(zip(places.tolist(), self._table.rows_of(batch), strict=True))
        return [by_place[place] for place in range(len(ids))]
