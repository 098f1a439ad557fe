"""Every text of a run, to be read: answers, under stress and to attackers too, training examples, critiques."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, repeat
from typing import NamedTuple

import numpy as np

from sinternal.figures.columns import MISSING
from sinternal.figures.outcomes import Outcome, Outcomes
from sinternal.figures.reading import Reader
from sinternal.figures.searches import AttackSearch, searches
from sinternal.figures.stress import Conditions
from sinternal.figures.study import Transcript, Turn
from sinternal.layout import ArmPlace, ArmRun, Place, RunMap
from sinternal.records import CheckPlace, Example, Finish, Intervened, Prompt, Response, Subject, Verification
from sinternal.store import Artifact

ANSWER, EXAMPLE, CRITIQUE = "answer", "training example", "expert's critique"
"""What a text is; an answer under stress is called by its condition."""
ROWS = 500
"""Training examples, and critiques, of one arm and seed that a page holds: with a specification in each of thousands of
questions no browser could show it."""
WITHOUT_TEXT: Mapping[str | None, str] = {Finish.ERROR: "failed", Finish.FILTERED: "filtered"}
"""Why there is nothing to read."""
CHECKED = {MISSING: None, 0: False, 1: True}


class Transcripts(Collection[Transcript]):
    """Every text of a run: read from its artifacts whenever they are gone through, and never held at once."""

    def __init__(self, reader: Reader, outcomes: Mapping[ArmPlace, Outcomes], stressed: Conditions) -> None:
        """Take what was measured of a run.

        Args:
            reader: of its artifacts.
            outcomes: the responses of each arm, variant and seed, labelled by the judges that decide.
            stressed: the same under stress.
        """
        self.reader, self.run, self.outcomes, self.stressed = reader, reader.run, outcomes, stressed

    def __iter__(self) -> Iterator[Transcript]:
        for place, outcomes in self.outcomes.items():
            prompts, arm = self.run[Place(place.variant, place.seed)].evaluation_prompts, self.run.arm(place)
            texts = _texts(prompts, arm.responses)
            own = _own_verdicts(arm.verifications, texts, outcomes)
            yield from of_answers(place, outcomes, texts, own, checks=_check_places(arm))
        for place, conditions in self.stressed.items():
            for condition in conditions:
                if condition.any_of:  # the mean is of the same answers
                    texts = _texts(condition.asked.prompts, condition.asked.responses)
                    kinds = repeat(f"under stress: {condition.name}")
                    yield from of_answers(
                        place, condition.outcomes, [texts[row] for row in condition.rows], kinds=kinds
                    )
        for place in self.run.arms():
            for name, attacked in self.run.arm(place).attacked.items():
                yield from (of_search(place, search) for search in searches(name, attacked))
        for place in self.run.arms():
            yield from _of_continued(place, self.run.arm(place), self.reader)
        for place in self.run.arms():
            yield from _of_training(place, self.run)

    def __len__(self) -> int:
        answers = [len(outcomes) for outcomes in self.outcomes.values()]
        answers += [len(row.rows) for rows in self.stressed.values() for row in rows if row.any_of]
        for arm in (self.run.arm(place) for place in self.run.arms()):
            answers += [attacked.queries.counts["prompts"] for attacked in arm.attacked.values()]
            answers += [arm.checks.responses.counts["responses"]] if arm.checks else []
            if arm.training and arm.training.examples:
                answers.append(min(ROWS, arm.training.examples.counts["examples"]))
                if arm.training.critiques:
                    answers.append(min(ROWS, arm.training.critiques.counts["verifications"]))
        return sum(answers)

    def __contains__(self, row: object) -> bool:
        return any(own == row for own in self)


class Text(NamedTuple):
    """What was asked and said."""

    response_id: str
    """The response."""
    prompt: str
    """The user's message."""
    thinking: str | None
    """The thinking."""
    answer: str | None
    """The answer."""


class Own(NamedTuple):
    """A model's own verdicts on an answer, the first of several samples."""

    with_spec: str | None = None
    """With the specification, in a word; None if it was not asked, or the answer has no label."""
    without_spec: str | None = None
    """The same without the specification."""
    critique: str | None = None
    """What it wrote before that."""
    critique_with_spec: str | None = None
    """What it wrote before the verdict with the specification."""


def of_answers(
    place: ArmPlace,
    outcomes: Outcomes,
    texts: Iterable[Text],
    own: Iterable[Own] | None = None,
    kinds: Iterable[str] | None = None,
    checks: Mapping[str, tuple[int, int]] | None = None,
) -> Iterator[Transcript]:
    """The answers of an arm, with their labels and the model's own verdicts.

    Args:
        place: the arm.
        outcomes: its answers.
        texts: of each of them.
        own: the verdicts on each of them; by default there are none.
        kinds: what the texts are.
        checks: where thinkings check safety, by response, as far as a judge has looked.
    """
    columns = zip(
        (outcomes.names[number] for number in outcomes.prompt),
        outcomes.sample.tolist(),
        (outcomes.names[number] for number in outcomes.family),
        (outcomes.names[number] for number in outcomes.split),
        outcomes.harmful.tolist(),
        _outcome_words(outcomes),
        (CHECKED[number] for number in outcomes.checked.tolist()),
        strict=True,
    )
    every = zip(columns, texts, own or repeat(Own()), kinds or repeat(ANSWER), strict=False)
    for (prompt, sample, family, split, harmful, outcome, checked), text, verdicts, kind in every:
        yield Transcript(
            *place,
            family=family,
            split=split,
            harmful=harmful,
            prompt=text.prompt,
            thinking=text.thinking,
            answer=text.answer,
            outcome=outcome,
            checked=checked,
            verified_with_spec=verdicts.with_spec,
            verified_without_spec=verdicts.without_spec,
            critique=verdicts.critique,
            critique_with_spec=verdicts.critique_with_spec,
            kind=kind,
            prompt_id=prompt,
            sample=sample,
            check=checks.get(text.response_id) if checks else None,
        )


def of_rows(place: ArmPlace, rows: Sequence[Outcome]) -> Iterator[Transcript]:
    """The same from rows.

    Args:
        place: the arm.
        rows: its answers.
    """
    texts = (Text(row.response.id, row.prompt.text, row.response.thinking, row.response.answer) for row in rows)
    own = (_first_verdicts(row.verifications) for row in rows)
    return of_answers(place, Outcomes.of(rows), texts, own)


def _first_verdicts(verifications: Sequence[Verification]) -> Own:
    first = {row.with_spec: row for row in reversed(verifications)}
    words = {spec: _verdict_word(row.verdict, row.finish) for spec, row in first.items()}
    critiques = {spec: row.critique for spec, row in first.items()}
    return Own(words.get(True), words.get(False), critiques.get(False), critiques.get(True))


def _texts(prompts: Artifact, responses: Artifact) -> list[Text]:
    """The texts of all responses, in their order."""
    asked, said = (
        prompts.columns(Prompt, "id", "text"),
        responses.columns(Response, "id", "prompt_id", "thinking", "answer"),
    )
    by_id = dict(zip(asked["id"], asked["text"], strict=True))
    rows = zip(said["id"], said["prompt_id"], said["thinking"], said["answer"], strict=True)
    return [Text(identity, by_id[prompt], thinking, answer) for identity, prompt, thinking, answer in rows]


def _own_verdicts(verifications: Artifact, texts: Sequence[Text], outcomes: Outcomes) -> Iterator[Own]:
    """The first verdicts on each answer that has a label."""
    names = ("response_id", "with_spec", "verdict", "finish", "critique")
    table = verifications.columns(Verification, *names)
    first: dict[tuple[str, bool], tuple[str, str | None]] = {}
    for response, spec, verdict, finish, critique in zip(*(table[name] for name in names), strict=True):
        if (response, spec) not in first:
            first[response, spec] = _verdict_word(verdict, finish), critique
    nothing = (None, None)
    for text, safe in zip(texts, outcomes.safe, strict=True):
        if safe == MISSING:
            yield Own()
        else:
            word, critique = first.get((text.response_id, False), nothing)
            with_spec, critique_with_spec = first.get((text.response_id, True), nothing)
            yield Own(with_spec, word, critique, critique_with_spec)


def _check_places(arm: ArmRun[Artifact]) -> dict[str, tuple[int, int]]:
    """Where thinkings check safety, by response, if a judge has looked."""
    if arm.checks is None:
        return {}
    rows = arm.checks.places.rows(CheckPlace)
    return {row.response_id: (row.start, row.end) for row in rows if row.start is not None and row.end is not None}


def _of_continued(place: ArmPlace, arm: ArmRun[Artifact], reader: Reader) -> Iterator[Transcript]:
    """How an arm goes on with thinkings whose checks were taken out, and into which some were put."""
    if checks := arm.checks:
        interventions = {row.id: row.intervention for row in checks.prompts.rows(Intervened)}
        outcomes = reader.outcomes(checks.prompts, checks.responses, checks.judgements)
        kinds = (f"thinking continued, check {interventions[outcomes.names[number]]}" for number in outcomes.prompt)
        yield from of_answers(place, outcomes, _texts(checks.prompts, checks.responses), kinds=kinds)


def of_search(place: ArmPlace, search: AttackSearch) -> Transcript:
    """All queries of an attack for one request, as one transcript.

    Args:
        place: the arm.
        search: the queries.
    """
    sent = any(row.response for row in search.queries)
    broken = f"at query {search.broken_at}" if search.broken_at else _within(search.budget)
    return replace(
        _plain(place, search.prompt, f"under attack: {search.attack}", ""),
        prompt=search.prompt.text,
        outcome="unsafe" if search.broken_at else "no label" if search.open else "safe" if sent else "nothing sent",
        broken="not known" if search.open and not search.broken_at else broken,
        turns=tuple(_turns(search)),
    )


def _within(budget: int) -> str:
    return f"not within {budget} {'query' if budget == 1 else 'queries'}"


def _turns(search: AttackSearch) -> Iterator[Turn]:
    labelled = [
        Outcome(search.prompt, r.response, r.judgement, ()) for r in search.queries if r.response and r.judgement
    ]
    words = iter(_outcome_words(Outcomes.of(labelled)))
    for row in search.queries:
        query, response = row.query, row.response
        if response and row.judgement:
            outcome = next(words)
        else:
            outcome = "no label" if response else "attacker failed" if query.error else "nothing sent"
        said = (response.thinking, response.answer) if response else (None, None)
        yield Turn(query.text, query.system, query.prefill, *said, query.note, outcome)


def _of_training(place: ArmPlace, run: RunMap[Artifact]) -> Iterator[Transcript]:
    """The first training examples, and the first critiques of the expert, of an arm."""
    training = run.arm(place).training
    if training is None or training.examples is None:
        return
    prompts_by_id = {prompt.id: prompt for prompt in training.prompts.rows(Prompt)}
    for example in islice(training.examples.table(Example), ROWS):
        transcript = _plain(place, prompts_by_id[example.prompt_id], EXAMPLE, example.stratum)
        yield replace(transcript, prompt=example.prompt, thinking=example.thinking, answer=example.answer)
    if training.critiques is not None:
        _, own = run[Place(place.variant, place.seed)].learned_from
        answers = training.others.answers if training.others else own
        contrast = answers.contrast.columns(Response, "id", "prompt_id")
        prompt_of = dict(zip(contrast["id"], contrast["prompt_id"], strict=True))
        for row in islice(training.critiques.table(Verification), ROWS):
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
        prompt_id=prompt.id,
    )


def _verdict_word(verdict: str | None, finish: str | None) -> str:
    return str(verdict or WITHOUT_TEXT.get(finish, "unparsed"))


def _kept_word(row: Verification) -> str:
    return str(row.verdict) if row.subject is Subject.SAFETY else "approves" if row.approves else "objects"


def _outcome_words(outcomes: Outcomes) -> list[str]:
    """What became of each answer, in a word."""
    unlabelled = outcomes.safe == MISSING
    cases = (
        (unlabelled & outcomes.filtered, WITHOUT_TEXT[Finish.FILTERED]),
        (unlabelled & outcomes.without_text, WITHOUT_TEXT[Finish.ERROR]),
        (unlabelled, "no label"),
        (outcomes.safe == 0, "unsafe"),
        (outcomes.refused == 1, "refused"),
        (outcomes.helpful == MISSING, "safe"),
        (outcomes.helpful == 1, "helped"),
    )
    holds, words = zip(*cases, strict=True)
    chosen: list[str] = np.select(holds, words, "not helpful").tolist()
    return chosen
