"""`results.json`: the contract for machines. It does not change without a new version number."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sinternal.report.data import ReportData

FORMAT_VERSION = 1


def to_json(data: ReportData) -> dict[str, Any]:
    """A run's figures as plain values; fractions are 0 to 1, times are seconds."""
    return {
        "version": FORMAT_VERSION,
        "recipe": data.recipe,
        "seeds": list(data.seeds),
        "finished": True,
        "arms": [asdict(arm) for arm in data.arms],
        "variants": [asdict(variant) for variant in data.variants],
        "scores": [asdict(score) for score in data.scores],
        "comparisons": [asdict(row) for row in data.comparisons],
        "funnel": [asdict(row) for row in data.funnel],
        "timing": data.timing,
        "facts": data.facts,
    }
