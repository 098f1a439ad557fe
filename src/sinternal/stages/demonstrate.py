"""Stage `demonstrate`: the expert's own responses, which the usual safety tuning trains on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from sinternal.errors import DataError
from sinternal.experts import Demonstration, Expert
from sinternal.figures import calls
from sinternal.records import Finish, Prompt, Response, make_id
from sinternal.settings.plugins import ExpertPlugin
from sinternal.stages.critique import FAILED, NOT_ASKED, expert_costs
from sinternal.stages.stage import Costs, Stage
from sinternal.stages.strata import order_key
from sinternal.store import Artifact, Draft, Lookup
from sinternal.visible import quoting


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

    Raises:
        DataError: not one demonstration can be used.
    """
    expert: Expert = config.expert.open()
    used = frozenset(prompt_id for (prompt_id,) in pairs.values(Response, "prompt_id"))
    everything = [(each, harmful) for each, harmful in prompts.values(Prompt, "id", "harmful") if each in used]
    selected = _take_first(everything, config.wanted, config.seed)
    draft.counts[NOT_ASKED] = len(everything) - len(selected)

    def make(finished: frozenset[str]) -> Iterator[Response]:
        ids = [prompt_id for prompt_id in selected if prompt_id not in finished]
        waiting = Lookup(prompts.table(Prompt), ids).rows(ids)
        for prompt, written in expert.demonstrate(waiting, config.kind, config.seed):
            identity = make_id("demonstration", config.kind, prompt.id, written.thinking, written.answer)
            if written.error:
                error = quoting(written.error, written.answer) if written.answer else written.error
                yield Response(identity, prompt.id, 0, None, None, written.finish or Finish.ERROR, error)
            else:
                yield Response(identity, prompt.id, 0, written.thinking, written.answer, Finish.STOP)

    responses = draft.stream(Response, make, total=len(selected), group=lambda row: row.prompt_id, groups=selected)
    outcome = calls.keep(draft, responses, "demonstrations")
    draft.counts[FAILED] = draft.counts.pop("failed")
    if selected and outcome.without_text == len(selected):
        raise DataError(
            f"expert {config.expert.name!r}: none of its {len(selected)} demonstrations can be used "
            f"({outcome.reasons()}): raise max_tokens where replies are cut or empty, take another expert where it "
            "refuses or keeps to no form, and see with `sinternal check --ask` why it could not be asked; each row is "
            f"in {responses.path}, column error"
        )


def _take_first(prompts: Sequence[tuple[str, bool]], wanted: Mapping[str, int] | None, seed: int) -> list[str]:
    """Ids of the wanted number of prompts of each side, in the order in which training uses them.

    Args:
        prompts: id of each, and whether it is harmful.
        wanted: how many `harmful` and `benign` ones; None: all, in the order in which they are given.
        seed: of the order.
    """
    if wanted is None:
        return [prompt_id for prompt_id, _ in prompts]
    ordered = sorted(prompts, key=lambda prompt: order_key(seed, prompt[0]))
    sides = {"harmful": True, "benign": False}
    chosen = (
        [prompt_id for prompt_id, side in ordered if side is harmful][: wanted.get(name, 0)]
        for name, harmful in sides.items()
    )
    return [prompt_id for side in chosen for prompt_id in side]


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
