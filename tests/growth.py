"""How the time of a work grows with its size, whatever the machine and whoever else is at work on it."""

from __future__ import annotations

import time
from collections.abc import Callable

NOISE = 0.002
"""Seconds of CPU that say nothing."""


def growth(small: Callable[[], object], large: Callable[[], object]) -> float:
    """How many times as much CPU the larger of two works takes; each at its best of two."""
    once, more = (min(_seconds(work) for _ in range(2)) for work in (small, large))
    return more / max(once, NOISE)


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
