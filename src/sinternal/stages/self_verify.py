"""Stage `self_verify`: a model verifies its own answers, with the specification quoted, without, or in both ways.

No label takes part: what a verdict is compared with is joined to it when figures are computed, so that a judge can be
added or changed later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict

from sinternal.engines import Request, open_engine
from sinternal.figures import calls
from sinternal.prompting.question import VerificationTask
from sinternal.prompting.think import read_verdict, verdict_probability
from sinternal.records import Prompt, Response, Verification, make_id
from sinternal.settings.arms import SpecificationUse
from sinternal.settings.measurement import MEASURED_USES, measured_uses
from sinternal.settings.plugins import EnginePlugin, VerificationPlugin
from sinternal.settings.sampling import Sampling
from sinternal.stages.judge import note_on_controls, with_prompts
from sinternal.stages.stage import Costs, Stage
from sinternal.stages.target import model_name
from sinternal.store import Artifact, Draft, Lookup


class SelfVerifyConfig(BaseModel):
    """How the model verifies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: EnginePlugin
    """The engine that writes."""
    sampling: Sampling
    """How, and how often each answer is verified."""
    verification: VerificationPlugin
    """How the model is asked."""
    specification: Annotated[tuple[SpecificationUse, ...], AfterValidator(measured_uses)] = MEASURED_USES
    """In which ways it is asked: with the specification quoted, absent, or both."""
    seed: int
    """Seed of the sampling."""

    @property
    def quoting(self) -> tuple[bool, ...]:
        """Whether the specification is quoted, for each way."""
        return tuple(use is SpecificationUse.QUOTED for use in self.specification)


def self_verify(
    draft: Draft, config: SelfVerifyConfig, *, prompts: Artifact, responses: Artifact, model: Artifact
) -> None:
    """Write the table `verifications`: `sampling.n` rows for each answer and way to ask.

    With the specification quoted a model has to apply it; without, it has to know by itself what is unsafe.
    """
    task: VerificationTask = config.verification.open()
    ids = [
        _question_id(response_id, with_spec)
        for response_id, answer in responses.values(Response, "id", "answer")
        if answer is not None
        for with_spec in config.quoting
    ]
    asked: dict[str, _Asked] = {}

    def requests(finished: frozenset[str]) -> Iterator[Request]:
        answered = with_prompts(
            responses.table(Response), Lookup(prompts.table(Prompt)), lambda row: row.answer is not None
        )
        for prompt, response in answered:
            for with_spec in config.quoting:
                identity = _question_id(response.id, with_spec)
                if identity not in finished:
                    text = task.ask(prompt, response.answer or "", with_spec=with_spec)
                    asked[identity] = _Asked(response.id, with_spec, text, config.sampling.n)
                    yield Request(identity, (("user", text),), quotes=True)

    def make(finished: frozenset[str]) -> Iterator[Verification]:
        with open_engine(config.engine, model_name(model)) as engine:
            for completion in engine.generate(requests(finished), config.sampling, config.seed):
                question = asked.pop(completion.request_id)
                if question.replies > 1:
                    asked[completion.request_id] = question._replace(replies=question.replies - 1)
                first = completion.sample == 0
                yield Verification(
                    id=completion.request_id if first else make_id(completion.request_id, completion.sample),
                    response_id=question.response_id,
                    verifier=calls.SELF,
                    with_spec=question.with_spec,
                    prompt=question.text,
                    critique=completion.thinking,
                    answer=completion.answer,
                    verdict=read_verdict(completion.whole_answer),
                    dropped=completion.error,
                    sample=completion.sample,
                    p_unsafe=verdict_probability(completion.whole_answer, completion.logprobs or ()),
                    finish=completion.finish,
                    left_out=completion.left_out,
                    quoted_controls=completion.quoted_controls,
                )

    verifications = draft.stream(
        Verification,
        make,
        total=len(ids) * config.sampling.n,
        group=lambda row: _question_id(row.response_id, row.with_spec),
        group_size=config.sampling.n,
        groups=ids,
    )
    calls.keep(draft, verifications, "verifications")
    draft.notes.extend(note_on_controls(verifications.columns("quoted_controls")["quoted_controls"].tolist()))


class _Asked(NamedTuple):
    """A question that waits for replies."""

    response_id: str
    """The response."""
    with_spec: bool
    """Whether the specification is quoted."""
    text: str
    """The question."""
    replies: int
    """How many are still to come."""


def _question_id(response_id: str, with_spec: bool) -> str:
    return make_id("self-verification", response_id, with_spec)


def _cost(config: SelfVerifyConfig, inputs: Mapping[str, int]) -> Costs:
    rows = len(config.quoting) * inputs["responses"] * config.sampling.n
    return Costs(rows, rows, rows * config.sampling.max_tokens)


STAGE = Stage(
    name="self_verify",
    function=self_verify,
    version=4,
    cost=_cost,
    counted_as="verifications",
    asks=Verification,
)
