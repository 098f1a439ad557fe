"""Where a named target model comes from: a package that ships one, or can build one."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sinternal.store import Progress


class ModelSource(Protocol):
    """A model that a recipe can name."""

    def locate(self, options: dict[str, object]) -> Path | None:
        """The ready-made model with these options, or None if it has to be built."""
        ...

    def build(self, options: dict[str, object], seed: int, out: Path, progress: Progress) -> None:
        """Make the model from scratch and save it as a Hugging Face model directory."""
        ...
