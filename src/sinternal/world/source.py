"""The microworld's base model as a named target: the one that ships with the package, or one built to measure."""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from pathlib import Path

from sinternal.fingerprints import fingerprint
from sinternal.models.resolve import ModelSource
from sinternal.store import Progress
from sinternal.world.settings import BaseConfig

SHIPPED = "shipped"


class MicroworldBase(ModelSource):
    """`target: {model: microworld, options: {…}}`, with the options of `BaseConfig`."""

    Options = BaseConfig
    diagnosis = "microworld"
    verification = "microworld"
    licence = "apache-2.0"

    def __init__(self, options: BaseConfig) -> None:
        """Take how it is made."""
        self.options = options

    def locate(self) -> Path | None:
        """The shipped base, if these are its options."""
        shipped = shipped_base()
        made_with = json.loads((shipped / "microworld.json").read_text())
        made_with.pop("seed")
        return shipped if self.options == BaseConfig.model_validate(made_with) else None

    def identity(self) -> str | None:
        """The hash of the shipped base; one that is built follows from options and seed."""
        located = self.locate()
        return fingerprint(located) if located else None

    def build(self, seed: int, out: Path, progress: Progress) -> None:
        """Pretrain a base from scratch; about six minutes on one core."""
        from sinternal.world.base import build_base

        build_base(self.options, seed, out, progress)


def shipped_base() -> Path:
    """The model directory that comes with the package."""
    with as_file(files("sinternal.world").joinpath(SHIPPED)) as folder:
        return folder
