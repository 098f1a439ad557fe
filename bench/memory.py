"""How near the forecast of memory is to what a training takes, on this machine's processor.

    python bench/memory.py            # some minutes of one core; prints a Markdown table
    python bench/memory.py --small    # under a minute

Each line fine-tunes a Llama of random weights for two steps, by the trainer of this package. What it takes is the peak
of what torch has allocated: every storage that an operation makes or reads, until it is freed.
"""

from __future__ import annotations

import argparse
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from sinternal.models.loading import open_tokenizer, stop_tokens
from sinternal.models.shape import read_shape
from sinternal.records import Example
from sinternal.settings.training import Method, SftSettings
from sinternal.study.memory import Batch, Item, peak, training_memory
from sinternal.training import sft
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


def measure(case: Case, folder: Path) -> tuple[int, int, list[Item]]:
    """Tokens of a row, bytes that were allocated, and what was forecast."""
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
    length = len(sft.to_dataset(rows[:1], form)[0]["input_ids"])
    settings = SftSettings(steps=2, batch=case.rows, learning_rate=1e-3, method=case.method, max_length=512)
    with Allocations() as allocations:
        sft.train(folder / "model", rows, settings, 0, folder / "out", lambda _done, _total: None)
    shape = read_shape(folder / "model/config.json")
    return length, allocations.peak, training_memory(shape, settings, Batch(case.rows, length), on_gpu=False)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="one small model")
    parser.add_argument("--parts", action="store_true", help="print the parts of each forecast, too")
    arguments = parser.parse_args()
    print("| method | width | layers | vocabulary | tokens | measured MB | forecast MB | ratio |\n|" + "---|" * 8)
    for case in SMALL if arguments.small else CASES:
        with TemporaryDirectory() as folder:
            length, measured, items = measure(case, Path(folder))
        forecast = peak(items)
        cells = (case.method, case.hidden, case.layers, case.vocab, case.rows * length)
        numbers = f"{measured / 1e6:.0f} | {forecast / 1e6:.0f} | {forecast / measured:.2f}"
        print(f"| {' | '.join(map(str, cells))} | {numbers} |", flush=True)
        if arguments.parts:
            print("  " + ", ".join(f"{item.name} {item.figure.value / 1e6:.0f}" for item in items), flush=True)


if __name__ == "__main__":
    main()
