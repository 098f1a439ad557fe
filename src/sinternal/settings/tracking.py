"""Where the curves of a training are sent meanwhile: no part of what it computes, so no artifact depends on it."""

from __future__ import annotations

from enum import StrEnum


class Tracker(StrEnum):
    """Who records losses and rewards while a model is trained; each is a package of its own."""

    TENSORBOARD = "tensorboard"
    """Files in the run's folder, shown by `tensorboard --logdir RUN/tracking`."""
    TRACKIO = "trackio"
    """A database in the run's folder, shown by `trackio show`; sent nowhere, unless your environment names a server
    (TRACKIO_SPACE_ID or TRACKIO_SERVER_URL)."""
    WANDB = "wandb"
    """Weights & Biases: sent to wandb.ai, or to the server that WANDB_BASE_URL names."""
    MLFLOW = "mlflow"
    """MLflow: in the run's folder, or at the server that MLFLOW_TRACKING_URI names."""
