"""Hashes of files and folders, every byte of them, so that what was changed is another input.

The hash of a large file is remembered in the user's cache under its path, size, times and inode. A file that was
written to within the last moments is never remembered: a second write may fall into the same tick of the clock.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from sinternal.cache import cache_folder
from sinternal.errors import StoreError

REMEMBERED = 1 << 20
"""Bytes from which on a hash is worth remembering."""
SETTLED_NS = 2_000_000_000
"""Nanoseconds for which a file must have been left alone; the coarsest times in use (FAT) have steps of two seconds."""
MOST_FILES = 100_000
"""Files and folders in a folder that settings name: more are somebody's whole disk."""

Wanted = Callable[[Path], bool]
"""Whether a file counts, by its path inside the folder."""
_known: dict[Path, tuple[list[int], str]] = {}
"""What this process has hashed, for where the user's cache cannot be written."""


def fingerprint(path: Path, wanted: Wanted = lambda _file: True, *, deep: bool = True) -> str:
    """A hash of a file, or of the files in a folder with their places in it: 16 hexadecimal digits of SHA-256.

    Where the file or folder itself lies does not count. Links are followed.

    Args:
        path: of the file or folder.
        wanted: which files of a folder count.
        deep: whether folders in the folder count.

    Raises:
        StoreError: something in it cannot be read.
    """
    digest = hashlib.sha256()
    if not path.is_dir():
        return file_hash(path)[:16]
    for file in sorted(_files(path, deep)):
        relative = file.relative_to(path)
        if wanted(relative):
            digest.update(f"{json.dumps(relative.as_posix())}:{file_hash(file)}\n".encode())
    return digest.hexdigest()[:16]


def _files(folder: Path, deep: bool) -> Iterator[Path]:
    """The files of a folder, and if deep of those in it, links to folders followed, each folder once."""
    seen: set[tuple[int, int]] = set()
    waiting, entries_seen = [folder], 0
    while waiting:
        current = waiting.pop()
        try:
            status = current.stat()
            entries = sorted(current.iterdir())
        except OSError as error:
            raise StoreError(f"{current}: cannot be read ({error.strerror})") from error
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        entries_seen += len(entries)
        if entries_seen > MOST_FILES:
            raise StoreError(f"{folder}: no input has more than {MOST_FILES:,} files; name a folder with fewer")
        for entry in entries:
            if entry.is_dir():
                waiting += [entry] if deep else []
            elif entry.is_file():
                yield entry


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        before = path.stat()
        if not stat.S_ISREG(before.st_mode):
            raise StoreError(f"{path}: this is neither a file nor a folder")
        now = time.time_ns()
        if before.st_size < REMEMBERED:
            return _hash(path)
        identity, note = _identity(before), _note_of(path)
        if _known.get(note, ([], ""))[0] == identity:
            return _known[note][1]
        known = _read_note(note, identity)
        if known is not None:
            return known
        digest = _hash(path)
        settled = max(before.st_mtime_ns, before.st_ctime_ns) + SETTLED_NS < now
        if settled and _identity(path.stat()) == identity:
            _known[note] = identity, digest
            _write_note(note, identity, digest)
        return digest
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path}: cannot be read ({error.strerror or error})") from error


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _identity(status: os.stat_result) -> list[int]:
    """What changes when a file does."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]


def _note_of(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
    return cache_folder() / "hashes" / f"{name}.json"


def _read_note(note: Path, identity: list[int]) -> str | None:
    """The hash in a note of this user's own that is about the file as it is now; None if there is none."""
    with suppress(OSError, ValueError, RecursionError):
        if hasattr(os, "getuid") and note.lstat().st_uid != os.getuid():
            return None
        content = json.loads(note.read_text())
        if isinstance(content, dict) and content.get("file") == identity:
            digest = content.get("sha256")
            return digest if isinstance(digest, str) and len(digest) == 64 else None
    return None


def _write_note(note: Path, identity: list[int], digest: str) -> None:
    # Without a cache everything works, only slower.
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary = note.with_suffix(f".{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            json.dump({"file": identity, "sha256": digest}, stream)
        temporary.replace(note)
