"""The report's tables: shaped once, shown as HTML, as Markdown and in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sinternal.figures.metric import (
    ASR,
    ASR_WORST,
    FORMAT_ERROR,
    HELPFUL,
    OF_VERDICTS,
    OVER_REFUSAL,
    PROACTIVE_VERIFICATION,
    VERIFICATION_BALANCED_ACCURACY,
    VERIFICATION_UNPARSED,
    Metric,
    Over,
)
from sinternal.figures.score import Key, Score, by_key
from sinternal.figures.study import Arm, ReportData
from sinternal.records import HarmShows, Split
from sinternal.report.format import with_interval

SPLITS = {Split.ID: "ID", Split.OOD: "OOD", None: "both"}

HARM_SHOWS = {HarmShows.REQUEST: "harm shows in the request", HarmShows.DRAFT: "harm shows in the draft only"}


def question(data: ReportData) -> str:
    """What the study is about."""
    if data.trains:
        return "Does training a model only to verify its own answers make the answers themselves safer?"
    return "Whose answers are safer, and at what price?"


class Column(NamedTuple):
    """One column of the headline table."""

    metric: Metric
    """The metric."""
    split: Split | None
    """None for both."""
    group: str
    """Heading that it shares with its neighbours."""
    title: str
    """Its own heading."""
    short: str
    """Both, for a terminal."""
    spec: bool | None = None
    """Whether the specification was quoted, for verification."""

    def key(self, variant: str, arm: str) -> Key:
        """Which figure of an arm stands there."""
        return Key(variant, arm, self.metric.name, self.metric.over[0], self.split, spec=self.spec)


def _by_split(metric: Metric) -> tuple[Column, Column]:
    """A column for each split."""
    first, second = (
        Column(metric, split, metric.title, SPLITS[split], f"{metric.short} {SPLITS[split]}")
        for split in (Split.ID, Split.OOD)
    )
    return first, second


def _verifying(*, spec: bool) -> tuple[Column, Column]:
    """How well an arm verifies its own answers."""
    group = f"Verifies own OOD answers, {'with' if spec else 'no'} spec"
    balanced, unparsed, more = VERIFICATION_BALANCED_ACCURACY, VERIFICATION_UNPARSED, " +spec" if spec else ""
    return (
        Column(balanced, Split.OOD, group, balanced.short.lower(), f"verifies OOD{more}", spec),
        Column(unparsed, Split.OOD, group, unparsed.short.lower(), f"unparsed OOD{more}", spec),
    )


COLUMNS = (
    *_by_split(ASR),
    Column(ASR_WORST, None, ASR.title, "worst case", ASR_WORST.short),
    *_by_split(OVER_REFUSAL),
    *_by_split(HELPFUL),
    Column(FORMAT_ERROR, None, FORMAT_ERROR.title, "all", FORMAT_ERROR.short),
    _by_split(PROACTIVE_VERIFICATION)[1],
    *_verifying(spec=False),
    *_verifying(spec=True),
)


@dataclass(frozen=True)
class Row:
    """One row of figures."""

    name: str
    """The arm."""
    cells: tuple[Score | None, ...]
    """A pooled figure for each column, None if it was not measured."""
    note: str = ""
    """What else tells the row from others."""


class TextTable(NamedTuple):
    """A table of plain strings."""

    columns: list[str]
    """Titles."""
    rows: list[list[str]]
    """Cells, as many in each row as there are titles."""


class TitledTable(NamedTuple):
    """A table with its heading."""

    title: str
    """The heading."""
    note: str
    """How to read it."""
    table: TextTable
    """The cells."""
    folded: bool = False
    """Whether the page shows it only on demand."""


def bills_table(data: ReportData) -> TextTable:
    """What calls to each server took; without rows where there was but one, which the facts name."""
    rows = [
        [
            bill.server,
            f"{bill.spent.calls:,}",
            f"{bill.spent.prompt_tokens:,}",
            f"{bill.spent.tokens:,}",
            f"{bill.spent.cost:,.2f}" if bill.priced else "no price given",
            *([f"{bill.spent.estimated:,}"] if any(one.spent.estimated for one in data.bills) else []),
        ]
        for bill in data.bills
    ]
    titles = ["server", "calls", "tokens read", "tokens written", "cost"]
    titles += ["calls counted at the most"] if len(rows[0] if rows else titles) > len(titles) else []
    return TextTable(titles, rows if len(rows) > 1 else [])


class FunnelLine(NamedTuple):
    """One count of one stage, for every seed."""

    stage: str
    """The stage; empty if it is that of the line above."""
    reason: str
    """What was counted."""
    rows: tuple[int | None, ...]
    """One count for each seed."""


def headline(scores: Sequence[Score], arms: Sequence[Arm], variant: str) -> list[Row]:
    """The main table of one variant: a row for each arm, a cell for each of `COLUMNS`."""
    figures = by_key(
        replace(score, family=None, condition=None) if score.metric == ASR_WORST.name else score for score in scores
    )
    return [Row(arm.name, tuple(figures.get(column.key(variant, arm.name)) for column in COLUMNS)) for arm in arms]


def column_groups() -> list[tuple[str, int]]:
    """Headings over the headline table, and how many columns each spans."""
    return list(Counter(column.group for column in COLUMNS).items())


def headline_text(data: ReportData, variant: str) -> TextTable:
    """The main table as strings, in percent: `21.3 [18.0, 25.1]`."""
    rows = [[row.name, *map(with_interval, row.cells)] for row in headline(data.scores, data.arms, variant)]
    return TextTable(["arm", *(column.short for column in COLUMNS)], rows)


def verification(scores: Sequence[Score], arms: Sequence[Arm], variant: str) -> list[Row]:
    """How well each arm verifies its own answers: OOD and ID, without and with the spec."""
    figures = by_key(scores)
    rows = [
        Row(
            arm.name,
            tuple(
                figures.get(Key(variant, arm.name, metric.name, Over.OWN_ANSWERS, split, None, spec))
                for split in (Split.OOD, Split.ID)
                for metric in OF_VERDICTS
            ),
            "with spec" if spec else "no spec",
        )
        for arm in arms
        for spec in (False, True)
    ]
    measured = {row.note for row in rows if any(row.cells)}
    return [row for row in rows if row.note in measured]


def funnel_table(data: ReportData, variant: str) -> list[FunnelLine]:
    """What each stage passed on or dropped, one column for each seed."""
    counts = {
        (f"{row.stage} of {row.arm}" if row.arm else row.stage, row.reason, row.seed): row.rows
        for row in data.funnel
        if row.variant == variant
    }
    counted = dict.fromkeys((stage, reason) for stage, reason, _ in counts)
    lines: list[FunnelLine] = []
    for stage in dict.fromkeys(stage for stage, _ in counted):
        for i, (_, reason) in enumerate(pair for pair in counted if pair[0] == stage):
            rows = tuple(counts.get((stage, reason, seed)) for seed in data.seeds)
            lines.append(FunnelLine("" if i else stage, reason, rows))
    return lines
