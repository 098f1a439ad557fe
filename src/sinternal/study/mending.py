"""How a recipe is made to fit a machine: one sentence for each way that would do it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import ceil

from sinternal.models.shape import Shape
from sinternal.settings.launch import Sharing
from sinternal.settings.training import GrpoSettings, Method, SftSettings, WeightSettings
from sinternal.study import formulas
from sinternal.study.hardware import Hardware, accelerators
from sinternal.study.local import Room, Writer, writing_room
from sinternal.study.memory import Batch, Item, Spread, peak, training_memory

FEWEST = 1024
"""Tokens below which a limit is no way to make a model fit."""


def mend_training(
    shape: Shape,
    settings: SftSettings | GrpoSettings,
    batch: Batch,
    items: Sequence[Item],
    hardware: Hardware,
    limit: float,
    spread: Spread,
) -> str:
    """How a training that does not fit is made to; empty if it fits.

    Args:
        shape: of the model.
        settings: of the training.
        batch: what a forward pass reads.
        items: what is in memory.
        hardware: the machine.
        limit: bytes that a GPU has.
        spread: the processes that train.
    """
    needed = peak(items)
    if needed <= limit:
        return ""
    section = "grpo" if isinstance(settings, GrpoSettings) else "sft"

    def trained(how: WeightSettings, reads: Batch, among: Spread) -> float:
        return peak(training_memory(shape, how, reads, on_gpu=not hardware.is_cpu, spread=among))

    beside = needed - trained(settings, batch, spread)
    ways = []
    for rows in _divisors(batch.rows):
        smaller = replace(batch, rows=rows, accumulates=True)
        if beside + trained(settings, smaller, spread) <= limit:
            ways.append(f"set {section}.micro_batch to {rows}")
            break
    if settings.method is Method.FULL:
        lora = settings.model_copy(update={"method": Method.LORA})
        for rows in (batch.rows, *_divisors(batch.rows)):
            smaller = replace(batch, rows=rows, accumulates=batch.accumulates or rows < batch.rows)
            if beside + trained(lora, smaller, spread) <= limit:
                more = "" if rows == batch.rows else f" and {section}.micro_batch to {rows}"
                ways.append(f"set {section}.method to lora (and a rate for it){more}")
                break
    ways += _spread_ways(
        settings, batch, hardware, spread, lambda reads, among: beside + trained(settings, reads, among) <= limit
    )
    if isinstance(settings, GrpoSettings) and beside > 0:
        ways.append("lower grpo.rollouts.max_tokens, or let a server write the rollouts (grpo.rollouts.engine)")
    elif isinstance(settings, SftSettings) and not ways and batch.length > FEWEST:
        ways.append("lower sft.max_length, if the rows allow it")
    return _join([*ways, *_larger(needed, hardware)])


def _spread_ways(
    settings: SftSettings | GrpoSettings,
    batch: Batch,
    hardware: Hardware,
    spread: Spread,
    fits: Callable[[Batch, Spread], bool],
) -> Iterator[str]:
    """How a training is divided among the GPUs that are there, or else among the fewest that can hold it.

    Args:
        settings: of the training.
        batch: what a forward pass of a process reads.
        hardware: the machine.
        spread: the processes that train now.
        fits: whether a process that reads such a batch fits its GPU.
    """
    if hardware.is_cpu or spread.divides:
        return
    section = "grpo" if isinstance(settings, GrpoSettings) else "sft"
    numbers = [spread.processes] if spread.processes > 1 else [hardware.count * factor for factor in (1, 2, 4, 8)]
    for processes in numbers:
        if processes == 1 or (isinstance(settings, GrpoSettings) and settings.prompts % processes):
            continue
        most = batch.rows if batch.accumulates else ceil(batch.rows * spread.processes / processes)
        for rows in (most, *_divisors(most)):
            reads = replace(batch, rows=rows, accumulates=batch.accumulates or rows < most)
            if names := [way for way in (Sharing.FSDP2, Sharing.ZERO3) if fits(reads, Spread(processes, way))]:
                machine = "" if processes <= hardware.count else f"take {processes}x{hardware.accelerator.name} and "
                other = f" (or {names[1]})" if len(names) > 1 else ""
                more = "" if rows == most else f" and {section}.micro_batch to {rows}"
                yield f"{machine}set launch: {{processes: {processes}, config: {names[0]}}}{other}{more}"
                return


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
