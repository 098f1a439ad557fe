"""Which rows fine-tuning sees at each step, and how the rows of a step are cut into forward passes.

Which rows form a step depends on nothing but the seed; the loss is the mean over all target tokens of the step, however
they are cut. So cutting is free to save time: rows of similar length go together, because every row of a forward pass
is padded to the longest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, inf
from typing import NamedTuple

import torch

PASS = 4096
"""What one more forward and backward pass costs, in padded tokens. An estimate: 120 kernels for each of 30 layers, at
10 µs a launch, take the time in which an H100 at 40 % of its peak computes 1,600 tokens of a model of 1.5 B, and 18,000
of one of 135 M."""

Part = list[int]
"""Rows that go through the model together."""


class Share(NamedTuple):
    """What one process computes in one forward pass."""

    rows: Part
    """Its rows; one, which then is `idle`, if there are not enough for all processes."""
    idle: bool = False
    """Whether nothing is learned from them: a sharded model needs every process in every pass."""


def draw(rows: int, batch: int, seed: int) -> Iterator[Part]:
    """The rows of each step, without end: every pass over all rows has an order of its own, its last step may be small.

    Args:
        rows: of the set.
        batch: rows to a step.
        seed: of the order; passes count on from it.
    """
    passes = 0
    while True:
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed + passes)).tolist()
        yield from (order[start : start + batch] for start in range(0, rows, batch))
        passes += 1


def cut(rows: Sequence[int], lengths: Sequence[int], most: int | None = None, processes: int = 1) -> list[Part]:
    """Cut a step into the parts that together cost least.

    A part costs its padded tokens and `PASS`. The rows are sorted by length, and the best cuts among them are found by
    dynamic programming.

    Args:
        rows: of the step, in the order in which they were drawn, which they keep within a part.
        lengths: of every row of the set, in tokens.
        most: rows that one process takes in one part.
        processes: that share each part.

    Returns:
        The parts, the one with the longest rows first.
    """
    ordered = sorted(rows, key=lambda row: -lengths[row])
    widest = len(rows) if most is None else min(len(rows), most * processes)
    costs, starts = [0.0], [0]
    for end in range(1, len(ordered) + 1):
        least, at = inf, 0
        for start in range(max(0, end - widest), end):
            padded = lengths[ordered[start]] * ceil((end - start) / processes)
            if (cost := costs[start] + padded + PASS) < least:
                least, at = cost, start
        costs.append(least)
        starts.append(at)
    parts, end = [], len(ordered)
    while end:
        chosen = set(ordered[starts[end] : end])
        parts.append([row for row in rows if row in chosen])
        end = starts[end]
    return parts[::-1]


def share(part: Part, lengths: Sequence[int], processes: int, process: int) -> Share:
    """The share of a part that one process takes: rows as long as those of the others.

    Args:
        part: the rows of all processes.
        lengths: of every row of the set, in tokens.
        processes: in all.
        process: number of this one.
    """
    if processes == 1:
        return Share(part)
    own = set(sorted(part, key=lambda row: -lengths[row])[process::processes])
    return Share([row for row in part if row in own]) if own else Share(part[:1], idle=True)
