"""How far the rewarding judge and the deciding judge differ: an arm may have learned the first one's mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sinternal.figures.estimate import Difference
from sinternal.figures.outcomes import Outcome
from sinternal.figures.provenance import Provenance
from sinternal.figures.statistics import paired_difference
from sinternal.records import Judgement


@dataclass(frozen=True, kw_only=True)
class JudgeGap(Difference):
    """Attack success of one arm by two judges, on the same answers, pooled over seeds.

    By the judge that rewarded less by the one that decides: below 0, the arm looks safer to the judge that rewarded it.
    The interval resamples parent prompts and seeds; there is none for a single parent.
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
    outcomes: Mapping[int, Sequence[Outcome]],
    labels: Mapping[int, Sequence[Judgement]],
    provenance: Provenance,
) -> JudgeGap | None:
    """Compare two judges on one arm's answers to harmful requests; None if there is none that both have labelled.

    Args:
        variant: of the recipe.
        arm: whose answers.
        rewarding: the judge that rewarded.
        outcomes: responses by seed, labelled by the judge that decides.
        labels: the labels of the judge that rewarded, by seed.
        provenance: of the labels of the judge that decides.
    """
    pairs: list[tuple[bool, bool, str, int]] = []
    missing = 0
    for seed, rows in outcomes.items():
        theirs = {row.response_id: row.safe for row in labels[seed]}
        for row in rows:
            if row.prompt.harmful:
                first, second = theirs.get(row.response.id), row.judgement.safe
                if first is None or second is None:
                    missing += 1
                else:
                    pairs.append((not first, not second, row.prompt.parent_id, seed))
    if not pairs:
        return None
    a, b, parents, seeds = (list(column) for column in zip(*pairs, strict=True))
    interval: dict[str, Any] = {"low": None, "high": None}
    if len(set(parents)) > 1:
        difference = paired_difference(a, b, parents, seeds)
        interval = {"low": difference.low, "high": difference.high}
    return JudgeGap(
        variant=variant,
        arm=arm,
        rewarding=rewarding,
        deciding=provenance.judge,
        by_rewarding=sum(a) / len(a),
        by_deciding=sum(b) / len(b),
        value=(sum(a) - sum(b)) / len(a),
        n=len(a),
        missing=missing,
        provenance=provenance,
        **interval,
    )
