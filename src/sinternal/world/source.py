"""The microworld's base model as a named target: the one that ships with the package, or one built to measure."""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from pathlib import Path

from sinternal.registry import read_options
from sinternal.store import Progress, fingerprint
from sinternal.world.settings import BaseConfig

SHIPPED = "shipped"


class MicroworldBase:
    """`target: {model: microworld, options: {…}}`, with the options of `BaseConfig`."""

    diagnosis = "microworld"
    """The settings by which its models are diagnosed."""
    verification = "microworld"
    """How its models are asked to verify."""

    def locate(self, options: dict[str, object]) -> Path | None:
        """The shipped base, if these are its options."""
        shipped = shipped_base()
        made_with = json.loads((shipped / "microworld.json").read_text())
        made_with.pop("seed")
        return (
            shipped
            if read_options(BaseConfig, options, "model microworld") == BaseConfig.model_validate(made_with)
            else None
        )

    def identity(self, options: dict[str, object]) -> str | None:
        """The hash of the shipped base; one that is built follows from options and seed."""
        located = self.locate(options)
        return fingerprint(located) if located else None

    def build(self, options: dict[str, object], seed: int, out: Path, progress: Progress) -> None:
        """Pretrain a base from scratch; about five minutes on one core."""
        from sinternal.world.base import build_base

        build_base(read_options(BaseConfig, options, "model microworld"), seed, out, progress)


def shipped_base() -> Path:
    """The model directory that comes with the package."""
    with as_file(files("sinternal.world").joinpath(SHIPPED)) as folder:
        return folder
