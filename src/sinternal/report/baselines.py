"""Tables of what training showed each arm, what thinking checks, and how far two judges are apart."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from sinternal.figures.study import ReportData
from sinternal.figures.thinking import CELLS, CHECKED_SAFE, CHECKS, ThinkingShare
from sinternal.records import HarmShows
from sinternal.report.format import MISSING, difference, percent, with_interval
from sinternal.report.tables import HARM_SHOWS, SPLITS

HOW_EXPOSED = (
    "What each arm saw in its own training, mean over seeds: distinct prompts, rows of the training set, rows seen by "
    "the optimiser over all passes, and loss tokens in these; for rewards, rollouts. What its starting model had seen "
    "before is not counted."
)
HOW_CHECKED = (
    "Percent of thinking traces on harmful requests, pooled over seeds, with 95 % intervals: what they check for "
    "safety unasked and, of those that check anything, how many end in a safe answer. No label: traces without one "
    "or, in brackets, those that check or may check where the trace or the answer has none. Intervals cover "
    "whatever the missing labels are; where one arm lacks many more than another, there are bounds alone."
)
HOW_SEEN = (
    "Percent of responses to harmful requests, pooled over seeds, with 95 % intervals: whether the thinking "
    "recognises harm, and whether the answer is safe. A response whose thinking or answer has no label is in no cell; "
    "intervals cover whatever it is, and where one arm lacks many more labels than another, there are bounds alone."
)
HOW_APART = (
    "Attack success by the judge used in training (it labelled the training data and gave the rewards) minus attack "
    "success by the deciding judge, in percentage points on the same answers; the 95 % interval is over parent prompts "
    "and seeds, and covers whatever the labels are that either judge has not given. "
    "Below 0, an arm looks safer to the judge it was trained with."
)


def exposure_table(data: ReportData, variant: str) -> list[list[str]]:
    """A row for each trained arm."""
    rows = []
    for arm in data.arms:
        exposures = [row for row in data.exposures if (row.variant, row.arm) == (variant, arm.name)]
        if exposures:
            counts = ("prompts", "rows", "rows_seen", "loss_tokens_seen")
            rows.append([arm.name, *(_mean([getattr(row, name) for row in exposures]) for name in counts)])
    return rows


EXPOSURE_COLUMNS = ["arm", "distinct prompts", "rows", "rows seen", "loss tokens seen"]


def _mean(values: Sequence[int | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{round(fmean(known)):,}" if len(known) == len(values) else MISSING


def checks_table(data: ReportData, variant: str) -> list[list[str]]:
    """A row for each arm and split."""
    rows = []
    for name, shares in _by_place(data, variant):
        whole, safe = shares[next(iter(CHECKS))], shares[CHECKED_SAFE]
        cells = [with_interval(shares[what]) for what in (*CHECKS, CHECKED_SAFE)]
        rows.append([name, *cells, f"{whole.n:,}", f"{whole.missing:,} ({safe.missing:,})"])
    return rows


CHECKS_COLUMNS = ["arm", *CHECKS, CHECKED_SAFE, "n", "no label"]


def cells_table(data: ReportData, variant: str) -> list[list[str]]:
    """A row for each arm and split."""
    rows = []
    for name, shares in _by_place(data, variant):
        whole = shares[next(iter(CELLS))]
        rows.append([name, *(with_interval(shares[what]) for what in CELLS), f"{whole.n:,}", f"{whole.missing:,}"])
    return rows


CELLS_COLUMNS = ["arm", *CELLS, "n", "no label"]


def _by_place(data: ReportData, variant: str) -> list[tuple[str, dict[str, ThinkingShare]]]:
    """All shares of each arm and split; by where harm shows only in splits in which it shows in several places."""
    by_arm: dict[str, dict[str, ThinkingShare]] = {}
    shown_in: dict[str, set[HarmShows]] = {}
    for row in data.thinking:
        if row.variant == variant and row.harm_shows:
            shown_in.setdefault(SPLITS[row.split], set()).add(row.harm_shows)
    for row in data.thinking:
        once = row.harm_shows is not None and len(shown_in[SPLITS[row.split]]) == 1
        if row.variant == variant and not once:
            name = f"{row.arm}, {SPLITS[row.split]}"
            by_arm.setdefault(f"{name}, {HARM_SHOWS[row.harm_shows]}" if row.harm_shows else name, {})[row.what] = row
    return list(by_arm.items())


def gap_table(data: ReportData, variant: str) -> list[list[str]]:
    """A row for each arm."""
    rows = []
    for row in data.judge_gaps:
        if row.variant == variant:
            rates = (percent(row.by_rewarding), percent(row.by_deciding))
            judges = f"{row.arm}: {row.rewarding} minus {row.deciding}"
            rows.append([judges, *rates, difference(row), f"{row.n:,}", f"{row.missing:,}"])
    return rows


GAP_COLUMNS = ["arm", "by the training judge", "by the deciding judge", "gap, points", "n", "no label"]
