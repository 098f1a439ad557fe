"""A zip whose directory waits on the disk: a log has a member for each sample, and may have hundreds of thousands.

Python's zipfile writes the members and, at the end, their directory; until then it keeps every entry in memory, which
takes more than anything else here does.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

STAMP = (1980, 1, 1, 0, 0, 0)
"""Of all members: when they were written says nothing."""
LEVEL = 6
"""Of compression."""


class Archive:
    """A zip in the making."""

    def __init__(self, path: Path) -> None:
        """Begin it; it is a zip once it is closed."""
        self._entries = _Entries()
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL)
        self._zip.filelist = self._entries  # type: ignore[assignment]
        self._zip.NameToInfo = _NoNames()

    def add(self, name: str, content: bytes | IO[bytes]) -> None:
        """Add a member, from bytes or from a file that is read in pieces."""
        entry = zipfile.ZipInfo(name, STAMP)
        entry.compress_type = zipfile.ZIP_DEFLATED
        if isinstance(content, bytes):
            self._zip.writestr(entry, content, compresslevel=LEVEL)
            return
        with self._zip.open(entry, "w", force_zip64=True) as member:
            while piece := content.read(1 << 20):
                member.write(piece)

    def close(self) -> None:
        """Write the directory."""
        try:
            self._zip.close()
        finally:
            self._entries.close()


class _Entries:
    """What zipfile takes for its list of entries."""

    def __init__(self) -> None:
        self._file: IO[bytes] = TemporaryFile()  # noqa: SIM115  # open as long as the archive
        self._count = 0

    def append(self, entry: zipfile.ZipInfo) -> None:
        pickle.dump(entry, self._file, pickle.HIGHEST_PROTOCOL)
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[zipfile.ZipInfo]:
        self._file.seek(0)
        for _ in range(self._count):
            yield pickle.load(self._file)  # what this process has written, into a file without a name

    def close(self) -> None:
        self._file.close()


class _NoNames(dict[str, Any]):
    """What zipfile takes for its entries by name: it would warn of a name that comes twice, which none does."""

    def __setitem__(self, name: str, entry: Any) -> None:
        """Keep nothing."""
