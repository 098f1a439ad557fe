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

from sinternal.figures.estimate import OTHER_RUNS, THESE_RUNS, Estimate
from sinternal.figures.outcomes import Outcome
from sinternal.figures.provenance import Provenance
from sinternal.figures.statistics import PairedDifference, paired_difference
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


_Row = tuple[bool, bool, str, int]
"""Whether the answers without and with a check are unsafe, the parent prompt, and the seed."""


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
    labelled = [(*pair.labels, pair.without.outcome.prompt.parent_id, pair.seed) for pair in pairs]
    known = [(a, b, parent, seed) for a, b, parent, seed in labelled if a is not None and b is not None]
    lowest, highest = (
        [(hit if a is None else a, not hit if b is None else b, parent, seed) for a, b, parent, seed in labelled]
        for hit in (False, True)
    )
    n, runs = len(known), len({seed for *_, seed in known})
    fields: dict[str, Any] = {
        "value": _mean(known),
        "n": n,
        "without": sum(a for a, *_ in known) / n if n else None,
        "with_check": sum(b for _, b, *_ in known) / n if n else None,
        "lowest": _mean(lowest),
        "highest": _mean(highest),
        "missing_without": sum(a is None for a, *_ in labelled),
        "missing_with": sum(b is None for _, b, *_ in labelled),
        "runs": runs,
        "holds_for": OTHER_RUNS if runs > 1 else THESE_RUNS,
    }
    if len({parent for _, _, parent, _ in known}) < 2:
        return fields | dict.fromkeys(("low", "high", "low_these_runs", "high_these_runs", "p"))
    observed, least, most = (_compare(rows) for rows in (known, lowest, highest))
    return fields | {
        "low": min(observed.low, least.low),
        "high": max(observed.high, most.high),
        "low_these_runs": min(observed.these_runs.low, least.these_runs.low),
        "high_these_runs": max(observed.these_runs.high, most.these_runs.high),
        "p": observed.p,
    }


def _compare(rows: Sequence[_Row]) -> PairedDifference:
    first, second, parents, seeds = zip(*rows, strict=True)
    return paired_difference(first, second, parents, seeds)


def _mean(rows: Sequence[_Row]) -> float | None:
    """The difference, without less with; None if there is no pair."""
    return sum(a - b for a, b, *_ in rows) / len(rows) if rows else None
