"""What a stage made: complete, and never changed again."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinternal.errors import StoreError
from sinternal.fingerprints import file_hash
from sinternal.fingerprints import fingerprint as fingerprint  # part of a store's interface, too
from sinternal.records import R, make_id
from sinternal.store.tables import MEND, Table, table_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

MANIFEST = "manifest.json"
_checked: set[tuple[Path, str]] = set()
"""Files of artifacts that this process has compared with their hashes."""
MANIFEST_FIELDS = frozenset({"stage", "key", "config", "inputs", "counts", "notes", "packages", "started", "seconds"})
"""Without one of these a manifest is not whole."""


def artifact_key(stage: str, stage_version: int, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The key of an artifact: a hash of the stage, its version, its settings and the keys of its inputs."""
    return make_id(stage, stage_version, config, inputs)


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
            raise StoreError(f"{self.path / MANIFEST}: cannot be read ({error}); {MEND}") from error
        if not isinstance(content, dict) or not MANIFEST_FIELDS.issubset(content):
            raise StoreError(f"{self.path / MANIFEST}: it is cut short or not a manifest; {MEND}")
        return content

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each table, and whatever else the stage counted."""
        return dict(self.manifest["counts"])

    def rows(self, row_type: type[R], table: str | None = None) -> list[R]:
        """All rows of a table, in memory at once; of a large one, take `columns` or `batches`.

        Args:
            row_type: what the rows are.
            table: name of the table; by default that of the row type.

        Raises:
            StoreError: the table is missing or damaged.
        """
        return list(self.table(row_type, table))

    def batches(self, row_type: type[R], table: str | None = None) -> Iterator[list[R]]:
        """All rows of a table, in their order and many at a time; arguments and errors are those of `rows`."""
        return self.table(row_type, table).batches()

    def columns(
        self, row_type: type[R], *names: str, table: str | None = None, known: Collection[str] = ()
    ) -> dict[str, NDArray[Any]]:
        """Some columns of a table, each as one array with an element for every row, in their order.

        Args:
            row_type: what the rows are.
            names: of the fields; at least one.
            table: name of the table; by default that of the row type.
            known: names of fields, such as long texts, of which it is enough to know whether they are not None.

        Returns:
            By name: `str`, `str | None` and enumerations as objects (`str` or None; enumerations as their values);
            `bool` as bool, `int` as int64, `float` as float64; `bool | None` as int8 with -1 for None; `float | None`
            and `int | None` as float64 with NaN for None. Those of `known` as bool.

        Raises:
            StoreError: the table is missing or damaged.
        """
        return self.table(row_type, table).columns(*names, known=known)

    def values(self, row_type: type[R], *names: str, table: str | None = None) -> Iterator[tuple[Any, ...]]:
        """Some fields of every row of a table, as plain values, in their order; arguments are those of `columns`."""
        return self.table(row_type, table).values(*names)

    def table(self, row_type: type[R], table: str | None = None) -> Table[R]:
        """A table, of which nothing is read before it is asked for; arguments and errors are those of `rows`."""
        return Table(self.file(f"{table or table_name(row_type)}.parquet"), row_type)

    def file(self, name: str) -> Path:
        """One of its files, as it was when the artifact was completed; compared with its hash once in a process.

        Raises:
            StoreError: it is missing, or another than it was.
        """
        path = self.path / name
        if not path.is_file():
            raise StoreError(f"{path}: it is missing; {MEND}")
        noted = self.manifest.get("files", {}).get(name)
        if noted is not None and (path, noted) not in _checked:
            if file_hash(path) != noted:
                raise StoreError(f"{path}: it was damaged or edited after it was written; {MEND}")
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
