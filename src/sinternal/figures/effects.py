"""From what was measured of each response to the effects of a study's methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sinternal.figures.columns import first_seen_together
from sinternal.figures.comparisons import Pairs, Responses, Scope, Twins
from sinternal.figures.effect import Contrast, Effect
from sinternal.figures.estimate import OTHER_RUNS, THESE_RUNS
from sinternal.figures.metric import METRICS, PAIRED, Better
from sinternal.figures.provenance import Provenance
from sinternal.figures.statistics import bounded_difference
from sinternal.records import HarmShows, Split
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
    responses: Mapping[tuple[str, str], Responses],
    trials: Mapping[str, Sequence[Trial]],
    provenance: Callable[[str, str, str], Provenance],
) -> Iterator[Effect]:
    """The effect of every trial's method, in every variant, by every metric, wherever the run has prompts.

    Args:
        responses: what was measured, by variant and arm.
        trials: which arms are compared with which, by variant.
        provenance: where a figure comes from, by variant, arm and metric.
    """
    for variant in dict.fromkeys(variant for variant, _ in responses):
        for trial in trials[variant]:
            if (variant, trial.method) in responses:
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
    twins = {name: Twins(ours, responses[variant, name]) for name in others}
    for metric in PAIRED:
        for place in _places(ours, metric.name):
            scope = Scope(metric.name, place.split, place.family, harm_shows=place.harm_shows)
            contrasts = {
                name: contrast(twins[name].pairs(scope), name, provenance(variant, name, metric.name))
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


def _places(rows: Responses, metric: str) -> list[Place]:
    """All splits by where harm shows, and then the families in them."""
    concerned, names = rows.take(METRICS[metric].concerns(rows)), rows.names
    families = [
        Place(Split(names[split]), HarmShows(names[shows]), names[family])
        for split, shows, family in first_seen_together(concerned.split, concerned.harm_shows, concerned.family)
    ]
    cells = {(place.split, place.harm_shows) for place in families}
    order = [Place(split, shows) for split in Split for shows in HarmShows if (split, shows) in cells]
    return [*order, *families]


def contrast(pairs: Pairs, other: str, provenance: Provenance) -> Contrast:
    """One arm less another in one place, on the responses that have a twin.

    Args:
        pairs: the method's and the other arm's.
        other: the other arm's name.
        provenance: where its labels come from.
    """
    found = bounded_difference(*pairs.columns) if len(pairs.a) else None
    interval, these_runs = (found.interval, found.these_runs) if found and found.known else (None, None)
    return Contrast(
        value=found.value if found else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        n=found.n if found else 0,
        lowest=found.lowest if found else None,
        highest=found.highest if found else None,
        other=other,
        holds_for=OTHER_RUNS if found and found.runs > 1 else THESE_RUNS,
        seeds=found.runs if found else 0,
        by_seed=found.by_run if found else {},
        low_these_runs=these_runs.low if these_runs else None,
        high_these_runs=these_runs.high if these_runs else None,
        missing_method=found.missing_a if found else 0,
        missing_other=found.missing_b if found else 0,
        provenance=provenance,
    )
