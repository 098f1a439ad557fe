"""Sampling on the CPU: the engine `transformers` against vLLM, which the engine `vllm` runs.

    make test-vllm                                            # makes the environment, .venv-vllm
    .venv-vllm/bin/python -m bench.vllm                       # the microworld's base, and SmolLM2 if it was fetched
    .venv-vllm/bin/python -m bench vllm                       # the same, written into docs/performance.md
    .venv-vllm/bin/python -m bench.vllm --models microworld --texts 8 --max-tokens 16 --repeats 1 --eager

Both draw at temperature 1 from the same prompts, of mixed lengths, in float32, as many side by side as each likes, and
texts end where the model ends them. The texts differ, as the generators of random numbers do: what counts is tokens in
a second. vLLM computes in processes of its own, so that CPU seconds are counted here, over all of them. It compiles the
model first, which is not counted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import psutil

from bench.harness import Result, Work, compare, side_by_side
from bench.sampling import questions
from sinternal.engines import Engine, Request
from sinternal.engines.local_options import TransformersOptions, VllmOptions
from sinternal.engines.transformers import TransformersEngine
from sinternal.engines.vllm import VllmEngine
from sinternal.errors import ModelError
from sinternal.settings.sampling import Sampling

GOAL = 1.0
TEXTS = {"microworld": 2000, "smollm2": 32}


@dataclass
class Metered:
    """Work that notes the CPU seconds of this process and all that it has started, each time."""

    work: Work
    cpu: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        """Do the work."""
        before = cpu_seconds()
        done = self.work()
        self.cpu.append(cpu_seconds() - before)
        return done


def cpu_seconds() -> float:
    """Of this process and of all that descend from it and live."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))


def writes(engine: Engine, requests: Sequence[Request], sampling: Sampling) -> Work:
    """The engine's texts; how many tokens they have."""
    return lambda: float(sum(text.tokens or 0 for text in engine.generate(requests, sampling, 0)))


def measure(result: Result, model: str, texts: int, sampling: Sampling, options: VllmOptions, repeats: int) -> None:
    """The rows of a model."""
    requests = questions(model, texts)
    ours = TransformersEngine(model, TransformersOptions())
    theirs = VllmEngine(model, options)
    try:
        ways = {
            "ours": Metered(writes(ours, requests, sampling)),
            "vllm": Metered(writes(theirs, requests, sampling)),
        }
        times = side_by_side(ways, repeats)
    finally:
        theirs.close()
        ours.close()
    mine, other = (replace(times[name], cpu=way.cpu[-repeats:]) for name, way in ways.items())
    for by_cpu in (True, False):
        what = f"{texts} texts by {model}, {'CPU' if by_cpu else 'wall'}"
        result.rows.append(compare(what, mine, other, "vLLM", "tokens/s", GOAL, by_cpu=by_cpu))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(TEXTS), help="microworld, smollm2 or folders")
    parser.add_argument("--texts", type=int, help="texts by each; by default 2,000 by the microworld and 32 by others")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=float, default=0.2, help="share of the main memory that vLLM takes")
    parser.add_argument("--eager", action="store_true", help="let vLLM start without compiling")
    args = parser.parse_args()
    options = VllmOptions(gpu_memory_utilization=args.memory, enforce_eager=args.eager)
    sampling = Sampling(temperature=1.0, max_tokens=args.max_tokens)
    result = Result("vllm")
    for model in args.models:
        texts = args.texts or TEXTS.get(model, TEXTS["smollm2"])
        try:
            measure(result, model, texts, sampling, options, args.repeats)
        except ModelError as error:
            result.notes.append(f"not measured: {error}")
    result.print()


if __name__ == "__main__":
    sys.exit(main())
