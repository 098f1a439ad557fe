"""Jobs that processes of a training are given in its place: they need no torch, which takes most of a short test."""

from __future__ import annotations

import time
from collections.abc import Callable

from sinternal.errors import DataError


def wait(*, progress: Callable[[int, int], None]) -> None:
    """Train for ever."""
    progress(1, 2)
    while True:
        time.sleep(0.1)


def fail(*, progress: Callable[[int, int], None]) -> None:
    """Find fault with the data."""
    progress(0, 1)
    raise DataError("no row is short enough; raise sft.max_length (16)")
