"""The tables of a diagnosis: what the model is, what it knows, and how both go together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sinternal.figures.diagnosis import ANSWERS, GROUPS, Figure
from sinternal.figures.metric import (
    CONSISTENCY,
    EXPECTED_CALIBRATION_ERROR,
    KNOWING,
    METRICS,
    NO_VERDICT,
    OF_VERDICTS,
    Metric,
    Over,
)
from sinternal.report.bounds import caveat_of
from sinternal.report.format import MISSING, interval, listing, percent, with_interval
from sinternal.report.tables import TextTable

PLAIN = "plain"
WITHOUT, WITH = "without the specification", "with the specification"

KNOWING_NOTE = (
    "Percent of labelled answers, by the label and by what most of the verdicts on the answer say. Guess: what "
    "verdicts would give that know nothing of the answers, and are as often unsafe as these."
)
READ_AS_ABOVE = "The same, where the question quotes the specification."
"""How to read the tables of `KNOWING`: the first, and the second."""


class Line(NamedTuple):
    """One row of a table."""

    name: str
    """What it is about."""
    cells: tuple[Figure | None, ...]
    """Its figures."""


class Table(NamedTuple):
    """One table."""

    title: str
    """Its heading."""
    note: str
    """How to read it."""
    columns: tuple[str, ...]
    """Headings of its columns."""
    lines: list[Line]
    """Its rows."""
    lacks: str = ""
    """What is not in it, and why."""


def tables(figures: Sequence[Figure]) -> Iterator[Table]:
    """What the model is, what it knows, and how both go together."""
    silent = [metric for metric in ANSWERS if _is_silent(figures, metric)]
    shown = [metric for metric in ANSWERS if metric not in silent]
    lacks = ""
    if silent:
        titles, judge = listing(metric.title for metric in silent), figures[0].score.judge
        lacks = f"Not measured: {titles}, which judge {judge} does not label."
    titles_of_shown = tuple(metric.title for metric in shown)
    yield Table("Its answers", "Percent, with 95 % intervals.", titles_of_shown, answer_lines(figures, shown), lacks)
    for spec, how in ((False, WITHOUT), (True, WITH)):
        yield Table(
            f"Does it know? Verdicts {how}",
            READ_AS_ABOVE if spec else KNOWING_NOTE,
            tuple(knowing_columns(figures, spec=spec)),
            knowing_lines(figures, spec=spec),
        )
    yield Table(
        "Its verdicts on its own answers",
        "Percent (Matthews' correlation times 100), with 95 % intervals; the calibration error is in the L2 norm, and "
        "debiased. Guess: verdicts drawn at random, as often "
        "unsafe as the model's own; for the calibration error, its mean probability stated for every answer, and "
        "calibrated: what a calibrated verifier with the same probabilities would show in as many rows. Request "
        "alone: verdicts that say unsafe exactly where the request is harmful, whatever the answer.",
        (WITHOUT, WITH),
        verdict_lines(figures, Over.OWN_ANSWERS),
    )
    if lines := verdict_lines(figures, Over.OWN_HARMFUL):
        yield Table(
            "The same, on answers to harmful requests alone",
            "Here the request says nothing about the answer: whatever beats a guess was read off the answer itself.",
            (WITHOUT, WITH),
            lines,
        )


def _is_silent(figures: Iterable[Figure], metric: Metric) -> bool:
    """Whether the judge says nothing about what a metric counts: there are answers, and none has such a label."""
    scores = [figure.score for figure in figures if figure.score.metric == metric.name]
    return bool(scores) and all(score.n == 0 and score.missing > score.no_answer for score in scores)


def answer_lines(figures: Iterable[Figure], metrics: Iterable[Metric] = ANSWERS) -> list[Line]:
    """Rates of answers: a row for each family and for all, a column for each of some metrics."""
    places: dict[str, dict[str, Figure]] = defaultdict(dict)
    names = [metric.name for metric in metrics]
    for figure in figures:
        rate = figure.score
        if rate.metric in names and (rate.family is not None or rate.split is None):
            places[rate.family or "all"][rate.metric] = figure
    order = sorted(places, key=lambda family: (family == "all", family != PLAIN, family))
    return [Line(family, tuple(places[family].get(name) for name in names)) for family in order]


def verdict_lines(figures: Iterable[Figure], over: Over) -> list[Line]:
    """How good the verdicts are: a row for each metric, columns without and with the specification."""
    by_place = {(f.score.metric, f.score.spec): f for f in figures if f.score.over is over}
    lines = []
    for metric in (*OF_VERDICTS, EXPECTED_CALIBRATION_ERROR, CONSISTENCY):
        cells = tuple(by_place.get((metric.name, spec)) for spec in (False, True))
        if any(cells):
            lines.append(Line(metric.title, cells))
    return lines


def knowing_columns(figures: Iterable[Figure], *, spec: bool) -> list[Over]:
    """The kinds of prompts of which it is known what verdicts say."""
    known = {f.score.over for f in figures if f.score.spec is spec and f.score.metric == NO_VERDICT.name}
    return [over for over in GROUPS if over in known]


def knowing_lines(figures: Iterable[Figure], *, spec: bool) -> list[Line]:
    """What answers are against what verdicts say: a row for each of `KNOWING`, a column for each kind of prompt."""
    by_place = {(f.score.over, f.score.metric): f for f in figures if f.score.spec is spec}
    columns = knowing_columns(figures, spec=spec)
    return [Line(kind.title, tuple(by_place.get((over, kind.name)) for over in columns)) for kind in KNOWING]


def baselines(figure: Figure) -> list[str]:
    """What stands beside a figure: `guess 50.0`, `request alone 83.1`."""
    known = (("guess", figure.guess), ("calibrated", figure.calibrated), ("request alone", figure.by_request))
    return [f"{name} {percent(value)}" for name, value in known if value is not None]


def cell_text(figure: Figure | None) -> str:
    """A figure, its interval, its baselines and n: `61.2 [55.0, 67.1], guess 50.0, n 120`."""
    if figure is None:
        return MISSING
    score = figure.score
    if score.value is None:
        return f"{with_interval(score)} ({caveat_of(score) or 'nothing to count'})"
    text = f"{percent(score.value)} {interval(score.low, score.high)}".strip()
    return ", ".join([text, *baselines(figure), f"n {score.n:,}"])


def in_terminal(table: Table) -> TextTable:
    """A table of figures with their intervals, and below each what a guess gives; n is told as rarely as it can be."""
    counts = [tuple(_count(figure) for figure in line.cells) for line in table.lines]
    by_column = len(counts) > 1 and len({*counts}) == 1
    by_row = not by_column and all(len({*filter(None, row)}) < 2 for row in counts)
    rows = []
    for line, numbers in zip(table.lines, counts, strict=True):
        rows.append([line.name, *map(_short, line.cells), *([max(numbers, key=len)] if by_row else [])])
        for name, words in BESIDE.items():
            values = [None if figure is None else getattr(figure, name) for figure in line.cells]
            if any(value is not None for value in values):
                below = ["" if value is None else percent(value) for value in values]
                rows.append([f"  {words}", *below, *([""] if by_row else [])])
        if not by_row and not by_column:
            rows.append(["  n", *numbers])
    if by_column:
        rows.append(["n", *counts[0]])
    return TextTable(["%, with 95 % interval", *table.columns, *(["n"] if by_row else [])], rows)


def _count(figure: Figure | None) -> str:
    return "" if figure is None else f"{figure.score.n:,}"


def key_to(figures: Iterable[Figure]) -> list[tuple[str, str]]:
    """What the words of the tables mean: name and meaning."""
    used = {figure.score.metric for figure in figures if figure.score.n}
    counted = [metric for metric in METRICS.values() if metric.name in used and metric not in KNOWING]
    return [
        *((metric.title, f"{metric.rows} that {metric.hits}") for metric in counted),
        ("guess", "what verdicts would give that know nothing of the answers, and are as often unsafe as these"),
        ("request alone", "what verdicts would give that say unsafe exactly where the request is harmful"),
        ("plain", "requests as they are; the other rows are disguises of them"),
    ]


BESIDE = {"guess": "guess", "calibrated": "calibrated", "by_request": "request alone"}
"""What stands beside figures, by the name of the field."""


def _short(figure: Figure | None) -> str:
    return "" if figure is None else with_interval(figure.score)
