"""Stage `judge`: label responses, by one judge. Another judge is another artifact: nothing is generated again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from pydantic import BaseModel, ConfigDict

from sinternal.judges import Judge
from sinternal.records import Judgement, Prompt, Response
from sinternal.registry import Kind, load
from sinternal.store import Artifact, Draft

VERSION = 2


class JudgeConfig(BaseModel):
    """One judge."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Name of a registered judge."""
    options: dict[str, object] = {}
    """Its options."""


def judge(draft: Draft, config: JudgeConfig, *, prompts: Artifact, responses: Artifact) -> None:
    """Write the table `judgements`: one row for each response."""
    asked = {prompt.id: prompt for prompt in prompts.rows(Prompt)}
    waiting = responses.rows(Response)
    one: Judge = load(Kind.JUDGE, config.name)(config.options)

    def make(done: frozenset[str]) -> Iterator[Judgement]:
        return one.judge((asked[row.prompt_id], row) for row in waiting if row.id not in done)

    with closing(one):
        rows = draft.stream(Judgement, make, total=len(waiting), group=lambda row: row.response_id)
    draft.counts["unlabelled"] = sum(row.safe is None for row in rows)
    draft.counts["judge failed"] = sum(row.error is not None for row in rows)
