"""Stage `demonstrate`: the expert's own responses, which the usual safety tuning trains on."""

from __future__ import annotations

import random
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from sinternal.experts import Demonstration, Expert
from sinternal.records import Finish, Prompt, Response, make_id
from sinternal.registry import Kind, load
from sinternal.stages.critique import ExpertConfig
from sinternal.store import Artifact, Draft

VERSION = 1


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
        for prompt in asked:
            if prompt.id not in done:
                rng = random.Random(f"{config.seed}/{prompt.id}")
                written = expert.demonstrate(prompt, config.kind, rng)
                identity = make_id("demonstration", config.kind, prompt.id, *written)
                yield Response(identity, prompt.id, 0, written.thinking, written.answer, Finish.STOP)

    draft.stream(Response, make, total=len(asked), group=lambda row: row.prompt_id)
