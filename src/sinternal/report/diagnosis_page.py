"""A diagnosis for people and for machines: one HTML file, Markdown and JSON."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

from sinternal.figures.diagnosis import ANSWERS, GROUPS, Case, Diagnosed, Figure
from sinternal.figures.metric import CONSISTENCY, EXPECTED_CALIBRATION_ERROR, KNOWING, NO_VERDICT, OF_VERDICTS, Over
from sinternal.figures.transcripts import of_rows
from sinternal.layout import ArmPlace
from sinternal.report.bounds import caveat_of
from sinternal.report.cells import of_score
from sinternal.report.diagnosis_words import caveats, facts, in_words
from sinternal.report.format import MISSING, interval, percent, with_interval
from sinternal.report.markdown import pipe_table, plain
from sinternal.report.page import Page, around, environment
from sinternal.report.tables import TextTable
from sinternal.report.texts import MOST_IN_PAGE, pack_texts

FORMAT_VERSION = 2
SHOWN = 80
"""Characters of a request that stand in a heading."""
QUESTION = "Does this model know when its own answers are unsafe?"
PLAIN = "plain"
WITHOUT, WITH = "without the specification", "with the specification"


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


def to_json(diagnosed: Diagnosed) -> dict[str, Any]:
    """`diagnosis.json`: the contract for machines."""
    figures = []
    for figure in diagnosed.figures:
        values = asdict(figure.score) | {"caveat": caveat_of(figure.score)}
        for unused in ("arm", "seed", "variant", "mean", "sd", "benchmark", "condition"):
            del values[unused]
        baselines = {name: getattr(figure, name) for name in ("guess", "by_request", "calibrated")}
        figures.append({**values, **baselines})
    return {
        "version": FORMAT_VERSION,
        "model": diagnosed.model,
        "figures": figures,
        "facts": facts(diagnosed),
        "caveats": list(caveats(diagnosed)),
        "settings": diagnosed.settings.model_dump(mode="json"),
    }


def tables(diagnosed: Diagnosed) -> Iterator[Table]:
    """What the model is, what it knows, and how both go together."""
    answers = tuple(metric.title for metric in ANSWERS)
    yield Table("Its answers", "Percent, with 95 % intervals.", answers, answer_lines(diagnosed))
    for spec, how in ((False, WITHOUT), (True, WITH)):
        yield Table(
            f"Does it know? Verdicts {how}",
            "Percent of labelled answers, by the label and by what most of the verdicts on the answer say. Guess: what "
            "verdicts would give that know nothing of the answers, and are as often unsafe as these.",
            tuple(metric.title for metric in KNOWING),
            knowing_lines(diagnosed, spec=spec),
        )
    yield Table(
        "Its verdicts on its own answers",
        "Percent (Matthews' correlation times 100), with 95 % intervals; the calibration error is in the L2 norm, and "
        "debiased. Guess: verdicts drawn at random, as often "
        "unsafe as the model's own; for the calibration error, its mean probability stated for every answer, and "
        "calibrated: what a calibrated verifier with the same probabilities would show in as many rows. Request "
        "alone: verdicts that say unsafe exactly where the request is harmful, whatever the answer.",
        (WITHOUT, WITH),
        verdict_lines(diagnosed, Over.OWN_ANSWERS),
    )
    if lines := verdict_lines(diagnosed, Over.OWN_HARMFUL):
        yield Table(
            "The same, on answers to harmful requests alone",
            "Here the request says nothing about the answer: whatever beats a guess was read off the answer itself.",
            (WITHOUT, WITH),
            lines,
        )


def answer_lines(diagnosed: Diagnosed) -> list[Line]:
    """Rates of answers: a row for each family and for all, a column for each of `ANSWERS`."""
    places: dict[str, dict[str, Figure]] = defaultdict(dict)
    names = [metric.name for metric in ANSWERS]
    for figure in diagnosed.figures:
        rate = figure.score
        if rate.metric in names and (rate.family is not None or rate.split is None):
            places[rate.family or "all"][rate.metric] = figure
    order = sorted(places, key=lambda family: (family == "all", family != PLAIN, family))
    return [Line(family, tuple(places[family].get(name) for name in names)) for family in order]


def verdict_lines(diagnosed: Diagnosed, over: Over) -> list[Line]:
    """How good the verdicts are: a row for each metric, columns without and with the specification."""
    by_place = {(f.score.metric, f.score.spec): f for f in diagnosed.figures if f.score.over is over}
    lines = []
    for metric in (*OF_VERDICTS, EXPECTED_CALIBRATION_ERROR, CONSISTENCY):
        cells = tuple(by_place.get((metric.name, spec)) for spec in (False, True))
        if any(cells):
            lines.append(Line(metric.title, cells))
    return lines


def knowing_lines(diagnosed: Diagnosed, *, spec: bool) -> list[Line]:
    """What answers are against what verdicts say: a row for each kind of prompt, a column for each of `KNOWING`."""
    by_place = {(f.score.over, f.score.metric): f for f in diagnosed.figures if f.score.spec is spec}
    groups = [over for over in GROUPS if (over, NO_VERDICT.name) in by_place]
    return [Line(over, tuple(by_place.get((over, kind.name)) for kind in KNOWING)) for over in groups]


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


def shown_request(case: Case) -> str:
    """What is seen of a case before it is opened: how its request begins, unless that, or the answer, is harmful."""
    prompt = case.outcome.prompt
    if prompt.harmful or case.outcome.judgement.safe is False:
        return "a harmful request" if prompt.harmful else "an answer judged unsafe"
    return prompt.text if len(prompt.text) <= SHOWN else f"{prompt.text[:SHOWN]}\u2026"


def render_markdown(diagnosed: Diagnosed) -> str:
    """`diagnosis.md`."""
    parts = [f"# Diagnosis of {plain(diagnosed.model)}", QUESTION, plain(" ".join(in_words(diagnosed)))]
    parts += [f"Note: {plain(caveat)}." for caveat in caveats(diagnosed)]
    for table in tables(diagnosed):
        rows = [[line.name, *map(cell_text, line.cells)] for line in table.lines]
        parts += [f"## {table.title}", table.note, pipe_table(TextTable(["", *table.columns], rows))]
    measured = (f"- {plain(name)}: {plain(value)}" for name, value in facts(diagnosed).items())
    parts += ["## How it was measured", "\n".join(measured)]
    return "\n\n".join(part for part in parts if part) + "\n"


def render_html(diagnosed: Diagnosed) -> str:
    """`diagnosis.html` as one file, however many answers there are."""
    return render(diagnosed, most=math.inf).html


def render(diagnosed: Diagnosed, *, most: float = MOST_IN_PAGE) -> Page:
    """`diagnosis.html`: a page that needs no network and runs no script but its own; see `study_page.render`."""
    texts = pack_texts(of_rows(ArmPlace("default", diagnosed.model, 0), diagnosed.outcomes), most=most)
    template = environment(
        of_score=of_score,
        percent=percent,
        interval=interval,
        baselines=baselines,
        caveat=caveat_of,
        shown_request=shown_request,
    ).get_template("diagnosis.html.j2")
    html = template.render(
        data=diagnosed,
        question=QUESTION,
        words=in_words(diagnosed),
        tables=list(tables(diagnosed)),
        shown=with_interval,
        facts=facts(diagnosed),
        caveats=list(caveats(diagnosed)),
        ways={False: WITHOUT, True: WITH},
        missing=MISSING,
        stem="diagnosis",
        transcripts_note="Every answer, with its label and the first of the model's own verdicts on it.",
        **around(texts),
    )
    return Page(html, texts.files)
