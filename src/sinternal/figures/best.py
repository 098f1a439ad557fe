"""Which arms are statistically indistinguishable from the one with the lowest attack success."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from sinternal.figures.metric import ASR, Over
from sinternal.figures.score import Score
from sinternal.figures.statistics import holm
from sinternal.figures.study import LEVEL, Comparison
from sinternal.records import Split


@dataclass(frozen=True)
class Best:
    """The arm that comes out best, and those that may be as good."""

    variant: str
    """The variant."""
    metric: str
    """By what: `asr`, of which the lowest is best."""
    split: str
    """`ood` or, where no such prompt was measured, `id`."""
    arm: str
    """The arm with the best figure."""
    alike: tuple[str, ...]
    """Other arms that the corrected test does not tell from it."""
    apart: tuple[str, ...]
    """Arms that it does."""
    unknown: tuple[str, ...] = ()
    """Those among `alike` whose rate has only bounds, because labels are missing."""
    between: tuple[tuple[str, str], ...] = ()
    """Pairs among `alike` that the test tells from each other, though neither from the best."""


def best(scores: Sequence[Score], comparisons: Sequence[Comparison], variant: str) -> Best | None:
    """The arms that may have the lowest attack success.

    Which arm is lowest is read off the same rows, so a test of it against the others alone would find too many
    differences. Holm's correction is over all pairs of arms, whichever comes out lowest. Two arms with too few prompts
    in common to be compared are not told apart, nor are two whose missing labels could undo the difference.

    Returns:
        None if fewer than two arms were measured.
    """
    for split in (Split.OOD, Split.ID):
        pooled = [
            score
            for score in scores
            if (score.variant, score.metric, score.over, score.split) == (variant, ASR.name, Over.HARMFUL, split)
            and score.is_pooled_whole
        ]
        rates = {score.arm: score.value for score in pooled if score.value is not None}
        unknown = [score.arm for score in pooled if score.open]
        if not rates or len(rates) + len(unknown) < 2:
            continue
        lowest = min(rates, key=rates.__getitem__)
        key = (variant, ASR.name, split)
        rows = [row for row in comparisons if (row.variant, row.metric, row.split) == key and row.whole]
        different = {
            frozenset((row.a, row.b))
            for row, p in zip(rows, holm([row.p for row in rows]), strict=True)
            if p < LEVEL and row.difference and not row.open
        }
        others = [arm for arm in (*rates, *unknown) if arm != lowest]
        apart = tuple(arm for arm in others if frozenset((arm, lowest)) in different)
        alike = tuple(arm for arm in others if arm not in apart)
        unmeasured = tuple(arm for arm in alike if arm in unknown)
        between = tuple(pair for pair in combinations(alike, 2) if frozenset(pair) in different)
        return Best(variant, ASR.name, split, lowest, alike, apart, unmeasured, between)
    return None
