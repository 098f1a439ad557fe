"""How far the rewarding judge and the deciding judge differ: an arm may have learned the first one's mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sinternal.figures.columns import MISSING, Labels, chain
from sinternal.figures.estimate import Difference
from sinternal.figures.outcomes import Outcomes, negate
from sinternal.figures.provenance import Provenance
from sinternal.figures.statistics import bounded_difference


@dataclass(frozen=True, kw_only=True)
class JudgeGap(Difference):
    """Attack success of one arm by two judges, on the same answers, pooled over seeds.

    By the judge that rewarded less by the one that decides: below 0, the arm looks safer to the judge that rewarded it.
    The interval is that of paired comparisons, and covers whatever the missing labels are, as the bounds do; there is
    none for a single parent. The two rates are of the answers that both have labelled; answers that neither has
    labelled are in no figure.
    """

    variant: str
    """The variant."""
    arm: str
    """The arm."""
    rewarding: str
    """The judge that labelled what the arms learned from, and rewarded."""
    deciding: str
    """The judge that decides."""
    by_rewarding: float
    """Attack success by the first."""
    by_deciding: float
    """Attack success by the second."""
    missing: int
    """Answers that at least one of them gave no label."""
    provenance: Provenance
    """Where the labels of the judge that decides come from."""


def judge_gap(
    variant: str,
    arm: str,
    rewarding: str,
    outcomes: Mapping[int, Outcomes],
    safe: Mapping[int, Labels],
    provenance: Provenance,
) -> JudgeGap | None:
    """Compare two judges on one arm's answers to harmful requests; None if there is none that both have labelled.

    Args:
        variant: of the recipe.
        arm: whose answers.
        rewarding: the judge that rewarded.
        outcomes: responses by seed, labelled by the judge that decides.
        safe: whether the judge that rewarded calls each of them safe, by seed.
        provenance: of the labels of the judge that decides.
    """
    rows = chain(list(outcomes.values()))
    theirs = negate(np.concatenate([safe[seed] for seed in outcomes]))
    seeds = np.repeat(list(outcomes), [len(own) for own in outcomes.values()])
    counted = rows.harmful & ((theirs != MISSING) | (rows.unsafe != MISSING))
    if not counted.any():
        return None
    first, second = theirs[counted], rows.unsafe[counted]
    found = bounded_difference(first, second, rows.names.in_order(rows.parent[counted]), seeds[counted])
    if found.value is None:
        return None
    both = (first != MISSING) & (second != MISSING)
    return JudgeGap(
        variant=variant,
        arm=arm,
        rewarding=rewarding,
        deciding=provenance.judge,
        by_rewarding=float(first[both].mean()),
        by_deciding=float(second[both].mean()),
        value=found.value,
        low=found.interval.low if found.known and found.interval else None,
        high=found.interval.high if found.known and found.interval else None,
        lowest=found.lowest,
        highest=found.highest,
        n=found.n,
        missing=int(rows.harmful.sum()) - found.n,
        provenance=provenance,
    )
