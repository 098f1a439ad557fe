"""Two finished runs, compared response by response: on the same prompts, of the same seed and sample."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sinternal.errors import DataError
from sinternal.metrics import PAIRED_METRICS
from sinternal.records import Measured, Split
from sinternal.report.data import Comparison
from sinternal.statistics import holm, mcnemar, paired_difference, smallest_difference
from sinternal.store import read_table

FILES = ("results.json", "measured.parquet")
SAME = ("judge", "judge_revision", "judged", "decoding")
"""What has to be alike for a difference to be one of the models."""


@dataclass(frozen=True)
class Side:
    """One arm of one run."""

    folder: Path
    """The run."""
    arm: str
    """The arm."""
    rows: Mapping[tuple[str, int, str, int], Measured]
    """Its responses by variant, seed, prompt and sample."""
    provenance: Mapping[str, str]
    """Judge, decoding and date."""


@dataclass(frozen=True)
class Compared:
    """What came out."""

    a: Side
    """One side."""
    b: Side
    """The other."""
    comparisons: tuple[Comparison, ...]
    """By metric and split; difference is A less B."""
    caveats: tuple[str, ...]
    """What a reader should mind."""


def compare(a: Path, b: Path, arm_a: str | None = None, arm_b: str | None = None) -> list[Compared]:
    """Compare arms of two runs; without names, those that have the same name in both.

    Args:
        a: folder of a finished run.
        b: folder of another, or the same.
        arm_a: an arm of the first.
        arm_b: an arm of the second; by default that of the same name.

    Raises:
        DataError: a folder holds no finished run, an arm is not there, or the two have no prompt in common.
    """
    results = {folder: _results(folder) for folder in (a, b)}
    known = {folder: [arm["name"] for arm in found["arms"]] for folder, found in results.items()}
    if arm_a is None and arm_b is not None:
        raise DataError("--arm-b names an arm of the second run: name one of the first with --arm-a, too")
    chosen = [(arm_a, arm_b or arm_a)] if arm_a else [(arm, arm) for arm in known[a] if arm in known[b]]
    if not chosen:
        raise DataError(f"{a} and {b} have no arm of the same name; choose with --arm-a and --arm-b")
    sides = [(_side(a, str(one), results[a]), _side(b, str(other), results[b])) for one, other in chosen]
    return [_compared(one, other) for one, other in sides]


def _results(folder: Path) -> dict[str, Any]:
    for name in FILES:
        if not (folder / name).exists():
            raise DataError(
                f"{folder}: no finished run there (no {name}); finish it, or run it again with this version"
            )
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


def _side(folder: Path, arm: str, results: Mapping[str, Any]) -> Side:
    rows = [row for row in read_table(folder / "measured.parquet", Measured) if row.arm == arm]
    if not rows:
        known = ", ".join(entry["name"] for entry in results["arms"])
        raise DataError(f"{folder} has no arm {arm!r}; it has: {known}")
    first = next(score for score in results["scores"] if score["arm"] == arm and score["spec"] is None)
    return Side(
        folder,
        arm,
        {(row.variant, row.seed, row.prompt_id, row.sample): row for row in rows},
        {name: first[name] for name in (*SAME, "measured")},
    )


def _compared(a: Side, b: Side) -> Compared:
    common = [place for place in a.rows if place in b.rows]
    if not common:
        raise DataError(
            f"{a.folder} ({a.arm}) and {b.folder} ({b.arm}) have no prompt, seed and sample in common, so that nothing "
            "can be paired; measure both on the same benchmarks, attacks and seeds"
        )
    found = [
        comparison
        for metric in PAIRED_METRICS
        for split in (Split.ID, Split.OOD)
        if (comparison := _pairs(a, b, [place for place in common if a.rows[place].split is split], metric, split))
    ]
    corrected = holm([row.p for row in found])
    rows = tuple(replace(row, p_holm=p) for row, p in zip(found, corrected, strict=True))
    return Compared(a, b, rows, tuple(_caveats(a, b, len(common), rows)))


def _pairs(
    a: Side, b: Side, places: Sequence[tuple[str, int, str, int]], metric: str, split: Split
) -> Comparison | None:
    pairs = []
    for place in places:
        here, there = getattr(a.rows[place], metric), getattr(b.rows[place], metric)
        if here is not None and there is not None:
            pairs.append((here, there, a.rows[place].parent_id, place[1]))
    if len({cluster for _, _, cluster, _ in pairs}) < 2:
        return None
    found = paired_difference(*zip(*pairs, strict=True))
    return Comparison(
        "default",
        a.arm,
        b.arm,
        metric,
        split,
        *found,
        p_mcnemar=mcnemar(found.only_a, found.only_b),
        detectable=smallest_difference(found.low, found.high),
    )


def _caveats(a: Side, b: Side, common: int, rows: Sequence[Comparison]) -> Iterator[str]:
    for side in (a, b):
        if len(side.rows) > common:
            missing = len(side.rows) - common
            yield f"{missing} of {len(side.rows)} responses of {side.folder} have no twin in the other run"
    for name in SAME:
        if a.provenance[name] != b.provenance[name]:
            words = f"{a.provenance[name]} and {b.provenance[name]}"
            yield f"the runs differ in {name.replace('_', ' ')} ({words}): a difference may come from that"
    if not rows:
        yield "there are too few labelled pairs for any comparison"


def to_json(found: Sequence[Compared]) -> dict[str, Any]:
    """Comparisons as plain values."""
    return {
        "version": 1,
        "pairs": [
            {
                "a": {"run": str(one.a.folder), "arm": one.a.arm, **one.a.provenance},
                "b": {"run": str(one.b.folder), "arm": one.b.arm, **one.b.provenance},
                "caveats": list(one.caveats),
                "comparisons": [_plain(row) for row in one.comparisons],
            }
            for one in found
        ],
    }


def _plain(row: Comparison) -> dict[str, Any]:
    skipped = ("variant", "a", "b", "family", "benchmark")
    return {name: value for name, value in vars(row).items() if name not in skipped}
