"""The work of `bench/rows.py` by the package's own functions: from a folder of inputs into an empty one.

Where no table is written, a function returns what is compared.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from bench.rows_run import DECIDES, open_study
from bench.rows_tables import JUDGE, SEED, artifact
from sinternal.figures.counts import Tally, pool
from sinternal.figures.gather import gather
from sinternal.figures.metric import ASR, Over
from sinternal.figures.reading import Reader
from sinternal.figures.score import estimate_of
from sinternal.figures.tally import Cell, count
from sinternal.layout import Place
from sinternal.records import Measured, Prompt, Response
from sinternal.report.markdown import render_markdown
from sinternal.report.results import to_json
from sinternal.report.study_page import render_html
from sinternal.stages import contrast, examples, overlap, prompts
from sinternal.stages.judge import with_prompts
from sinternal.store import Draft, Lookup
from sinternal.training import lengths


def draft(out: Path) -> Draft:
    """Where a stage writes."""
    return Draft(out, lambda *_: None)


def deduplicate(inputs: Path, out: Path) -> None:
    """The first of all prompts with one text."""
    rows = artifact(inputs, "prompts").table(Prompt)
    draft(out).select(rows, prompts.first_of_each(rows))


def decontaminate(inputs: Path, out: Path) -> None:
    """Prompts that share no 13 words with evaluation prompts."""
    rows, measured = (artifact(inputs, name).table(Prompt) for name in ("prompts", "evaluation"))
    draft(out).select(rows, ~overlap.overlapping(prompts.texts_of(rows, ()), prompts.texts_of(measured, ())))


def make_pairs(inputs: Path, out: Path) -> None:
    """Contrast pairs of answers."""
    contrast.contrast(
        draft(out),
        contrast.ContrastConfig(judge=JUDGE, seed=SEED),
        prompts=artifact(inputs, "requests"),
        responses=artifact(inputs, "responses"),
        judgements=artifact(inputs, "judgements"),
    )


def make_examples(inputs: Path, out: Path) -> None:
    """A balanced training set of verifications; tokens are words, since a tokenizer would take all the time."""
    examples.model_path = lambda _model: Path()
    lengths.loss_tokens = lambda _model, rows, _speech: [len(row.thinking.split()) for row in rows]
    responses = artifact(inputs, "responses")
    examples.examples(
        draft(out),
        examples.ExamplesConfig(size=half(inputs), seed=SEED),
        prompts=artifact(inputs, "requests"),
        responses=responses,
        verifications=artifact(inputs, "verifications"),
        model=responses,
    )


def half(inputs: Path) -> int:
    """Examples that are drawn: half as many as there are verifications."""
    return artifact(inputs, "verifications").counts["verifications"] // 2


def join_labels(inputs: Path, out: Path) -> object:
    """The responses that are acceptable by their labels and their prompts."""
    harmful = dict(artifact(inputs, "requests").values(Prompt, "id", "harmful"))
    labels, responses = artifact(inputs, "judgements"), artifact(inputs, "responses").table(Response)
    return sorted(examples.acceptable(draft(out), harmful, responses, labels, labels))


def join_texts(inputs: Path, _out: Path) -> object:
    """Each response and its prompt, as a judge is given them, one after the other."""
    requests, responses = (artifact(inputs, "requests").table(Prompt), artifact(inputs, "responses").table(Response))
    pairs = with_prompts(responses, Lookup(requests), lambda _: True)
    return sum(len(prompt.text) + len(response.answer or "") for prompt, response in pairs)


def figures(inputs: Path, _out: Path) -> object:
    """Attack success by arm, split and family, with the clustered interval, by what a report counts of responses."""
    run = open_study(inputs).run
    reader, tallies = Reader(run, (DECIDES,)), defaultdict[tuple[str, Cell], list[Tally]](list)
    for place in run.arms():
        arm, asked = run.arm(place), run[Place(place.variant, place.seed)].evaluation_prompts
        for cell, tally in count(reader.outcomes(asked, arm.responses, arm.judgements[DECIDES])).items():
            if cell.metric is ASR and cell.over is Over.HARMFUL and cell.family:
                tallies[place.arm, cell].append(tally)
    table = []
    for (name, cell), by_seed in tallies.items():
        known = estimate_of(ASR, pool(by_seed).without_other_side())
        assert known.value is not None  # no family is without labels
        table.append([name, str(cell.split), str(cell.family), round(known.value, 12), known.n])
    return sorted(table)


def report(inputs: Path, out: Path) -> None:
    """Every figure of a run, and its report."""
    data, written = gather(*open_study(inputs)), draft(out)
    written.write_json("results", to_json(data))
    (out / "report.html").write_text(render_html(data))
    (out / "results.md").write_text(render_markdown(data))
    written.write(data.measured, Measured, "measured")
