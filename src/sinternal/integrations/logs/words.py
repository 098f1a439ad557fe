"""Comparisons of logs of Inspect as tables for people, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sinternal.integrations.logs.compare import LogComparison, Side

VERSION = 1
"""Of what `to_json` gives."""
MINUS = "\u2212"


def to_json(found: Sequence[LogComparison]) -> dict[str, Any]:
    """Comparisons as plain values."""

    def side(one: Side) -> dict[str, Any]:
        return {"model": one.first.model, "logs": [str(log.path) for log in one.logs.values()]}

    return {
        "version": VERSION,
        "of": "inspect",
        "pairs": [
            {
                "task": one.task,
                "a": side(one.a),
                "b": side(one.b),
                "cluster": one.cluster,
                "notes": list(one.notes),
                "comparisons": [asdict(row) for row in one.comparisons],
            }
            for one in found
        ],
    }


def table(one: LogComparison) -> tuple[list[str], list[list[str]]]:
    """Columns and rows for people."""
    corrected = any(row.p_holm is not None for row in one.comparisons)
    columns = ["score", "A", "B", "A \u2212 B, 95 %", "detectable", "p", *(["Holm"] if corrected else []), "pairs"]
    rows = [
        [
            row.scorer,
            _number(row.a),
            _number(row.b),
            f"{_signed(row.difference)} [{_signed(row.low)}, {_signed(row.high)}]",
            _number(row.detectable),
            _p(row.p),
            *([_p(row.p_holm)] if row.p_holm is not None else []),
            f"{row.n:,}",
        ]
        for row in one.comparisons
    ]
    return columns, rows


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.1f}"


def _signed(value: float) -> str:
    text = _number(abs(value))
    return text if float(text.replace(",", "")) == 0 else f"{'+' if value > 0 else MINUS}{text}"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"
