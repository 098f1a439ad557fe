"""Stage `sample`: a model's own answers: several to each training prompt, or those that it is measured by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from sinternal.engines import Completion, Engine, Request, open_engine
from sinternal.errors import DataError
from sinternal.figures import calls
from sinternal.records import Finish, Prompt, Response, make_id
from sinternal.settings.plugins import EnginePlugin
from sinternal.settings.sampling import Sampling
from sinternal.stages.stage import Costs, Stage
from sinternal.stages.target import model_name
from sinternal.store import Artifact, Draft, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOTABLE = 0.1
"""Share of truncated responses above which there is a note."""


class SampleConfig(BaseModel):
    """How the answers are drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: EnginePlugin
    """The engine that writes."""
    sampling: Sampling
    """How, and how many for each prompt."""
    system: str = ""
    """System message for prompts that bring none of their own; empty for none."""
    seed: int
    """Seed of the sampling."""


def sample(draft: Draft, config: SampleConfig, *, prompts: Artifact, model: Artifact) -> None:
    """Write the table `responses`: `sampling.n` rows for each prompt."""
    with open_engine(config.engine, model_name(model)) as engine:
        responses = _respond(draft, engine, prompts.table(Prompt), config)
    ends = responses.columns("finish", "tokens")
    draft.counts["truncated"] = count_truncated(ends["finish"])
    if draft.counts["truncated"] > NOTABLE * len(ends["finish"]):
        draft.notes.append(
            f"{draft.counts['truncated']} of {len(ends['finish'])} responses ran into the limit of "
            f"{config.sampling.max_tokens} tokens; raise max_tokens, or read their figures with care"
        )
    calls.keep(draft, responses, "responses")
    draft.counts["tokens"] = int(np.nansum(ends["tokens"]))


def count_truncated(finishes: NDArray[Any]) -> int:
    """How many of some responses ran into the token limit."""
    return int(np.count_nonzero(finishes == Finish.LENGTH))


def to_request(prompt: Prompt, system: str = "") -> Request:
    """A prompt as it is sent: with its own system message or this one, its prefill, or without any chat template."""
    system = "" if prompt.raw else prompt.system or system
    opening = (("system", system),) if system else ()
    return Request(prompt.id, (*opening, ("user", prompt.text)), prompt.prefill, prompt.raw)


def check_trainable(prompt: Prompt) -> None:
    """Make sure that a trainer can put a prompt as an engine would. Raises DataError."""
    if prompt.raw or prompt.prefill:
        raise DataError(
            f"attack {prompt.family!r} changes what stands around a prompt, which a trainer cannot do: take it out of "
            "prompts.train_attacks"
        )


def _respond(draft: Draft, engine: Engine, prompts: Table[Prompt], config: SampleConfig) -> Table[Response]:
    """Let a model respond to prompts, into the table `responses`."""

    def make(finished: frozenset[str]) -> Iterator[Response]:
        requests = (to_request(prompt, config.system) for prompt in prompts if prompt.id not in finished)
        return to_responses(engine.generate(requests, config.sampling, config.seed))

    ids = prompts.columns("id")["id"].tolist()
    return draft.stream(
        Response,
        make,
        total=len(ids) * config.sampling.n,
        group=lambda row: row.prompt_id,
        group_size=config.sampling.n,
        groups=ids,
    )


def to_responses(completions: Iterable[Completion]) -> Iterator[Response]:
    """Turn completions into rows."""
    for completion in completions:
        yield Response(
            id=make_id("response", completion.request_id, completion.sample, completion.thinking, completion.answer),
            prompt_id=completion.request_id,
            sample=completion.sample,
            thinking=completion.thinking,
            answer=completion.answer,
            finish=completion.finish,
            error=completion.error,
            prompt_tokens=completion.prompt_tokens,
            tokens=completion.tokens,
            left_out=completion.left_out,
        )


def _cost(config: SampleConfig, inputs: Mapping[str, int]) -> Costs:
    rows = inputs["prompts"] * config.sampling.n
    return Costs(rows, rows, rows * config.sampling.max_tokens)


STAGE = Stage(
    name="sample",
    function=sample,
    version=2,
    cost=_cost,
    counted_as="responses",
    asks=Response,
)
