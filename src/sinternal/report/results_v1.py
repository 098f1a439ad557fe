"""Version 1 of `results.json`, as version 2.

In version 1, `benchmark` said what a figure is over, or which benchmark of several, or that it is under stress, and
then `family` named the condition; a row of the funnel had its arm in the name of its stage; correlations stood apart
from scores, and a figure's provenance among its own fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sinternal.figures.metric import ASR_WORST, METRICS, Over

PROVENANCE = ("judge", "judge_revision", "judged", "decoding", "measured", "recipe")
STRESS = "stress"
OVER = {over.value for over in (Over.HARMFUL, Over.BENIGN, Over.ALL, Over.PAIRS, Over.OWN_ANSWERS)}
DROPPED = ("correlations",)


def from_version_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same content as version 2 puts it, but for `metrics`, which version 1 did not describe.

    Raises:
        KeyError: a field is missing.
    """
    rows = [*content["scores"], *content["correlations"]]
    conditions = {row["family"] for row in rows if row["benchmark"] == STRESS}
    scores = [_score(row, conditions) for row in rows]
    return {
        **{name: value for name, value in content.items() if name not in DROPPED},
        "version": 2,
        "scores": scores,
        "judge_gaps": [_rename(row, difference="value") | _NO_BOUNDS for row in content["judge_gaps"]],
        "agreements": [_agreement(row) for row in content["agreements"]],
        "comparisons": [_rename(row, difference="value") for row in content["comparisons"]],
        "thinking": [row | _NO_BOUNDS for row in content["thinking"]],
        "capability": [row | _NO_BOUNDS for row in content["capability"]],
        "learning": [_learning(row) for row in content["learning"]],
        "funnel": [_funnel_row(row, [arm["name"] for arm in content["arms"]]) for row in content["funnel"]],
    }


_NO_BOUNDS = {"lowest": None, "highest": None}


def _score(row: Mapping[str, Any], conditions: set[str]) -> dict[str, Any]:
    """A figure with `over`, `benchmark` and `condition` apart, and its provenance as a whole."""
    metric, benchmark, family = METRICS[row["metric"]], row["benchmark"], row["family"]
    stressed = benchmark == STRESS or (metric is ASR_WORST and family in conditions)
    named = benchmark not in (*OVER, STRESS)
    over = benchmark if benchmark in OVER else metric.over_benchmark if named else metric.over[0]
    return {
        **{name: value for name, value in row.items() if name not in PROVENANCE},
        "over": over,
        "benchmark": benchmark if named else None,
        "condition": family if stressed else None,
        "family": None if stressed else family,
        "provenance": {name: row[name] for name in PROVENANCE},
    }


def _rename(row: Mapping[str, Any], **names: str) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in row.items()}


def _agreement(row: Mapping[str, Any]) -> dict[str, Any]:
    interval = ("low", "high", "n")
    kappa = {"value": row["kappa"], **{name: row[name] for name in interval}, **_NO_BOUNDS}
    return {**{name: value for name, value in row.items() if name not in interval}, "kappa": kappa}


def _learning(row: Mapping[str, Any]) -> dict[str, Any]:
    interval = {name: row[name] for name in ("low", "high")}
    difference = {"value": row["difference"], **interval, "n": row["seeds"], **_NO_BOUNDS}
    kept = {name: value for name, value in row.items() if name not in interval}
    return {**kept, "difference": None if row["difference"] is None else difference}


def _funnel_row(row: Mapping[str, Any], arms: Sequence[str]) -> dict[str, Any]:
    """Rows of a stage: version 1 named the arm after it, `examples sinternal`."""
    arm = next((name for name in arms if row["stage"].endswith(f" {name}")), None)
    return {**row, "arm": arm, "stage": row["stage"].removesuffix(f" {arm}")}
