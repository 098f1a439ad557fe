"""Processes that know nothing of the script that asks for them.

Python's spawned processes import their parent's script, and so run it again: a script that calls `sinternal.run` at its
top would need `if __name__ == "__main__":`, and one that is piped to Python could not run at all. What workers do is in
this package and in plug-ins, so that they need no script.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any


class Scriptless(SpawnProcess):
    """A spawned process that imports no script."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:  # noqa: N802 - multiprocessing's name
        with _without_script():
            return SpawnProcess._Popen(process_obj)


class ScriptlessContext(SpawnContext):
    """What `multiprocessing` makes its spawned processes from."""

    Process = Scriptless


@contextmanager
def _without_script() -> Iterator[None]:
    """Let nothing be known of the script for as long as a process is prepared."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
