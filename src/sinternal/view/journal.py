"""`progress.jsonl` of a run that goes on, read as it grows."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sinternal.study.live import PROGRESS, End, goes_on

REMEMBERED = 60
"""Points of an artifact's progress that its rate is taken from: the last minute or so."""
LONGEST = 64 * 2**20
"""Bytes of a file that are read at most: a run of weeks writes less."""
LARGEST = 1e15
"""Of the numbers in it: every whole one up to there is one of JavaScript's, too."""
WORDS = 500
"""Characters of what a run waits for, or ended by, that are shown."""


@dataclass
class TaskState:
    """An artifact that a run asks for."""

    stage: str
    """Its stage."""
    key: str
    """Its key in the store."""
    label: str
    """What it is for."""
    inputs: Mapping[str, int]
    """What it is made from, by their places in the list."""
    done: int = 0
    """Units done."""
    total: int = 0
    """Units in all, 0 if unknown."""
    began: float | None = None
    """When it was first heard of."""
    finished: float | None = None
    """When it was complete."""
    cached: bool = False
    """Whether the store had it already."""
    seconds: float | None = None
    """How long it took."""
    words: str = ""
    """What it waits for."""
    points: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    """Its latest progress: when, and units done."""

    def rate(self, now: float) -> float | None:
        """Units a second of late; None if that is not known. It falls when nothing is heard."""
        if self.finished is not None or not self.points:
            return None
        first, last = self.points[0], self.points[-1]
        passed = max(now, last[0]) - first[0]
        return (last[1] - first[1]) / passed if passed > 0 and last[1] > first[1] else None

    def time_left(self, now: float) -> float | None:
        """Seconds, at that rate."""
        rate = self.rate(now)
        return (self.total - self.done) / rate if rate and self.total else None


class Journal:
    """What a run has written down of itself."""

    def __init__(self, folder: Path) -> None:
        """Of a run's folder; `update` reads it."""
        self.path = folder / PROGRESS
        self._forget()

    def _forget(self) -> None:
        self.file: tuple[int, int] | None = None
        self.offset = 0
        self.started: float | None = None
        self.heard: float | None = None
        self.host = ""
        self.store: str | None = None
        self.tasks: list[TaskState] = []
        self.end: End | None = None
        self.why = ""
        self.spent: dict[str, float] = {}

    @property
    def exists(self) -> bool:
        """Whether there was one when it was last looked at."""
        return self.file is not None

    @property
    def goes_on(self) -> bool:
        """Whether a process writes it now."""
        return goes_on(self.path)

    def update(self) -> None:
        """Read what is new. Lines that make no sense are passed over: the file may be anybody's."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        except OSError:
            self._forget()
            return
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(stream.fileno())
            file = (status.st_dev, status.st_ino)
            if file != self.file or status.st_size < self.offset:
                self._forget()
                self.file = file
            self.heard = status.st_mtime
            stream.seek(self.offset)
            try:
                text = stream.read(max(0, LONGEST - self.offset))
            except OSError:
                return
        whole, newline, _ = text.rpartition(b"\n")
        self.offset += len(whole) + len(newline)
        for line in whole.split(b"\n"):
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
                continue

    def _take(self, line: Mapping[str, Any]) -> None:
        if "tasks" in line:
            tasks = [
                TaskState(
                    str(task["stage"]),
                    str(task["key"]),
                    str(task["label"]),
                    {str(name): int(_number(number)) for name, number in task["inputs"].items()},
                )
                for task in line["tasks"]
            ]
            self.started, self.host = _number(line["started"]), str(line["host"])
            self.store, self.tasks = str(line["store"]), tasks
            return
        at = _number(line["at"])
        if "end" in line:
            self.end, self.why = End(line["end"]), str(line["why"])[:WORDS]
            return
        task = self.tasks[int(_number(line["task"]))]
        task.began = at if task.began is None else task.began
        for name, amount in line.get("spent", {}).items():  # of one that was finished, or ended before
            self.spent[str(name)] = self.spent.get(str(name), 0.0) + _number(amount)
        if line.get("cached"):
            task.cached, task.finished = True, at
        elif "seconds" in line:
            task.seconds, task.finished, task.words = _number(line["seconds"]), at, ""
            task.done = task.total or task.done
        elif "words" in line:
            task.words = str(line["words"])[:WORDS]
        elif "done" in line:
            task.done, task.total, task.words = int(_number(line["done"])), int(_number(line["total"])), ""
            task.points.append((at, task.done))


def _number(value: Any) -> float:
    """A number that can be shown. Raises ValueError or TypeError for any other, infinite ones and none at all too."""
    if isinstance(value, str) or not abs(value) <= LARGEST:
        raise ValueError(value)
    return float(value)
