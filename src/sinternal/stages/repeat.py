"""Stage `repeat`: put the same request again and again in one conversation; what counts is the last answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pydantic import Field

from sinternal.engines import Completion, Engine, Request, open_engine
from sinternal.errors import DataError
from sinternal.figures import calls
from sinternal.records import Prompt, Response
from sinternal.stages.sample import SampleConfig, count_truncated, to_request, to_responses
from sinternal.stages.stage import Costs, Stage
from sinternal.stages.target import model_name
from sinternal.store import Artifact, Draft


class RepeatConfig(SampleConfig):
    """How the answers are drawn, and how often the request is put."""

    turns: int = Field(ge=2)
    """Times that the request is put."""


def repeat(draft: Draft, config: RepeatConfig, *, prompts: Artifact, model: Artifact) -> None:
    """Write the table `responses`: for each prompt only the answer to its last repetition.

    The model sees its own earlier answers without their thinking. A conversation in which one of them is missing ends
    there, and its row says why. There is one conversation for each prompt, whatever `sampling.n` is.

    Raises:
        DataError: a prompt changes what stands around it, so that it cannot be part of a conversation.
    """
    asked = prompts.table(Prompt)
    if odd := next((prompt for prompt in asked if prompt.raw or prompt.prefill), None):
        raise DataError(
            f"prompt {odd.id} of family {odd.family!r} cannot be repeated: it is delivered in a way of its own; "
            "leave this attack out of what is repeated"
        )

    def make(finished: frozenset[str]) -> Iterator[Response]:
        first = [to_request(prompt, config.system) for prompt in asked if prompt.id not in finished]
        with open_engine(config.engine, model_name(model)) as engine:
            yield from to_responses(_talk(engine, first, config))

    ids = asked.columns("id")["id"].tolist()
    responses = draft.stream(Response, make, total=len(ids), group=lambda row: row.prompt_id, groups=ids)
    draft.counts["truncated"] = count_truncated(responses.columns("finish")["finish"])
    calls.keep(draft, responses, "responses to repeated requests")


def _talk(engine: Engine, requests: list[Request], config: RepeatConfig) -> Iterator[Completion]:
    """The last answers, turn by turn."""
    sampling = config.sampling.model_copy(update={"n": 1})
    last_messages = {request.id: request.messages[-1] for request in requests}
    for turn in range(1, config.turns + 1):
        current = {request.id: request for request in requests}
        requests = []
        for completion in engine.generate(current.values(), sampling, config.seed + turn):
            if turn == config.turns or completion.answer is None:
                yield completion
                continue
            previous = current[completion.request_id]
            messages = (*previous.messages, ("assistant", completion.answer), last_messages[completion.request_id])
            requests.append(replace(previous, messages=messages))


def _cost(config: RepeatConfig, inputs: Mapping[str, int]) -> Costs:
    rows = inputs["prompts"]  # one conversation each
    return Costs(rows, rows * config.turns, rows * config.turns * config.sampling.max_tokens)


STAGE = Stage(
    name="repeat",
    function=repeat,
    version=2,
    cost=_cost,
    counted_as="responses",
    asks=Response,
)
