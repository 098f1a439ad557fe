"""What happens at every training step: it is reported, and stopped if its numbers are no longer finite."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm
from transformers import TrainerCallback

from sinternal.errors import DataError
from sinternal.store import Progress
from sinternal.store.files import append
from sinternal.training.checkpoints import PREFIX, keep_only, seal
from sinternal.training.names import CURVE

Point = tuple[str, Mapping[str, float | None]]
"""What it is about, and its figures, `step` among them."""


class Report(TrainerCallback):
    """Passes the trainer's steps on."""

    def __init__(self, progress: Progress) -> None:
        """Report to `progress`."""
        self.progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer after each optimiser step."""
        self.progress(state.global_step, state.max_steps)


class Curve(TrainerCallback):
    """Writes the figures of each step down as they come, for whoever watches; the log of the whole comes at the end."""

    def __init__(self, points: Callable[[Mapping[str, Any]], Iterable[Point]]) -> None:
        """Take what makes points of an entry of the trainer's log."""
        self.points = points

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer after each entry of its log."""
        if state.is_world_process_zero and state.log_history:
            lines = [json.dumps({"of": of, **figures}) + "\n" for of, figures in self.points(state.log_history[-1])]
            with suppress(OSError):  # a full disk ends a training where it matters, and not here
                append(Path(args.output_dir) / CURVE, "".join(lines))


class Seal(TrainerCallback):
    """Seals every checkpoint, and then removes those before it, but for the best if the training is to end with it."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer once it knows what it goes on from: the folder may be another by now."""
        best = Path(args.output_dir) / f"{PREFIX}{state.best_global_step}"
        if args.load_best_model_at_end and best.is_dir():
            state.best_model_checkpoint = str(best)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer, in each process, after its part of a checkpoint."""
        if args.world_size > 1:
            torch.distributed.barrier()
        if state.is_world_process_zero:
            folder = Path(args.output_dir)
            seal(folder / f"{PREFIX}{state.global_step}")
            best = {state.best_global_step} if args.load_best_model_at_end else set()
            keep_only(folder, {state.global_step, *best})


class EarlyStop(TrainerCallback):
    """Stops a training whose measurements have not got better for so long; what they were is told by its log.

    So an interruption forgets nothing, which transformers' own callback would: it counts in memory.
    """

    def __init__(self, metric: str, patience: int) -> None:
        """Stop after `patience` measurements in which `metric` is no higher than the best one before."""
        self.metric, self.patience = metric, patience

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer after each measurement; that of the start is none to be better than."""
        values = [entry[self.metric] for entry in state.log_history if entry["step"] and self.metric in entry]
        if values and len(values) - 1 - values.index(max(values)) >= self.patience:
            control.should_training_stop = True
            control.should_save = False  # from here one would go on, and not stop here again


class Watch(TrainerCallback):
    """Stops a training at its first gradient or weight that is NaN or infinite, before it is used."""

    def __init__(self, section: str) -> None:
        """Name the learning rate of this section of a recipe in errors."""
        self.section = section

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Called by the trainer once it has the gradients of a step."""
        gradients = [weight.grad for weight in given["model"].parameters() if weight.grad is not None]
        self._check("gradient norm", gradients, state.global_step + 1, args.learning_rate)

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Called by the trainer after each optimiser step."""
        weights = [weight.detach() for weight in given["model"].parameters() if weight.requires_grad]
        self._check("norm of the weights", weights, state.global_step, args.learning_rate)

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Called by the trainer with its log entry."""
        for name, what in (("loss", "loss"), ("grad_norm", "gradient norm")):
            if name in given["logs"]:
                number = torch.tensor(float(given["logs"][name]))
                check_finite(what, number, state.global_step, args.learning_rate, self.section)

    def _check(self, what: str, tensors: list[torch.Tensor], step: int, rate: float) -> None:
        norm = get_total_norm(tensors)
        # Of a sharded model, the norm of the whole is asked for: all processes then stop at the same step.
        check_finite(what, norm.full_tensor() if isinstance(norm, DTensor) else norm, step, rate, self.section)


def check_finite(what: str, number: torch.Tensor, step: int, rate: float, section: str) -> None:
    """Stop a training that diverges: raise DataError if the number is NaN or infinite."""
    if not bool(torch.isfinite(number)):
        raise DataError(
            f"training diverged at step {step}: the {what} is {float(number)}; lower {section}.learning_rate ({rate:g})"
        )
