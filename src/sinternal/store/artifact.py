"""What a stage made: complete, and never changed again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sinternal.errors import StoreError
from sinternal.fingerprints import file_hash
from sinternal.fingerprints import fingerprint as fingerprint  # part of a store's interface, too
from sinternal.records import R, make_id
from sinternal.store.tables import MEND, read_table, table_name

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
