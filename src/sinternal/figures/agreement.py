"""How far two judges agree on the same responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sinternal.figures.columns import MISSING, Flags, Labels, Numbers, number_in_order
from sinternal.figures.estimate import Estimate
from sinternal.figures.statistics import bounded_kappa

NOT_JUDGED = -2
"""In place of a label, where a judge was not asked."""


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
    judge always says the same, no interval if all responses come from a single prompt. Interval and bounds cover
    whatever the labels are that one judge has not given; a response that neither has labelled tells nothing."""
    not_counted: Mapping[str, Skipped] = field(default_factory=dict)
    """Responses that do not count because one of the judges has no label, by side: `harmful` and `benign`."""
    same_lowest: float | None = None
    """The share if the judges disagree on all responses that one of them alone has labelled."""
    same_highest: float | None = None
    """The share if they agree on all of these."""


class LabelColumn(NamedTuple):
    """One label that one judge gave responses."""

    response: Numbers
    """Which response, by number; one that stands in several arms has one number."""
    label: Labels
    """Its label."""


def judge_agreement(
    variant: str,
    names: tuple[str, str],
    a: LabelColumn,
    b: LabelColumn,
    label: str,
    parents: Numbers,
    sides: Mapping[str, Flags] | None = None,
) -> JudgeAgreement | None:
    """Compare two judges' labels by kappa (Cohen 1960), with a bootstrap interval over parent prompts.

    Args:
        variant: of the recipe.
        names: of the two judges, the one that decides first.
        a: one judge's.
        b: the other's.
        label: `safe` or `refused`.
        parents: the parent prompt of each response, by number, whose answers are not independent of each other.
        sides: which responses are of each side, by which those that do not count are told; without it none are.

    Returns:
        None if there is no response that both have labelled.
    """
    theirs = np.full(len(parents), MISSING, dtype=np.int8)
    theirs[b.response] = b.label
    other = theirs[a.response]
    known, one_only = (a.label != MISSING) & (other != MISSING), (a.label != MISSING) ^ (other != MISSING)
    if not known.any():
        return None
    rows = known | one_only
    clusters = number_in_order(parents[a.response[rows]])
    ours, others = a.label[rows], other[rows]
    kinds = np.select(
        [others == MISSING, ours == MISSING],
        [5 - ours, 7 - others],  # theirs missing where ours says yes, no; ours missing where theirs does
        2 * (1 - others) + 1 - ours,  # both, only theirs, only ours, neither
    )
    tables = np.bincount(8 * clusters + kinds, minlength=8 * int(clusters.max() + 1)).reshape(-1, 8).astype(np.float64)
    equal, n, silent = float(tables[:, [0, 3]].sum()), int(known.sum()), int(one_only.sum())
    return JudgeAgreement(
        variant,
        *names,
        label,
        equal / n,
        bounded_kappa(tables[:, :4], tables[:, 4:]),
        _skipped(a, theirs, sides or {}),
        same_lowest=equal / (n + silent),
        same_highest=(equal + silent) / (n + silent),
    )


def _skipped(a: LabelColumn, theirs: Labels, sides: Mapping[str, Flags]) -> dict[str, Skipped]:
    ours = np.full(len(theirs), NOT_JUDGED, dtype=np.int8)
    ours[a.response] = a.label
    skipped = {}
    for side, belongs in sides.items():
        rows = belongs & (ours != NOT_JUDGED)
        missing = ours[rows] == MISSING, theirs[rows] == MISSING
        counts = (*missing, missing[0] | missing[1], rows[rows])
        skipped[side] = Skipped(*(int(column.sum()) for column in counts))
    return skipped
