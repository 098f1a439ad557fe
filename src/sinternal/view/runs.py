"""The runs in a folder, and how each of them stands."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from sinternal.errors import SInternalError
from sinternal.records import make_id
from sinternal.report.diagnosis_page import QUESTION
from sinternal.report.format import with_interval
from sinternal.report.results import read_results
from sinternal.report.tables import COLUMNS, headline
from sinternal.stages.diagnosis import STAGE as DIAGNOSING
from sinternal.store.artifact import PARTIAL
from sinternal.study.live import PROGRESS, End, goes_on
from sinternal.study.run import ARTIFACTS, RECIPE, REPORT, RESULTS
from sinternal.tools.diagnosis import PAGE
from sinternal.tools.diagnosis import RESULTS as DIAGNOSIS
from sinternal.tools.diagnosis import TEXT as DIAGNOSIS_TEXT
from sinternal.view.journal import WORDS, Journal, TaskState

DEPTH = 3
"""Folders within folders that runs are looked for in."""
MOST_FOLDERS = 5000
"""That are looked at."""
TEXT = "results.md"
HEAD = 2**16
"""Bytes of a text of results in which the answer stands."""
LONGEST_ANSWER = 600
LONGEST_RESULTS = 32 * 2**20
"""Bytes of results that are read for the list."""
FIGURES = ("ASR OOD", "over-refusal OOD", "helpful OOD")
MOST_ARMS = 4
"""Whose figures the list has."""
LONGEST_LINE = 2**12
"""Bytes at the end of a file in which its newest line is looked for."""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
"""What moves a terminal's cursor, as bars of progress do."""
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_STAGE = re.compile(r"[a-z][a-z_]*", re.ASCII)
_KEY = re.compile(r"[0-9a-f]{16}", re.ASCII)


class State(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    """A process is at it now."""
    STOPPED = "stopped"
    """It is not finished, and nothing went wrong: its user, its budget or a kill ended it."""
    FAILED = "failed"
    """An error ended it."""
    FINISHED = "finished"
    """Its results are there."""
    UNKNOWN = "unknown"
    """Another machine was at it, and whether it still is cannot be told from here."""


@dataclass(frozen=True)
class Standing:
    """How a run stands now."""

    state: State
    """In a word."""
    since: float | None
    """Since when, in seconds since 1970."""
    why: str = ""
    """What led to it, in a sentence; empty if nothing needs saying."""


class ViewedRun:
    """A run in the folder."""

    def __init__(self, folder: Path, name: str, store: Path | None = None) -> None:
        """Look at a run.

        Args:
            folder: where it is.
            name: as it is shown.
            store: its folder of artifacts, if it does not say so itself.
        """
        self.folder, self.name = folder, name
        self.id = make_id(str(folder.resolve()))
        self.journal = Journal(folder)
        self._store = store

    @property
    def is_diagnosis(self) -> bool:
        """Whether it is one of a single model, by `sinternal diagnose`."""
        unfinished = any(task.stage == DIAGNOSING.name for task in self.journal.tasks)
        return unfinished or (self.folder / DIAGNOSIS).is_file()

    @property
    def report(self) -> str | None:
        """The name of its page, if it has one."""
        return next((name for name in (REPORT, PAGE) if is_plain_file(self.folder / name)), None)

    @property
    def store(self) -> Path:
        """Its folder of artifacts: the one that it says, or that was given, or the one inside."""
        if self.journal.store is not None:
            return self.folder / self.journal.store
        return self._store or self.folder / ARTIFACTS

    def standing(self) -> Standing:
        """How it stands; reads what is new of its journal first."""
        journal = self.journal
        journal.update()
        results = next((path for name in (RESULTS, DIAGNOSIS) if is_plain_file(path := self.folder / name)), None)
        if not journal.exists:
            if results is not None:
                return Standing(State.FINISHED, _changed(results))
            return Standing(State.STOPPED, _last_change(self.folder), "it has no results, and left no word why")
        if journal.end is End.FAILED:
            return Standing(State.FAILED, journal.heard, journal.why)
        if journal.end is End.STOPPED:
            return Standing(State.STOPPED, journal.heard, journal.why)
        if journal.goes_on:
            return Standing(State.RUNNING, journal.started)
        if journal.host and journal.host != socket.gethostname():
            return Standing(State.UNKNOWN, journal.heard, f"it was begun on {journal.host}: look there")
        return Standing(State.STOPPED, journal.heard, "it was killed, or its machine went down; run it again to go on")

    def answer(self) -> str:
        """What came out, in the words of its results; empty if there are none."""
        text = read_head(self.folder / (DIAGNOSIS_TEXT if self.is_diagnosis else TEXT), HEAD)
        paragraphs = [line.strip() for line in text.splitlines() if line.strip() and line[0] not in "#|"]
        paragraphs = [line for line in paragraphs if line != QUESTION]
        bold = next((line for line in paragraphs if line.startswith("**")), paragraphs[0] if paragraphs else "")
        sentence = match[1] if (match := _BOLD.match(bold)) else bold.replace("**", "")
        if len(sentence) <= LONGEST_ANSWER:
            return sentence
        whole, stop, _ = sentence[:LONGEST_ANSWER].rpartition(". ")
        return f"{whole}{stop.strip()} …" if whole else f"{sentence[:LONGEST_ANSWER]}…"

    def held_since(self, task: TaskState) -> float | None:
        """When a process began to make an artifact that is at it now; None if none is. Its lock says so."""
        if not (_STAGE.fullmatch(task.stage) and _KEY.fullmatch(task.key)):
            return None
        lock = self.store / task.stage / f"{task.key}.lock"
        return _changed(lock) if is_plain_file(lock) and goes_on(lock) else None

    def figures(self) -> list[str]:
        """The main figures of a finished study, a line for each arm of its first variant; empty if there are none."""
        path = self.folder / RESULTS
        if self.is_diagnosis or not is_plain_file(path):
            return []
        status = path.stat()
        return list(_figures(path, status.st_mtime_ns, status.st_size))

    def artifact(self, task: TaskState) -> Path | None:
        """The folder of an artifact, finished or growing; None if there is none, or it is no place in a store."""
        return artifact_folder(self.store, task.stage, task.key)


def artifact_folder(store: Path, stage: str, key: str) -> Path | None:
    """The folder of an artifact, finished or growing. Names that no store of ours gives lead nowhere."""
    if not (_STAGE.fullmatch(stage) and _KEY.fullmatch(key)):
        return None
    place = store / stage / key
    return next((path for path in (place, place.with_suffix(PARTIAL)) if path.is_dir() and not path.is_symlink()), None)


@lru_cache(maxsize=256)
def _figures(path: Path, _changed_at: int, size: int) -> tuple[str, ...]:
    if size > LONGEST_RESULTS:
        return ()
    try:
        results = read_results(path)
        rows = headline(results.scores[::-1], results.arms, results.variants[0].name)
    except (SInternalError, OSError, IndexError):
        return ()
    lines = []
    for row in rows[:MOST_ARMS]:
        cells = [
            f"{column.short} {with_interval(cell)}"
            for column, cell in zip(COLUMNS, row.cells, strict=True)
            if cell is not None and column.short in FIGURES
        ]
        lines.append(f"{row.name}: {'; '.join(cells)}" if cells else row.name)
    more = [f"and {len(rows) - MOST_ARMS} arms more"] if len(rows) > MOST_ARMS else []
    return (*lines, *more)


class Runs:
    """The runs in a folder, by their ids; looked for anew whenever they are asked for."""

    def __init__(self, root: Path, store: Path | None = None) -> None:
        """Take the folder, or that of a single run, and where artifacts are that are not inside of runs."""
        self.root, self.store = root, store
        self._known: dict[str, ViewedRun] = {}

    def all(self) -> list[ViewedRun]:
        """The runs that there are now."""
        there = {}
        for folder, name in _run_folders(self.root):
            run = ViewedRun(folder, name, self.store)
            there[run.id] = self._known.get(run.id, run)
        self._known = there
        return list(there.values())

    def get(self, identity: str) -> ViewedRun | None:
        """The run with this id; None if there is none."""
        if identity not in self._known:
            self.all()
        return self._known.get(identity)


def is_plain_file(path: Path) -> bool:
    """Whether it is a file, and no link to one elsewhere."""
    return path.is_file() and not path.is_symlink()


def read_head(path: Path, most: int) -> str:
    """The beginning of a text file; empty if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as stream:
            return stream.read(most).decode("utf-8", "replace")
    except OSError:
        return ""


def read_tail(path: Path, most: int) -> str:
    """The last whole lines of a text file."""
    end = _read_end(path, most + 1)
    text = end.decode("utf-8", "replace")
    return text if len(end) <= most else text.partition("\n")[2]


class Line(NamedTuple):
    """The newest line of a file."""

    at: float
    """When it was written, in seconds since 1970."""
    words: str
    """What it says."""


def newest_line(path: Path) -> Line | None:
    """The newest line of a file, of a bar of progress as it is now; None if there is none."""
    changed = _changed(path)
    text = _CONTROL.sub("", _read_end(path, LONGEST_LINE).decode("utf-8", "replace"))
    words = next((line.strip() for line in reversed(re.split(r"[\r\n]", text)) if line.strip()), "")
    return Line(changed, words[:WORDS]) if changed is not None and words else None


def _read_end(path: Path, most: int) -> bytes:
    """The last bytes of a file; none if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - most))
            return stream.read(most)
    except OSError:
        return b""


def _run_folders(root: Path) -> Iterator[tuple[Path, str]]:
    if _is_run(root):
        yield root, root.resolve().name
        return
    looked_at = 0
    level = [root]
    for _ in range(DEPTH):
        below: list[Path] = []
        for folder in level:
            try:
                entries = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
            except OSError:
                continue
            for name in entries:
                looked_at += 1
                if looked_at > MOST_FOLDERS:
                    return
                path = folder / name
                if _is_run(path):
                    yield path, path.relative_to(root).as_posix()
                elif not (name.startswith(".") or (path / "runs" / "store.lock").exists()):
                    below.append(path)
        level = below


def _is_run(folder: Path) -> bool:
    files = (RESULTS, DIAGNOSIS, PROGRESS)
    begun = (folder / RECIPE).is_file() or (folder / ARTIFACTS).is_dir()
    return any((folder / name).is_file() for name in files) or (begun and (folder / "log.txt").is_file())


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _last_change(folder: Path) -> float | None:
    times = [at for name in ("log.txt", ARTIFACTS, RECIPE) if (at := _changed(folder / name)) is not None]
    return min(max(times), time.time()) if times else None
