"""Stage `critique`: the expert verifies the model's own answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from sinternal.errors import DataError
from sinternal.experts import Expert, ExpertReply, Question
from sinternal.figures import calls
from sinternal.prompting.question import VerificationTask
from sinternal.prompting.think import read_verdict
from sinternal.records import Judgement, Prompt, Response, Verdict, Verification, make_id
from sinternal.settings.plugins import ExpertPlugin, VerificationPlugin
from sinternal.stages.stage import Costs, Stage
from sinternal.stages.strata import kind_of_answer, order_key
from sinternal.store import Artifact, Draft

UNPARSED, DISAGREES = "expert gave no readable verdict", "expert disagrees with the judge"
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
    with_spec: bool = True
    """Whether the specification is quoted in the training prompts."""
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
            if _verdict(written) is None:
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
    if all(row.dropped for row in rows):
        reasons = ", ".join(f"{reason}: {count}" for reason, count in Counter(row.dropped for row in rows).items())
        raise DataError(
            f"expert {config.expert.name!r}: none of its {len(rows)} verifications can be used ({reasons}); "
            "see their texts in the store, and choose another expert or judge"
        )


def _questions(config: CritiqueConfig, prompts: Artifact, pairs: Artifact) -> list[Question]:
    task: VerificationTask = config.verification.open()
    prompts_by_id = {prompt.id: prompt for prompt in prompts.rows(Prompt)}
    labels = {row.response_id: Verdict.SAFE if row.safe else Verdict.UNSAFE for row in pairs.rows(Judgement)}
    return [
        Question(
            prompt=prompts_by_id[response.prompt_id],
            response=response,
            text=task.ask(prompts_by_id[response.prompt_id], response.answer or "", with_spec=config.with_spec),
            label=labels[response.id],
        )
        for response in pairs.rows(Response)
    ]


def _take_first(questions: Sequence[Question], wanted: Mapping[str, int], seed: int) -> list[Question]:
    """The wanted number of questions of each kind, in the order in which training uses prompts."""
    taken: Counter[str] = Counter()
    chosen = []
    for question in sorted(questions, key=lambda each: (order_key(seed, each.prompt.id), each.response.id)):
        kind = kind_of_answer(unsafe=question.label is Verdict.UNSAFE, harmful=question.prompt.harmful)
        taken[kind] += 1
        if taken[kind] <= wanted.get(kind, 0):
            chosen.append(question)
    return chosen


def _verdict(written: ExpertReply) -> Verdict | None:
    return None if written.error else read_verdict(written.answer)


def _verification(config: CritiqueConfig, question: Question, written: ExpertReply) -> Verification:
    verdict = _verdict(written)
    dropped = None
    if written.error:
        dropped = FILTERED if written.filtered else FAILED
    elif verdict is None:
        dropped = UNPARSED
    elif verdict != question.label:
        dropped = DISAGREES
    return Verification(
        id=make_id("verification", config.expert.name, question.response.id, question.text),
        response_id=question.response.id,
        verifier=config.expert.name,
        with_spec=config.with_spec,
        prompt=question.text,
        critique=written.thinking,
        answer=written.answer or written.error,
        verdict=verdict,
        label=question.label,
        dropped=dropped,
        finish=written.finish,
    )


def _cost(config: CritiqueConfig, inputs: Mapping[str, int]) -> Costs:
    return expert_costs(inputs["pairs"], config.wanted)


def expert_costs(available: int, wanted: Mapping[str, int] | None) -> Costs:
    """What asking an expert costs: at most what is available, and what is wanted of all kinds together."""
    rows = available if wanted is None else min(available, sum(wanted.values()))
    return Costs(rows, rows)


STAGE = Stage(
    name="critique",
    function=critique,
    version=3,
    cost=_cost,
    counted_as="verifications",
    asks=Verification,
)
