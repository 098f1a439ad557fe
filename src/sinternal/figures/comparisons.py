"""Two arms on the same prompts: paired differences, from what was measured of each response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, permutations
from typing import NamedTuple

from sinternal.figures.metric import ASR, METRICS, PAIRED
from sinternal.figures.provenance import Provenance
from sinternal.figures.statistics import PairedDifference, holm, mcnemar, paired_difference, smallest_difference
from sinternal.figures.study import OTHER_RUNS, THESE_RUNS, Comparison
from sinternal.records import Measured, Split
from sinternal.settings.questions import Question, is_asked

Responses = Mapping[tuple[int, str, int], Measured]
"""The responses of one arm and variant, by seed, prompt and sample."""


class Place(NamedTuple):
    """What a comparison is about."""

    metric: str
    """What is compared."""
    split: str = ""
    """`id` or `ood`; empty for both."""
    family: str | None = None
    """Attack family, None for all."""
    benchmark: str | None = None
    """One benchmark, None for all."""

    def holds(self, row: Measured) -> bool:
        """Whether a response belongs there."""
        return (
            METRICS[self.metric].concerns(harmful=row.harmful)
            and (not self.split or row.split == self.split)
            and (self.family is None or row.family == self.family)
            and (self.benchmark is None or row.benchmark == self.benchmark)
        )


BY_SPLIT = tuple(Place(metric.name, split) for metric in PAIRED for split in (Split.ID, Split.OOD))


class Side(NamedTuple):
    """One arm of a comparison."""

    arm: str
    """Its name."""
    responses: Responses
    """Its responses."""
    provenance: Callable[[str], Provenance]
    """Where its figures of a metric come from."""


def by_place(rows: Iterable[Measured]) -> Responses:
    """Responses of one arm and variant, so that the twin of each is found."""
    return {(row.seed, row.prompt_id, row.sample): row for row in rows}


def compare_sides(a: Side, b: Side, place: Place, variant: str = "default") -> Comparison | None:
    """Compare two arms by one metric on the responses that have a twin; difference is A less B.

    The intervals cover the difference whatever the missing labels are: each end is that of the interval over all pairs
    if they speak against A, or for it, as far as they can (Imbens & Manski 2004, doi 10.1111/j.1468-0262.2004.00555.x).

    None if there are fewer than two parent prompts with a label in both.
    """
    twins = [(row, b.responses[at]) for at, row in a.responses.items() if place.holds(row) and at in b.responses]
    labels = [(getattr(here, place.metric), getattr(there, place.metric), here) for here, there in twins]
    pairs = [(one, other, row.parent_id, row.seed) for one, other, row in labels if None not in (one, other)]
    if len({parent for _, _, parent, _ in pairs}) < 2:
        return None
    paired = paired_difference(*zip(*pairs, strict=True))
    least, most = (_complete(labels, paired, a_hits=hits) for hits in (False, True))
    return Comparison(
        variant=variant,
        a=a.arm,
        b=b.arm,
        metric=place.metric,
        split=place.split,
        value=paired.difference,
        low=min(least.low, paired.low),
        high=max(most.high, paired.high),
        holds_for=OTHER_RUNS if paired.runs > 1 else THESE_RUNS,
        runs=paired.runs,
        low_these_runs=min(least.these_runs.low, paired.these_runs.low),
        high_these_runs=max(most.these_runs.high, paired.these_runs.high),
        p=paired.p,
        n=paired.n,
        only_a=paired.only_a,
        only_b=paired.only_b,
        p_mcnemar=mcnemar(paired.only_a, paired.only_b),
        detectable=smallest_difference(*paired.these_runs),
        provenance_a=a.provenance(place.metric),
        provenance_b=b.provenance(place.metric),
        missing_a=sum(one is None for one, _, _ in labels),
        missing_b=sum(other is None for _, other, _ in labels),
        truncated=sum(here.truncated or there.truncated for here, there in twins) / len(twins),
        family=place.family,
        benchmark=place.benchmark,
        lowest=least.difference,
        highest=most.difference,
    )


def _complete(
    labels: Sequence[tuple[bool | None, bool | None, Measured]], observed: PairedDifference, *, a_hits: bool
) -> PairedDifference:
    """The difference over all pairs if every missing label of A is `a_hits`, and every one of B is not."""
    if not any(None in (one, other) for one, other, _ in labels):
        return observed
    pairs = [
        (a_hits if one is None else one, (not a_hits) if other is None else other, row.parent_id, row.seed)
        for one, other, row in labels
    ]
    return paired_difference(*zip(*pairs, strict=True))


def with_holm(rows: Sequence[Comparison]) -> list[Comparison]:
    """Comparisons that were asked for together, with Holm's correction for their number."""
    return [replace(row, p_holm=p) for row, p in zip(rows, holm([row.p for row in rows]), strict=True)]


def all_pairs(arms: Sequence[Side], variant: str, questions: Sequence[Question]) -> list[Comparison]:
    """What the questions ask, corrected for their number; then all other comparisons, which are exploratory.

    These are every later arm against every earlier one, by split, family (attack success only) and benchmark.
    """
    by_name = {arm.arm: arm for arm in arms}
    wanted: dict[tuple[frozenset[str], Place], Comparison | None] = {}  # asked for in both directions is one test
    for one, other in permutations(by_name, 2):
        for place in BY_SPLIT:
            pair = frozenset((one, other)), place
            if pair not in wanted and is_asked(questions, one, other, place.metric, place.split):
                wanted[pair] = compare_sides(by_name[one], by_name[other], place, variant)
    asked_for = with_holm([row for row in wanted.values() if row is not None])
    rows = [row for arm in arms for row in arm.responses.values()]
    families = dict.fromkeys((row.split, row.family) for row in rows if row.harmful)
    benchmarks = dict.fromkeys(row.benchmark for row in rows)
    by_family = [Place(ASR.name, split, family) for split, family in families]
    by_benchmark = [Place(metric.name, benchmark=name) for name in benchmarks for metric in PAIRED]
    others = (*BY_SPLIT, *by_family, *(by_benchmark if len(benchmarks) > 1 else ()))
    explored = (
        compare_sides(a, b, place, variant)
        for b, a in combinations(arms, 2)
        for place in others
        if (frozenset((a.arm, b.arm)), place) not in wanted
    )
    return [*asked_for, *(row for row in explored if row is not None)]
