"""The figures behind a cell of a table, one by one, for whoever takes the table to a spreadsheet.

What is shown in a cell is made to be read, several figures one above the other; `script/tables.js` copies and saves
these instead, a line for each cell. Rates are in percent and differences in percentage points, as they are shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from sinternal.figures.effect import Effect
from sinternal.figures.score import Score
from sinternal.figures.study import Comparison

DIGITS = 3
"""Decimals of a percentage: more than are shown, and no more than mean anything."""
NOT_MEASURED = "{}"
"""A cell without figures, of a column that has some."""
Figures = Mapping[str, float | int | str | None]


def of_score(score: Score | None) -> str:
    """A rate, its interval, its bounds where labels are missing, and what it is of."""
    if score is None:
        return NOT_MEASURED
    return _attribute(
        _estimate(score.value, score.low, score.high, score.n, score.missing, score.sd)
        | {"unit": "%"}
        | ({"lowest": _percent(score.lowest), "highest": _percent(score.highest)} if score.missing else {})
    )


def of_effect(effect: Effect | None) -> str:
    """The method less its placebo, or its base."""
    shown = effect.headline if effect else None
    if shown is None:
        return NOT_MEASURED
    missing = shown.missing_method + shown.missing_other
    own = _estimate(shown.value, shown.low, shown.high, shown.n, missing, None)
    return _attribute(own | {"unit": "points", "seeds": shown.seeds, "less": shown.other})


def of_comparison(row: Comparison | None) -> str:
    """Arm A less arm B: the interval for these training runs, and that for others."""
    if row is None:
        return NOT_MEASURED
    own = _estimate(row.difference, row.low_these_runs, row.high_these_runs, row.n, row.missing_a + row.missing_b, None)
    runs = {"low, other runs": row.low, "high, other runs": row.high} if row.runs > 1 else {}
    p_values = {"p": row.p, "p, McNemar": row.p_mcnemar, "p, Holm": row.p_holm}
    counts = {"detectable": _percent(row.detectable), "only A": row.only_a, "only B": row.only_b}
    return _attribute(
        own | {"unit": "points"} | {name: _percent(end) for name, end in runs.items()} | counts | p_values
    )


def _estimate(
    value: float | None, low: float | None, high: float | None, n: int | None, missing: int | None, sd: float | None
) -> dict[str, float | int | str | None]:
    shares: dict[str, float | int | str | None] = {
        "value": _percent(value),
        "low": _percent(low),
        "high": _percent(high),
    }
    spread = {} if sd is None else {"sd": _percent(sd)}
    return {**shares, "n": n, "missing": missing, **spread}


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, DIGITS)


def _attribute(figures: Figures) -> str:
    """What the page's script reads; the template escapes it."""
    return json.dumps(figures, separators=(",", ":"), ensure_ascii=False)
