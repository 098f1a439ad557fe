"""Two arms on the same prompts: paired differences, from what was measured of each response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, permutations
from typing import NamedTuple

from sinternal.figures.estimate import OTHER_RUNS, THESE_RUNS
from sinternal.figures.metric import ASR, METRICS, PAIRED
from sinternal.figures.provenance import Provenance
from sinternal.figures.statistics import PairedDifference, holm, mcnemar, paired_difference, smallest_difference
from sinternal.figures.study import Comparison
from sinternal.figures.tally import is_crossed
from sinternal.records import HarmShows, Measured, Split
from sinternal.settings.questions import Question, is_asked

Responses = Mapping[tuple[int, str, int], Measured]
"""The responses of one arm and variant, by seed, prompt and sample."""


class Scope(NamedTuple):
    """What a comparison is about."""

    metric: str
    """What is compared."""
    split: str = ""
    """`id` or `ood`; empty for both."""
    family: str | None = None
    """Attack family, None for all."""
    benchmark: str | None = None
    """One benchmark, None for all."""
    harm_shows: str = ""
    """`request` or `draft`; empty for both."""

    def holds(self, row: Measured) -> bool:
        """Whether a response belongs there."""
        return (
            METRICS[self.metric].concerns(row)
            and (not self.split or row.split == self.split)
            and (self.family is None or row.family == self.family)
            and (self.benchmark is None or row.benchmark == self.benchmark)
            and (not self.harm_shows or row.harm_shows == self.harm_shows)
        )


BY_SPLIT = tuple(Scope(metric.name, split) for metric in PAIRED for split in (Split.ID, Split.OOD))
CROSSED = tuple(scope._replace(harm_shows=shows) for scope in BY_SPLIT for shows in HarmShows)
"""The same, by where harm shows."""


class Side(NamedTuple):
    """One arm of a comparison."""

    arm: str
    """Its name."""
    responses: Responses
    """Its responses."""
    provenance: Callable[[str], Provenance]
    """Where its figures of a metric come from."""


def index_responses(rows: Iterable[Measured]) -> Responses:
    """Responses of one arm and variant, so that the twin of each is found."""
    return {(row.seed, row.prompt_id, row.sample): row for row in rows}


def compare_sides(a: Side, b: Side, scope: Scope, variant: str = "default") -> Comparison | None:
    """Compare two arms by one metric on the responses that have a twin; difference is A less B.

    The intervals cover the difference whatever the missing labels are: each end is that of the interval over all pairs
    if they speak against A, or for it, as far as they can (Imbens & Manski 2004, doi 10.1111/j.1468-0262.2004.00555.x).

    None if there are fewer than two parent prompts with a label in both.
    """
    twins = [(row, b.responses[key]) for key, row in a.responses.items() if scope.holds(row) and key in b.responses]
    labels = [(getattr(row_a, scope.metric), getattr(row_b, scope.metric), row_a) for row_a, row_b in twins]
    pairs = [
        (label_a, label_b, row.parent_id, row.seed)
        for label_a, label_b, row in labels
        if None not in (label_a, label_b)
    ]
    if len({parent for _, _, parent, _ in pairs}) < 2:
        return None
    paired = paired_difference(*zip(*pairs, strict=True))
    least, most = (_complete(labels, paired, a_hits=hits) for hits in (False, True))
    return Comparison(
        variant=variant,
        a=a.arm,
        b=b.arm,
        metric=scope.metric,
        split=scope.split,
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
        provenance_a=a.provenance(scope.metric),
        provenance_b=b.provenance(scope.metric),
        missing_a=sum(label_a is None for label_a, _, _ in labels),
        missing_b=sum(label_b is None for _, label_b, _ in labels),
        truncated=sum(row_a.truncated or row_b.truncated for row_a, row_b in twins) / len(twins),
        family=scope.family,
        benchmark=scope.benchmark,
        harm_shows=scope.harm_shows,
        lowest=least.difference,
        highest=most.difference,
    )


def _complete(
    labels: Sequence[tuple[bool | None, bool | None, Measured]], observed: PairedDifference, *, a_hits: bool
) -> PairedDifference:
    """The difference over all pairs if every missing label of A is `a_hits`, and every one of B is not."""
    if not any(None in (label_a, label_b) for label_a, label_b, _ in labels):
        return observed
    pairs = [
        (a_hits if label_a is None else label_a, (not a_hits) if label_b is None else label_b, row.parent_id, row.seed)
        for label_a, label_b, row in labels
    ]
    return paired_difference(*zip(*pairs, strict=True))


def with_holm(rows: Sequence[Comparison]) -> list[Comparison]:
    """Comparisons that were asked for together, with Holm's correction for their number."""
    return [replace(row, p_holm=p) for row, p in zip(rows, holm([row.p for row in rows]), strict=True)]


def all_pairs(arms: Sequence[Side], variant: str, questions: Sequence[Question]) -> list[Comparison]:
    """What the questions ask, corrected for their number; then all other comparisons, which are exploratory.

    These are every later arm against every earlier one, by split, where harm shows, family (attack success only) and
    benchmark.
    """
    by_name = {arm.arm: arm for arm in arms}
    confirmatory: dict[tuple[frozenset[str], Scope], Comparison | None] = {}  # asked for in both directions is one test
    for first, second in permutations(by_name, 2):
        for scope in (*BY_SPLIT, *CROSSED):
            pair = frozenset((first, second)), scope
            asked = is_asked(questions, first, second, scope.metric, scope.split, scope.harm_shows)
            if pair not in confirmatory and asked:
                confirmatory[pair] = compare_sides(by_name[first], by_name[second], scope, variant)
    corrected = with_holm([row for row in confirmatory.values() if row is not None])
    rows = [row for arm in arms for row in arm.responses.values()]
    families = dict.fromkeys((row.split, row.family) for row in rows if row.harmful)
    benchmarks = dict.fromkeys(row.benchmark for row in rows)
    by_family = [Scope(ASR.name, split, family) for split, family in families]
    by_benchmark = [Scope(metric.name, benchmark=name) for name in benchmarks for metric in PAIRED]
    crossed = CROSSED if is_crossed(rows) else ()
    others = (*BY_SPLIT, *crossed, *by_family, *(by_benchmark if len(benchmarks) > 1 else ()))
    explored = (
        compare_sides(a, b, scope, variant)
        for b, a in combinations(arms, 2)
        for scope in others
        if (frozenset((a.arm, b.arm)), scope) not in confirmatory
    )
    return [*corrected, *(row for row in explored if row is not None)]
