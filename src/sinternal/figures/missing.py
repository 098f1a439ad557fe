"""Labels that are missing on one side only: no rate is told of the others, but between what it must be.

A judge that fails or decorates its reply only where it says `unsafe` leaves the rest looking safe. What is missing is
therefore never assumed to be like the rest: every rate has bounds (`Score.lowest`, `Score.highest`), and where labels
are missing unevenly, bounds are all there is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from sinternal.records import Score

NOTABLE = 0.05
"""Share of rows without a label above which a rate may be withheld."""
GAP = 0.05
"""By how much that share has to be above the other side's, or another arm's."""
ROUNDING = 1e-9


class Words(NamedTuple):
    """How a rate is put."""

    rows: str
    """What it is over."""
    hit: str
    """What is counted."""


WORDS: Mapping[str, Words] = {
    "asr": Words("answers to harmful requests", "are unsafe"),
    "over_refusal": Words("answers to benign requests", "refuse"),
    "helpful": Words("answers to benign requests", "are what was asked for"),
    "partial": Words("answers to benign requests", "comply in part"),
    "pairs_right": Words("pairs of a harmful request and its benign twin", "are both answered rightly"),
    "format_error": Words("responses", "hold no readable answer"),
    "proactive_verification": Words("thinkings", "check safety unasked"),
}
"""Rates of answers. Of verdicts that cannot be read there is a figure of its own, so that these are left out here."""


def withhold(scores: Iterable[Score]) -> list[Score]:
    """The same figures, without the value of rates whose labels are missing on one side only.

    That is where more than `NOTABLE` of the rows have no label and this share is by more than `GAP` above that of the
    other side or of another arm in the same place, or there is no other side to compare it with.
    """
    found = list(scores)
    arms: dict[tuple[object, ...], dict[str, float]] = defaultdict(dict)
    for one in found:
        if one.n:
            arms[_place(one)][one.arm] = missing_share(one)
    return [_without_value(one) if _one_sided(one, arms[_place(one)]) else one for one in found]


def missing_share(score: Score) -> float:
    """The share of a figure's rows that have no label."""
    rows = score.n + score.missing
    return score.missing / rows if rows else 0.0


def in_words(score: Score, *, digits: int | None = None) -> str:
    """`15 of 30 answers to harmful requests have no label: between 0 and 50 % are unsafe`.

    Args:
        score: a rate of answers that has bounds.
        digits: decimals of the bounds; by default as many as they need, at most one.
    """
    words = WORDS.get(score.metric, Words("rows", "count"))
    return (
        f"{score.missing:,} of {score.n + score.missing:,} {words.rows} have no label{reasons(score)}: "
        f"{between(score, digits=digits)} {words.hit}"
    )


def between(score: Score, *, digits: int | None = None) -> str:
    """`between 0 and 50 %`."""
    low, high = (100 * (end or 0.0) for end in (score.lowest, score.highest))
    if digits is None:
        return f"between {round(low, 1):g} and {round(high, 1):g} %"
    return f"between {low:.{digits}f} and {high:.{digits}f} %"


def reasons(score: Score) -> str:
    """`, 3 of them because there is no answer that can be read, 2 because a filter withheld it`; empty if none is."""
    unread = score.no_answer - score.filtered
    said = [f"{unread:,} of them because there is no answer that can be read"] if unread else []
    if score.filtered:
        said.append(f"{score.filtered:,}{'' if said else ' of them'} because a filter withheld the text")
    return "".join(f", {one}" for one in said)


def _place(score: Score) -> tuple[object, ...]:
    """What two arms have to share to stand in one table."""
    place = (score.variant, score.metric, score.benchmark, score.family, score.split, score.spec, score.seed)
    return (*place, score.judge)


def _one_sided(score: Score, arms: Mapping[str, float]) -> bool:
    if score.metric not in WORDS or score.value is None:
        return False
    share = missing_share(score)
    return is_one_sided(share, score.missing_other_side) or is_one_sided(share, min(arms.values()))


def is_one_sided(share: float, other: float | None) -> bool:
    """Whether a share of missing labels is notable and well above another one; None if there is nothing to compare."""
    return share > NOTABLE + ROUNDING and (other is None or other < share - GAP - ROUNDING)


def _without_value(score: Score) -> Score:
    return replace(score, value=None, mean=None, sd=None, caveat=in_words(score))
