"""Trackers of trainings, by the trainers' own `report_to`.

What they are told is what the trainer logs, its arguments and the model's configuration: no prompt, no answer, no key.
They are told by the first process alone. Nothing of them is in an artifact, and no key depends on them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sinternal.settings.tracking import Tracker

FOLDER = "tracking"
"""In a run's folder: what trackers write."""


@dataclass(frozen=True)
class Tracking:
    """Who is told of a training, and under which name."""

    trackers: tuple[Tracker, ...] = ()
    """Who."""
    project: str = ""
    """The study."""
    folder: Path = Path()
    """Where what they write lies, unless variables of the environment say otherwise."""
    label: str = ""
    """The training."""

    def of(self, label: str) -> Tracking:
        """The same for a training of this name."""
        return replace(self, label=label)

    def put_into(self, arguments: Any) -> None:
        """Let a trainer with these arguments tell them."""
        if self.trackers:
            arguments.report_to = [tracker.value for tracker in self.trackers]
            arguments.run_name, arguments.project = self.label, self.project
            arguments.trackio_space_id = os.environ.get("TRACKIO_SPACE_ID")

    def variables(self) -> dict[str, str]:
        """The variables of the environment by which trackers know where to write."""
        if not self.trackers:
            return {}
        folder = self.folder.resolve()
        name = re.sub(r"[^\w+-]+", "-", self.label, flags=re.ASCII).strip("-") or "training"
        return {
            "TENSORBOARD_LOGGING_DIR": str(folder / "tensorboard" / name),
            "TRACKIO_DIR": str(folder / "trackio"),
            "WANDB_DIR": str(folder),
            "WANDB_PROJECT": self.project,
            "MLFLOW_TRACKING_URI": (folder / "mlflow").as_uri(),
            "MLFLOW_EXPERIMENT_NAME": self.project,
        }


NOBODY = Tracking()
_tracking = NOBODY
"""The run's, in its worker processes."""
_ours: set[str] = set()
"""Variables of the environment that were set here; what the user has set wins."""


def carry(tracking: Tracking) -> None:
    """Tell these trackers from now on, in this worker and in processes that it starts.

    Some of them look at their variables as they are imported, so that these are set before a trainer is.
    """
    global _tracking
    _tracking = tracking
    for name, value in tracking.variables().items():
        if name in _ours or name not in os.environ:
            os.environ[name] = value
            _ours.add(name)


def current() -> Tracking:
    """Who is told of the training that this process is about to begin."""
    return _tracking
