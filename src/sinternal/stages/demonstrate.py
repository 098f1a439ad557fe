"""Stage `demonstrate`: the expert's own responses, which the usual safety tuning trains on."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from sinternal import calls
from sinternal.experts import Demonstration, Expert
from sinternal.records import Finish, Prompt, Response, make_id
from sinternal.registry import Kind, load
from sinternal.stages.critique import FAILED, ExpertConfig
from sinternal.store import Artifact, Draft

VERSION = 3


class DemonstrateConfig(BaseModel):
    """Who demonstrates what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    expert: ExpertConfig
    """Who writes."""
    kind: Demonstration
    """With or without safety reasoning."""
    seed: int
    """Of what the expert leaves to chance."""


def demonstrate(draft: Draft, config: DemonstrateConfig, *, prompts: Artifact, pairs: Artifact) -> None:
    """Write the table `responses`: one for each prompt that has an answer in `pairs`.

    So the baselines learn from the same prompts as the method does.
    """
    expert: Expert = load(Kind.EXPERT, config.expert.name)(config.expert.options)
    used = {response.prompt_id for response in pairs.rows(Response)}
    asked = [prompt for prompt in prompts.rows(Prompt) if prompt.id in used]

    def make(done: frozenset[str]) -> Iterator[Response]:
        waiting = [prompt for prompt in asked if prompt.id not in done]
        for prompt, written in expert.demonstrate(waiting, config.kind, config.seed):
            identity = make_id("demonstration", config.kind, prompt.id, written.thinking, written.answer)
            if written.error:
                yield Response(identity, prompt.id, 0, None, None, written.finish or Finish.ERROR, written.error)
            else:
                yield Response(identity, prompt.id, 0, written.thinking, written.answer, Finish.STOP)

    rows = draft.stream(
        Response, make, total=len(asked), group=lambda row: row.prompt_id, groups={row.id for row in asked}
    )
    calls.keep(draft, rows)
    draft.counts[FAILED] = draft.counts.pop("failed")
