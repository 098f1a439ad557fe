"""Where things are kept that belong to the user and to no run."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sinternal.errors import DataError


def cache_folder() -> Path:
    """Where fetched things are kept: SINTERNAL_CACHE, or `sinternal` in XDG_CACHE_HOME or in ~/.cache."""
    if own := os.environ.get("SINTERNAL_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sinternal"


def check_own(folder: Path) -> Path:
    """The folder, of which others cannot have changed anything: all in it belongs to this user or to root.

    Its name says which published file it holds; only who put it there can vouch for that.

    Raises:
        DataError: others own something in it, or may write there.
    """
    if hasattr(os, "getuid"):
        for path in (folder.parent, folder, *_inside(folder)):
            # In a folder such as /tmp everybody may write, and only owners rename or remove.
            if reason := _not_own(path, shared=path == folder.parent and bool(path.stat().st_mode & stat.S_ISVTX)):
                raise DataError(
                    f"{path}: {reason}, so what is there may be anything; delete {folder} and fix that, or set "
                    "SINTERNAL_CACHE to a folder of your own"
                )
    return folder


def _inside(folder: Path) -> Iterator[Path]:
    for directory, folders, names in os.walk(folder):
        yield from (Path(directory, name) for name in (*folders, *names))


def _not_own(path: Path, *, shared: bool) -> str:
    status = path.lstat()
    if status.st_uid not in (os.getuid(), 0):
        return f"another user ({status.st_uid}) owns it"
    mode = status.st_mode
    if shared or stat.S_ISLNK(mode):
        return ""
    if mode & stat.S_IWOTH:
        return "everybody may write there"
    if mode & stat.S_IWGRP and status.st_gid not in (os.getgid(), 0):
        return f"a group of others ({status.st_gid}) may write there"
    return ""
