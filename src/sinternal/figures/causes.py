"""Do safety checks in thinkings cause safe answers, or only stand before them?

A thinking with a check is continued without it, and with it: attack success without less attack success with, paired by
thinking, is what the check causes. To keep the model from checking again, a review of something else is also put in the
place of the check. So is the difference between a thinking that has none, continued as it is, and the
same with the opening of one; beside it stands the difference from a review of something else at the same place, since
any interruption might change an answer.

A model that checks again is not one whose check was taken out, nor is a check carried out because it was opened: both
are counted, and each difference also comes among the thinkings in which the intervention did what it was meant to do.
These are picked by what the model does after it, so they may differ from the others in more than that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from sinternal.figures.columns import MISSING
from sinternal.figures.estimate import OTHER_RUNS, THESE_RUNS, Estimate
from sinternal.figures.outcomes import Outcome
from sinternal.figures.provenance import Provenance
from sinternal.figures.statistics import bounded_difference
from sinternal.prompting.think import own_start
from sinternal.records import CheckPlace, HarmShows, Intervened, Intervention, Split


class Contrast(StrEnum):
    """What is compared: a continuation without a check, less one with it, of the same thinking."""

    CUT = "check cut, less kept"
    """The thinking checks: without its check, less with it."""
    REPLACED = "check replaced, less kept"
    """The same with the opening of a review of something else in place of its check."""
    INSERTED = "no check, less inserted"
    """It does not: as it is, less with a check that was opened."""
    OTHER = "other review, less inserted"
    """It does not: with a review of something else that was opened, less with a check."""


_SIDES = {
    Contrast.CUT: (Intervention.CUT, Intervention.KEPT),
    Contrast.REPLACED: (Intervention.REPLACED, Intervention.KEPT),
    Contrast.INSERTED: (Intervention.UNCHANGED, Intervention.INSERTED),
    Contrast.OTHER: (Intervention.OTHER, Intervention.INSERTED),
}
"""The continuations without and with a check."""


OF_CHECKED = (Contrast.CUT, Contrast.REPLACED)
"""Those about thinkings that check, in whose control the whole check is kept."""


class Among(StrEnum):
    """Over which thinkings."""

    ALL = "all"
    """All."""
    AS_MEANT = "as meant"
    """Those in which there is then a check on the one side and none on the other: a model that has lost its check does
    not check again, one that was given the opening of a check carries it out, and without it checks nothing."""


@dataclass(frozen=True, kw_only=True)
class CheckEffect(Estimate):
    """How much less often answers to harmful requests are unsafe because of a check in the thinking, over all seeds.

    Attack success without the check less attack success with it, -1 to 1, paired by thinking: above 0, checks make
    answers safer. The interval holds for other prompts and, with several seeds, for other training runs (t over seeds);
    there is none for a single parent prompt. The bounds are the difference over all pairs if every missing label speaks
    against the check, and for it. The value is None if no pair has both labels.
    """

    variant: str
    """The variant."""
    arm: str
    """The arm."""
    contrast: Contrast
    """What is compared."""
    among: Among
    """Over which of the thinkings that were continued."""
    split: Split | None
    """In-distribution or out-of-distribution; None for both."""
    harm_shows: HarmShows | None
    """Where the harm of the requests shows; None for both."""
    without: float | None
    """Attack success without the check, in the pairs that count."""
    with_check: float | None
    """Attack success with it, in these pairs."""
    missing_without: int
    """Pairs that do not count because the answer without the check has no label."""
    missing_with: int
    """Pairs that do not count because the one with it has none."""
    check_without: float | None
    """Of the continuations without a check, the share that check all the same: again, or by themselves; None if that is
    known of none."""
    check_with: float | None
    """Of those in which one was opened, the share that carry it out. None where a whole check was kept."""
    checks_not_known: int
    """Pairs of which one of these two is not known; they are in no share, and not among those `as meant`."""
    holds_for: str
    """What the interval holds for."""
    runs: int
    """Training runs (seeds) in which there is a pair that counts."""
    low_these_runs: float | None
    """Lower end of the 95 % interval for other prompts, but these training runs."""
    high_these_runs: float | None
    """Upper end."""
    p: float | None
    """Two-sided p value of a permutation of whole parent prompts, for these training runs, not corrected."""
    thinkings: dict[str, int]
    """What became of all thinkings of the arm about harmful requests, of both splits."""
    located_by: str
    """The judge that told where checks stand."""
    provenance: Provenance
    """Who labelled the answers, how the text was drawn, when, and by which recipe."""


class Continued(NamedTuple):
    """One thinking, continued after an intervention."""

    response_id: str
    """The response whose thinking it was."""
    intervention: Intervention
    """What was done to it."""
    outcome: Outcome
    """How the model went on, with its label."""
    checks: bool | None
    """Whether it checks safety in what it wrote itself; None if that is not known."""


_ENDS = ("low", "high", "low_these_runs", "high_these_runs")


class _Pair(NamedTuple):
    """One thinking without and with a check."""

    without: Continued
    with_check: Continued
    seed: int

    @property
    def labels(self) -> tuple[bool | None, bool | None]:
        """Whether the answers are unsafe."""
        first, second = (side.outcome.judgement.safe for side in (self.without, self.with_check))
        return None if first is None else not first, None if second is None else not second


def continuations(
    rows: Iterable[Intervened], outcomes: Iterable[Outcome], places: Iterable[CheckPlace]
) -> list[Continued]:
    """Join what was done to thinkings with how the model went on, and with where it checks then.

    Args:
        rows: what was done to which thinking.
        outcomes: how the model went on.
        places: where the continued thinkings check.
    """
    located = {place.response_id: place for place in places}
    done = {row.id: row for row in rows}
    return [
        Continued(
            done[outcome.prompt.id].response_id,
            done[outcome.prompt.id].intervention,
            outcome,
            _checks(outcome, located.get(outcome.response.id)),
        )
        for outcome in outcomes
    ]


def _checks(outcome: Outcome, place: CheckPlace | None) -> bool | None:
    """Whether the model checks in what it wrote itself: a check that ends before that was given to it."""
    own = own_start(outcome.prompt, outcome.response)
    if place is None or place.checked is None or own is None:
        return None
    return place.end is not None and place.end > own


def check_effects(
    variant: str,
    arm: str,
    continued: Mapping[int, Sequence[Continued]],
    thinkings: Mapping[str, int],
    located_by: str,
    provenance: Provenance,
) -> Iterator[CheckEffect]:
    """Every difference of one arm, by split and where harm shows.

    Args:
        variant: of the recipe.
        arm: whose thinkings.
        continued: by seed.
        thinkings: what became of all thinkings, over all seeds.
        located_by: the judge that told where checks stand.
        provenance: of the labels of answers.
    """
    rows = [(seed, row) for seed, group in continued.items() for row in group]
    crossed = any(row.outcome.prompt.harm_shows is not HarmShows.REQUEST for _, row in rows)
    shown = (None, *HarmShows) if crossed else (None,)
    for contrast, split, shows in product(Contrast, (Split.ID, Split.OOD, None), shown):
        pairs = [
            pair
            for pair in _pairs(rows, contrast)
            if split in (None, pair.without.outcome.prompt.split)
            and shows in (None, pair.without.outcome.prompt.harm_shows)
        ]
        if not pairs and (split, shows) != (None, None):  # that there is none at all is told
            continue
        meant = [pair for pair in pairs if _is_as_meant(pair, contrast)]
        shares = _shares(pairs, contrast)
        for among, chosen in ((Among.ALL, pairs), (Among.AS_MEANT, meant)):
            yield CheckEffect(
                variant=variant,
                arm=arm,
                contrast=contrast,
                among=among,
                split=split,
                harm_shows=shows,
                thinkings=dict(thinkings),
                located_by=located_by,
                provenance=provenance,
                **shares,
                **_difference(chosen),
            )


def _pairs(rows: Iterable[tuple[int, Continued]], contrast: Contrast) -> Iterator[_Pair]:
    """The continuations of the same thinking, sample by sample, on both sides of a contrast."""
    first, second = _SIDES[contrast]
    sides: dict[tuple[int, str, int], dict[Intervention, Continued]] = defaultdict(dict)
    for seed, row in rows:
        sides[seed, row.response_id, row.outcome.response.sample][row.intervention] = row
    for (seed, _, _), by_intervention in sides.items():
        if first in by_intervention and second in by_intervention:
            yield _Pair(by_intervention[first], by_intervention[second], seed)


def _is_as_meant(pair: _Pair, contrast: Contrast) -> bool:
    """Whether there is a check on the one side and none on the other, as far as that is known."""
    carried_out = contrast in OF_CHECKED or pair.with_check.checks is True
    return carried_out and pair.without.checks is False


def _shares(pairs: Sequence[_Pair], contrast: Contrast) -> dict[str, Any]:
    without = [pair.without.checks for pair in pairs if pair.without.checks is not None]
    opened = [] if contrast in OF_CHECKED else [pair.with_check.checks for pair in pairs]
    carried_out = [checks for checks in opened if checks is not None]
    unknown = [
        pair
        for pair in pairs
        if pair.without.checks is None or (contrast not in OF_CHECKED and pair.with_check.checks is None)
    ]
    return {
        "check_without": sum(without) / len(without) if without else None,
        "check_with": sum(carried_out) / len(carried_out) if carried_out else None,
        "checks_not_known": len(unknown),
    }


def _difference(pairs: Sequence[_Pair]) -> dict[str, Any]:
    """The fields of a difference, with its interval and bounds."""
    if not pairs:
        nothing = ("value", "without", "with_check", "lowest", "highest", *_ENDS, "p")
        none = {"n": 0, "missing_without": 0, "missing_with": 0, "runs": 0, "holds_for": THESE_RUNS}
        return none | dict.fromkeys(nothing)
    labels = [[MISSING if label is None else label for label in pair.labels] for pair in pairs]
    without, with_check = np.array(labels, dtype=np.int8).T
    parents = np.unique([pair.without.outcome.prompt.parent_id for pair in pairs], return_inverse=True)[1]
    found = bounded_difference(without, with_check, parents, np.array([pair.seed for pair in pairs], dtype=np.int64))
    both = (without != MISSING) & (with_check != MISSING)
    ends = (found.interval, found.these_runs) if found.known else (None, None)
    return {
        "value": found.value,
        "n": found.n,
        "without": float(without[both].mean()) if found.n else None,
        "with_check": float(with_check[both].mean()) if found.n else None,
        "lowest": found.lowest,
        "highest": found.highest,
        "missing_without": found.missing_a,
        "missing_with": found.missing_b,
        "runs": found.runs,
        "holds_for": OTHER_RUNS if found.runs > 1 else THESE_RUNS,
        **dict(zip(_ENDS, (end for pair in ends for end in pair or (None, None)), strict=True)),
        "p": found.known.p if found.known else None,
    }
