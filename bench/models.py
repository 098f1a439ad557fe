"""How sampling and fine-tuning slow down as models grow, beside what one core could do at most.

    python -m bench.models                                  # 0.4 M to 136 M parameters
    python -m bench.models --models microworld 256x4        # the microworld's base; a Llama 256 wide, 4 layers deep

All but the microworld are Llamas of random weights. Everything computes on one thread, in float32, so that CPU seconds
and the limits of `bench/limits.py` are of the same core. Every model is given the same work: it is sized for the
largest, so that small ones spend a good part of theirs outside of the model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch

from bench import limits
from bench.harness import Line, Panel, Result, Row, Times, alone, side_by_side
from bench.llama import random_llama
from bench.sampling import generator_length, ours, questions
from bench.sft import rows_of, train
from sinternal.engines.local_options import TransformersOptions
from sinternal.engines.transformers import TransformersEngine
from sinternal.models.resolve import resolve_model
from sinternal.settings.sampling import Sampling
from sinternal.settings.training import Method, SftSettings

MODELS = ("microworld", "256x4", "384x6", "512x10", "768x20")
UNIT = "tokens/s"


class Size(NamedTuple):
    """One model, measured."""

    parameters: int
    sampling: Row
    training: Row


def sampling(folder: str, name: str, args: argparse.Namespace) -> tuple[int, Row]:
    """Its parameters, and how fast it writes."""
    engine = TransformersEngine(folder, TransformersOptions())
    requests = questions("microworld", args.texts)
    work = ours(engine, requests, Sampling(temperature=1.0, max_tokens=args.max_tokens))
    times = side_by_side({"ours": work}, args.repeats, warm=False)["ours"]
    prompt = sum(generator_length(engine, request) for request in requests) / len(requests)
    context = int(prompt + times.done[0] / args.texts / 2)
    model = engine.generator.model
    limit = limits.decoding(model, min(engine.generator.slots, args.texts), context)
    return sum(weight.numel() for weight in model.parameters()), alone(f"sampling, {name}", times, UNIT, limit=limit)


def training(folder: str, name: str, parameters: int, args: argparse.Namespace) -> Row:
    """How fast steps of full fine-tuning are."""
    settings = SftSettings(method=Method.FULL, steps=args.steps, batch=args.rows, learning_rate=1e-5, max_length=256)
    rows = rows_of(args.rows * args.steps, args.tokens, 0.0, args.tokens, 300)
    step = args.rows * args.tokens
    timings = [train(Path(folder), rows, settings) for _ in range(args.repeats)]
    done = [float(step * (args.steps - 1))] * len(timings)
    times = Times([timing.wall for timing in timings], [timing.cpu for timing in timings], done)
    return alone(f"fine-tuning, {name}", times, UNIT, limit=limits.training(parameters, step))


def measure(name: str, args: argparse.Namespace) -> Size:
    """One model."""
    with TemporaryDirectory() as temporary:
        if name == "microworld":
            folder = str(resolve_model(name))
        else:
            hidden, layers = map(int, name.split("x"))
            folder = random_llama(Path(temporary), hidden, layers)
        parameters, written = sampling(folder, name, args)
        return Size(parameters, written, training(folder, name, parameters, args))


def panels(sizes: Sequence[Size]) -> list[Panel]:
    """Tokens in a second over parameters."""

    def panel(title: str, rows: Sequence[Row]) -> Panel:
        measured, limit = [], []
        for size, row in zip(sizes, rows, strict=True):
            assert row.limit
            measured.append((float(size.parameters), row.ours))
            limit.append((float(size.parameters), row.ours / row.limit))
        lines = [Line("sinternal", measured), Line("limit of the core", limit)]
        return Panel(title, "parameters", "tokens per CPU second", lines)

    return [
        panel("sampling", [size.sampling for size in sizes]),
        panel("step of fine-tuning", [size.training for size in sizes]),
    ]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="microworld, or WIDTHxDEPTH of a Llama")
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--rows", type=int, default=8, help="of a step of fine-tuning")
    parser.add_argument("--tokens", type=int, default=128, help="of such a row")
    parser.add_argument("--steps", type=int, default=3, help="of which the first one is not timed")
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sizes = [measure(name, args) for name in args.models]
    torch.set_num_threads(threads)
    result = Result("models", panels=panels(sizes))
    result.rows += [row for size in sizes for row in (size.sampling, size.training)]
    known = (f"{name} has {size.parameters / 1e6:.3g} M" for name, size in zip(args.models, sizes, strict=True))
    result.notes.append(f"parameters: {', '.join(known)}")
    result.notes.append(
        f"{args.texts} texts of at most {args.max_tokens} tokens; steps of {args.rows} rows of {args.tokens} tokens"
    )
    result.print()


if __name__ == "__main__":
    main()
