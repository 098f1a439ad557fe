"""Processes that a library starts for us, and that would outlive us: killed, we cannot end them.

vLLM's engine holds the GPU's memory in a process of its own, which waits for work for ever when its parent is gone, and
two of the processes of a Ray cluster stay for minutes.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

WATCH = """
import os, signal, sys, time
parent, mark, *children = sys.argv[1:]
while os.getppid() == int(parent):
    time.sleep(1)
def marked():
    for name in filter(str.isdigit, os.listdir('/proc') if os.path.isdir('/proc') else ()):
        try:
            with open(f'/proc/{name}/environ', 'rb') as variables:
                if mark.encode() in variables.read().split(bytes(1)) and int(name) != os.getpid():
                    yield int(name)
        except OSError:
            pass
for _ in range(10 if mark else 1):
    for process in [*map(int, children), *(marked() if mark else ())]:
        try:
            os.kill(process, signal.SIGKILL)
        except OSError:
            pass
    children = []
    time.sleep(0.5 if mark else 0)
"""
"""A program that waits for its parent's end, and then ends the processes that it was given, and those that carry a
mark in their environment, for some seconds: what was being started may start others."""
MARK = "SINTERNAL_STARTED_BY"
"""The variable of the environment that is the mark."""


class Guard:
    """Ends processes when this one is gone, however it ended."""

    def __init__(self, children: Iterable[int] = (), *, mark: str = "") -> None:
        """Watch over processes.

        Args:
            children: their ids.
            mark: what they have in their environment as the value of `MARK`, those that are yet to start too; empty for
                none. Only Linux shows a process's environment to others.
        """
        environment = {name: value for name, value in os.environ.items() if name != MARK}
        marked = f"{MARK}={mark}" if mark else ""
        # In a session of its own: Ctrl-C is for us, and the guard has to see whether we obey.
        self._watcher = subprocess.Popen(
            [sys.executable, "-S", "-c", WATCH, str(os.getpid()), marked, *map(str, children)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=environment,
        )

    def close(self) -> None:
        """Leave the processes alone: they have ended, or are somebody else's to end. May be called twice."""
        self._watcher.kill()
        self._watcher.wait()


@contextmanager
def guarded() -> Iterator[None]:
    """Inside of the `with`: if we are gone, so is all that was started there, and all that this has started in turn."""
    with starting_guarded() as guard:
        try:
            yield
        finally:
            guard.close()


@contextmanager
def starting_guarded() -> Iterator[Guard]:
    """The same, and what was started stays under the guard when the `with` is over, until that is closed."""
    before, mark = os.environ.get(MARK), secrets.token_hex(16)
    guard = Guard(mark=mark)
    os.environ[MARK] = mark
    try:
        yield guard
    except BaseException:
        guard.close()
        raise
    finally:
        os.environ.pop(MARK)
        if before is not None:
            os.environ[MARK] = before
