"""What a run has, as samples of Inspect: a response, what was measured of one, an attack's queries for a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sinternal.figures.searches import AttackQuery, AttackSearch
from sinternal.integrations.logs.write import PARENT, QUERIES, SUCCESS, Log
from sinternal.records import PAIRED_METRICS, Finish, Measured, Prompt, Response, make_id

TEXT_LEFT_OUT = "[text left out]"
STOPS: Mapping[Finish, str] = {
    Finish.STOP: "stop",
    Finish.LENGTH: "max_tokens",
    Finish.FILTERED: "content_filter",
    Finish.ERROR: "unknown",
}
WORDS = {
    "asr": ("the answer is safe", "the answer is unsafe"),
    "over_refusal": ("no refusal", "a refusal of a request that could be helped with"),
    "helpful": ("not what was asked for", "what was asked for"),
    "proactive_verification": ("the thinking checks nothing for safety", "the thinking checks safety, unasked"),
}
"""What a score of 0, and of 1, says."""


class Exchange(NamedTuple):
    """What was asked and what was said, as Inspect has it."""

    asked: list[Any]
    """Messages."""
    said: Any
    """The answer's message."""
    output: Any
    """The same as a model's output."""
    call: Any
    """The same as an event: data frames of messages, and transcripts, are read from these."""


def exchange(
    identity: str,
    system: str,
    text: str,
    response: Response,
    log: Log,
    *,
    about_asked: Mapping[str, Any] | None = None,
    about_said: Mapping[str, Any] | None = None,
) -> Exchange:
    """One question and its answer.

    Args:
        identity: that ids are made from; arms may give the very same response.
        system: the system message; empty for none.
        text: the user's.
        response: the answer.
        log: that it goes into.
        about_asked: metadata of the user's message.
        about_said: metadata of the answer.
    """
    from inspect_ai.event import ModelEvent
    from inspect_ai.model import (
        ChatCompletionChoice,
        ChatMessageAssistant,
        ChatMessageSystem,
        ChatMessageUser,
        ContentReasoning,
        ContentText,
        GenerateConfig,
        ModelOutput,
        ModelUsage,
    )

    opening: list[Any] = [ChatMessageSystem(content=system, id=make_id(identity, "system"))] if system else []
    asked = [*opening, ChatMessageUser(content=text, id=make_id(identity, "user"), metadata=_dict(about_asked))]
    content: list[Any] = [ContentReasoning(reasoning=response.thinking)] if response.thinking else []
    content.append(ContentText(text=response.answer or ""))
    said = ChatMessageAssistant(
        content=content,
        id=make_id(identity, "assistant"),
        model=log.model,
        source="generate",
        metadata=_dict(about_said),
    )
    read, written = int(response.prompt_tokens or 0), int(response.tokens or 0)
    output = ModelOutput(
        model=log.model,
        choices=[ChatCompletionChoice(message=said, stop_reason=STOPS[response.finish])],  # type: ignore[arg-type]
        usage=ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written),
    )
    call = ModelEvent(
        uuid=make_id(identity, "call"),
        timestamp=log.created,
        model=log.model,
        input=asked,
        tools=[],
        tool_choice="none",
        config=GenerateConfig(),
        output=output,
    )
    return Exchange(asked, said, output, call)


def _dict(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if values is None else dict(values)


def _of_prompt(prompt: Prompt, seed: int) -> dict[str, Any]:
    """Metadata of a sample that come of what is asked."""
    more = {"category": prompt.category, "pair": prompt.pair_id, "goal": prompt.goal, "prefill": prompt.prefill}
    return {
        PARENT: prompt.parent_id,
        "harmful": prompt.harmful,
        "helpable": prompt.helpable,
        "family": prompt.family,
        "split": str(prompt.split),
        "harm_shows": str(prompt.harm_shows),
        "seed": seed,
        **{name: value for name, value in more.items() if value},
        **({"raw": True} if prompt.raw else {}),
    }


def of_response(
    prompt: Prompt,
    response: Response,
    scores: Mapping[str, tuple[int, str]],
    verdicts: Mapping[str, str],
    seed: int,
    log: Log,
) -> Any:
    """A response.

    Args:
        prompt: what was asked.
        response: what was said.
        scores: 0 or 1, and whose label that is, by scorer.
        verdicts: the model's own, by what they are called in the metadata.
        seed: of the arm.
        log: that it goes into.
    """
    from inspect_ai.log import EvalError, EvalSample
    from inspect_ai.scorer import Score

    identity = make_id(log.id, response.id)
    one = exchange(identity, prompt.system, prompt.text, response, log)
    silent = response.answer is None and not response.finish.without_text
    failed = response.finish is Finish.ERROR
    return EvalSample(
        id=prompt.id,
        epoch=response.sample + 1,
        input=one.asked,
        target="",
        messages=[*one.asked, one.said],
        output=one.output,
        events=[one.call],
        scores={
            name: Score(
                value=value,
                answer=response.answer,
                explanation=f"{WORDS[name.partition(' by ')[0]][value]} ({judge})",
                metadata={"judge": judge},
            )
            for name, (value, judge) in scores.items()
        },
        metadata={
            **_of_prompt(prompt, seed),
            "response": response.id,
            **verdicts,
            **({"no answer": True} if silent else {}),
        },
        model_usage={log.model: one.output.usage},
        uuid=identity,
        error=EvalError(message=response.error or "failed", traceback="", traceback_ansi="") if failed else None,
    )


def of_search(search: AttackSearch, judge: str, seed: int, log: Log) -> Any:
    """An attack on one request: its queries and the answers, in their order, each a conversation of its own.

    Args:
        search: the queries.
        judge: who labelled the answers.
        seed: of the arm.
        log: that it goes into.
    """
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatMessageUser, ModelOutput, ModelUsage
    from inspect_ai.scorer import Score

    prompt, identity = search.prompt, make_id(log.id, search.prompt.id)
    exchanges = [_query(identity, row, log) for row in search.queries if row.response is not None]
    read = sum(one.output.usage.input_tokens for one in exchanges)
    written = sum(one.output.usage.output_tokens for one in exchanges)
    last = search.queries[-1].response
    broken, used = search.broken_at, len(search.queries)
    told = f"broken at query {broken} of {search.budget}" if broken else f"not broken within {search.budget} queries"
    about: dict[str, Any] = {"answer": last.answer if last else None, "metadata": {"judge": judge}}
    scores = {QUERIES: Score(value=used, explanation=f"{used} of {search.budget} queries used up", **about)}
    if not search.open:
        scores[SUCCESS] = Score(value=int(broken is not None), explanation=f"{told} ({judge})", **about)
    passed = {
        "queries with nothing sent": sum(row.query.text is None and row.query.error is None for row in search.queries),
        "queries with a failed attacker": sum(row.query.error is not None for row in search.queries),
        "answers without a label": sum(row.response is not None and row.safe is None for row in search.queries),
    }
    return EvalSample(
        id=prompt.id,
        epoch=1,
        input=[ChatMessageUser(content=prompt.text, id=make_id(identity, "request"))],
        target="",
        messages=[message for one in exchanges for message in (*one.asked, one.said)],
        output=exchanges[-1].output if exchanges else ModelOutput(model=log.model),
        events=[one.call for one in exchanges],
        scores=scores,
        metadata={
            **_of_prompt(prompt, seed),
            "benchmark": prompt.benchmark,
            "attack": search.attack,
            "budget": search.budget,
            **({"broken at": broken} if broken else {}),
            **{words: count for words, count in passed.items() if count},
        },
        model_usage={
            log.model: ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written),
        },
        uuid=identity,
    )


def _query(identity: str, row: AttackQuery, log: Log) -> Exchange:
    query, response, label = row.query, row.response, row.judgement
    assert response is not None
    number = {"query": query.number + 1}
    asked = {"prefill": query.prefill, "attacker's note": query.note}
    said = {
        "safe": label.safe if label else None,
        "refused": label.refused if label else None,
        "helpful": label.helpful if label else None,
        "error": response.error or (label.error if label else None),
    }
    return exchange(
        make_id(identity, query.id),
        query.system,
        query.text or "",
        response,
        log,
        about_asked=number | {name: value for name, value in asked.items() if value},
        about_said=number | {name: value for name, value in said.items() if value is not None},
    )


def of_measured(row: Measured, log: Log) -> Any:
    """What was measured of a response whose texts are not there."""
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ChatMessageUser, ModelOutput
    from inspect_ai.scorer import Score

    identity, model = make_id(log.id, row.id), log.model
    asked = ChatMessageUser(content=TEXT_LEFT_OUT, id=make_id(identity, "user"))
    said = ChatMessageAssistant(
        content=TEXT_LEFT_OUT, id=make_id(identity, "assistant"), model=model, source="generate"
    )
    values = {name: getattr(row, name) for name in PAIRED_METRICS}
    return EvalSample(
        id=row.prompt_id,
        epoch=row.sample + 1,
        input=[asked],
        target="",
        messages=[asked, said],
        output=ModelOutput(
            model=model,
            choices=[ChatCompletionChoice(message=said, stop_reason="max_tokens" if row.truncated else "stop")],
        ),
        scores={name: Score(value=int(value)) for name, value in values.items() if value is not None},
        metadata={
            PARENT: row.parent_id,
            "harmful": row.harmful,
            "helpable": row.helpable,
            "family": row.family,
            "split": str(row.split),
            "harm_shows": str(row.harm_shows),
            "seed": row.seed,
            "response": row.id,
            **({"own_verdict": row.verified_with_spec} if row.verified_with_spec else {}),
            **({"own_verdict_without_spec": row.verified_without_spec} if row.verified_without_spec else {}),
        },
        uuid=identity,
    )
