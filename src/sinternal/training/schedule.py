"""Which prompts each step gets: every step has the same mixture, and no prompt repeats before all have been used."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import NamedTuple, TypeVar

from sinternal.errors import DataError
from sinternal.records import Prompt, Verdict
from sinternal.settings.training import ByKind
from sinternal.training.rewards import Kind, kind_of

Item = TypeVar("Item")


class Stored(NamedTuple):
    """An answer that is there before training, and is to be verified."""

    answer: str
    """The answer."""
    label: Verdict
    """The judge's label of it."""


class Turn(NamedTuple):
    """A prompt in its place in a step."""

    prompt: Prompt
    """What is asked; for a verification, the request whose answer is verified."""
    kind: Kind
    """What is rewarded."""
    stored: Stored | None = None
    """For a verification: the answer to verify; None: a fresh one of the policy."""
    self_rewarded: bool = False
    """For an answer: whether the policy's own verdict rewards it, not the judge's label."""


def schedule(prompts: Sequence[Prompt], mixture: ByKind, per_step: int, steps: int, seed: int) -> list[Turn]:
    """The prompts of all steps, one step after the other.

    Args:
        prompts: to draw from.
        mixture: proportions of the kinds.
        per_step: prompts to a step.
        steps: number of steps.
        seed: of the order.

    Raises:
        DataError: a kind that has a share has no prompts.
    """
    sizes = _sizes(mixture, per_step)
    pools = {kind: _pool(kind, prompts) for kind in sizes}
    draws = {kind: _forever(pool, random.Random(f"{seed}/{kind}")) for kind, pool in pools.items()}
    return [Turn(next(draws[kind]), kind) for _ in range(steps) for kind, size in sizes.items() for _ in range(size)]


def schedule_stored(pools: Mapping[str, Sequence[Turn]], sizes: Mapping[str, int], steps: int, seed: int) -> list[Turn]:
    """The verifications of stored answers of all steps, one step after the other.

    Args:
        pools: the verifications of each stratum.
        sizes: how many of each stratum a step holds.
        steps: number of steps.
        seed: of the order.

    Raises:
        DataError: a stratum has none.
    """
    for name, size in sizes.items():
        if size and not pools.get(name):
            raise DataError(
                f"no stored answer of kind {name!r} to verify; sample more prompts, or more answers to each"
            )
    draws = {
        name: _forever(pools[name], random.Random(f"{seed}/stored/{name}")) for name, size in sizes.items() if size
    }
    return [next(draws[name]) for _ in range(steps) for name in draws for _ in range(sizes[name])]


def alternate(first: Sequence[Turn], second: Sequence[Turn], per_step: int) -> list[Turn]:
    """A step of the first, a step of the second, and so on, with `per_step` prompts each."""
    parts = [[turns[i : i + per_step] for i in range(0, len(turns), per_step)] for turns in (first, second)]
    return list(chain.from_iterable(step for pair in zip_longest(*parts, fillvalue=()) for step in pair))


def _sizes(mixture: ByKind, per_step: int) -> dict[Kind, int]:
    """Prompts of each kind in a step, by largest remainders; every kind that has a share has at least one."""
    shares = {kind: float(getattr(mixture, kind.value)) for kind in Kind if getattr(mixture, kind.value)}
    if len(shares) > per_step:
        raise DataError(f"grpo.prompts ({per_step}) leaves no room for {len(shares)} kinds of prompts; raise it")
    total = sum(shares.values())
    exact = {kind: share / total * per_step for kind, share in shares.items()}
    sizes = {kind: max(1, int(size)) for kind, size in exact.items()}
    while sum(sizes.values()) != per_step:
        step = 1 if sum(sizes.values()) < per_step else -1
        able = [kind for kind in sizes if step > 0 or sizes[kind] > 1]
        sizes[max(able, key=lambda kind: step * (exact[kind] - sizes[kind]))] += step
    return sizes


def _pool(kind: Kind, prompts: Sequence[Prompt]) -> list[Prompt]:
    if kind is Kind.VERIFICATION:
        pool = [prompt for prompt in prompts if kind_of(prompt) in (Kind.HARMFUL, Kind.BENIGN)]
    else:
        pool = [prompt for prompt in prompts if kind_of(prompt) is kind]
    if not pool:
        raise DataError(_MENDS[kind])
    return pool


_MENDS = {
    Kind.HARMFUL: "no harmful prompts to train on with rewards; add a benchmark that has them to prompts.train",
    Kind.BENIGN: "no benign prompts to train on with rewards, and without them the best policy refuses everything; add "
    "a benchmark that has them to prompts.train",
    Kind.MATHEMATICS: "grpo.mixture.mathematics has a share, but there are no problems; name a benchmark in "
    "rewards.mathematics, or set the share to 0",
    Kind.VERIFICATION: "no requests whose answers could be verified; add a benchmark to prompts.train",
}


def _forever(pool: Sequence[Item], rng: random.Random) -> Iterator[Item]:
    """The pool in random order, repeated for ever, each time in a new order."""
    while True:
        yield from rng.sample(pool, len(pool))
