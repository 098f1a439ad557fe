"""From what was measured of each response to the effects of a study's methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sinternal.figures.comparisons import Responses, Scope, index_responses
from sinternal.figures.effect import Contrast, Effect
from sinternal.figures.estimate import OTHER_RUNS, THESE_RUNS
from sinternal.figures.metric import METRICS, PAIRED, Better
from sinternal.figures.provenance import Provenance
from sinternal.figures.statistics import Interval, SeedDifference, seed_difference
from sinternal.records import HarmShows, Measured, Split
from sinternal.settings.trials import Trial


class Place(NamedTuple):
    """Where an effect is measured."""

    split: Split
    """In-distribution or out-of-distribution."""
    harm_shows: HarmShows
    """Where harm shows."""
    family: str | None = None
    """The attack family; None for all."""


def effects(
    rows: Iterable[Measured],
    trials: Mapping[str, Sequence[Trial]],
    provenance: Callable[[str, str, str], Provenance],
) -> Iterator[Effect]:
    """The effect of every trial's method, in every variant, by every metric, wherever the run has prompts.

    Args:
        rows: what was measured of each response.
        trials: which arms are compared with which, by variant.
        provenance: where a figure comes from, by variant, arm and metric.
    """
    by_arm: dict[tuple[str, str], list[Measured]] = {}
    for row in rows:
        by_arm.setdefault((row.variant, row.arm), []).append(row)
    responses = {key: index_responses(own) for key, own in by_arm.items()}
    for variant in dict.fromkeys(variant for variant, _ in by_arm):
        for trial in trials[variant]:
            if (variant, trial.method) in by_arm:
                yield from _of_trial(variant, trial, responses, provenance)


def smallest(contrasts: Sequence[Contrast], better: Better) -> str | None:
    """Which placebo leaves the smallest effect: the conservative choice where there are several.

    Where the method is on one side of all placebos, it is the nearest one. Where it is above some and below others, it
    is the one that speaks least for the method; of a metric of which neither way is better, more speaks for it.

    Returns:
        Its name; None if there is no value for any.
    """
    values = {row.other: row.value for row in contrasts if row.value is not None}
    if not values:
        return None
    if min(values.values()) * max(values.values()) >= 0:
        return min(values, key=lambda name: abs(values[name]))
    return (max if better is Better.LOWER else min)(values, key=values.__getitem__)


def _of_trial(
    variant: str,
    trial: Trial,
    responses: Mapping[tuple[str, str], Responses],
    provenance: Callable[[str, str, str], Provenance],
) -> Iterator[Effect]:
    ours = responses[variant, trial.method]
    others = [name for name in (*trial.placebos, trial.base) if name is not None and (variant, name) in responses]
    for metric in PAIRED:
        for place in _places(ours.values(), metric.name):
            scope = Scope(metric.name, place.split, place.family, harm_shows=place.harm_shows)
            contrasts = {
                name: contrast(ours, responses[variant, name], scope, name, provenance(variant, name, metric.name))
                for name in others
            }
            placebos = tuple(contrasts[name] for name in trial.placebos if name in contrasts)
            yield Effect(
                variant=variant,
                method=trial.method,
                metric=metric.name,
                **place._asdict(),
                placebo=smallest(placebos, metric.better),
                placebos=placebos,
                base=contrasts.get(trial.base) if trial.base else None,
                provenance=provenance(variant, trial.method, metric.name),
            )


def _places(rows: Iterable[Measured], metric: str) -> list[Place]:
    """All splits by where harm shows, and then the families in them."""
    concerned = [row for row in rows if METRICS[metric].concerns(row)]
    cells = {(row.split, row.harm_shows) for row in concerned}
    order = [(split, shows) for split in Split for shows in HarmShows if (split, shows) in cells]
    families = dict.fromkeys((row.split, row.harm_shows, row.family) for row in concerned)
    return [*(Place(*cell) for cell in order), *(Place(*cell) for cell in families)]


def contrast(ours: Responses, theirs: Responses, scope: Scope, other: str, provenance: Provenance) -> Contrast:
    """One arm less another in one place, on the responses that have a twin.

    Args:
        ours: the responses of the method.
        theirs: those of the other arm.
        scope: the metric and the prompts.
        other: the other arm's name.
        provenance: where its labels come from.
    """
    twins = [(row, theirs[key]) for key, row in ours.items() if scope.holds(row) and key in theirs]
    labels = [(getattr(a, scope.metric), getattr(b, scope.metric), a) for a, b in twins]
    known = _difference((a, b, row) for a, b, row in labels if None not in (a, b))
    missing = (sum(a is None for a, _, _ in labels), sum(b is None for _, b, _ in labels))
    at_least, at_most = (_completed(labels, hit=hit) if any(missing) else known for hit in (False, True))
    every = [row for row in (known, at_least, at_most) if row is not None] if known else []
    low, high = _outermost(row.interval for row in every)
    low_these_runs, high_these_runs = _outermost(row.these_runs for row in every)
    value = known.difference if known else None
    return Contrast(
        value=value,
        low=low,
        high=high,
        n=sum(None not in (a, b) for a, b, _ in labels),
        lowest=at_least.difference if at_least else None,
        highest=at_most.difference if at_most else None,
        other=other,
        holds_for=OTHER_RUNS if known and len(known.by_seed) > 1 else THESE_RUNS,
        seeds=len(known.by_seed) if known else 0,
        by_seed=known.by_seed if known else {},
        low_these_runs=low_these_runs,
        high_these_runs=high_these_runs,
        missing_method=missing[0],
        missing_other=missing[1],
        provenance=provenance,
    )


def _outermost(intervals: Iterable[Interval | None]) -> tuple[float | None, float | None]:
    """The ends of what some intervals cover together; None if there are none."""
    known = [interval for interval in intervals if interval is not None]
    return (min(row.low for row in known), max(row.high for row in known)) if known else (None, None)


def _completed(labels: Iterable[tuple[bool | None, bool | None, Measured]], *, hit: bool) -> SeedDifference | None:
    """The difference over all pairs if every missing label of the method is `hit`, and none of the other arm is."""
    return _difference((hit if a is None else a, (not hit) if b is None else b, row) for a, b, row in labels)


def _difference(pairs: Iterable[tuple[bool, bool, Measured]]) -> SeedDifference | None:
    """None if there are no pairs."""
    listed = [(a, b, row.parent_id, row.seed) for a, b, row in pairs]
    return seed_difference(*zip(*listed, strict=True)) if listed else None
