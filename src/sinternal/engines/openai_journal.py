"""What was handed in as a batch, on the disk: ids and hashes, never a text or a key.

A batch's file is written before anything is sent, and again after each step. So a killed run leaves behind either a
batch that its server knows by id, or a file that was uploaded and of which the server can tell whether a batch was made
from it; what was not even uploaded costs nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from sinternal import pending
from sinternal.errors import EngineError
from sinternal.store.files import fsync_folder, write_text

KEPT_SECONDS = 30 * 24 * 3600
"""Files of batches expire at OpenAI after 30 days (API reference, "Upload file", 2026)."""


class Entry(BaseModel):
    """One batch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str
    """The server's, without keys."""
    ids: tuple[str, ...]
    """What the requests in it are known by."""
    created: float
    """When, in seconds since 1970."""
    input_file: str = ""
    """Id of the uploaded file; empty before."""
    batch: str = ""
    """Id of the batch; empty before."""
    closed: frozenset[str] = frozenset()
    """Requests of which it has brought no reply, and never will."""


class Journal:
    """The batches that were handed in to one server and may still bring something."""

    def __init__(self, address: str) -> None:
        """Read what earlier runs have left.

        Args:
            address: the server's, without keys.

        Raises:
            EngineError: a file cannot be read.
        """
        self.address = address
        own = pending.folder_of_artifact()
        self.outlives_calls = own is not None
        server = hashlib.sha256(address.encode()).hexdigest()[:16]
        self.folder = (own or pending.folder_of_user()) / server
        self.entries = dict(self._read())

    def _read(self) -> Iterator[tuple[Path, Entry]]:
        for file in sorted(self.folder.glob("*.json")):
            try:
                entry = Entry.model_validate_json(file.read_bytes())
            except (OSError, ValidationError) as error:
                raise EngineError(
                    f"{file}: this is no note of a batch; delete it, and what it was about is asked for anew"
                ) from error
            if self.outlives_calls or entry.created > time.time() - KEPT_SECONDS:
                yield file, entry
            else:
                file.unlink(missing_ok=True)

    def open_requests(self) -> dict[str, Path]:
        """The requests that a batch brings a reply to, or may, and the last such batch of each."""
        return {
            identity: file
            for file, entry in sorted(self.entries.items())
            for identity in entry.ids
            if identity not in entry.closed
        }

    def add(self, ids: tuple[str, ...]) -> Path:
        """Note that a batch is going to be handed in. Raises EngineError if nothing can be noted."""
        file = self.folder / f"{time.time_ns():020}-{ids[0]}.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.update(file, Entry(address=self.address, ids=ids, created=time.time()))
        except OSError as error:
            raise EngineError(
                f"{self.folder}: batches cannot be noted there ({error.strerror or error}), and one that is not noted "
                "would be lost; fix that, or set the engine's option batch to null"
            ) from error
        return file

    def update(self, file: Path, entry: Entry) -> None:
        """Note what has become of a batch."""
        write_text(file, entry.model_dump_json(indent=1) + "\n")
        fsync_folder(self.folder)
        self.entries[file] = entry

    def forget(self, file: Path) -> None:
        """A batch is of no more use, or there is none."""
        del self.entries[file]
        with suppress(OSError):
            file.unlink()
