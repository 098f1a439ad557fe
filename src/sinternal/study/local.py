"""How the engines that run a model on this machine use its GPUs, by their options."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sinternal.engines.local_options import TransformersOptions
from sinternal.models.shape import BYTES, Shape
from sinternal.settings.named_engines import NamedEngine
from sinternal.settings.plugins import EnginePlugin
from sinternal.study import formulas
from sinternal.study.hardware import Hardware
from sinternal.study.memory import Item

LARGE_GPU = 75e9
"""Bytes of a GPU above which vLLM takes more at a time, 70 GiB; an A100 is not among them."""
SERVING_CONTEXT = 500e6
"""Bytes that a GPU's driver and libraries take for each process, before any tensor; ours."""


class Defaults(NamedTuple):
    """What vLLM's `LLM` takes at a time if nobody says otherwise: `EngineArgs.get_batch_defaults`."""

    sequences: int
    """Texts side by side (`max_num_seqs`)."""
    chunk: int
    """Tokens read in one pass (`max_num_batched_tokens`)."""


def vllm_defaults(hardware: Hardware) -> Defaults:
    """What vLLM takes at a time on a machine."""
    kind = hardware.accelerator
    large = kind.memory >= LARGE_GPU and not kind.name.startswith("A100") and not hardware.is_cpu
    return Defaults(1024, 16384) if large else Defaults(256, 8192)


@dataclass(frozen=True)
class Writer:
    """An engine that runs a model here."""

    engine: str
    """Its name."""
    sequences: int | None
    """Texts written side by side at most, by each copy of the model; None: as the model's size asks for."""
    split: int = 1
    """GPUs that a copy is spread over."""
    copies: int = 1
    """Copies of the model."""
    share: float | None = None
    """Share of a GPU's memory that it takes whatever it needs; None: what it needs."""
    longest: int | None = None
    """Tokens of the longest text with its prompt that it makes room for; None: what the model was made for."""
    dtype: str | None = None
    """Type of the weights; None: as stored."""

    @property
    def gpus(self) -> int:
        """GPUs that it uses."""
        return self.split * self.copies

    def side_by_side(self, shape: Shape) -> int:
        """Texts written side by side at most."""
        return self.sequences or TransformersOptions(batch=None).side_by_side(shape.parameters)

    def bytes_each(self, shape: Shape) -> int:
        """Bytes of a weight, and of a number in the cache."""
        return shape.bytes_each if self.dtype is None else BYTES[self.dtype]

    def kept(self, shape: Shape, length: int) -> int:
        """Tokens that room must be left for: of the longest text if it reserves that, else of these texts."""
        most = min(self.longest or shape.context, shape.context)
        return most if self.share is not None else min(length, most)


def writer_of(engine: NamedEngine, hardware: Hardware) -> Writer | None:
    """How an engine uses GPUs; None if it uses none here, or is a plug-in of which nothing is known."""
    # The options are the engine's own class, which is not imported here: some bring a client library with them.
    options: Any = EnginePlugin(name=engine.name, options=dict(engine.options)).validated_options
    match engine.name:
        case "transformers":
            return Writer(engine.name, options.batch)
        case "llamacpp":
            return Writer(engine.name, options.parallel, longest=options.context)
        case "vllm":
            return Writer(
                engine.name,
                vllm_defaults(hardware).sequences,
                split=options.tensor_parallel,
                share=options.gpu_memory_utilization,
                longest=options.max_model_len,
                dtype=None if options.dtype == "auto" else options.dtype,
            )
        case "ray":
            worker = writer_of(NamedEngine(options.worker.name, options.worker.options, None), hardware)
            return None if worker is None else replace(worker, copies=options.concurrency)
    return None


@dataclass(frozen=True)
class Room:
    """What a model that writes has in memory."""

    items: list[Item]
    """The parts, on each GPU."""
    sequences: int
    """Texts that are written side by side; 0 if there is room for none."""
    limit: float
    """Bytes that it may take of each GPU."""


def writing_room(
    shape: Shape, writer: Writer, hardware: Hardware, *, prompt: int, text: int, usual: int, texts: int
) -> Room:
    """What a model that writes needs of each GPU, and how many texts it writes side by side.

    Args:
        shape: of the model.
        writer: the engine.
        hardware: the machine.
        prompt: tokens of a prompt.
        text: the most tokens of a text.
        usual: tokens that a text and its prompt mostly have, by which a cache that grows page by page is filled.
        texts: how many are to be written.
    """
    each = writer.bytes_each(shape)
    limit = hardware.accelerator.memory - (0 if hardware.is_cpu else SERVING_CONTEXT)
    most = max(1, min(writer.side_by_side(shape), texts))
    width = shape.intermediate * max(1, shape.experts_per_token)
    weights = formulas.weight_bytes(parameters=shape.parameters / writer.split, bytes_each=each)
    forward = formulas.forward_bytes(
        tokens=vllm_defaults(hardware).chunk if writer.share is not None else most * prompt,
        hidden=shape.hidden,
        intermediate=width,
        split=writer.split,
        bytes_each=each,
        rows=most,
        vocab=shape.vocab,
    )
    cached = formulas.kv_bytes_per_token(layers=shape.layers, kv=shape.kv_width, bytes_each=each).value
    kept = writer.kept(shape, prompt + text)
    items = [Item("weights", weights), Item("first pass", forward)]
    if writer.share is None:
        cache = formulas.cache_bytes(sequences=most, tokens=kept, per_token=cached, split=writer.split)
        return Room([*items, Item("KV cache", cache)], most, limit)
    limit = min(limit, writer.share * hardware.accelerator.memory)
    left = formulas.cache_left_bytes(
        share=writer.share, memory=hardware.accelerator.memory, taken=weights.value + forward.value
    )
    one = formulas.cache_bytes(sequences=1, tokens=kept, per_token=cached, split=writer.split)
    if left.value < one.value:
        return Room([*items, Item("KV cache", one)], 0, limit)
    side_by_side = int(left.value * writer.split / (cached * min(usual, kept)))
    return Room([*items, Item("KV cache", left)], max(1, min(most, side_by_side)), limit)
