"""Which runs use a store, so that what none of them needs can be told from what one of them does.

<root>/runs/<id>.json     a run's folder, and the artifacts that its plan names
<root>/runs/<id>.lock     held as long as the run goes on
<root>/runs/store.lock    held for the moment in which a run is noted, and while artifacts are removed

A note is written before the run looks for its artifacts: what is removed afterwards, it needs not. When a run ends, the
notes of other plans in its folder say so: they are over.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from sinternal.errors import StoreError
from sinternal.records import make_id
from sinternal.store.files import check_writable, lock, sweep, telling_causes, write_text

RUNS = "runs"
"""In a store."""
ALL = "store.lock"


class Note(BaseModel):
    """What is known about a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str
    """The run's, as an absolute path; relative to the store where the run holds it, as both are moved together."""
    host: str
    """Where that path leads there."""
    needs: frozenset[str]
    """The artifacts of its plan: `stage/key`."""
    over: bool = False
    """Whether another plan has been run in the same folder since."""


class NotedRun:
    """A run that a store knows."""

    def __init__(self, file: Path) -> None:
        """Read a note.

        Raises:
            StoreError: it cannot be read.
        """
        self.file = file
        try:
            self.note = Note.model_validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            raise StoreError(
                f"{file}: this is no note of a run; delete it, and run that run again before anything is removed"
            ) from error

    @property
    def goes_on(self) -> bool:
        """Whether a process is at it now."""
        try:
            with lock(self.file.with_suffix(".lock"), timeout=0):
                return False
        except Timeout:
            return True

    @property
    def lives(self) -> bool:
        """Whether its artifacts are needed: its folder is there, as far as this machine can tell, or it goes on."""
        elsewhere = Path(self.note.folder).is_absolute() and self.note.host != socket.gethostname()
        there = elsewhere or (self.file.parent.parent / self.note.folder).is_dir()
        return self.goes_on or (there and not self.note.over)


def noted_runs(root: Path) -> list[NotedRun]:
    """The runs that a store knows. Raises StoreError if a note is damaged."""
    return [NotedRun(file) for file in sorted((root / RUNS).glob("*.json"))]


@contextmanager
def in_use(root: Path, folder: Path, needs: frozenset[str]) -> Iterator[None]:
    """Keep artifacts from being removed as long as a run lives.

    Args:
        root: the store's. Where it cannot be written, nothing can be removed, and nothing is noted.
        folder: the run's.
        needs: the artifacts of its plan: `stage/key`.
    """
    if root.is_dir() and not os.access(root, os.W_OK):
        yield
        return
    check_writable(root, "--store")
    here = _place(root.resolve(), folder.resolve())
    file = root / RUNS / f"{make_id(here, sorted(needs))}.json"
    with ExitStack() as held:
        with telling_causes(root):
            file.parent.mkdir(exist_ok=True)
            with having_all(root):
                sweep(file.parent)
                with suppress(Timeout):  # the same run goes on elsewhere, and protects the same
                    held.enter_context(lock(file.with_suffix(".lock"), timeout=0))
                note = _to_json(Note(folder=here, host=socket.gethostname(), needs=needs))
                if not (file.is_file() and file.read_text() == note):
                    write_text(file, note)
        yield
        with telling_causes(root), having_all(root):
            for other in noted_runs(root):
                if other.file != file and other.note.folder == here and not other.note.over:
                    write_text(other.file, _to_json(other.note.model_copy(update={"over": True})))


def _place(root: Path, folder: Path) -> str:
    return os.path.relpath(folder, root) if root.is_relative_to(folder) else str(folder)


@contextmanager
def having_all(root: Path) -> Iterator[None]:
    """Let nobody note a run, or remove artifacts, meanwhile."""
    with telling_causes(root), lock(root / RUNS / ALL):
        yield


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Let no other run of a store copy files into its folder meanwhile: it may be the same folder."""
    if not os.access(root, os.W_OK):  # of a store that cannot be written, runs only read
        yield
        return
    with having_all(root):
        yield


def _to_json(note: Note) -> str:
    return json.dumps({**note.model_dump(), "needs": sorted(note.needs)}, indent=1) + "\n"
