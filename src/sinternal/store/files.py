"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sinternal.fingerprints import fingerprint as fingerprint  # part of a store's interface, too


def write_text(path: Path, text: str) -> None:
    """Write a whole text file."""
    with new_file(path) as stream:
        stream.write(text.encode())


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name once it is whole and on the disk; never written through a link of others."""
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(path)


def fsync_folder(path: Path) -> None:
    """Make sure that what was renamed in a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
