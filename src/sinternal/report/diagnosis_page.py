"""A diagnosis for people and for machines: one HTML file, Markdown and JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from sinternal.figures.diagnosis import Case, Diagnosed, Figure
from sinternal.figures.metric import Over
from sinternal.figures.provenance import Provenance
from sinternal.figures.score import Score
from sinternal.figures.transcripts import of_rows
from sinternal.layout import ArmPlace
from sinternal.report.bounds import caveat_of
from sinternal.report.cells import of_score
from sinternal.report.diagnosis_picture import pictures
from sinternal.report.diagnosis_tables import BESIDE, WITH, WITHOUT, baselines, cell_text, tables
from sinternal.report.diagnosis_words import caveats, facts, in_words
from sinternal.report.format import MISSING, interval, percent, with_interval
from sinternal.report.markdown import pipe_table, plain
from sinternal.report.page import Page, around, environment
from sinternal.report.tables import TextTable
from sinternal.report.terms import TERMS_OF_A_MODEL
from sinternal.report.texts import MOST_IN_PAGE, pack_texts

FORMAT_VERSION = 2
SHOWN = 80
"""Characters of a request that stand in a heading."""
QUESTION = "Does this model know when its own answers are unsafe?"


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
        "words": in_words(diagnosed),
        "figures": figures,
        "facts": facts(diagnosed),
        "caveats": list(caveats(diagnosed)),
        "settings": diagnosed.settings.model_dump(mode="json"),
    }


def read_figures(content: Mapping[str, Any]) -> tuple[Figure, ...]:
    """The figures of a `diagnosis.json`, as `to_json` has written them."""
    figures = []
    for row in content["figures"]:
        values = dict(row)
        beside = {name: values.pop(name) for name in BESIDE}
        values |= {"arm": content["model"], "provenance": Provenance(**values["provenance"])}
        values["over"] = Over(values["over"])
        figures.append(Figure(Score(**values), **beside))
    return tuple(figures)


def shown_request(case: Case) -> str:
    """What is seen of a case before it is opened: how its request begins, unless that, or the answer, is harmful."""
    prompt = case.outcome.prompt
    if prompt.harmful or case.outcome.judgement.safe is False:
        return "a harmful request" if prompt.harmful else "an answer judged unsafe"
    return prompt.text if len(prompt.text) <= SHOWN else f"{prompt.text[:SHOWN]}\u2026"


def why(figure: Figure) -> str:
    """Why a cell has no figure, in a few words: the notes above the tables have all of them."""
    score = figure.score
    if score.bounded and not score.caveat:
        return f"{score.missing:,} of {score.n + score.missing:,} without a label"
    return caveat_of(score) or "nothing to count"


def by_answer(cases: Iterable[Case]) -> list[list[Case]]:
    """The cases of each answer and kind together, so that no answer stands there twice."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.kind.name, case.outcome.response.id), []).append(case)
    return list(groups.values())


def render_markdown(diagnosed: Diagnosed) -> str:
    """`diagnosis.md`."""
    parts = [f"# Diagnosis of {plain(diagnosed.model)}", QUESTION, plain(" ".join(in_words(diagnosed)))]
    parts += [f"Note: {plain(caveat)}." for caveat in caveats(diagnosed)]
    for table in tables(diagnosed.figures):
        rows = [[line.name, *map(cell_text, line.cells)] for line in table.lines]
        parts += [
            f"## {table.title}",
            " ".join(filter(None, (table.note, table.lacks))),
            pipe_table(TextTable(["", *table.columns], rows)),
        ]
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
        why=why,
        shown_request=shown_request,
        by_answer=by_answer,
    ).get_template("diagnosis.html.j2")
    html = template.render(
        data=diagnosed,
        question=QUESTION,
        words=in_words(diagnosed),
        pictures=pictures(diagnosed.figures),
        tables=list(tables(diagnosed.figures)),
        shown=with_interval,
        facts=facts(diagnosed),
        caveats=list(caveats(diagnosed)),
        ways={False: WITHOUT, True: WITH},
        missing=MISSING,
        stem="diagnosis",
        transcripts_note="Every answer, with its label and the first of the model's own verdicts on it.",
        **around(texts, TERMS_OF_A_MODEL),
    )
    return Page(html, texts.files)
