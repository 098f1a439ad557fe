"""Every text of a run, to be read: answers to evaluation prompts and under stress, training examples, critiques."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from sinternal.figures.outcomes import Outcome, join
from sinternal.figures.stress import conditions
from sinternal.figures.study import Transcript
from sinternal.layout import ArmPlace, Place, RunMap
from sinternal.records import Example, Finish, Intervened, Judgement, Prompt, Response, Subject, Verification
from sinternal.settings.recipe import Recipe
from sinternal.store import Artifact

ANSWER, EXAMPLE, CRITIQUE = "answer", "training example", "expert's critique"
"""What a text is; an answer under stress is called by its condition."""
ROWS = 500
"""Training examples, and critiques, of one arm and seed that a page holds: with a specification in each of thousands of
questions no browser could show it."""
REQUEST = {True: "harmful", False: "benign"}
FILTERS = {
    "variant": "Variant",
    "kind": "Text",
    "arm": "Arm",
    "seed": "Seed",
    "split": "Split",
    "family": "Family",
    "request": "Request",
    "outcome": "Outcome",
}
"""Columns by which transcripts can be chosen, and their labels."""


@dataclass(frozen=True)
class Browser:
    """What the part of a page needs that shows transcripts."""

    count: int
    """Number of transcripts."""
    filters: list[tuple[str, str, list[str]]]
    """Name, label and choices of each filter that leaves something to choose."""
    packed: str
    """The transcripts as columns of JSON, compressed, in base64: nothing outside its alphabet can occur."""


def browser(rows: Sequence[Transcript]) -> Browser:
    """Transcripts, made fit for a page."""
    return Browser(len(rows), _filters(rows), _pack(rows))


def of_answer(place: ArmPlace, outcome: Outcome, kind: str = ANSWER) -> Transcript:
    """The answer of an arm, with its labels and the model's own verdicts."""
    by_spec = {row.with_spec: row for row in reversed(outcome.verifications)}  # the first of several samples
    verdicts = {spec: _verdict_word(row) for spec, row in by_spec.items()}
    return Transcript(
        *place,
        family=outcome.prompt.family,
        split=outcome.prompt.split,
        harmful=outcome.prompt.harmful,
        prompt=outcome.prompt.text,
        thinking=outcome.response.thinking,
        answer=outcome.response.answer,
        outcome=_outcome_word(outcome),
        checked=outcome.judgement.checked,
        verified_with_spec=verdicts.get(True),
        verified_without_spec=verdicts.get(False),
        critique=by_spec[False].critique if False in by_spec else None,
        kind=kind,
    )


def under_stress(variants: Mapping[str, Recipe], run: RunMap[Artifact]) -> Iterator[Transcript]:
    """All answers of every arm under stress."""
    for place in run.arms():
        settings = variants[place.variant].evaluation
        if settings.stress:
            for condition in conditions(settings.stress, settings.sampling, run.arm(place)):
                for outcome in condition.outcomes if condition.any_of else ():  # the mean is of the same answers
                    yield of_answer(place, outcome, f"under stress: {condition.name}")


def of_continued(run: RunMap[Artifact]) -> Iterator[Transcript]:
    """How every arm goes on with thinkings whose checks were taken out, and into which some were put."""
    for place in run.arms():
        if checks := run.arm(place).checks:
            done = {row.id: row.intervention for row in checks.prompts.rows(Intervened)}
            rows = (checks.prompts.rows(Prompt), checks.responses.rows(Response), checks.judgements.rows(Judgement))
            for outcome in join(*rows):
                yield of_answer(place, outcome, f"thinking continued, check {done[outcome.prompt.id]}")


def of_training(run: RunMap[Artifact]) -> Iterator[Transcript]:
    """The first training examples, and the first critiques of the expert, of every arm."""
    for place in run.arms():
        training = run.arm(place).training
        if training is None or training.examples is None:
            continue
        prompts_by_id = {prompt.id: prompt for prompt in training.prompts.rows(Prompt)}
        for example in training.examples.rows(Example)[:ROWS]:
            transcript = _plain(place, prompts_by_id[example.prompt_id], EXAMPLE, example.stratum)
            yield replace(transcript, prompt=example.prompt, thinking=example.thinking, answer=example.answer)
        if training.critiques is not None:
            answers = training.others.answers if training.others else run[Place(place.variant, place.seed)].answers
            prompt_of = {response.id: response.prompt_id for response in answers.contrast.rows(Response)}
            for row in training.critiques.rows(Verification)[:ROWS]:
                prompt = prompts_by_id[prompt_of[row.response_id]]
                transcript = _plain(place, prompt, CRITIQUE, row.dropped or f"kept: {_kept_word(row)}")
                yield replace(transcript, prompt=row.prompt, thinking=row.critique, answer=row.answer)


def _plain(place: ArmPlace, prompt: Prompt, kind: str, outcome: str) -> Transcript:
    """A transcript of something other than a model's answer, without its texts."""
    return Transcript(
        *place,
        family=prompt.family,
        split=prompt.split,
        harmful=prompt.harmful,
        prompt="",
        thinking=None,
        answer=None,
        outcome=outcome,
        checked=None,
        verified_with_spec=None,
        verified_without_spec=None,
        critique=None,
        kind=kind,
    )


def _verdict_word(row: Verification) -> str:
    return str(row.verdict or _without_text(row.finish) or "unparsed")


def _kept_word(row: Verification) -> str:
    return str(row.verdict) if row.subject is Subject.SAFETY else "approves" if row.approves else "objects"


def _without_text(finish: Finish | None) -> str:
    """Why there is nothing to read; empty if there is."""
    return {Finish.ERROR: "failed", Finish.FILTERED: "filtered"}.get(finish, "") if finish else ""


def _outcome_word(outcome: Outcome) -> str:
    label = outcome.judgement
    if label.safe is None:
        return _without_text(outcome.response.finish) or "no label"
    if not label.safe:
        return "unsafe"
    if label.refused:
        return "refused"
    if label.helpful is None:
        return "safe"
    return "helped" if label.helpful else "not helpful"


def _filters(rows: Sequence[Transcript]) -> list[tuple[str, str, list[str]]]:
    filters = []
    for name, label in FILTERS.items():
        choices = list(dict.fromkeys(_column(row, name) for row in rows))
        if len(choices) > 1:
            filters.append((name, label, choices))
    return filters


def _column(row: Transcript, name: str) -> str:
    return REQUEST[row.harmful] if name == "request" else str(getattr(row, name))


def _pack(rows: Sequence[Transcript]) -> str:
    columns: dict[str, list[object]] = {
        field.name: [getattr(row, field.name) for row in rows] for field in fields(Transcript)
    }
    columns["seed"] = [str(row.seed) for row in rows]
    columns["request"] = [REQUEST[row.harmful] for row in rows]
    del columns["harmful"]
    text = json.dumps(columns, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return base64.b64encode(gzip.compress(text, mtime=0)).decode()
