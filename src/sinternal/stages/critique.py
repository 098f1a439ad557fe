"""Stage `critique`: the expert verifies the model's own answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from sinternal.errors import DataError
from sinternal.experts import Expert, ExpertReply, Question
from sinternal.figures import calls
from sinternal.figures.placebo import notes_on_verdicts
from sinternal.prompting.question import VerificationTask
from sinternal.prompting.think import read_label
from sinternal.records import Judgement, Prompt, Response, Subject, Verdict, Verification, make_id
from sinternal.settings.arms import SpecificationUse
from sinternal.settings.plugins import ExpertPlugin, VerificationPlugin
from sinternal.stages.placebo import count_words, median_words, right_label
from sinternal.stages.stage import Costs, Stage
from sinternal.stages.strata import kind_of_answer, order_key
from sinternal.store import Artifact, Draft

UNPARSED, DISAGREES = "expert gave no readable verdict", "expert disagrees with the judge"
WRONG = "expert gave the wrong verdict"
FAILED = "expert could not be asked"
FILTERED = "a content filter of the expert's server withheld it"
NOT_ASKED = "not asked about: more than is trained on"


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
    everything = _questions(config, prompts, pairs)
    questions = everything if config.wanted is None else _take_first(everything, config.wanted, config.seed)
    draft.counts[NOT_ASKED] = len(everything) - len(questions)

    def make(finished: frozenset[str]) -> Iterator[Verification]:
        waiting = [question for question in questions if question.response.id not in finished]
        unreadable = []
        for question, written in expert.verify(waiting, config.seed):
            if _label(question, written) is None:
                unreadable.append(question)
            else:
                yield _verification(config, question, written)
        # One more attempt, with another seed; what cannot be read then is dropped.
        for question, written in expert.verify(unreadable, config.seed + 1):
            yield _verification(config, question, written)

    rows = draft.stream(
        Verification,
        make,
        total=len(questions),
        group=lambda row: row.response_id,
        groups={question.response.id for question in questions},
    )
    calls.keep(draft, rows, "critiques")
    del draft.counts["failed"]  # counted by its reason
    draft.counts.update(Counter(row.dropped for row in rows if row.dropped))
    if config.subject is not Subject.SAFETY and (kept := [row for row in rows if row.dropped is None]):
        approving, rejecting = questions[0].labels
        draft.counts.update({f"verdict {approving}": sum(bool(row.approves) for row in kept)})
        draft.counts.update({f"verdict {rejecting}": sum(not row.approves for row in kept)})
        draft.notes.extend(notes_on_verdicts(kept))
    if all(row.dropped for row in rows):
        reasons = ", ".join(f"{reason}: {count}" for reason, count in Counter(row.dropped for row in rows).items())
        raise DataError(
            f"expert {config.expert.name!r}: none of its {len(rows)} verifications can be used ({reasons}); "
            "see their texts in the store, and choose another expert or judge"
        )


def _questions(config: CritiqueConfig, prompts: Artifact, pairs: Artifact) -> list[Question]:
    task: VerificationTask = config.verification.open()
    subject, labels = config.subject, task.labels(config.subject)
    prompts_by_id = {prompt.id: prompt for prompt in prompts.rows(Prompt)}
    judged = {row.response_id: Verdict.SAFE if row.safe else Verdict.UNSAFE for row in pairs.rows(Judgement)}
    responses = pairs.rows(Response)
    words = None
    if subject is Subject.LENGTH:
        kinds = (_kind(judged[response.id], prompts_by_id[response.prompt_id]) for response in responses)
        words = median_words(
            [(kind, count_words(row.answer or "")) for kind, row in zip(kinds, responses, strict=True)]
        )

    def ask(response: Response, *, quoting: bool) -> str:
        prompt, answer = prompts_by_id[response.prompt_id], response.answer or ""
        return task.ask(prompt, answer, with_spec=quoting, subject=subject, words=words)

    return [
        Question(
            prompt=prompts_by_id[response.prompt_id],
            response=response,
            text=ask(response, quoting=config.specification is SpecificationUse.QUOTED),
            expert_text=ask(response, quoting=config.specification is not SpecificationUse.ABSENT),
            label=judged[response.id],
            subject=subject,
            labels=labels,
            right=right_label(subject, response.answer or "", words, labels),
        )
        for response in responses
    ]


def _kind(label: Verdict, prompt: Prompt) -> str:
    return kind_of_answer(unsafe=label is Verdict.UNSAFE, harmful=prompt.harmful)


def _take_first(questions: Sequence[Question], wanted: Mapping[str, int], seed: int) -> list[Question]:
    """The wanted number of questions of each kind, in the order in which training uses prompts."""
    taken: Counter[str] = Counter()
    chosen = []
    for question in sorted(questions, key=lambda each: (order_key(seed, each.prompt.id), each.response.id)):
        kind = _kind(question.label, question.prompt)
        taken[kind] += 1
        if taken[kind] <= wanted.get(kind, 0):
            chosen.append(question)
    return chosen


def _label(question: Question, written: ExpertReply) -> str | None:
    """What the expert's verdict says; None if it cannot be read."""
    return None if written.error else read_label(written.answer, question.labels)


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
    version=4,
    cost=_cost,
    counted_as="verifications",
    asks=Verification,
    rounds="critiques that cannot be read are asked for in one more",
)
