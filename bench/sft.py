"""How fast a step of fine-tuning is: ours against TRL's own SFTTrainer, on the same rows, with the same loss.

    python bench/sft.py --model Qwen/Qwen2.5-1.5B --batch 32 --micro-batch 4 --peak 989      # one GPU
    python bench/sft.py --batch 8 --micro-batch 4 --steps 3 --repeats 2 --length 60 --longest 200  # the microworld, CPU

Both see rows of the same random tokens, whose lengths are log-normal, in the same steps; both optimise the mean loss
over the target tokens of a step. They are timed by turns in one process, without their first step, and the last line
is JSON: seconds a step, the ratio TRL / ours of each turn (its median and range), the share of padding, the largest
difference of a logged loss, and the share of the peak that is used for tokens that are no padding (6 operations for
each weight and token; without recomputation, attention, or what padding takes).
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback, set_seed
from trl import SFTTrainer

from sinternal.models.loading import open_tokenizer
from sinternal.models.resolve import resolve_model
from sinternal.settings.training import Method, SftSettings
from sinternal.training.batches import cut, draw
from sinternal.training.sft import IGNORED, _arguments, _Trainer
from sinternal.training.weights import open_model


class Timing(NamedTuple):
    """One training."""

    seconds: float
    """A step, on average without the first one."""
    losses: list[float]
    """As logged."""


class Clock(TrainerCallback):
    """Notes when steps end."""

    def __init__(self) -> None:
        """Start with none."""
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer after each optimiser step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def rows_of(count: int, length: int, spread: float, longest: int, words: int) -> Dataset:
    """Rows of random tokens; the second half of each is under the loss."""
    generator = torch.Generator().manual_seed(0)
    lengths = (math.log(length) + spread * torch.randn(count, generator=generator)).exp().clamp(8, longest).int()
    rows = [torch.randint(0, words, (int(size),), generator=generator).tolist() for size in lengths]
    labels = [[IGNORED] * (len(ids) // 2) + ids[len(ids) // 2 :] for ids in rows]
    return Dataset.from_dict({"input_ids": rows, "labels": labels})


def trained(ours: bool, folder: Path, rows: Dataset, settings: SftSettings) -> Timing:
    """Train once."""
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
    return Timing((clock.ends[-1] - clock.ends[0]) / (len(clock.ends) - 1), losses)


def padding(steps: Sequence[Sequence[Sequence[int]]], lengths: Sequence[int]) -> float:
    """The share of padding in what goes through the model."""
    padded = sum(len(part) * max(lengths[row] for row in part) for parts in steps for part in parts)
    return 1 - sum(lengths[row] for parts in steps for part in parts for row in part) / padded


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="microworld", help="a model directory, a Hugging Face id or a source")
    parser.add_argument("--method", default=Method.LORA, type=Method, choices=list(Method))
    parser.add_argument("--batch", default=32, type=int)
    parser.add_argument("--micro-batch", type=int, help="default: no limit; TRL then takes a whole batch at once")
    parser.add_argument("--steps", default=12, type=int)
    parser.add_argument("--repeats", default=5, type=int)
    parser.add_argument("--length", default=900, type=int, help="median tokens of a row")
    parser.add_argument("--spread", default=0.7, type=float, help="standard deviation of the logarithm of the length")
    parser.add_argument("--longest", default=6144, type=int)
    parser.add_argument("--peak", type=float, help="the device's peak, in TFLOP/s of the trainer's precision")
    given = parser.parse_args()
    settings = SftSettings(
        method=given.method,
        steps=given.steps,
        batch=given.batch,
        micro_batch=given.micro_batch,
        learning_rate=1e-5,
        max_length=given.longest,
    )
    folder = resolve_model(given.model)
    rows = rows_of(given.batch * given.steps, given.length, given.spread, given.longest, len(open_tokenizer(folder)))
    lengths = [len(ids) for ids in rows["input_ids"]]
    drawn = list(islice(draw(len(lengths), settings.batch, 0), settings.steps))
    micro = settings.micro_batch or settings.batch
    plain = [[step[i : i + micro] for i in range(0, len(step), micro)] for step in drawn]
    weights = sum(weight.numel() for weight in open_model(folder, settings, keep=False).model.parameters())
    timed: dict[str, list[Timing]] = {"ours": [], "trl": []}
    for repeat in range(given.repeats):
        for name in sorted(timed, reverse=bool(repeat % 2)):
            timed[name].append(trained(name == "ours", folder, rows, settings))
            print(f"{repeat + 1}/{given.repeats} {name}: {timed[name][-1].seconds:.3f} s a step", flush=True)
    ratios = [theirs.seconds / ours.seconds for ours, theirs in zip(timed["ours"], timed["trl"], strict=True)]
    operations = 6 * weights * sum(lengths[row] for step in drawn[1:] for row in step) / (len(drawn) - 1)
    seconds = {name: median(timing.seconds for timing in timings) for name, timings in timed.items()}
    print(
        json.dumps(
            {
                "model": given.model,
                "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
                "settings": settings.model_dump(mode="json"),
                "seconds": {name: [timing.seconds for timing in timings] for name, timings in timed.items()},
                "ratio": {"median": median(ratios), "least": min(ratios), "most": max(ratios)},
                "tflops": {name: operations / each / 1e12 for name, each in seconds.items()},
                "mfu": {
                    name: operations / each / 1e12 / given.peak if given.peak else None
                    for name, each in seconds.items()
                },
                "padding": {
                    "ours": padding([cut(step, lengths, settings.micro_batch) for step in drawn], lengths),
                    "trl": padding(plain, lengths),
                },
                "loss_difference": max(
                    abs(a - b) for a, b in zip(timed["ours"][0].losses, timed["trl"][0].losses, strict=True)
                ),
                "versions": {name: version(name) for name in ("torch", "transformers", "trl")},
            }
        )
    )


if __name__ == "__main__":
    main()
