"""Stage `judge`: label responses, by one or more judges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict, Field

from sinternal.judges import Judge
from sinternal.records import Judgement, Prompt, Response
from sinternal.registry import Kind, load
from sinternal.store import Artifact, Draft

VERSION = 1


class JudgeConfig(BaseModel):
    """One judge."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Name of a registered judge."""
    options: dict[str, object] = {}
    """Its options."""


class JudgeStageConfig(BaseModel):
    """Who labels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    judges: tuple[JudgeConfig, ...] = Field(min_length=1)
    """All of them label every response; the first one's labels decide."""


def judge(draft: Draft, config: JudgeStageConfig, *, prompts: Artifact, responses: Artifact) -> None:
    """Write the table `judgements`: one row for each judge and response."""
    label(draft, config, prompts.rows(Prompt), responses.rows(Response))


def label(
    draft: Draft, config: JudgeStageConfig, prompts: Sequence[Prompt], responses: Sequence[Response]
) -> list[Judgement]:
    """Label responses, into the table `judgements`."""
    by_id = {prompt.id: prompt for prompt in prompts}

    def make(done: frozenset[str]) -> Iterator[Judgement]:
        for entry in config.judges:
            one: Judge = load(Kind.JUDGE, entry.name)(entry.options)
            waiting = [r for r in responses if f"{entry.name}/{r.id}" not in done]
            yield from one.judge((by_id[r.prompt_id], r) for r in waiting)

    rows = draft.stream(
        Judgement,
        make,
        total=len(responses) * len(config.judges),
        group=lambda row: f"{row.judge}/{row.response_id}",
    )
    draft.counts["unlabelled"] = sum(row.safe is None for row in rows)
    return rows
