"""Files that appear whole or not at all, and folders that are gone at once: all that the store leaves is written so.

A process may be killed between any two calls. So a file is written under another name and renamed once it is on the
disk; a folder that is removed is renamed first. What an interruption leaves under such names, `sweep` removes.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock

from sinternal.errors import SInternalError, StoreError

TEMPORARY, REMOVED = ".tmp", ".removed"
PASSING = (TEMPORARY, REMOVED, ".temporary", ".runs", ".launch")
"""Ends of the names of what is there for a moment: of files and folders of this package, its sorting and trainings."""
COPIED = 1 << 20
"""Bytes that are copied at a time."""
AGAIN = "and run again"
CAUSES = {
    errno.ENOSPC: f"the disk is full; make room, {AGAIN}",
    errno.EDQUOT: f"the disk quota is used up; make room, {AGAIN}",
    errno.EFBIG: f"a file would grow beyond what is allowed (ulimit -f); raise that, {AGAIN}",
    errno.EROFS: f"it is read-only; make it writable or choose another place, {AGAIN}",
    errno.EACCES: f"permission denied; make it writable for you or choose another place, {AGAIN}",
    errno.EPERM: f"permission denied; make it writable for you or choose another place, {AGAIN}",
    errno.EIO: f"the disk reports an input/output error; look after the disk, {AGAIN}",
}
"""What ends a run wherever it meets it, in words."""


def write_text(path: Path, text: str) -> None:
    """Write a whole text file."""
    with new_file(path) as stream:
        stream.write(text.encode())


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name once it is whole and on the disk; never written through a link of others."""
    temporary = path.with_suffix(TEMPORARY)
    try:
        with os.fdopen(_create(temporary), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(path)
    except BaseException:
        with suppress(OSError):  # what went wrong is told, and not that this did, too
            temporary.unlink(missing_ok=True)
        raise


def _create(path: Path) -> int:
    """A file that was not there; a link or a file of an interrupted run under its name goes."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return os.open(path, flags, 0o666)
    except FileExistsError:
        path.unlink()
        return os.open(path, flags, 0o666)


def copy_file(source: Path, path: Path) -> None:
    """Copy a file, so that the copy appears whole."""
    with source.open("rb") as original, new_file(path) as stream:
        shutil.copyfileobj(original, stream, COPIED)


def append(path: Path, text: str) -> None:
    """Add to a file, which is no link. Raises OSError if that cannot be done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_to_append(path), "wb") as stream:
        stream.write(text.encode())


def open_to_append(path: Path) -> int:
    """A file descriptor to add to a file, which is no link. Raises OSError if that cannot be done."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o666)


def lock(path: Path, timeout: float = -1) -> FileLock:
    """A lock that the members of a shared store's group can take, too; it waits so many seconds, or for ever."""
    return FileLock(path, timeout, mode=0o664)


def fsync_folder(path: Path) -> None:
    """Make sure that what was made, renamed or removed in a folder is on the disk."""
    _fsync(path)


def fsync_tree(folder: Path) -> None:
    """Make sure that a folder is on the disk with all that lies in it; links are not followed."""
    for directory, _, names in os.walk(folder):
        for name in names:
            if not (file := Path(directory, name)).is_symlink():
                _fsync(file)
        _fsync(Path(directory))


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that lies in it, which then is gone under its name at once.

    After a power cut a folder is not back: what is made in its place could be taken for a part of it.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    leaving = path if path.name.endswith(REMOVED) else path.with_name(path.name + REMOVED)
    if leaving != path:
        remove(leaving)
        path.rename(leaving)
        fsync_folder(path.parent)
    try:
        shutil.rmtree(leaving)
    except OSError as error:  # it names a file by its last name alone
        raise OSError(error.errno, error.strerror, str(leaving)) from error


def sweep(folder: Path) -> None:
    """Remove what an interruption has left in a folder of what is there for a moment."""
    for entry in sorted(folder.iterdir()):
        if entry.name.endswith(PASSING):
            remove(entry)


@contextmanager
def telling_causes(place: Path) -> Iterator[None]:
    """Say in one line what keeps a place from being written.

    Args:
        place: what is written to; errors about files elsewhere are left as they are, unless the disk is full.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        named = error.filename if isinstance(error.filename, str | os.PathLike) else None
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
        # Without a name, a full or broken disk speaks, or a network that does not let a plug-in through.
        ours = error.errno == errno.EIO if named is None else Path(named).is_relative_to(place)
        if isinstance(error, SInternalError) or error.errno not in CAUSES or not (full or ours):
            raise
        where = named if named is not None and ours else place
        raise StoreError(f"{where}: cannot be written: {CAUSES[error.errno]}") from error


def check_writable(folder: Path, option: str) -> None:
    """Make a folder if need be, and make sure that files can be written there.

    Args:
        folder: which.
        option: by which a user chooses another.

    Raises:
        StoreError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=".write-", dir=folder):  # has no name where the system can do without
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreError(
            f"{folder}: cannot write there (a file is in the way); choose another with {option}"
        ) from error
    except OSError as error:
        raise StoreError(f"{folder}: cannot write there ({error.strerror}); choose another with {option}") from error
