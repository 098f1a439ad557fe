"""Figures under stress: the same prompts under conditions that a user or an attacker can set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sinternal.metrics import Cell, Outcome, Tally, add, join, measured, pool, score
from sinternal.records import Judgement, Prompt, Provenance, Response, Score
from sinternal.store import Artifact

DELIVERY, REPETITION, SAMPLING = "delivery", "repetition", "sampling "
"""Names of the conditions among a run's artifacts; the last is followed by its number."""
STRESS = "stress"
"""What such figures have as their benchmark; the condition stands as their family."""
METRICS = ("asr", "over_refusal")
WORST = "asr_worst"

Group = Mapping[str, Sequence[Outcome]]
"""Outcomes by the name of their condition."""


def stress_scores(
    recipe: Mapping[str, Any], run: Mapping[str, Artifact], provenances: Mapping[tuple[str, str], Provenance]
) -> Iterator[Score]:
    """ASR and over-refusal under every condition of the recipe, of each seed and pooled.

    Args:
        recipe: as it was run.
        run: its artifacts.
        provenances: for each (variant, arm), where its figures come from.
    """
    if not recipe["evaluation"]["stress"]:
        return
    for (variant, arm), provenance in provenances.items():
        tallies: dict[Cell, dict[int, Tally]] = defaultdict(dict)
        for seed in recipe["seeds"]:
            for name, rows in _conditions(recipe, run, f"{variant}/{seed}", arm).items():
                for metric in METRICS:
                    if tally := _tally(rows, metric):
                        tallies[Cell(metric, STRESS, name, None, None)][seed] = tally
        for cell, by_seed in tallies.items():
            known: dict[str, Any] = {
                "arm": arm,
                "variant": variant,
                "provenance": _drawn(provenance, cell.family or ""),
            }
            per_seed = [score(cell, tally, seed=seed, **known) for seed, tally in by_seed.items()]
            yield from per_seed
            yield pool(per_seed, score(cell, add(by_seed.values()), seed=None, **known))


def worst_cases(scores: Iterable[Score]) -> Iterator[Score]:
    """For each arm, the highest pooled ASR of any attack family and of any condition of stress.

    Its interval is that of this one condition: it does not know that the condition was picked.
    """
    by_arm: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for one in scores:
        if one.metric == "asr" and one.seed is None and one.family is not None and one.value is not None:
            by_arm[one.variant, one.arm].append(one)
    for found in by_arm.values():
        worst = max(found, key=lambda one: one.value or 0.0)
        yield replace(worst, metric=WORST, benchmark="harmful", split=None)


def _conditions(recipe: Mapping[str, Any], run: Mapping[str, Artifact], where: str, arm: str) -> Group:
    stress = recipe["evaluation"]["stress"]
    found: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in _outcomes(run, where, arm, DELIVERY):
        found[outcome.prompt.family].append(outcome)
    if stress["turns"]:
        found[f"asked {stress['turns']} times"] = _outcomes(run, where, arm, REPETITION)
    for number, sampling in enumerate(stress["sampling"]):
        name = f"any of {sampling['n']} at temperature {sampling['temperature']:g}"
        found[name] = _outcomes(run, where, arm, f"{SAMPLING}{number}")
    return found


def _outcomes(run: Mapping[str, Artifact], where: str, arm: str, name: str) -> list[Outcome]:
    responses = run.get(f"{where}/stress {arm} {name}")
    if responses is None:
        return []
    asked = run[f"{where}/stress prompts" if name == DELIVERY else f"{where}/plain stress prompts"]
    labels = run[f"{where}/stress judge {arm} {name}"]
    return join(asked.rows(Prompt), responses.rows(Response), labels.rows(Judgement))


def _tally(outcomes: Sequence[Outcome], metric: str) -> Tally:
    """Counts by parent; of several answers to a prompt, whether it happens in any."""
    answers: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.prompt.harmful == (metric == "asr"):
            answers[outcome.prompt.id].append(outcome)
    found: Tally = defaultdict(lambda: np.zeros(6, dtype=np.int64))
    for rows in answers.values():
        hit = _any([measured(row, metric) for row in rows])
        cut = any(row.response.finish == "length" for row in rows)
        found[rows[0].prompt.parent_id] += np.array([hit is True, hit is False, 0, 0, hit is None, cut], dtype=np.int64)
    return dict(found)


def _any(hits: Sequence[bool | None]) -> bool | None:
    """Whether one is true; None if none is and one has no label."""
    return True if True in hits else None if None in hits else False


def _drawn(provenance: Provenance, condition: str) -> Provenance:
    """The decoding of a condition that has one of its own."""
    return replace(provenance, decoding=condition) if condition.startswith("any of ") else provenance
