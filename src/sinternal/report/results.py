"""`results.json`: the contract for machines. It does not change without a new version number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from sinternal.errors import DataError
from sinternal.figures.best import Best, best
from sinternal.figures.study import Arm, ReportData
from sinternal.records import Provenance, Score, from_columns
from sinternal.report.caveats import caveats
from sinternal.report.format import with_interval
from sinternal.report.tables import COLUMNS, TextTable, headline

FORMAT_VERSION = 1
CORRELATIONS = ("verification_mcc",)
"""Metrics that are no fractions."""
MANY_ARMS = 4
"""Arms beyond which a terminal is too narrow for a column each."""
MAIN_COLUMNS = ("ASR OOD", "ASR worst case", "over-refusal OOD", "helpful OOD", "verifies OOD +spec")
"""What a terminal shows of many arms; the report has the rest."""


def to_json(data: ReportData) -> dict[str, Any]:
    """A run's figures as plain values; fractions are 0 to 1, correlations -1 to 1, times are seconds."""
    figures = (*data.scores, *data.second_opinions)
    return {
        "version": FORMAT_VERSION,
        "recipe": data.recipe,
        "seeds": list(data.seeds),
        "finished": True,
        "arms": [
            asdict(arm) | {"exposure": [asdict(row) for row in data.exposures if row.arm == arm.name]}
            for arm in data.arms
        ],
        "variants": [asdict(variant) for variant in data.variants],
        "judges": list(data.judges),
        "scores": [_flat(score) for score in figures if score.metric not in CORRELATIONS],
        "correlations": [_flat(score) for score in figures if score.metric in CORRELATIONS],
        "thinking": [asdict(row) for row in data.thinking],
        "judge_gaps": [asdict(row) for row in data.judge_gaps],
        "agreements": [asdict(row) for row in data.agreements],
        "questions": [question.model_dump(mode="json") for question in data.questions],
        "comparisons": [asdict(row) for row in data.comparisons],
        "best": [{**asdict(found), "words": found.words} for found in _bests(data)],
        "capability": [asdict(row) for row in data.capability],
        "contamination": [asdict(row) for row in data.contamination],
        "learning": [asdict(row) for row in data.learning],
        "funnel": [asdict(row) for row in data.funnel],
        "timing": data.timing,
        "facts": data.facts,
        "caveats": list(caveats(data)),
    }


def _bests(data: ReportData) -> Iterator[Best]:
    for variant in data.variants:
        if found := best(data.scores, data.comparisons, variant.name):
            yield found


def _flat(score: Score) -> dict[str, Any]:
    """A figure as one flat object, its provenance included."""
    values = asdict(score)
    provenance = values.pop("provenance")
    return {**values, **provenance}


def read_scores(path: Path) -> list[Score]:
    """The figures of a `results.json`, those of deciding judges first.

    Raises:
        DataError: it cannot be read, or was written by another version of this package.
    """
    try:
        content = json.loads(path.read_text())
        check_version(content)
        return [read_score(row) for row in content["scores"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read as results ({error!r}); run its recipe again") from error


def check_version(results: Mapping[str, Any]) -> None:
    """Make sure that a `results.json` is of this version. Raises DataError if it is not."""
    if results.get("version") != FORMAT_VERSION:
        raise DataError(
            f"results.json has format version {results.get('version')}, this package reads {FORMAT_VERSION}"
        )


def read_score(row: dict[str, Any]) -> Score:
    """A figure from an entry of `scores`."""
    places = {field.name for field in fields(Provenance)}
    provenance = Provenance(**{name: row[name] for name in places})
    return from_columns(Score, {**{k: v for k, v in row.items() if k not in places}, "provenance": provenance})


def terminal_tables(results: dict[str, Any]) -> Iterator[tuple[str, TextTable, str]]:
    """The headline of each variant of a `results.json`, so that it fits a terminal, and what stands beneath it.

    A row for each figure, or, of many arms, a row for each arm with the main figures.

    Raises:
        DataError: the file was written by another version of this package.
    """
    check_version(results)
    scores = [read_score(row) for row in reversed(results["scores"])]  # deciding judges' figures come first: they win
    arms = [Arm(**{name: value for name, value in row.items() if name != "exposure"}) for row in results["arms"]]
    beneath = {found["variant"]: found["words"] for found in results.get("best", ())}
    for variant in results["variants"]:
        note = beneath.get(variant["name"], "")
        rows = headline(scores, arms, variant["name"])
        if len(rows) > MANY_ARMS:
            chosen = [i for i, column in enumerate(COLUMNS) if column.short in MAIN_COLUMNS]
            lines = [[row.name, *(with_interval(row.cells[i]) for i in chosen)] for row in rows]
            yield (
                variant["name"],
                TextTable(["%, with 95 % interval", *(COLUMNS[i].short for i in chosen)], lines),
                note,
            )
        else:
            lines = [[column.short, *(with_interval(row.cells[i]) for row in rows)] for i, column in enumerate(COLUMNS)]
            yield variant["name"], TextTable(["%, with 95 % interval", *(row.name for row in rows)], lines), note
