"""Hashes of the files in a run's folder, copies that people move and open: `SHA256SUMS`, as coreutils has it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sinternal.errors import StoreError
from sinternal.fingerprints import file_hash
from sinternal.store.files import write_text

SUMS = "SHA256SUMS"


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Note the hashes of files in a folder."""
    write_text(folder / SUMS, "".join(f"{file_hash(folder / name)}  {name}\n" for name in sorted(names)))


def checked(file: Path) -> Path:
    """The file, if it is what it was when the hashes beside it were noted, or if there are none.

    Raises:
        StoreError: it is another.
    """
    try:
        lines = (file.parent / SUMS).read_text().splitlines()
    except FileNotFoundError:
        return file
    except (OSError, ValueError) as error:
        raise StoreError(f"{file.parent / SUMS}: cannot be read ({error}); run its recipe again") from error
    noted = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    if file.name in noted and not file.is_file():
        raise StoreError(f"{file}: it is missing; run its recipe again, which copies it from the store")
    if file.name in noted and file_hash(file) != noted[file.name]:
        raise StoreError(
            f"{file}: it was damaged or edited after it was written, or an interrupted run has changed it; run its "
            "recipe again, which copies it from the store"
        )
    return file
