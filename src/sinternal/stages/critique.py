"""Stage `critique`: the expert verifies the model's own answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from sinternal.errors import DataError
from sinternal.experts import Expert
from sinternal.records import Judgement, Prompt, Response, Verdict, Verification, make_id
from sinternal.registry import Kind, load
from sinternal.store import Artifact, Draft
from sinternal.think import read_verdict
from sinternal.verification import VerificationTask

VERSION = 1
UNPARSED, DISAGREES = "expert gave no readable verdict", "expert disagrees with the judge"
ATTEMPTS = 2


class ExpertConfig(BaseModel):
    """Who writes what the arms are trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Name of a registered expert."""
    options: dict[str, object] = {}
    """Its options."""


class VerificationConfig(BaseModel):
    """How a model is asked to verify."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Name of a registered verification task."""
    options: dict[str, object] = {}
    """Its options."""


class CritiqueConfig(BaseModel):
    """Who verifies, and how the question is put."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    expert: ExpertConfig
    """Who verifies."""
    verification: VerificationConfig
    """The question."""
    with_spec: bool = True
    """Whether the specification is quoted in the training prompts."""


def critique(draft: Draft, config: CritiqueConfig, *, prompts: Artifact, pairs: Artifact) -> None:
    """Write the table `verifications`. Those that cannot be used stay on record, with the reason in `dropped`.

    Raises:
        DataError: not one verification can be used.
    """
    expert: Expert = load(Kind.EXPERT, config.expert.name)(config.expert.options)
    task: VerificationTask = load(Kind.VERIFICATION, config.verification.name)(config.verification.options)
    asked = {prompt.id: prompt for prompt in prompts.rows(Prompt)}
    responses = pairs.rows(Response)
    labels = {row.response_id: Verdict.SAFE if row.safe else Verdict.UNSAFE for row in pairs.rows(Judgement)}

    def make(done: frozenset[str]) -> Iterator[Verification]:
        for response in responses:
            if response.id not in done:
                prompt = asked[response.prompt_id]
                question = task.ask(prompt, response.answer or "", with_spec=config.with_spec)
                yield _verify(expert, config, prompt, response, question, labels[response.id])

    rows = draft.stream(Verification, make, total=len(responses), group=lambda row: row.response_id)
    draft.counts.update(Counter(row.dropped for row in rows if row.dropped))
    if all(row.dropped for row in rows):
        raise DataError(f"expert {config.expert.name!r}: none of its {len(rows)} verifications can be used")


def _verify(
    expert: Expert, config: CritiqueConfig, prompt: Prompt, response: Response, question: str, label: Verdict
) -> Verification:
    for _ in range(ATTEMPTS):
        written = expert.verify(prompt, response, question)
        verdict = read_verdict(written.answer)
        if verdict is not None:
            break
    dropped = UNPARSED if verdict is None else DISAGREES if verdict != label else None
    return Verification(
        id=make_id("verification", config.expert.name, response.id, question),
        response_id=response.id,
        verifier=config.expert.name,
        with_spec=config.with_spec,
        prompt=question,
        critique=written.thinking,
        answer=written.answer,
        verdict=verdict,
        label=label,
        dropped=dropped,
    )
