"""Stage `locate`: where thinkings about harmful requests check safety unasked, or where they would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing

from pydantic import BaseModel, ConfigDict, Field

from sinternal.errors import DataError
from sinternal.figures import calls
from sinternal.judges import Judge
from sinternal.prompting.think import own_start
from sinternal.records import CheckPlace, Prompt, Response, ThinkingFate, make_id
from sinternal.settings.plugins import JudgePlugin
from sinternal.stages.judge import note_on_controls
from sinternal.stages.prompts import in_turn
from sinternal.stages.stage import Costs, Stage
from sinternal.store import Artifact, Draft


class LocateConfig(BaseModel):
    """Who looks, and at how many thinkings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    judge: JudgePlugin
    """Who tells where a check stands."""
    limit: int | None = Field(default=None, ge=1)
    """Thinkings about at most this many harmful prompts, drawn at random; None takes all."""
    seed: int
    """Seed of the draw, which depends on nothing but it and the prompts."""


def locate(draft: Draft, config: LocateConfig, *, prompts: Artifact, responses: Artifact) -> None:
    """Write the table `checkplaces`: one row for each thinking of the model's own that is whole.

    A thinking that never closed is no whole one: what it would have checked is not known.

    Raises:
        DataError: the judge names a place that is not there, or was not asked about.
    """
    drawn = {row.id: row for row in in_turn(prompts.rows(Prompt), True, config.seed)[: config.limit]}
    rows = [row for row in responses.rows(Response) if row.prompt_id in drawn]
    waiting = [row for row in rows if row.answer is not None and own_start(drawn[row.prompt_id], row) is not None]
    judge: Judge = config.judge.open()

    def make(finished: frozenset[str]) -> Iterator[CheckPlace]:
        pending = {row.id: row for row in waiting if row.id not in finished}
        for place in judge.locate_checks((drawn[row.prompt_id], row) for row in list(pending.values())):
            response = pending.pop(place.response_id, None)
            if response is None or not place.fits(response.thinking):
                raise DataError(
                    f"judge {config.judge.name!r} tells of response {place.response_id!r} what cannot be: a place that "
                    "is not in its thinking, or it was not asked, or told twice; mend the judge"
                )
            yield place
        for identity in pending:
            empty = make_id("left out", config.judge.name, identity)
            yield CheckPlace(empty, identity, config.judge.name, error="the judge left it out")

    with closing(judge):
        places = draft.stream(
            CheckPlace, make, total=len(waiting), group=lambda row: row.response_id, groups={row.id for row in waiting}
        )
    draft.counts[ThinkingFate.NOT_WHOLE] = len(rows) - len(waiting)
    draft.counts["judge failed"] = sum(row.error is not None for row in places)
    calls.keep(draft, places, "places of checks")
    draft.notes.extend(note_on_controls(row.quoted_controls for row in places))


def _cost(config: LocateConfig, inputs: Mapping[str, int]) -> Costs:
    samples = inputs["responses"] if config.limit is None else min(inputs["responses"], _at_most(config.limit, inputs))
    return Costs(samples, samples)


def _at_most(limit: int, inputs: Mapping[str, int]) -> int:
    """Responses to so many prompts, each with as many as the others."""
    return limit * max(1, inputs["responses"] // max(1, inputs["prompts"]))


STAGE = Stage(
    name="locate",
    function=locate,
    version=1,
    cost=_cost,
    counted_as="checkplaces",
    asks=CheckPlace,
)
