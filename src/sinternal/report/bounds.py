"""How a rate is put of which only bounds are known, because labels are missing on one side only."""

from __future__ import annotations

from sinternal.figures.metric import ASR_WORST, METRICS
from sinternal.figures.score import Score


def in_words(score: Score, *, digits: int | None = None) -> str:
    """`15 of 30 answers to harmful requests have no label: between 0 and 50 % are unsafe`.

    Args:
        score: a rate of answers that has bounds.
        digits: decimals of the bounds; by default as many as they need, at most one.
    """
    return f"{_unlabelled(score)}: {between(score, digits=digits)} {METRICS[score.metric].hits}"


def _unlabelled(score: Score) -> str:
    rows = f"{score.missing:,} of {score.n + score.missing:,} {METRICS[score.metric].rows}"
    return f"{rows} have no label{reasons(score)}"


def between(score: Score, *, digits: int | None = None) -> str:
    """`between 0 and 50 %`."""
    low, high = (100 * (end or 0.0) for end in (score.lowest, score.highest))
    if digits is None:
        return f"between {round(low, 1):g} and {round(high, 1):g} %"
    return f"between {low:.{digits}f} and {high:.{digits}f} %"


def reasons(score: Score) -> str:
    """`, 3 of them because there is no readable answer, 2 because a filter withheld it`; empty if none is.

    Of all of them: `, because there is no readable answer`.
    """
    unread = score.no_answer - score.filtered
    for number, why in ((unread, "there is no readable answer"), (score.filtered, "a filter withheld the text")):
        if number and number == score.missing:
            return f", because {why}"
    parts = [f"{unread:,} of them because there is no readable answer"] if unread else []
    if score.filtered:
        parts.append(f"{score.filtered:,}{'' if parts else ' of them'} because a filter withheld the text")
    return "".join(f", {part}" for part in parts)


def caveat_of(score: Score) -> str:
    """What a reader of one figure should know, or why there is none: of a rate with bounds alone, these."""
    if score.metric == ASR_WORST.name and score.open:
        return f"{score.caveat}: {_unlabelled(score)}; the worst case is {between(score)}"
    return score.caveat or (in_words(score) if score.bounded else "")
