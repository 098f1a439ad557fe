"""Stage `demonstrate`: the expert's own responses, which the usual safety tuning trains on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from sinternal.experts import Demonstration, Expert
from sinternal.figures import calls
from sinternal.records import Finish, Prompt, Response, make_id
from sinternal.settings.plugins import ExpertPlugin
from sinternal.stages.critique import FAILED, NOT_ASKED, expert_costs
from sinternal.stages.stage import Costs, Stage
from sinternal.stages.strata import order_key
from sinternal.store import Artifact, Draft


class DemonstrateConfig(BaseModel):
    """The expert, and what it demonstrates."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    expert: ExpertPlugin
    """The expert that writes."""
    kind: Demonstration
    """With or without safety reasoning."""
    wanted: dict[str, int] | None = None
    """The most `harmful` and `benign` prompts to ask about, those that training uses first; None: all."""
    seed: int
    """Seed of the expert's sampling, and of the order."""


def demonstrate(draft: Draft, config: DemonstrateConfig, *, prompts: Artifact, pairs: Artifact) -> None:
    """Write the table `responses`: one for each prompt that has an answer in `pairs` and is wanted.

    So the baselines learn from the same prompts as the method. The judge labels the demonstrations next.
    """
    expert: Expert = config.expert.open()
    used = {response.prompt_id for response in pairs.rows(Response)}
    everything = [prompt for prompt in prompts.rows(Prompt) if prompt.id in used]
    selected = everything if config.wanted is None else _take_first(everything, config.wanted, config.seed)
    draft.counts[NOT_ASKED] = len(everything) - len(selected)

    def make(finished: frozenset[str]) -> Iterator[Response]:
        waiting = [prompt for prompt in selected if prompt.id not in finished]
        for prompt, written in expert.demonstrate(waiting, config.kind, config.seed):
            identity = make_id("demonstration", config.kind, prompt.id, written.thinking, written.answer)
            if written.error:
                yield Response(identity, prompt.id, 0, None, None, written.finish or Finish.ERROR, written.error)
            else:
                yield Response(identity, prompt.id, 0, written.thinking, written.answer, Finish.STOP)

    rows = draft.stream(
        Response, make, total=len(selected), group=lambda row: row.prompt_id, groups={row.id for row in selected}
    )
    calls.keep(draft, rows, "demonstrations")
    draft.counts[FAILED] = draft.counts.pop("failed")


def _take_first(prompts: Sequence[Prompt], wanted: Mapping[str, int], seed: int) -> list[Prompt]:
    """The wanted number of prompts of each side, in the order in which training uses them."""
    ordered = sorted(prompts, key=lambda prompt: order_key(seed, prompt.id))
    sides = {"harmful": True, "benign": False}
    chosen = (
        [row for row in ordered if row.harmful is harmful][: wanted.get(name, 0)] for name, harmful in sides.items()
    )
    return [row for side in chosen for row in side]


def _cost(config: DemonstrateConfig, inputs: Mapping[str, int]) -> Costs:
    return expert_costs(inputs["prompts"], config.wanted)


STAGE = Stage(
    name="demonstrate",
    function=demonstrate,
    version=3,
    cost=_cost,
    counted_as="responses",
    asks=Response,
)
