"""Two arms on the same prompts: paired differences, from what was measured of each response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import combinations, permutations
from typing import Any, NamedTuple

import numpy as np

from sinternal.figures.columns import (
    MISSING,
    Columns,
    Flags,
    Labels,
    Names,
    Numbers,
    chain,
    first_seen,
    first_seen_together,
)
from sinternal.figures.estimate import OTHER_RUNS, THESE_RUNS
from sinternal.figures.metric import ASR, METRICS, PAIRED
from sinternal.figures.outcomes import Outcomes
from sinternal.figures.provenance import Provenance
from sinternal.figures.statistics import bounded_difference, holm, mcnemar, smallest_difference
from sinternal.figures.study import Comparison
from sinternal.layout import ArmPlace
from sinternal.records import HarmShows, Measured, Split
from sinternal.settings.questions import Question, is_asked


@dataclass(frozen=True)
class Responses(Columns):
    """What was measured of the responses of one arm and variant, in all seeds: one entry of each column for each."""

    names: Names
    """What the names of prompts, families and so on are numbered by; the same for all arms that are compared."""
    seed: Numbers
    """The seed."""
    prompt: Numbers
    """The prompt."""
    sample: Numbers
    """Number of the response among those of its prompt."""
    parent: Numbers
    """The prompt that its prompt wraps, or itself."""
    benchmark: Numbers
    """Where the prompt came from."""
    family: Numbers
    """Its attack family."""
    split: Numbers
    """Where it stands to what was tuned on."""
    harm_shows: Numbers
    """Where its harm can be seen."""
    harmful: Flags
    """Whether helping would be harmful."""
    helpable: Flags
    """Whether some answer helps without harm."""
    truncated: Flags
    """Whether the response ran into the token limit."""
    asr: Labels
    """For harmful prompts, whether the answer is unsafe; `MISSING` for all others."""
    over_refusal: Labels
    """For helpable prompts, whether the answer refuses."""
    helpful: Labels
    """For helpable prompts, whether the answer is what was asked for."""
    proactive_verification: Labels
    """For harmful prompts, whether the thinking checks safety unasked."""

    def __len__(self) -> int:
        return len(self.seed)

    def label(self, metric: str) -> Labels:
        """One of the metrics that arms are compared by."""
        column: Labels = getattr(self, metric)
        return column

    @classmethod
    def of(cls, outcomes: Outcomes, seed: int) -> Responses:
        """What was measured of the responses of one seed."""
        columns: dict[str, Any] = {metric.name: metric.measure(outcomes) for metric in PAIRED}
        columns["seed"] = np.full(len(outcomes), seed, dtype=np.int64)
        for field in fields(cls):
            if field.name not in columns:
                columns[field.name] = getattr(outcomes, field.name)
        return cls(**columns)


def index_responses(rows: Iterable[Measured], names: Names) -> Responses:
    """Responses of one arm and variant, so that the twin of each is found.

    Args:
        rows: the responses.
        names: numbers that names have already, for all arms that they are compared with.
    """
    measured = list(rows)

    def labels(metric: str) -> Labels:
        values = (getattr(row, metric) for row in measured)
        return np.array([MISSING if value is None else value for value in values], dtype=np.int8)

    def flags(field: str) -> Flags:
        return np.array([getattr(row, field) for row in measured], dtype=np.bool_)

    return Responses(
        names=names,
        seed=np.array([row.seed for row in measured], dtype=np.int64),
        prompt=names.numbers(row.prompt_id for row in measured),
        sample=np.array([row.sample for row in measured], dtype=np.int64),
        parent=names.numbers(row.parent_id for row in measured),
        benchmark=names.numbers(row.benchmark for row in measured),
        family=names.numbers(row.family for row in measured),
        split=names.numbers(row.split for row in measured),
        harm_shows=names.numbers(row.harm_shows for row in measured),
        harmful=flags("harmful"),
        helpable=flags("helpable"),
        truncated=flags("truncated"),
        asr=labels("asr"),
        over_refusal=labels("over_refusal"),
        helpful=labels("helpful"),
        proactive_verification=labels("proactive_verification"),
    )


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

    def holds(self, rows: Responses) -> Flags:
        """Which responses belong there."""
        holds = METRICS[self.metric].concerns(rows).copy()
        for column, name in (
            (rows.split, self.split or None),
            (rows.family, self.family),
            (rows.benchmark, self.benchmark),
            (rows.harm_shows, self.harm_shows or None),
        ):
            if name is not None:
                holds &= column == rows.names.find(name)
        return holds


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


class Pairs(NamedTuple):
    """The labels of twins, in one scope."""

    a: Labels
    """Those of one arm."""
    b: Labels
    """Those of the other."""
    parent: Numbers
    """The parent prompts, by numbers in the order of their names."""
    seed: Numbers
    """The seeds."""
    truncated: Flags
    """Whether either response ran into the token limit."""

    @property
    def columns(self) -> tuple[Labels, Labels, Numbers, Numbers]:
        """As `bounded_difference` takes them."""
        return self.a, self.b, self.parent, self.seed


@dataclass(frozen=True)
class Twins:
    """The responses of two arms to the same prompts, of the same seed and sample."""

    a: Responses
    """One arm."""
    b: Responses
    """The other."""

    @cached_property
    def places(self) -> tuple[Numbers, Numbers]:
        """Where the twins stand in either arm, in the order of the first."""
        samples = 1 + max(int(side.sample.max(initial=0)) for side in (self.a, self.b))
        seeds = np.unique(np.concatenate([self.a.seed, self.b.seed]))
        ours, theirs = (
            (np.searchsorted(seeds, side.seed) * len(side.names) + side.prompt) * samples + side.sample
            for side in (self.a, self.b)
        )
        order = np.argsort(theirs)
        at = np.minimum(np.searchsorted(theirs, ours, sorter=order), max(len(theirs) - 1, 0))
        has_twin = np.flatnonzero(theirs[order[at]] == ours) if len(theirs) else np.zeros(0, dtype=np.int64)
        return has_twin, order[at[has_twin]]

    @cached_property
    def both(self) -> tuple[Responses, Responses]:
        """The twins themselves, of either arm."""
        ours, theirs = self.places
        return self.a.take(ours), self.b.take(theirs)

    @cached_property
    def _parents(self) -> Numbers:
        return self.a.names.in_order(self.both[0].parent)

    def pairs(self, scope: Scope) -> Pairs:
        """The twins that belong to a scope, as the first arm has it."""
        a, b = self.both
        rows = np.flatnonzero(scope.holds(a))
        return Pairs(
            a.label(scope.metric)[rows],
            b.label(scope.metric)[rows],
            self._parents[rows],
            a.seed[rows],
            a.truncated[rows] | b.truncated[rows],
        )


def compare_sides(
    a: Side, b: Side, scope: Scope, variant: str = "default", twins: Twins | None = None
) -> Comparison | None:
    """Compare two arms by one metric on the responses that have a twin; difference is A less B.

    The intervals cover the difference whatever the missing labels are, see `bounded_difference`.

    Args:
        a: one arm.
        b: the other.
        scope: what is compared.
        variant: of the recipe.
        twins: those of the two arms, if they were looked for already.

    Returns:
        None if there are fewer than two parent prompts with a label in both.
    """
    pairs = (twins or Twins(a.responses, b.responses)).pairs(scope)
    found = bounded_difference(*pairs.columns) if len(pairs.a) else None
    if found is None or found.value is None or found.known is None or not (found.interval and found.these_runs):
        return None
    paired = found.known
    return Comparison(
        variant=variant,
        a=a.arm,
        b=b.arm,
        metric=scope.metric,
        split=scope.split,
        value=found.value,
        low=found.interval.low,
        high=found.interval.high,
        holds_for=OTHER_RUNS if paired.runs > 1 else THESE_RUNS,
        runs=paired.runs,
        low_these_runs=found.these_runs.low,
        high_these_runs=found.these_runs.high,
        p=paired.p,
        n=paired.n,
        only_a=paired.only_a,
        only_b=paired.only_b,
        p_mcnemar=mcnemar(paired.only_a, paired.only_b),
        detectable=smallest_difference(*found.these_runs),
        provenance_a=a.provenance(scope.metric),
        provenance_b=b.provenance(scope.metric),
        missing_a=found.missing_a,
        missing_b=found.missing_b,
        truncated=int(pairs.truncated.sum()) / len(pairs.truncated),
        family=scope.family,
        benchmark=scope.benchmark,
        harm_shows=scope.harm_shows,
        lowest=found.lowest,
        highest=found.highest,
    )


def with_holm(rows: Sequence[Comparison]) -> list[Comparison]:
    """Comparisons that were asked for together, with Holm's correction for their number."""
    return [replace(row, p_holm=p) for row, p in zip(rows, holm([row.p for row in rows]), strict=True)]


def all_pairs(arms: Sequence[Side], variant: str, questions: Sequence[Question]) -> list[Comparison]:
    """What the questions ask, corrected for their number; then all other comparisons, which are exploratory.

    These are every later arm against every earlier one, by split, where harm shows, family (attack success only) and
    benchmark.
    """
    by_name = {arm.arm: arm for arm in arms}
    twins: dict[tuple[str, str], Twins] = {}

    def compare(a: Side, b: Side, scope: Scope) -> Comparison | None:
        found = twins.setdefault((a.arm, b.arm), Twins(a.responses, b.responses))
        return compare_sides(a, b, scope, variant, found)

    confirmatory: dict[tuple[frozenset[str], Scope], Comparison | None] = {}  # asked for in both directions is one test
    for first, second in permutations(by_name, 2):
        for scope in (*BY_SPLIT, *CROSSED):
            pair = frozenset((first, second)), scope
            asked = is_asked(questions, first, second, scope.metric, scope.split, scope.harm_shows)
            if pair not in confirmatory and asked:
                confirmatory[pair] = compare(by_name[first], by_name[second], scope)
    corrected = with_holm([row for row in confirmatory.values() if row is not None])
    others = list(_explored(chain([arm.responses for arm in arms])))
    explored = (
        compare(a, b, scope)
        for b, a in combinations(arms, 2)
        for scope in others
        if (frozenset((a.arm, b.arm)), scope) not in confirmatory
    )
    return [*corrected, *(row for row in explored if row is not None)]


def _explored(rows: Responses) -> Iterable[Scope]:
    """What arms are compared by beyond what is asked."""
    yield from BY_SPLIT
    if (rows.harm_shows != rows.names.find(HarmShows.REQUEST)).any():
        yield from CROSSED
    harmful = rows.take(rows.harmful)
    for split, family in first_seen_together(harmful.split, harmful.family):
        yield Scope(ASR.name, rows.names[split], rows.names[family])
    if len(benchmarks := first_seen(rows.benchmark)) > 1:
        for number in benchmarks:
            yield from (Scope(metric.name, benchmark=rows.names[number]) for metric in PAIRED)


def by_arm(outcomes: Mapping[ArmPlace, Outcomes]) -> dict[tuple[str, str], Responses]:
    """What was measured of each variant and arm, from its responses by seed."""
    seeds: dict[tuple[str, str], list[Responses]] = {}
    for (variant, arm, seed), of_seed in outcomes.items():
        seeds.setdefault((variant, arm), []).append(Responses.of(of_seed, seed))
    return {place: chain(parts) for place, parts in seeds.items()}
