"""How far a judge agrees with people, for people and for machines: `agreement.json` and `agreement.md`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sinternal.benchmarks.human import ScoreKind
from sinternal.figures.human_agreement import EVERY_PERSON, HumanAgreements, Share
from sinternal.redaction import redacted
from sinternal.report.format import MISSING, bounds, decimal
from sinternal.report.markdown import pipe_table, plain
from sinternal.report.tables import TextTable
from sinternal.store.files import write_text

FORMAT_VERSION = 4


def to_json(agreements: HumanAgreements) -> dict[str, Any]:
    """`agreement.json`. `safety` holds what a rate is corrected by: how often the judge is right about harm.

    Beside the rows, `effective` says how many independent ones they are worth: several answers to one request are not.
    """
    harm = next((row for row in agreements.rows if row.kind == ScoreKind.HARM and row.who != EVERY_PERSON), None)
    names = ("sensitivity", "specificity")
    return {
        "version": FORMAT_VERSION,
        **redacted(asdict(agreements)),
        "safety": {
            name: {k: getattr(getattr(harm, name), k) for k in ("right", "n", "effective", "missing")} for name in names
        }
        if harm
        else None,
    }


COLUMNS = [
    "labels",
    "n",
    "no label",
    "majority baseline, %",
    "accuracy, %",
    "kappa",
    "sensitivity, %",
    "specificity, %",
    "Spearman",
]


def table(agreements: HumanAgreements) -> TextTable:
    """A row for each agreement."""
    rows = [
        [
            f"{row.kind}, {row.who if row.who == EVERY_PERSON else 'judge'}",
            f"{row.n:,}",
            f"{row.missing:,}",
            MISSING if row.majority is None else f"{100 * row.majority:.1f}",
            _percent(row.accuracy),
            decimal(row.kappa),
            _percent(row.sensitivity),
            _percent(row.specificity),
            decimal(row.spearman),
        ]
        for row in agreements.rows
    ]
    return TextTable(COLUMNS, rows)


def _percent(share: Share) -> str:
    """A share; where a judge is silent, with what it may be: `98.0 [60.1, 99.5], 62.0 to 98.7`."""
    if not share.missing or share.lowest is None or share.highest is None:
        return decimal(share, 1, 100)
    return bounds(share) if share.value is None else f"{decimal(share, 1, 100)}, {bounds(share)}"


def render_markdown(agreements: HumanAgreements) -> str:
    """`agreement.md`."""
    judge = f"Judge {agreements.judge.name}, against people's scores in {agreements.data}; {agreements.measured}."
    notes = [f"- {plain(f'{row.kind}, {row.who}: {row.caveat}')}" for row in agreements.rows if row.caveat]
    return "\n\n".join(filter(None, [plain(judge), pipe_table(table(agreements)), "\n".join(notes)])) + "\n"


def write(agreements: HumanAgreements, folder: Path) -> None:
    """Write `agreement.json` and `agreement.md` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "agreement.json", json.dumps(to_json(agreements), indent=1, allow_nan=False) + "\n")
    write_text(folder / "agreement.md", render_markdown(agreements))
