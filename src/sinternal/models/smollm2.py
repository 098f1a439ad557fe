"""SmolLM2-135M-Instruct as a named model: small enough to try a whole study on a laptop, without any account."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sinternal.models.fetch import SOURCES, fetch, fetched_folder
from sinternal.models.resolve import ModelSource
from sinternal.store import Progress

NAME = "smollm2"


class SmolLM2(ModelSource):
    """`target: {model: smollm2}`: what `sinternal fetch smollm2` brings; float32 weights and the file `model.gguf`."""

    def locate(self) -> Path | None:
        """The model in the user's cache, if it was fetched."""
        return fetched_folder(NAME)

    def identity(self) -> str | None:
        """The hash of the package that it comes in."""
        return SOURCES[NAME].sha256[:16]

    def build(self, seed: int, out: Path, progress: Progress) -> None:
        """Fetch the model and place it in `out`, without a second copy where the disk allows links."""
        out.mkdir(parents=True, exist_ok=True)
        for file in fetch(NAME, progress).iterdir():
            _link_or_copy(file, out / file.name)


def _link_or_copy(file: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(file, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(file, target)
