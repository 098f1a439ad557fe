"""What a stage made: complete, and never changed again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinternal.errors import StoreError
from sinternal.fingerprints import SETTLED_NS, file_hash
from sinternal.records import R, make_id
from sinternal.store.tables import MEND, Table, table_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

MANIFEST = "manifest.json"
FORMAT = 2
"""Of the manifests that are written: since 2 they hold a checksum of themselves. Those of 1 do not say so."""
CHECKSUM = "sha256"
"""The field of a manifest that guards all others."""
_checked: dict[Path, tuple[str, tuple[int, ...]]] = {}
"""Files of artifacts that this process has compared with their hashes, with these and what they were then."""
MANIFEST_FIELDS = frozenset({"stage", "key", "config", "inputs", "counts", "notes", "packages", "started", "seconds"})
"""Without one of these a manifest is not whole."""
PARTIAL = ".partial"
"""End of the name of the folder of an unfinished artifact."""
REOPENED = "reopened.json"
"""In an artifact that was opened again: what it was before."""


def artifact_key(stage: str, stage_version: int, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The key of an artifact: a hash of the stage, its version, its settings and the keys of its inputs."""
    return make_id(stage, stage_version, config, inputs)


def sealed(manifest: Mapping[str, Any]) -> str:
    """The text of a manifest, with its format and a checksum of all that it says."""
    content = {**manifest, "format": FORMAT}
    return _text({**content, CHECKSUM: _checksum(content)})


def _text(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, indent=1) + "\n"


def _checksum(manifest: Mapping[str, Any]) -> str:
    content = {name: value for name, value in manifest.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
        file = self.path / MANIFEST
        try:
            content = json.loads(text := file.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(f"{file}: cannot be read ({error}); {MEND}") from error
        if not isinstance(content, dict):
            raise StoreError(f"{file}: it is cut short or not a manifest; {MEND}")
        written_as = content.get("format", 1)
        if isinstance(written_as, int) and written_as > FORMAT:
            raise StoreError(
                f"{file}: a later version of sinternal wrote it (format {written_as}, this one knows {FORMAT}); use "
                "that version, or another --store"
            )
        if not MANIFEST_FIELDS.issubset(content):
            raise StoreError(f"{file}: it is cut short or not a manifest; {MEND}")
        guarded = CHECKSUM in content or "format" in content
        whole = content.get(CHECKSUM) == _checksum(content) and text == _text(content).encode()
        if guarded and not (whole and isinstance(content.get("files"), dict)):
            raise StoreError(f"{file}: it was damaged or edited after it was written; {MEND}")
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
        if (noted := self.files) is None:
            return path
        if name not in noted:
            raise StoreError(f"{path}: it was put there after the artifact was written; delete it")
        if path.is_symlink():
            raise StoreError(f"{path}: a link stands in the place of the file that was written; {MEND}")
        status = path.stat()
        state = noted[name], (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        if _checked.get(path) != state:
            if file_hash(path) != noted[name]:
                raise StoreError(f"{path}: it was damaged or edited after it was written; {MEND}")
            if status.st_mtime_ns + SETTLED_NS < time.time_ns():  # else a change may fall into the same tick
                _checked[path] = state
        return path

    def folder(self, name: str) -> Path:
        """One of its folders, with every file as `file` would have it and no other; or where a link leads that it has.

        Raises:
            StoreError: a file in it is missing, another than it was, or was put there.
        """
        path, noted = self.path / name, self.files
        inside = None if noted is None else {file for file in noted if file.startswith(f"{name}/")}
        if inside is None or (not inside and path.is_symlink()):
            return path
        if not inside or path.is_symlink():
            raise StoreError(f"{path}: it is missing; {MEND}")
        for file in sorted(inside.union(each for each in files_in(self.path) if each.startswith(f"{name}/"))):
            self.file(file)
        return path

    @property
    def files(self) -> dict[str, str] | None:
        """The hash of each of its files, by the path inside; None if it was written without any."""
        noted: dict[str, str] | None = self.manifest.get("files")
        return noted

    def has(self, name: str) -> bool:
        """Whether it was written with a file of this name."""
        return (self.path / name).exists() if self.files is None else name in self.files

    def check_identity(self) -> None:
        """Make sure that its manifest is its own. Raises StoreError if it is damaged, or another's."""
        stage, key = self.manifest["stage"], self.manifest["key"]
        if (stage, key) != (self.path.parent.name, self.path.name.removesuffix(PARTIAL)):
            raise StoreError(f"{self.path / MANIFEST}: it is that of another artifact ({stage}/{key}); {MEND}")

    def json(self, name: str) -> Any:
        """The content of a JSON file, `name` without its ending. Raises StoreError if it is missing or damaged."""
        path = self.file(f"{name}.json")
        try:
            return json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise StoreError(f"{path}: cannot be read ({error}); {MEND}") from error

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}


def files_in(folder: Path) -> list[str]:
    """The files of an artifact by their paths inside, its manifest aside; what links lead to belongs to others."""
    files = (Path(directory, name) for directory, _, names in os.walk(folder) for name in names)
    ours = (file.relative_to(folder).as_posix() for file in files if not file.is_symlink())
    return sorted(name for name in ours if name not in (MANIFEST, REOPENED))
