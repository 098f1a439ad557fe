"""Labels that are missing on one side only: instead of a rate, there are bounds of it.

A judge that fails or decorates its reply only where it says `unsafe` leaves the rest looking safe. What is missing is
therefore never assumed to be like the rest: every rate has bounds (`Score.lowest`, `Score.highest`), and where labels
are missing unevenly, bounds are all there is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sinternal.figures.metric import METRICS
from sinternal.figures.score import Score
from sinternal.figures.thinking import ThinkingShare

NOTABLE = 0.05
"""Share of rows without a label above which a rate may be withheld."""
GAP = 0.05
"""By how much that share has to be above the other side's, or another arm's."""
ROUNDING = 1e-9


def withhold(scores: Iterable[Score]) -> list[Score]:
    """The same figures, without the value of rates of answers whose labels are missing on one side only.

    Of verdicts that cannot be read there is a figure of its own, so that figures of verdicts stay as they are.

    That is where more than `NOTABLE` of the rows have no label and this share is by more than `GAP` above that of the
    other side or of another arm in the same place, or there is no other side to compare it with.
    """
    every = list(scores)
    arms: dict[tuple[object, ...], dict[str, float]] = defaultdict(dict)
    for score in every:
        if score.n:
            arms[_table_key(score)][score.arm] = missing_share(score)
    return [_without_value(score) if _one_sided(score, arms[_table_key(score)]) else score for score in every]


def note_on_selection(missing: int, answers: int) -> str:
    """What figures of verdicts cannot tell, as their answers have no label; empty if hardly any lacks one."""
    if missing <= NOTABLE * answers:
        return ""
    return f"{missing} of {answers} answers have no label: verdicts on them are not counted, and may be unlike"


def withhold_shares(shares: Iterable[ThinkingShare]) -> list[ThinkingShare]:
    """The same of shares of thinkings: without the value of an arm's whose labels are missing more than another's."""
    every = list(shares)
    arms: dict[tuple[object, ...], list[float]] = defaultdict(list)
    for share in every:
        if share.n:
            arms[_place(share)].append(missing_share(share))
    return [
        replace(share, value=None)
        if share.n and is_one_sided(missing_share(share), min(arms[_place(share)]))
        else share
        for share in every
    ]


def _place(share: ThinkingShare) -> tuple[object, ...]:
    return share.variant, share.what, share.split, share.harm_shows


def missing_share(score: Score | ThinkingShare) -> float:
    """The share of a figure's rows that have no label."""
    rows = score.n + score.missing
    return score.missing / rows if rows else 0.0


def _table_key(score: Score) -> tuple[object, ...]:
    """What two arms have to share to stand in one table."""
    circumstances = (score.over, score.benchmark, score.condition, score.family, score.split, score.harm_shows)
    return (score.variant, score.metric, score.seed, score.judge, score.spec, *circumstances)


def _one_sided(score: Score, arms: Mapping[str, float]) -> bool:
    if not METRICS[score.metric].of_answers or score.value is None:
        return False
    share = missing_share(score)
    return is_one_sided(share, score.missing_other_side) or is_one_sided(share, min(arms.values()))


def is_one_sided(share: float, other: float | None) -> bool:
    """Whether a share of missing labels is notable and well above another one; None if there is nothing to compare."""
    return share > NOTABLE + ROUNDING and (other is None or other < share - GAP - ROUNDING)


def _without_value(score: Score) -> Score:
    return replace(score, value=None, mean=None, sd=None, caveat="")
