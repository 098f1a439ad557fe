"""Two runs of one plan at once: the second begins when the first has come to some call that changes a file.

One waits for what the other is making, nothing is made twice, and what they leave is what one after the other leaves.
`bench.crash_points` lets the second begin at each such call.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.crashes import CALLS, OK, Counting, Fault, Shim, child, difference, plan, run, snapshot


@dataclass
class Race:
    """Two runs of one plan, the second of which begins while the first stands at some call."""

    folder: Path
    """Of its own; the case itself is always at the same place in it."""
    name: str
    """What is run."""
    acts: tuple[Callable[[Path], None], Callable[[Path], None]]
    """Both runs, in the folder of a case."""
    calls: int = 0
    """How many calls that change a file the first makes."""

    def __post_init__(self) -> None:
        """Let one run after the other."""
        self.case, self.counter = self.folder / "case", self.folder / CALLS
        self._clear()
        for act in self.acts:
            ended = child(lambda act=act: act(self.case), self.case)  # type: ignore[misc]
            assert ended.status == OK, ended.words
            self.calls = self.calls or len(json.loads(ended.words))
        self.expected, self.asked = snapshot(self.case), self.counter.stat().st_size

    def _clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.case.mkdir(parents=True)
        Counting.counter = self.counter

    def begin_at(self, at: int) -> str:
        """Let the second begin when the first is at a call; what is wrong with the outcome, empty for nothing."""
        self._clear()
        hearing, Shim.telling = os.pipe()
        first, second = self.acts
        process = os.fork()
        if process == 0:
            ended = child(lambda: first(self.case), self.case, at, Fault.MEETING)
            (self.folder / "words").write_text(ended.words if ended.status else "")
            os._exit(0)
        os.close(Shim.telling)
        os.read(hearing, 1)
        other = child(lambda: second(self.case), self.case)
        os.waitpid(process, 0)
        os.close(hearing)
        where = f"{self.name}, the second begins at call {at} of the first"
        if words := (self.folder / "words").read_text() or (other.words if other.status != OK else ""):
            return f"{where}: {words[-600:]}"
        if differs := difference(self.expected, snapshot(self.case)):
            return f"{where}: {differs}"
        asked = self.counter.stat().st_size
        return "" if asked == self.asked else f"{where}: {asked} calls were made, one run makes {self.asked}"


def races(folder: Path) -> list[Race]:
    """Two runs with one store, each in a folder of its own, and two in one folder.

    Args:
        folder: of its own.
    """
    folder.mkdir(parents=True)
    planned = plan(folder)

    def of(name: str) -> Callable[[Path], None]:
        return lambda case: run(planned, case / name, store=case / "store")

    return [
        Race(folder / "case", "two runs with one store", (of("a"), of("b"))),
        Race(folder / "case", "two runs in one folder", (of("a"), of("a"))),
    ]
