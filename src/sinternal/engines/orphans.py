"""Processes that a library starts for us, and that would outlive us: killed, we cannot end them.

vLLM's engine holds the GPU's memory in a process of its own, which waits for work for ever when its parent is gone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

WATCH = """
import os, signal, sys, time
parent, *children = map(int, sys.argv[1:])
while os.getppid() == parent:
    time.sleep(1)
for child in children:
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
"""A program that waits for its parent's end, and then ends the processes that it was given."""


class Guard:
    """Ends processes when this one is gone, however it ended."""

    def __init__(self, children: Iterable[int]) -> None:
        """Watch over processes by their ids."""
        # In a session of its own: Ctrl-C is for us, and the guard has to see whether we obey.
        self._watcher = subprocess.Popen(
            [sys.executable, "-S", "-c", WATCH, str(os.getpid()), *map(str, children)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close(self) -> None:
        """Leave the processes alone: they have ended, or are somebody else's to end. May be called twice."""
        self._watcher.kill()
        self._watcher.wait()
