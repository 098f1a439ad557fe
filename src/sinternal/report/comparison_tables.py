"""Tables of arms compared on the same prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sinternal.figures.metric import METRICS, PAIRED, Metric
from sinternal.figures.study import Comparison, ReportData
from sinternal.records import HarmShows, Split
from sinternal.report.format import p_value, points, points_interval
from sinternal.report.tables import HARM_SHOWS, TextTable

HOW_COMPARED = (
    "Difference A minus B in percentage points, with its 95 % interval for other prompts and these training runs; "
    "beside it, the interval that also covers other training runs, from the t distribution over seeds: it takes at "
    "least two seeds and is wide with only two. p is from a permutation test that swaps A and B in whole parent "
    "prompts, for these training runs; Holm's p is corrected for the number of comparisons that the recipe's questions "
    "ask for. Detectable: a true difference from this size on would come out clear in 8 of 10 samples of this many "
    "prompts; a smaller one can, too, less often. McNemar's p is exact, but takes all pairs as independent, which "
    "rewordings and attacks of one request are not."
)
EXPLORATORY = (
    "Exploratory: no question of the recipe asks for these comparisons, and their p values are not corrected for "
    "multiple testing. With this many, some are small by chance."
)
EXPLORED = "exploratory"
ONE_RUN = "one run: unknown"
COMPARISON_COLUMNS = (
    "difference, points",
    "other training runs",
    "detectable",
    "only A",
    "only B",
    "p",
    "McNemar",
    "Holm",
    "n",
)


class ComparisonRow(NamedTuple):
    """Two arms, compared by every metric."""

    a: str
    """One arm."""
    b: str
    """The other."""
    cells: tuple[Comparison | None, ...]
    """For each of `comparison_columns`."""


def comparison_columns() -> list[tuple[Metric, Split]]:
    """Metric and split of each column of `comparison_table`."""
    return [(metric, split) for metric in PAIRED for split in (Split.ID, Split.OOD)]


def title_of(metric: Metric) -> str:
    """What arms are compared by: of a metric that both kinds of prompts have, on harmful ones."""
    return f"{metric.title}, harmful requests" if metric.by_side else metric.title


def comparison_table(comparisons: Sequence[Comparison], variant: str) -> list[ComparisonRow]:
    """A row for each pair of arms, in the order in which they come."""
    rows = {(c.a, c.b, c.metric, c.split): c for c in comparisons if c.variant == variant and c.whole}
    pairs = dict.fromkeys((a, b) for a, b, _, _ in rows)
    return [
        ComparisonRow(a, b, tuple(rows.get((a, b, metric.name, split)) for metric, split in comparison_columns()))
        for a, b in pairs
    ]


def comparison_rows(comparisons: Sequence[Comparison], variant: str, *, asked: bool) -> Iterator[list[str]]:
    """A row for each comparison of whole splits that a question asks for, or that none does.

    Those by where harm shows are here if they are asked for; the others have a table of their own.
    """
    for c in comparisons:
        of_arms = c.family is None and c.benchmark is None and (c.whole or asked)
        if c.variant == variant and of_arms and asked == (c.p_holm is not None):
            yield [f"{c.a} against {c.b}", title_of(METRICS[c.metric]), where(c), *_cells(c)]


def where(c: Comparison) -> str:
    """On which prompts two arms are compared: `OOD`, `OOD, harm shows in the draft`."""
    return ", ".join(filter(None, [c.split.upper(), c.harm_shows and HARM_SHOWS[HarmShows(c.harm_shows)]]))


def comparisons_by_harm(data: ReportData, variant: str) -> TextTable:
    """Paired comparisons by where harm shows, asked for or not."""
    chosen = [c for c in data.comparisons if c.variant == variant and c.harm_shows]
    rows = [[f"{c.a} against {c.b}", where(c), title_of(METRICS[c.metric]), *_cells(c)] for c in chosen]
    return TextTable(["arms", "prompts", "metric", *COMPARISON_COLUMNS], rows)


def comparisons_of_parts(data: ReportData, variant: str, part: str) -> TextTable:
    """Paired comparisons by `family` (attack success only) or by `benchmark`."""
    chosen = [c for c in data.comparisons if c.variant == variant and getattr(c, part) is not None]
    titles = ["arms", part, *(["metric"] if part == "benchmark" else []), *COMPARISON_COLUMNS]
    rows = []
    for c in chosen:
        metric = [title_of(METRICS[c.metric])] if part == "benchmark" else []
        rows.append([f"{c.a} against {c.b}", getattr(c, part), *metric, *_cells(c)])
    return TextTable(titles, rows)


def titled(metric: str, place: str) -> str:
    """What a comparison is of, in tables and in notes: `Attack success, OOD`."""
    return f"{title_of(METRICS[metric])}, {place}"


def pair_table(comparisons: Sequence[Comparison]) -> TextTable:
    """Comparisons of one pair of arms."""
    rows = [[titled(c.metric, where(c)), *_cells(c)] for c in comparisons]
    return TextTable(["", *COMPARISON_COLUMNS], rows)


def _cells(c: Comparison) -> list[str]:
    """The cells under `COMPARISON_COLUMNS`."""
    difference = f"{points(c.difference)} {points_interval(c.low_these_runs, c.high_these_runs)}"
    p_values = (p_value(c.p), p_value(c.p_mcnemar), EXPLORED if c.p_holm is None else p_value(c.p_holm))
    counts = (points(c.detectable).lstrip("+"), str(c.only_a), str(c.only_b))
    return ["; ".join(filter(None, [difference, of_missing(c)])), of_other_runs(c), *counts, *p_values, str(c.n)]


def of_missing(c: Comparison) -> str:
    """What labels that are missing leave open: `-50.0 to +3.0 with the pairs that lack a label`; empty if none does."""
    if not (c.missing_a or c.missing_b) or c.lowest is None or c.highest is None:
        return ""
    open_ = ", which leaves the difference open" if c.observed_clear and c.open else ""
    return f"{points(c.lowest)} to {points(c.highest)} with the pairs that lack a label{open_}"


def of_other_runs(c: Comparison) -> str:
    """The interval that holds for other training runs, or that there is none."""
    if c.runs < 2 or c.low is None or c.high is None:
        return ONE_RUN
    return points_interval(c.low, c.high)
