"""Which prompts share a run of 13 words with evaluation prompts.

Runs are compared by two hashes of 64 bits each, so that millions of them fit into memory; that two different runs have
both in common is as good as impossible, as it is for two ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sinternal.figures.contamination import GRAM, words_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]
    Mask = NDArray[np.bool_]

Texts = Sequence[str]
"""Of one prompt, what is its own; see `own_texts`."""
TOGETHER = 1024
"""Prompts whose words are in memory at once."""
MULTIPLIERS = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
"""Odd numbers whose powers weigh the words of a run, for its two hashes."""
LEAST_BITS, MOST_BITS = 10, 26
"""Logarithm of the size of the table that tells of most hashes at once that they are not there."""


class _Runs(NamedTuple):
    """The runs of words of some texts."""

    hashes: Hashes
    """A hash of each."""
    checks: Hashes
    """Another."""
    owners: NDArray[np.int64]
    """Number of the text of each."""


def overlapping(prompts: Iterable[Texts], evaluation: Iterable[Texts]) -> Mask:
    """Which prompts share a run of 13 words with an evaluation prompt or, if they are shorter, its whole text.

    All are compared by what is their own: an encoding hides nothing, and an attack that tuning is to see is no overlap.

    Args:
        prompts: to be compared.
        evaluation: with what.

    Returns:
        For each prompt whether it does.
    """
    known = _Known(evaluation)
    shared = [np.zeros(0, dtype=np.bool_)]
    for batch in _batches(prompts):
        owners = np.repeat(np.arange(len(batch)), [len(texts) for texts in batch])
        runs = _hash_runs(list(chain.from_iterable(batch)))
        share = np.zeros(len(batch), dtype=np.bool_)
        share[owners[runs.owners[known.contain(runs)]]] = True
        shared.append(share)
    return np.concatenate(shared)


class _Known:
    """The runs of words of evaluation prompts."""

    def __init__(self, evaluation: Iterable[Texts]) -> None:
        runs = [_hash_runs(list(chain.from_iterable(batch))) for batch in _batches(evaluation)]
        hashes = np.concatenate([np.zeros(0, np.uint64), *(each.hashes for each in runs)])
        self.hashes, first = np.unique(hashes, return_index=True)
        self.checks = np.concatenate([np.zeros(0, np.uint64), *(each.checks for each in runs)])[first]
        bits = min(max((16 * len(self.hashes)).bit_length(), LEAST_BITS), MOST_BITS)
        self.shift = np.uint64(64 - bits)
        self.may_be = np.zeros(1 << bits, dtype=np.bool_)
        self.may_be[self.hashes >> self.shift] = True

    def contain(self, runs: _Runs) -> NDArray[np.int64]:
        """Places of the runs that are among them."""
        places = np.flatnonzero(self.may_be[runs.hashes >> self.shift])
        if not len(self.hashes):
            return places
        at = np.minimum(np.searchsorted(self.hashes, runs.hashes[places]), len(self.hashes) - 1)
        known = (self.hashes[at] == runs.hashes[places]) & (self.checks[at] == runs.checks[places])
        return np.extract(known, places)


def _hash_runs(texts: Sequence[str]) -> _Runs:
    """The runs that `figures.contamination.grams` makes of each text."""
    words = [words_of(text) for text in texts]
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    hashed = np.fromiter(map(hash, chain.from_iterable(words)), np.int64, int(lengths.sum())).view(np.uint64)
    text_of_word = np.repeat(np.arange(len(words)), lengths)
    number = max(0, len(hashed) - GRAM + 1)
    within = text_of_word[:number] == text_of_word[len(hashed) - number :]
    weighed = (_weigh(hashed, number, multiplier)[within] for multiplier in MULTIPLIERS)
    short = np.flatnonzero(lengths < GRAM)
    wholes = (
        np.array([hash((salt, *words[i])) for i in short.tolist()], dtype=np.int64).view(np.uint64)
        for salt in MULTIPLIERS
    )
    hashes, checks = (np.concatenate(parts) for parts in zip(weighed, wholes, strict=True))
    return _Runs(hashes, checks, np.concatenate([text_of_word[:number][within], short]))


def _weigh(words: Hashes, number: int, multiplier: int) -> Hashes:
    """A hash of each run of words, from those of the words: a sum weighed by powers, modulo 2^64."""
    total = np.zeros(number, dtype=np.uint64)
    for place in range(GRAM):
        total += words[place : number + place] * np.uint64(pow(multiplier, place, 1 << 64))
    return total


def _batches(prompts: Iterable[Texts]) -> Iterator[list[Texts]]:
    source = iter(prompts)
    while batch := list(islice(source, TOGETHER)):
        yield batch
