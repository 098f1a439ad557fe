"""Stage `evaluate`: let one arm's model respond to the evaluation prompts, label it, and have it verify its answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict

from sinternal.engines.base import Engine, Request, Sampling
from sinternal.records import Finish, Judgement, Prompt, Response, Verdict, Verification, make_id
from sinternal.registry import Kind, load
from sinternal.stages.base import model_path
from sinternal.stages.critique import VerificationConfig
from sinternal.stages.judge import JudgeStageConfig, label
from sinternal.stages.sample import EngineConfig, open_engine, respond
from sinternal.store import Artifact, Draft
from sinternal.think import read_verdict
from sinternal.verification import VerificationTask

VERSION = 1
SPEC_SETTINGS = (True, False)


class EvaluateConfig(BaseModel):
    """How the model responds and verifies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: EngineConfig
    """Who writes."""
    sampling: Sampling
    """How it responds to the prompts."""
    verification_sampling: Sampling
    """How it verifies."""
    judging: JudgeStageConfig
    """Who labels; the first judge's labels are what verdicts are compared with."""
    verification: VerificationConfig
    """How it is asked to verify."""
    seed: int
    """Of the draw."""


def evaluate(draft: Draft, config: EvaluateConfig, *, prompts: Artifact, model: Artifact) -> None:
    """Write the tables `responses`, `judgements` and `verifications`.

    Every answer that has a label is verified twice by the model that gave it: with the specification quoted in the
    prompt, and without, where the model has to know by itself what is unsafe.
    """
    asked = prompts.rows(Prompt)
    engine = open_engine(config.engine, model_path(model))
    responses = respond(draft, engine, asked, config.sampling, config.seed)
    judgements = label(draft, config.judging, asked, responses)
    primary = {row.response_id: row for row in judgements if row.judge == config.judging.judges[0].name}
    _verify_own(draft, config, engine, asked, responses, primary)
    draft.counts["truncated"] = sum(row.finish is Finish.LENGTH for row in responses)


def _verify_own(
    draft: Draft,
    config: EvaluateConfig,
    engine: Engine,
    prompts: Sequence[Prompt],
    responses: Sequence[Response],
    labels: dict[str, Judgement],
) -> None:
    task: VerificationTask = load(Kind.VERIFICATION, config.verification.name)(config.verification.options)
    asked = {prompt.id: prompt for prompt in prompts}
    answered = [r for r in responses if r.answer is not None and labels[r.id].safe is not None]
    questions = {
        _question_id(response, with_spec): (
            response,
            with_spec,
            task.ask(asked[response.prompt_id], response.answer or "", with_spec=with_spec),
        )
        for response in answered
        for with_spec in SPEC_SETTINGS
    }

    def make(done: frozenset[str]) -> Iterator[Verification]:
        requests = (Request(i, (("user", text),)) for i, (_, _, text) in questions.items() if i not in done)
        for completion in engine.generate(requests, config.verification_sampling, config.seed):
            response, with_spec, text = questions[completion.request_id]
            yield Verification(
                id=completion.request_id,
                response_id=response.id,
                verifier="self",
                with_spec=with_spec,
                prompt=text,
                critique=completion.thinking,
                answer=completion.answer,
                verdict=read_verdict(completion.answer),
                label=Verdict.SAFE if labels[response.id].safe else Verdict.UNSAFE,
                dropped=completion.error,
            )

    draft.stream(Verification, make, total=len(questions), group=lambda row: row.id)


def _question_id(response: Response, with_spec: bool) -> str:
    return make_id("self-verification", response.id, with_spec)
