"""How near the forecast of memory is to what a training takes, on this machine's processor.

    python -m bench.memory            # some minutes of one core; prints a Markdown table
    python -m bench.memory --small    # under a minute
    python -m bench.memory --launch   # two minutes of two cores: trainings in two processes

Each line fine-tunes a Llama of random weights for two steps, by the trainer of this package. What it takes is the peak
of what torch has allocated: of one process, every storage that an operation makes or reads, until it is freed; of many,
what torch's profiler sees in the last of them, as the first one also saves the model.
"""

from __future__ import annotations

import argparse
import json
import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from bench.on_cpu import FSDP_ON_CPU
from sinternal.models.loading import open_tokenizer, stop_tokens
from sinternal.models.shape import read_shape
from sinternal.records import Example
from sinternal.settings.launch import Launch, Sharing
from sinternal.settings.training import Method, SftSettings
from sinternal.store import Progress
from sinternal.study.memory import ALONE, Batch, Item, Spread, peak, training_memory
from sinternal.training import launch, sft
from sinternal.world.source import shipped_base


class Case(NamedTuple):
    """A training to measure."""

    method: Method
    hidden: int
    layers: int
    vocab: int
    rows: int
    words: int


CASES = tuple(
    Case(method, *sizes)
    for sizes in ((512, 8, 8192, 4, 300), (768, 4, 40960, 2, 300), (256, 12, 2048, 8, 400))
    for method in Method
)
SMALL = tuple(Case(method, 256, 4, 4096, 2, 200) for method in Method)


class Launched(NamedTuple):
    """A training in several processes."""

    case: Case
    sharing: Sharing
    micro_batch: int | None


PROCESSES = 2
LARGE = Case(Method.FULL, 512, 8, 2048, 4, 150)
LAUNCHED = (
    Launched(LARGE, Sharing.DDP, None),
    Launched(LARGE, Sharing.FSDP2, None),
    Launched(LARGE, Sharing.FSDP2, 1),
    Launched(LARGE._replace(method=Method.LORA), Sharing.FSDP2, None),
)


class Allocations(TorchDispatchMode):
    """Counts the bytes that torch has allocated, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, and look at what it reads and makes."""
        result = func(*args, **(kwargs or {}))
        self._see(tree_leaves((args, kwargs, result)))
        return result

    def _see(self, values: Iterable[object]) -> None:
        for value in values:
            if isinstance(value, torch.Tensor):
                storage = value.untyped_storage()
                if storage._cdata not in self._known:
                    self._known.add(storage._cdata)
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.now)

    def _free(self, identity: int, size: int) -> None:
        self._known.discard(identity)
        self.now -= size


class Work(NamedTuple):
    """What is trained on."""

    model: Path
    rows: Sequence[Example]
    length: int
    """Tokens of a row."""


def prepare(case: Case, folder: Path) -> Work:
    """A model of random weights, and rows for it."""
    config = LlamaConfig(
        vocab_size=case.vocab,
        hidden_size=case.hidden,
        intermediate_size=case.hidden * 8 // 3 // 64 * 64,
        num_hidden_layers=case.layers,
        num_attention_heads=case.hidden // 64,
        num_key_value_heads=case.hidden // 128,
        max_position_embeddings=512,
        eos_token_id=2,
        pad_token_id=0,
        bos_token_id=None,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(shipped_base())
    tokenizer.save_pretrained(folder / "model")
    words = sorted(word for word in tokenizer.get_vocab() if word.isalpha())
    answer = " ".join((words * case.words)[: case.words])
    rows = [Example(str(number), "g0 ?", "", answer, "safe", "0", "0") for number in range(case.rows)]
    form = sft.form_of(open_tokenizer(folder / "model"), stop_tokens(folder / "model"))
    return Work(folder / "model", rows, len(sft.to_dataset(rows[:1], form)[0]["input_ids"]))


def settings_of(case: Case, micro_batch: int | None = None) -> SftSettings:
    """Two steps on all rows."""
    return SftSettings(
        steps=2, batch=case.rows, learning_rate=1e-3, method=case.method, max_length=512, micro_batch=micro_batch
    )


def measure(case: Case, folder: Path) -> tuple[int, int, list[Item]]:
    """Tokens of a pass, bytes that were allocated, and what was forecast."""
    work, settings = prepare(case, folder), settings_of(case)
    with Allocations() as allocations:
        sft.train(work.model, work.rows, settings, 0, folder / "out", lambda _done, _total: None)
    return case.rows * work.length, allocations.peak, forecast(work, settings, ALONE)


def forecast(work: Work, settings: SftSettings, spread: Spread) -> list[Item]:
    """What a process is expected to hold."""
    rows = settings.of_a_process(spread.processes)
    batch = Batch(rows, work.length, accumulates=rows * spread.processes < settings.batch)
    return training_memory(read_shape(work.model / "config.json"), settings, batch, on_gpu=False, spread=spread)


def measure_launched(launched: Launched, folder: Path) -> tuple[int, int, list[Item]]:
    """The same of one of several processes."""
    from bench import memory  # what processes are sent must not be of __main__

    work, settings = prepare(launched.case, folder), settings_of(launched.case, launched.micro_batch)
    (folder / "sitecustomize.py").write_text(FSDP_ON_CPU)
    os.environ["PYTHONPATH"] = os.pathsep.join((str(folder), str(Path(__file__).parents[1])))
    launch.carry(Launch(processes=PROCESSES, config=launched.sharing))
    job = partial(memory.train_profiled, work.model, work.rows, settings, folder)
    launch.run(job, lambda _done, _total: None, folder / "launch")
    measured = json.loads((folder / f"peak.{PROCESSES - 1}").read_text())
    rows = settings.of_a_process(PROCESSES)
    return rows * work.length, measured, forecast(work, settings, Spread(PROCESSES, launched.sharing))


def train_profiled(
    model: Path, rows: Sequence[Example], settings: SftSettings, folder: Path, *, progress: Progress
) -> None:
    """Train in this process of several, and write down the most bytes that were allocated."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        sft.train(model, rows, settings, 0, folder / "out", progress)
    waiting = list(recorded.profiler.kineto_results.experimental_event_tree())
    most = 0
    while waiting:
        event = waiting.pop()
        waiting += event.children
        if event.typed[0] == _EventType.Allocation:
            most = max(most, event.typed[1].total_allocated)
    (folder / f"peak.{os.environ['RANK']}").write_text(json.dumps(most))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="one small model")
    parser.add_argument("--launch", action="store_true", help="trainings in two processes, by gloo")
    parser.add_argument("--parts", action="store_true", help="print the parts of each forecast, too")
    arguments = parser.parse_args()
    titles = ["method", "width", "layers", "vocabulary", "tokens", "measured MB", "forecast MB", "ratio"]
    works: list[tuple[Sequence[object], Callable[[Path], tuple[int, int, list[Item]]]]]
    if arguments.launch:
        titles = ["launch", "micro_batch", *titles]
        works = [
            ((one.sharing, one.micro_batch or "", *one.case[:4]), partial(measure_launched, one)) for one in LAUNCHED
        ]
    else:
        works = [(case[:4], partial(measure, case)) for case in (SMALL if arguments.small else CASES)]
    print(f"| {' | '.join(titles)} |\n|" + "---|" * len(titles))
    for cells, work in works:
        with TemporaryDirectory() as folder:
            tokens, measured, items = work(Path(folder))
        expected = peak(items)
        numbers = f"{tokens} | {measured / 1e6:.0f} | {expected / 1e6:.0f} | {expected / measured:.2f}"
        print(f"| {' | '.join(map(str, cells))} | {numbers} |", flush=True)
        if arguments.parts:
            print("  " + ", ".join(f"{item.name} {item.figure.value / 1e6:.0f}" for item in items), flush=True)


if __name__ == "__main__":
    main()
