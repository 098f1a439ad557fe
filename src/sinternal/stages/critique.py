"""Stage `critique`: the expert verifies the model's own answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from sinternal import pending
from sinternal.errors import DataError
from sinternal.experts import Expert, ExpertReply, Question
from sinternal.figures import calls
from sinternal.figures.placebo import notes_on_verdicts
from sinternal.prompting.question import VerificationTask
from sinternal.prompting.think import fits_thinking, read_label
from sinternal.records import Judgement, Prompt, Response, Subject, Verdict, Verification, make_id
from sinternal.settings.arms import SpecificationUse
from sinternal.settings.plugins import ExpertPlugin, VerificationPlugin
from sinternal.stages.placebo import count_words, median_words, right_label
from sinternal.stages.stage import Costs, Stage
from sinternal.stages.strata import kind_of_answer, order_key
from sinternal.store import Artifact, Draft, Lookup, Table
from sinternal.visible import end_of

UNPARSED, DISAGREES = "expert gave no readable verdict", "expert disagrees with the judge"
WRONG = "expert gave the wrong verdict"
FAILED = "expert could not be asked"
FILTERED = "a content filter of the expert's server withheld it"
NOT_ASKED = "not asked about: more than is trained on"
NOTABLE = 0.05
"""Share of critiques that cannot be read from which on it is told."""


class CritiqueConfig(BaseModel):
    """The expert, and how it is asked to verify."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    expert: ExpertPlugin
    """The expert that verifies."""
    verification: VerificationPlugin
    """The question."""
    specification: SpecificationUse = SpecificationUse.QUOTED
    """Who is shown the specification."""
    subject: Subject = Subject.SAFETY
    """What the critiques are about; anything but safety is a placebo."""
    wanted: dict[str, int] | None = None
    """The most of each kind (`unsafe`, `safe`, `benign`, by the judge's label) to ask about, those that training uses
    first; None: all."""
    seed: int
    """Seed of the expert's sampling, and of the order."""


def critique(draft: Draft, config: CritiqueConfig, *, prompts: Artifact, pairs: Artifact) -> None:
    """Write the table `verifications`. Unusable ones stay on record, with the reason in `dropped`.

    Raises:
        DataError: not one verification can be used.
    """
    expert: Expert = config.expert.open()
    everything = list(_answers(prompts, pairs))
    answers = everything if config.wanted is None else _take_first(everything, config.wanted, config.seed)
    draft.counts[NOT_ASKED] = len(everything) - len(answers)
    words = _median_words(everything, pairs) if config.subject is Subject.LENGTH else None

    def make(finished: frozenset[str]) -> Iterator[Verification]:
        unasked = [answer for answer in answers if answer.id not in finished]
        waiting = _questions(config, unasked, prompts, pairs, words)
        unreadable = []
        for question, written in expert.verify(waiting, config.seed):
            if _label(question, written) is None:
                unreadable.append(question)
                _tell(len(unreadable), written)
            else:
                yield _verification(config, question, written)
        # One more attempt, with another seed; what cannot be read then is dropped.
        for question, written in expert.verify(unreadable, config.seed + 1):
            yield _verification(config, question, written)

    verifications = draft.stream(
        Verification,
        make,
        total=len(answers),
        group=lambda row: row.response_id,
        groups=[answer.id for answer in answers],
    )
    calls.keep(draft, verifications, "critiques")
    del draft.counts["failed"]  # counted by its reason
    reasons = Counter(reason for (reason,) in verifications.values("dropped"))
    draft.counts.update({reason: count for reason, count in reasons.items() if reason})
    if config.subject is not Subject.SAFETY and None in reasons:
        _count_verdicts(draft, config, verifications)
    if None not in reasons:
        raise DataError(_why_none(config, verifications, reasons))
    if reasons[UNPARSED] >= NOTABLE * reasons.total():
        draft.notes.append(
            f"{reasons[UNPARSED]} of {reasons.total()} critiques of the expert could not be read and are left out: "
            f"each is to end in {_form(config)}, and one ends in "
            f"{end_of(_first_dropped(verifications, UNPARSED).critique)}; their texts are in the table verifications, "
            "where dropped says so"
        )


def _tell(number: int, written: ExpertReply) -> None:
    """Say that critiques are asked for again, with what came in place of one; seldom, once they are many."""
    if number & (number - 1) == 0:  # the 1st, 2nd, 4th, 8th, ...
        said = end_of(written.error or written.answer or written.thinking)
        last = f"{'was told as' if written.error else 'ends in'} {said}"
        pending.tell(f"without a readable verdict so far, and asked for once more: {number:,}; the last {last}")


def _form(config: CritiqueConfig) -> str:
    """What a critique has to end in, in words."""
    task: VerificationTask = config.verification.open()
    first, second = task.labels(config.subject)
    return f"a line of its own, `Verdict: {first}` or `Verdict: {second}`"


def _why_none(config: CritiqueConfig, verifications: Table[Verification], reasons: Counter[str | None]) -> str:
    """Why not one verification can be used, with one of them, and where all are."""
    listed = ", ".join(f"{count} of {reasons.total()}: {reason}" for reason, count in reasons.most_common())
    most = reasons.most_common(1)[0][0]
    row = _first_dropped(verifications, most)
    if most in (FAILED, FILTERED):
        sample = f"one is told as {end_of(row.answer)}; see that the expert can be asked (`sinternal check --ask`)"
    elif most == UNPARSED:
        sample = f"each is to end in {_form(config)}; one ends in {end_of(row.critique)}; raise max_tokens if it is cut"
    else:
        sample = f"one says {end_of(row.answer)}; read some, and choose another expert or judge"
    return (
        f"expert {config.expert.name!r}: none of its {reasons.total()} verifications can be used ({listed}): {sample}; "
        f"all are in {verifications.path}"
    )


def _first_dropped(verifications: Table[Verification], reason: str | None) -> Verification:
    return next(row for row in verifications if row.dropped == reason)


def _count_verdicts(draft: Draft, config: CritiqueConfig, verifications: Table[Verification]) -> None:
    """Count what a placebo's usable verifications say."""
    task: VerificationTask = config.verification.open()
    approving, rejecting = task.labels(config.subject)
    kept = [
        replace(row, prompt="", critique=None, answer=None)  # their texts would take all the memory
        for row in verifications
        if row.dropped is None
    ]
    draft.counts[f"verdict {approving}"] = sum(bool(row.approves) for row in kept)
    draft.counts[f"verdict {rejecting}"] = sum(not row.approves for row in kept)
    draft.notes.extend(notes_on_verdicts(kept))


class _Answer(NamedTuple):
    """An answer that may be asked about."""

    id: str
    """Id of the response."""
    prompt_id: str
    """The prompt."""
    label: Verdict
    """The judge's label."""
    kind: str
    """What it would balance in a training set."""


def _answers(prompts: Artifact, pairs: Artifact) -> Iterator[_Answer]:
    """All answers, in the order of their table."""
    harmful = dict(prompts.values(Prompt, "id", "harmful"))
    safe = dict(pairs.values(Judgement, "response_id", "safe"))
    for response_id, prompt_id in pairs.values(Response, "id", "prompt_id"):
        label = Verdict.SAFE if safe[response_id] else Verdict.UNSAFE
        kind = kind_of_answer(unsafe=label is Verdict.UNSAFE, harmful=harmful[prompt_id])
        yield _Answer(response_id, prompt_id, label, kind)


def _take_first(answers: Sequence[_Answer], wanted: Mapping[str, int], seed: int) -> list[_Answer]:
    """The wanted number of answers of each kind, in the order in which training uses prompts."""
    taken: Counter[str] = Counter()
    chosen = []
    for answer in sorted(answers, key=lambda each: (order_key(seed, each.prompt_id), each.id)):
        taken[answer.kind] += 1
        if taken[answer.kind] <= wanted.get(answer.kind, 0):
            chosen.append(answer)
    return chosen


def _median_words(answers: Sequence[_Answer], pairs: Artifact) -> int:
    """The number of words that is a long answer, by all answers of a training set."""
    texts = pairs.values(Response, "answer")
    return median_words(
        [(answer.kind, count_words(text or "")) for answer, (text,) in zip(answers, texts, strict=True)]
    )


def _questions(
    config: CritiqueConfig, answers: Sequence[_Answer], prompts: Artifact, pairs: Artifact, words: int | None
) -> list[Question]:
    task: VerificationTask = config.verification.open()
    subject, labels = config.subject, task.labels(config.subject)
    prompt_ids, ids = [answer.prompt_id for answer in answers], [answer.id for answer in answers]
    prompt_rows = Lookup(prompts.table(Prompt), prompt_ids).rows(prompt_ids)
    response_rows = Lookup(pairs.table(Response), ids).rows(ids)

    def question(answer: _Answer, prompt: Prompt, response: Response) -> Question:
        text = response.answer or ""

        def ask(*, quoting: bool) -> str:
            return task.ask(prompt, text, with_spec=quoting, subject=subject, words=words)

        return Question(
            prompt=prompt,
            response=response,
            text=ask(quoting=config.specification is SpecificationUse.QUOTED),
            expert_text=ask(quoting=config.specification is not SpecificationUse.ABSENT),
            label=answer.label,
            subject=subject,
            labels=labels,
            right=right_label(subject, text, words, labels),
        )

    return list(map(question, answers, prompt_rows, response_rows))


def _label(question: Question, written: ExpertReply) -> str | None:
    """What the expert's verdict says; None if it cannot be read, or its critique cannot be trained on as thinking."""
    usable = written.error is None and fits_thinking(written.thinking)
    return read_label(written.answer, question.labels) if usable else None


def _verification(config: CritiqueConfig, question: Question, written: ExpertReply) -> Verification:
    label, about_safety = _label(question, written), question.subject is Subject.SAFETY
    return Verification(
        id=make_id("verification", config.expert.name, question.response.id, question.text),
        response_id=question.response.id,
        verifier=config.expert.name,
        with_spec=config.specification is SpecificationUse.QUOTED,
        prompt=question.text,
        critique=written.thinking,
        answer=written.answer or written.error,
        verdict=Verdict(label) if label is not None and about_safety else None,
        label=question.label,
        dropped=_reason_to_drop(question, written, label),
        finish=written.finish,
        subject=question.subject,
        approves=None if label is None or about_safety else label == question.labels[0],
    )


def _reason_to_drop(question: Question, written: ExpertReply, label: str | None) -> str | None:
    if written.error:
        return FILTERED if written.filtered else FAILED
    if label is None:
        return UNPARSED
    if question.subject is Subject.SAFETY:
        return None if label == question.label else DISAGREES
    return WRONG if question.right not in (None, label) else None


def _cost(config: CritiqueConfig, inputs: Mapping[str, int]) -> Costs:
    return expert_costs(inputs["pairs"], config.wanted)


def expert_costs(available: int, wanted: Mapping[str, int] | None) -> Costs:
    """What asking an expert costs: at most what is available, and what is wanted of all kinds together."""
    rows = available if wanted is None else min(available, sum(wanted.values()))
    return Costs(rows, rows)


STAGE = Stage(
    name="critique",
    function=critique,
    version=5,
    cost=_cost,
    counted_as="verifications",
    asks=Verification,
    rounds="critiques that cannot be read are asked for in one more",
)
