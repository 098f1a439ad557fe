"""What a run writes down of itself as long as it is not finished, for whoever watches: `progress.jsonl` in its folder.

The first line says what there is to make; each further one is news, at most one a second of each artifact. When the run
has finished, the file goes: the results stand in its place. Where a run failed or was stopped, the last line says why.
The process that writes holds a lock on the file, so a run that was killed is told from one that goes on.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from io import FileIO
from pathlib import Path
from typing import Any

from sinternal.budget import Spent
from sinternal.errors import BudgetError, SInternalError
from sinternal.redaction import conceal
from sinternal.store.files import open_to_append, telling_causes
from sinternal.study.execute import Event
from sinternal.study.task import Plan
from sinternal.visible import visible_line

try:
    import fcntl
except ImportError:  # pragma: no cover  # another system than Linux and macOS
    fcntl = None  # type: ignore[assignment]

PROGRESS = "progress.jsonl"
VERSION = 1
"""Of the lines; another reader than ours may look at it."""
EVERY = 1.0
"""Seconds between two lines about the rows of one artifact."""
TRIES, PAUSE = 20, 0.01
"""How often, and how many seconds apart, the lock is tried for: who only looks holds it for a moment."""


class End(StrEnum):
    """How a run ended that is not finished."""

    STOPPED = "stopped"
    """Its user, or its budget, ended it."""
    FAILED = "failed"
    """An error did."""


class Diary:
    """Writes down what happens. A line that cannot be written stops no run."""

    def __init__(self, file: FileIO, plan: Plan, folder: Path, store: Path) -> None:
        """Begin with the plan; `file` is empty and locked."""
        self.file: FileIO | None = file
        self.places = {task.key: number for number, task in enumerate(plan.tasks)}
        self.written: dict[str, float] = {}
        self._write(
            {
                "version": VERSION,
                "started": time.time(),
                "process": os.getpid(),
                "host": socket.gethostname(),
                "store": os.path.relpath(store.resolve(), folder.resolve()),
                "tasks": [
                    {
                        "stage": task.stage.name,
                        "key": task.key,
                        "label": task.label,
                        "inputs": {name: self.places[parent.key] for name, parent in task.inputs.items()}
                        if task is not plan.report
                        else {},
                    }
                    for task in plan.tasks
                ],
            }
        )

    def note(self, event: Event) -> None:
        """Write down news of a task."""
        key, now = event.task.key, time.time()
        line: dict[str, Any] = {"at": round(now, 1), "task": self.places.get(key)}
        if event.artifact is not None:
            line |= {"cached": True} if event.cached else {"seconds": event.artifact.manifest["seconds"]}
            if not event.cached:
                line |= _spent(Spent(**event.artifact.manifest.get("spent", {})))
        elif event.spent is not None:
            line |= _spent(event.spent)
        elif event.words:
            line["words"] = visible_line(conceal(event.words))
        elif now - self.written.get(key, 0.0) < EVERY:
            return
        else:
            self.written[key] = now
            line |= {"done": event.done, "total": event.total}
        self._write(line)

    def close(self, end: End, why: str) -> None:
        """Say how it ended."""
        self._write({"at": round(time.time(), 1), "end": end.value, "why": visible_line(conceal(why))})

    def _write(self, line: dict[str, Any]) -> None:
        if self.file is not None:
            try:
                self.file.write(json.dumps(line).encode() + b"\n")  # in one call: no reader sees half of it for long
            except OSError:
                self.file = None


def _spent(spent: Spent) -> dict[str, Any]:
    return {"spent": {"calls": spent.calls, "tokens": spent.tokens, "cost": spent.cost}} if spent.calls else {}


@contextmanager
def diary(folder: Path, plan: Plan, store: Path) -> Iterator[Diary | None]:
    """Keep a diary of a run in its folder; None where another process keeps one there, or where none can be kept.

    Args:
        folder: the run's.
        plan: what there is to make.
        store: the folder of artifacts.

    Raises:
        StoreError: that of a run before cannot be emptied, or this one not be removed in the end.
    """
    path = folder / PROGRESS
    file = _open(path)
    if file is None:
        yield None
        return
    with file:
        kept = Diary(file, plan, folder, store)
        try:
            yield kept
        except KeyboardInterrupt:
            kept.close(End.STOPPED, "interrupted by its user")
            raise
        except BudgetError as error:
            kept.close(End.STOPPED, str(error))
            raise
        except BaseException as error:
            told = str(error) if isinstance(error, SInternalError | OSError) else f"{type(error).__name__}: {error}"
            kept.close(End.FAILED, told)
            raise
        with telling_causes(folder):  # a finished run leaves none
            path.unlink(missing_ok=True)


def _open(path: Path) -> FileIO | None:
    """The file, empty and locked, or None. Raises StoreError if one of a run before cannot be emptied."""
    try:
        file = FileIO(open_to_append(path), "a")
    except OSError:
        return None
    for _ in range(TRIES):
        if _lock(file.fileno(), shared=False):
            with telling_causes(path.parent):
                os.truncate(file.fileno(), 0)
            return file
        time.sleep(PAUSE)
    file.close()
    return None


def goes_on(path: Path) -> bool:
    """Whether a process of this machine, or of one that shares the file with its locks, keeps a diary now.

    Nothing is written for that, and no lock is held that would keep a run from beginning one.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return False
    try:
        return not _lock(descriptor, shared=True)
    finally:
        os.close(descriptor)  # which frees it


def _lock(descriptor: int, *, shared: bool) -> bool:
    if fcntl is None:  # pragma: no cover
        return not shared
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
