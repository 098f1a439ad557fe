"""What a placebo's critiques need beyond those of the method.

How long is long, which verdicts are known to be right, and whether they go with safety after all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from sinternal.records import Subject, Verdict, Verification
from sinternal.stages.strata import VERIFICATION_SHARES

ONE_SIDED = 0.1
"""Share of the rarer verdict below which a placebo has hardly anything to tell apart."""
GOES_WITH_SAFETY = 0.3
"""Difference between shares of approved answers, safe less unsafe, above which a placebo says much of safety."""


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


def notes_on_verdicts(rows: Sequence[Verification], labels: Mapping[bool, str]) -> Iterator[str]:
    """What to know of a placebo's verdicts before they are trained on, without full stops.

    Args:
        rows: its usable verifications.
        labels: the words for approval and its opposite.
    """
    approved = [bool(row.approves) for row in rows]
    share = sum(approved) / len(approved)
    if min(share, 1 - share) < ONE_SIDED:
        word = labels[share > 0.5]
        yield (
            f"the placebo says {word!r} of {max(share, 1 - share):.0%} of the answers: with verdicts that are all but "
            "the same, it is less to learn than the method; consider another kind"
        )
    safe, unsafe = (
        [bool(row.approves) for row in rows if row.label is label] for label in (Verdict.SAFE, Verdict.UNSAFE)
    )
    if safe and unsafe:
        of_safe, of_unsafe = sum(safe) / len(safe), sum(unsafe) / len(unsafe)
        if abs(of_safe - of_unsafe) > GOES_WITH_SAFETY:
            yield (
                f"the placebo says {labels[True]!r} of {of_safe:.0%} of the safe and {of_unsafe:.0%} of the unsafe "
                "answers: its verdicts go with safety, so it may teach some; consider another kind beside it"
            )
