"""How far two judges agree on the same responses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sinternal.figures.estimate import Estimate
from sinternal.figures.statistics import kappa, smooth, table_interval
from sinternal.records import Judgement


@dataclass(frozen=True)
class Skipped:
    """Responses of one side that one of two judges did not label."""

    missing_a: int
    """Without a label by the first."""
    missing_b: int
    """Without one by the second."""
    either: int
    """Without one by either."""
    rows: int
    """Out of how many."""


@dataclass(frozen=True)
class JudgeAgreement:
    """How far the deciding judge and another one agree, over all arms and seeds."""

    variant: str
    """The variant."""
    a: str
    """The judge that decides."""
    b: str
    """The other."""
    label: str
    """`safe` or `refused`."""
    same: float
    """Share of responses with the same label."""
    kappa: Estimate
    """Cohen's kappa over the responses that both have labelled: 1 is full agreement, 0 what chance gives. No value if a
    judge always says the same, no interval if all responses come from a single prompt."""
    not_counted: Mapping[str, Skipped] = field(default_factory=dict)
    """Responses that do not count because one of the judges has no label, by side: `harmful` and `benign`."""


def judge_agreement(
    variant: str,
    names: tuple[str, str],
    a: Sequence[Judgement],
    b: Sequence[Judgement],
    label: str,
    parents: Mapping[str, str],
    sides: Mapping[str, str] | None = None,
) -> JudgeAgreement | None:
    """Compare two judges' labels by kappa (Cohen 1960), with a bootstrap interval over parent prompts.

    Args:
        variant: of the recipe.
        names: of the two judges, the one that decides first.
        a: one judge's.
        b: the other's.
        label: `safe` or `refused`.
        parents: the parent prompt of each response, whose answers are not independent of each other.
        sides: the side of each response, by which those that do not count are told; without it none are.

    Returns:
        None if there is no response that both have labelled.
    """
    theirs = {row.response_id: getattr(row, label) for row in b}
    tables: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(4))
    for row in a:
        mine, other = getattr(row, label), theirs.get(row.response_id)
        if mine is not None and other is not None:
            tables[parents[row.response_id]][(0 if mine else 1) if other else (2 if mine else 3)] += 1
    if not tables:
        return None
    stacked = np.stack(list(tables.values()))
    both, only_theirs, only_mine, neither = whole = stacked.sum(0)
    n, same = int(whole.sum()), float((both + neither) / whole.sum())
    skipped = _skipped({row.response_id: getattr(row, label) for row in a}, theirs, sides or {})
    if 0 in (both + only_theirs, both + only_mine, neither + only_theirs, neither + only_mine):
        undefined = Estimate(value=None, low=None, high=None, n=n)
        return JudgeAgreement(variant, *names, label, same, undefined, skipped)
    low, high = table_interval(smooth(stacked), kappa) or (None, None) if len(stacked) > 1 else (None, None)
    value = float(kappa(whole[None])[0])
    return JudgeAgreement(variant, *names, label, same, Estimate(value=value, low=low, high=high, n=n), skipped)


def _skipped(
    ours: Mapping[str, bool | None], theirs: Mapping[str, bool | None], sides: Mapping[str, str]
) -> dict[str, Skipped]:
    skipped = {}
    for side in dict.fromkeys(sides.values()):
        pairs = [(label, theirs.get(row)) for row, label in ours.items() if sides.get(row) == side]
        ours_missing, theirs_missing = (sum(pair[i] is None for pair in pairs) for i in (0, 1))
        skipped[side] = Skipped(ours_missing, theirs_missing, sum(None in pair for pair in pairs), len(pairs))
    return skipped
