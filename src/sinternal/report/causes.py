"""The table of what safety checks in thinkings cause."""

from __future__ import annotations

from sinternal.figures.causes import CheckEffect
from sinternal.figures.study import ReportData
from sinternal.records import ThinkingFate
from sinternal.report.format import MISSING, difference, p_value, percent, points, points_interval
from sinternal.report.tables import HARM_SHOWS, SPLITS, TextTable

HOW_CAUSED = (
    "Reasoning traces about harmful requests, continued by the arm's own model: attack success without a check less "
    "attack success with it, in percentage points, paired by trace. Above 0, the check makes answers safer. Check cut: "
    "the trace is cut where its first safety check begins, less cut just behind it. Replaced: the same, with the "
    "opening of a review of something else in place of the check, so that the model does not simply check again. "
    "Inserted: a trace without a check is cut where one would stand and goes on as it is, less with the opening of "
    "a check, which says nothing of what it finds; beside it, the same with the opening of a review of something else "
    "in place of nothing, since any interruption might change an answer. Checks all the same: how many traces "
    "check again, or by themselves, on the side without a check; carried out: how many of the opened checks are. As "
    "meant: only traces with a check on the one side and none on the other; as these are picked by what the model "
    "did, they may differ from the rest. Intervals are over parent prompts and, with several seeds, from the t "
    "distribution over training runs; p is from a permutation of parent prompts for these runs, exploratory and not "
    "corrected."
)
HOW_COUNTED = "What became of the reasoning traces about harmful requests, over all seeds and both splits."
CAUSE_COLUMNS = [
    "arm",
    "comparison",
    "traces",
    "without, %",
    "with, %",
    "difference, points",
    "these training runs",
    "p",
    "n",
    "no label",
    "checks all the same, %",
    "carried out, %",
    "not known",
]


def causes_table(data: ReportData, variant: str) -> TextTable:
    """A row for each arm, contrast, and choice of thinkings, by split and where harm shows."""
    rows = [
        [
            _place(effect),
            str(effect.contrast),
            str(effect.among),
            percent(effect.without),
            percent(effect.with_check),
            _difference(effect),
            MISSING
            if effect.low_these_runs is None or effect.high_these_runs is None
            else points_interval(effect.low_these_runs, effect.high_these_runs),
            MISSING if effect.p is None else p_value(effect.p),
            f"{effect.n:,}",
            f"{effect.missing_without:,} and {effect.missing_with:,}",
            percent(effect.check_without),
            percent(effect.check_with),
            f"{effect.checks_not_known:,}",
        ]
        for effect in data.check_effects
        if effect.variant == variant
    ]
    return TextTable(CAUSE_COLUMNS, rows)


def fates_table(data: ReportData, variant: str) -> TextTable:
    """A row for each arm: how many thinkings could be continued, and why others could not."""
    by_arm = {effect.arm: effect.thinkings for effect in data.check_effects if effect.variant == variant}
    rows = [[arm, *(f"{fates.get(fate, 0):,}" for fate in ThinkingFate)] for arm, fates in by_arm.items()]
    return TextTable(["arm", *ThinkingFate], rows)


def _place(effect: CheckEffect) -> str:
    """Of which arm and which prompts."""
    parts = [effect.arm, SPLITS[effect.split]]
    return ", ".join([*parts, HARM_SHOWS[effect.harm_shows]] if effect.harm_shows else parts)


def _difference(effect: CheckEffect) -> str:
    """The difference with its interval, and its bounds where labels are missing."""
    text = difference(effect)
    if not (effect.missing_without or effect.missing_with) or effect.lowest is None or effect.highest is None:
        return text
    return f"{text}; {points(effect.lowest)} to {points(effect.highest)} with the pairs that lack a label"
