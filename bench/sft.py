"""How fast a step of fine-tuning is: ours against TRL's own SFTTrainer, on the same rows, with the same loss.

    python -m bench.sft                                                                        # a Llama of 3 M, CPU
    python -m bench.sft --model microworld --batch 8 --length 60 --longest 200
    python -m bench.sft --model Qwen/Qwen2.5-1.5B --length 900 --longest 6144 --peak 989       # one GPU

Both see rows of the same random tokens, whose lengths are log-normal, in the same steps; both optimise the mean loss
over the target tokens of a step. They are timed by turns in one process, without their first step, and it is an error
if their logged losses differ. What counts is the number of tokens that are no padding; the limit is 6 operations for
each of them and each weight, at the device's peak: without recomputation, attention, or what padding takes.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback, set_seed
from trl import SFTTrainer

from bench import limits
from bench.harness import Result, Times, compare, cpu_seconds, turns
from bench.llama import random_llama
from sinternal.models.loading import open_tokenizer
from sinternal.models.resolve import resolve_model
from sinternal.settings.training import Method, SftSettings
from sinternal.training.batches import cut, draw
from sinternal.training.sft import IGNORED, _arguments, _Trainer
from sinternal.training.weights import open_model

GOAL = 1.3
SAME = 1e-3
"""What logged losses may differ by: sums are added in another order, and logs are rounded."""


class Timing(NamedTuple):
    """One training."""

    wall: float
    """Seconds of all steps but the first one."""
    cpu: float
    """CPU seconds of them."""
    losses: list[float]
    """As logged, of every step."""


class Clock(TrainerCallback):
    """Notes when steps end."""

    def __init__(self) -> None:
        """Start with none."""
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer after each optimiser step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.wall.append(time.perf_counter())
        self.cpu.append(cpu_seconds())


def rows_of(count: int, length: int, spread: float, longest: int, words: int) -> Dataset:
    """Rows of random tokens; the second half of each is under the loss."""
    generator = torch.Generator().manual_seed(0)
    lengths = (math.log(length) + spread * torch.randn(count, generator=generator)).exp().clamp(8, longest).int()
    rows = [torch.randint(0, words, (int(size),), generator=generator).tolist() for size in lengths]
    labels = [[IGNORED] * (len(ids) // 2) + ids[len(ids) // 2 :] for ids in rows]
    return Dataset.from_dict({"input_ids": rows, "labels": labels})


def train(folder: Path, rows: Dataset, settings: SftSettings, *, ours: bool = True) -> Timing:
    """Train once, by our trainer or by TRL's."""
    set_seed(0)
    clock = Clock()
    with tempfile.TemporaryDirectory() as out:
        arguments = _arguments(settings, 0, Path(out))
        arguments.logging_steps = 1
        common = {
            "model": open_model(folder, settings, keep=False).model,
            "args": arguments,
            "train_dataset": rows,
            "processing_class": open_tokenizer(folder),
            "callbacks": [clock],
        }
        if ours:
            trainer = _Trainer(settings=settings, **common)
        else:
            micro = settings.micro_batch or settings.batch
            arguments.per_device_train_batch_size = micro
            arguments.gradient_accumulation_steps = settings.batch // micro
            trainer = SFTTrainer(**common)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return Timing(clock.wall[-1] - clock.wall[0], clock.cpu[-1] - clock.cpu[0], losses)


def padding(steps: Sequence[Sequence[Sequence[int]]], lengths: Sequence[int]) -> float:
    """The share of padding in what goes through the model."""
    padded = sum(len(part) * max(lengths[row] for row in part) for parts in steps for part in parts)
    return 1 - sum(lengths[row] for parts in steps for part in parts for row in part) / padded


def measure(folder: Path, rows: Dataset, settings: SftSettings, tokens: int, repeats: int) -> dict[str, Times]:
    """Both trainers, by turns.

    Args:
        folder: the model.
        rows: what is trained on.
        settings: how.
        tokens: of all steps but the first one, without padding.
        repeats: how often.
    """
    times = {name: Times([], [], []) for name in ("ours", "trl")}
    losses: dict[str, list[float]] = {}
    for name in turns(times, repeats):
        timing = train(folder, rows, settings, ours=name == "ours")
        times[name].wall.append(timing.wall)
        times[name].cpu.append(timing.cpu)
        times[name].done.append(tokens)
        losses[name] = timing.losses
    if len(losses["ours"]) != settings.steps or _difference(losses) > SAME:
        sys.exit(f"the losses differ: {losses}")
    return times


def _difference(losses: dict[str, list[float]]) -> float:
    return max(abs(a - b) for a, b in zip(losses["ours"], losses["trl"], strict=True))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random", help="random (a small Llama), a folder, a hub id or a source")
    parser.add_argument("--method", default=Method.FULL, type=Method, choices=list(Method))
    parser.add_argument("--batch", default=32, type=int)
    parser.add_argument("--micro-batch", default=4, type=int)
    parser.add_argument("--steps", default=6, type=int)
    parser.add_argument("--repeats", default=3, type=int)
    parser.add_argument("--length", default=120, type=int, help="median tokens of a row")
    parser.add_argument("--spread", default=0.7, type=float, help="standard deviation of the logarithm of the length")
    parser.add_argument("--longest", default=800, type=int)
    parser.add_argument("--peak", type=float, help="of a GPU, in TFLOP/s of the trainer's precision")
    given = parser.parse_args()
    settings = SftSettings(
        method=given.method,
        steps=given.steps,
        batch=given.batch,
        micro_batch=given.micro_batch,
        learning_rate=1e-5,
        max_length=given.longest,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(random_llama(Path(temporary))) if given.model == "random" else resolve_model(given.model)
        words = len(open_tokenizer(folder))
        rows = rows_of(given.batch * given.steps, given.length, given.spread, given.longest, words)
        lengths = [len(ids) for ids in rows["input_ids"]]
        drawn = list(islice(draw(len(lengths), settings.batch, 0), settings.steps))
        tokens = sum(lengths[row] for step in drawn[1:] for row in step)
        weights = sum(weight.numel() for weight in open_model(folder, settings, keep=False).model.parameters())
        times = measure(folder, rows, settings, tokens, given.repeats)
    on_gpu = torch.cuda.is_available()
    peak = given.peak * 1e12 if given.peak else None if on_gpu else limits.flops() / torch.get_num_threads()
    result = Result("sft")
    result.rows.append(
        compare(
            f"{given.model}, {weights / 1e6:.3g} M weights, {given.batch} rows a step, {given.micro_batch} a pass",
            times["ours"],
            times["trl"],
            "plain TRL",
            "tokens/s",
            GOAL,
            by_cpu=not on_gpu,
            limit=peak / 6 / weights if peak else None,
        )
    )
    ours = padding([cut(step, lengths, settings.micro_batch) for step in drawn], lengths)
    micro = given.micro_batch
    plain = padding([[step[i : i + micro] for i in range(0, len(step), micro)] for step in drawn], lengths)
    device = torch.cuda.get_device_name() if on_gpu else "the processor"
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl"))
    result.notes += [
        f"the losses of all {settings.steps} steps agree within {SAME:g}",
        f"padding is {ours:.0%} of what goes through the model, by plain TRL {plain:.0%}",
        f"{settings.method} fine-tuning on {device}, {versions}",
    ]
    result.print()


if __name__ == "__main__":
    main()
