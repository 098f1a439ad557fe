"""Stage `self_verify`: a model verifies its own answers, with the specification quoted, without, or in both ways.

No label takes part: what a verdict is compared with is joined to it when figures are computed, so that a judge can be
added or changed later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

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
from sinternal.stages.judge import note_on_controls
from sinternal.stages.stage import Costs, Stage
from sinternal.stages.target import model_name
from sinternal.store import Artifact, Draft


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
    prompts_by_id = {prompt.id: prompt for prompt in prompts.rows(Prompt)}
    questions = {
        make_id("self-verification", row.id, with_spec): (
            row,
            with_spec,
            task.ask(prompts_by_id[row.prompt_id], row.answer, with_spec=with_spec),
        )
        for row in responses.rows(Response)
        if row.answer is not None
        for with_spec in config.quoting
    }

    def make(finished: frozenset[str]) -> Iterator[Verification]:
        requests = (
            Request(i, (("user", text),), quotes=True) for i, (_, _, text) in questions.items() if i not in finished
        )
        with open_engine(config.engine, model_name(model)) as engine:
            for completion in engine.generate(requests, config.sampling, config.seed):
                response, with_spec, text = questions[completion.request_id]
                first = completion.sample == 0
                yield Verification(
                    id=completion.request_id if first else make_id(completion.request_id, completion.sample),
                    response_id=response.id,
                    verifier=calls.SELF,
                    with_spec=with_spec,
                    prompt=text,
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

    rows = draft.stream(
        Verification,
        make,
        total=len(questions) * config.sampling.n,
        group=lambda row: make_id("self-verification", row.response_id, row.with_spec),
        group_size=config.sampling.n,
        groups=questions.keys(),
    )
    calls.keep(draft, rows, "verifications")
    draft.notes.extend(note_on_controls(row.quoted_controls for row in rows))


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
