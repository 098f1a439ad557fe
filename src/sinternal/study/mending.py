"""How a recipe is made to fit a machine: one sentence for each way that would do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sinternal.models.shape import Shape
from sinternal.settings.training import GrpoSettings, Method, SftSettings
from sinternal.study import formulas
from sinternal.study.hardware import Hardware, accelerators
from sinternal.study.local import Room, Writer, writing_room
from sinternal.study.memory import Batch, Item, peak, training_memory

FEWEST = 1024
"""Tokens below which a limit is no way to make a model fit."""


def mend_training(
    shape: Shape,
    settings: SftSettings | GrpoSettings,
    batch: Batch,
    items: Sequence[Item],
    hardware: Hardware,
    limit: float,
) -> str:
    """How a training that does not fit is made to; empty if it fits.

    Args:
        shape: of the model.
        settings: of the training.
        batch: what a forward pass reads.
        items: what is in memory.
        hardware: the machine.
        limit: bytes that a GPU has.
    """
    needed = peak(items)
    if needed <= limit:
        return ""
    section = "grpo" if isinstance(settings, GrpoSettings) else "sft"
    on_gpu = not hardware.is_cpu
    beside = needed - peak(training_memory(shape, settings, batch, on_gpu=on_gpu))
    ways = []
    for rows in _divisors(batch.rows):
        smaller = replace(batch, rows=rows, accumulates=True)
        if beside + peak(training_memory(shape, settings, smaller, on_gpu=on_gpu)) <= limit:
            ways.append(f"set {section}.micro_batch to {rows}")
            break
    if settings.method is Method.FULL:
        lora = settings.model_copy(update={"method": Method.LORA})
        for rows in (batch.rows, *_divisors(batch.rows)):
            smaller = replace(batch, rows=rows, accumulates=batch.accumulates or rows < batch.rows)
            if beside + peak(training_memory(shape, lora, smaller, on_gpu=on_gpu)) <= limit:
                more = "" if rows == batch.rows else f" and {section}.micro_batch to {rows}"
                ways.append(f"set {section}.method to lora (and a rate for it){more}")
                break
    if isinstance(settings, GrpoSettings) and beside > 0:
        ways.append("lower grpo.rollouts.max_tokens, or let a server write the rollouts (grpo.rollouts.engine)")
    elif isinstance(settings, SftSettings) and not ways and batch.length > FEWEST:
        ways.append("lower sft.max_length, if the rows allow it")
    return _join([*ways, *_larger(needed, hardware)])


def mend_writing(shape: Shape, writer: Writer, hardware: Hardware, room: Room) -> str:
    """How a model that writes is made to fit; empty if it does."""
    needed = peak(room.items)
    if writer.gpus > hardware.count:
        return f"it uses {writer.gpus} GPUs: take as many, or lower tensor_parallel or concurrency of its engine"
    if room.sequences and needed <= room.limit:
        return ""
    each = writer.bytes_each(shape)
    cached = formulas.kv_bytes_per_token(layers=shape.layers, kv=shape.kv_width, bytes_each=each).value
    cache = next(item.figure.value for item in room.items if item.name == "KV cache")
    left = room.limit - (needed - cache)
    ways = []
    if writer.share is None and writer.side_by_side(shape) > 1:
        fits = int(room.sequences * left / cache) if left > 0 else 0
        if fits:
            ways.append(f"set the engine's {'batch' if writer.engine == 'transformers' else 'parallel'} to {fits}")
    elif (tokens := int(left * writer.split / cached) // FEWEST * FEWEST) >= FEWEST:
        ways.append(f"set the engine's max_model_len to {tokens} or less")
    if writer.share is not None:
        for split in (2, 4, 8):
            wider = replace(writer, split=split)
            if writer.split < split <= hardware.count and shape.heads % split == 0:
                spread = writing_room(shape, wider, hardware, prompt=0, text=shape.context, usual=1, texts=1)
                if spread.sequences:
                    ways.append(f"set the engine's tensor_parallel to {split}")
                    break
    return _join([*ways, *_larger(needed, hardware)])


def _divisors(number: int) -> list[int]:
    """The divisors below a number, the largest first."""
    return [divisor for divisor in range(number - 1, 0, -1) if number % divisor == 0]


def _larger(needed: float, hardware: Hardware) -> list[str]:
    """The accelerator with the least memory that is enough, if the catalogue has one."""
    enough = [kind for kind in accelerators().values() if kind.memory * 0.97 >= needed and kind.name != "cpu"]
    if hardware.is_cpu or not enough:
        return []
    smallest = min(enough, key=lambda kind: kind.memory)
    return [f"take a GPU with more memory ({smallest.name} has {smallest.memory / 1e9:.0f} GB)"]


def _join(ways: Sequence[str]) -> str:
    if not ways:
        return "no setting and no single accelerator that is known here makes it fit: take a smaller model"
    return ", or ".join(ways)
