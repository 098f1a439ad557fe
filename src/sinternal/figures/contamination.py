"""How much of the training data occurs in the evaluation prompts: runs of 13 words, and near duplicates."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from sinternal.records import Prompt, Split
from sinternal.settings.plugins import PLAIN

GRAM = 13
"""Words in a row that count as overlap (Brown et al. 2020, arXiv 2005.14165, appendix C)."""
SHINGLE = 5
"""Words in a row of which near duplicates share most."""
REQUESTS = 2**14
"""Requests whose runs of words are remembered."""
NEAR = 0.8
"""Jaccard similarity of shingles from which two requests are nearly the same."""


class TrainingRow(NamedTuple):
    """One row of training."""

    id: str
    """Its id."""
    request: str
    """The request that it leads back to."""
    text: str
    """All of it, targets included."""


@dataclass(frozen=True)
class Overlap:
    """How much of a training set occurs in one evaluation set."""

    benchmark: str
    """The evaluation set."""
    rows: int
    """Training rows."""
    same_13_gram: int
    """Rows that share a run of 13 words with a prompt; see `own_texts`."""
    near: int
    """Rows whose request is nearly the same as a prompt's."""
    highest: float | None
    """The highest similarity found; None if no two share a run of words."""
    train_id: str | None = None
    """The training row with the highest similarity."""
    prompt_id: str | None = None
    """The prompt that it resembles."""


class _Request(NamedTuple):
    """One request that was trained on."""

    rows: Sequence[str]
    """Ids of the training rows that lead back to it."""
    shingles: set[tuple[str, ...]]
    """Its runs of words."""


_ASCII_WORDS = "".join(chr(code).lower() if re.match(r"\w", chr(code)) else " " for code in range(128))
"""For each ASCII character itself in lower case if it is part of a word; else a space."""


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case; of a text without any, the whole, so that it is like no other."""
    if text.isascii():  # most are: the same, several times as fast
        return text.translate(_ASCII_WORDS).split() or [text.strip()]
    return re.findall(r"\w+", text.lower()) or [text.strip()]


def grams(text: str, size: int = GRAM) -> set[tuple[str, ...]]:
    """The runs of so many words of a text, in lower case; of a shorter text, the whole.

    A text without words counts as one, so that two of them are alike only if they are the same.
    """
    words = words_of(text)
    last = max(1, len(words) - size + 1)
    return {tuple(words[i : i + size]) for i in range(last)}


class EvaluationSet:
    """The prompts of one benchmark, made fit to be looked for: once, for all that is trained."""

    def __init__(self, benchmark: str, prompts: Sequence[Prompt]) -> None:
        """Take the prompts."""
        self.benchmark = benchmark
        texts = dict.fromkeys((prompt.id, text) for prompt in prompts for text in _texts(prompt))
        self.runs = {gram for text in dict.fromkeys(text for _, text in texts) for gram in grams(text)}
        self.shingles = {key: _shingles(key[1]) for key in texts}
        self.holders: dict[tuple[str, ...], list[tuple[str, str]]] = defaultdict(list)
        for key, shingles in self.shingles.items():
            for shingle in shingles:
                self.holders[shingle].append(key)


def evaluation_sets(prompts: Iterable[Prompt]) -> list[EvaluationSet]:
    """The evaluation sets that prompts are of."""
    sets: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        sets[prompt.benchmark].append(prompt)
    return [EvaluationSet(benchmark, own) for benchmark, own in sets.items()]


def overlap(rows: Iterable[TrainingRow], evaluation: Iterable[EvaluationSet]) -> list[Overlap]:
    """Compare training rows with each evaluation set.

    Runs of 13 words of the whole row are looked for in what is each prompt's own (`own_texts`); a text shorter than
    that counts if it is the whole of the other's. Near duplicates are pairs of requests.

    Args:
        rows: of training.
        evaluation: one or several benchmarks.
    """
    rows = list(rows)
    runs = [grams(row.text) | _runs(row.request) for row in rows]
    requests = _requests(rows)
    return [_overlap_with(of_one, runs, requests) for of_one in evaluation]


@lru_cache(maxsize=REQUESTS)  # arms are trained on the same requests
def _runs(request: str) -> set[tuple[str, ...]]:
    return grams(request)


@lru_cache(maxsize=REQUESTS)
def _shingles(request: str) -> set[tuple[str, ...]]:
    return grams(request, SHINGLE)


def _requests(rows: Iterable[TrainingRow]) -> list[_Request]:
    """The requests of training rows, each once."""
    ids: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        ids[row.request].append(row.id)
    shingled = ((own, _shingles(request)) for request, own in ids.items())
    return [_Request(own, shingles) for own, shingles in shingled]


def _overlap_with(
    evaluation: EvaluationSet, runs: Sequence[set[tuple[str, ...]]], requests: Iterable[_Request]
) -> Overlap:
    alike = list(_similar_pairs(evaluation, requests))
    # Ties go by the ids, so that the example is the same in every process.
    highest, train_id, prompt_id = max(alike, default=(None, None, None))
    return Overlap(
        evaluation.benchmark,
        rows=len(runs),
        same_13_gram=sum(not evaluation.runs.isdisjoint(own) for own in runs),
        near=len({row for similarity, row, _ in alike if similarity >= NEAR}),
        highest=highest,
        train_id=train_id,
        prompt_id=prompt_id,
    )


def _similar_pairs(evaluation: EvaluationSet, requests: Iterable[_Request]) -> Iterator[tuple[float, str, str]]:
    """Pairs of a training row and a prompt that resemble each other: similarity and ids."""
    for request in requests:
        common = Counter(key for shingle in request.shingles for key in evaluation.holders.get(shingle, ()))
        for key, shared in common.items():
            similarity = shared / (len(request.shingles) + len(evaluation.shingles[key]) - shared)
            yield from ((similarity, row, key[0]) for row in request.rows)


def own_texts(family: str, text: str, goal: str, tuned_on: Collection[str]) -> tuple[str, ...]:
    """What of a prompt is compared: what is sent, and the plain request beneath its disguise.

    Of a prompt in the disguise of an attack that tuning sees it is the request alone: the words around it are the
    attack's, and are to be the same in tuning and evaluation.

    Args:
        family: the attack family.
        text: as it is sent.
        goal: the plain request, if `text` is none.
        tuned_on: the families of attacks that tuning sees.
    """
    plain = goal or text
    return (plain,) if family in tuned_on or text == plain else (text, plain)


def _texts(prompt: Prompt) -> tuple[str, ...]:
    known = (prompt.family,) if prompt.split is Split.ID and prompt.family != PLAIN else ()
    return own_texts(prompt.family, prompt.text, prompt.goal, known)
