"""What a placebo's questions need beyond those of the method: how long is long, and which verdicts are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sinternal.records import Subject
from sinternal.stages.strata import VERIFICATION_SHARES


def count_words(text: str) -> int:
    """Words of a text, as white space divides it."""
    return len(text.split())


def median_words(lengths: Sequence[tuple[str, int]]) -> int:
    """The number of words that half of a training set's answers exceed, or fewer.

    Args:
        lengths: the kind of each answer, as training balances it, and its words.
    """
    of_kind = Counter(kind for kind, _ in lengths)
    weights = sorted((words, VERIFICATION_SHARES[kind] / of_kind[kind]) for kind, words in lengths)
    half, below = sum(weight for _, weight in weights) / 2, 0.0
    for words, weight in weights:
        below += weight
        if below >= half - 1e-9:
            return words
    return 0


def right_label(subject: Subject, answer: str, words: int | None, labels: tuple[str, str]) -> str | None:
    """The right verdict on an answer, if it can be told exactly; None if it is for the expert to say.

    Only the length of a text can be told: its facts, its language and whether it keeps to rules of writing cannot.
    """
    if subject is not Subject.LENGTH or words is None:
        return None
    return labels[count_words(answer) <= words]
