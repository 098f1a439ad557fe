"""Stage `locate`: where thinkings about harmful requests check safety unasked, or where they would."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing

from pydantic import BaseModel, ConfigDict, Field

from sinternal.errors import DataError
from sinternal.figures import calls
from sinternal.judges import Judge
from sinternal.prompting.think import own_start
from sinternal.records import CheckPlace, Prompt, Response, ThinkingFate, make_id
from sinternal.settings.plugins import JudgePlugin
from sinternal.stages.judge import note_on_controls, with_prompts
from sinternal.stages.prompts import in_turn, requests_of
from sinternal.stages.stage import Costs, Stage
from sinternal.store import Artifact, Draft, Lookup


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
    drawn = frozenset(_draw(prompts, config))
    prompts_by_id = Lookup(prompts.table(Prompt), drawn)

    def whole(finished: Collection[str] = ()) -> Iterator[tuple[Prompt, Response]]:
        """The whole thinkings about prompts that were drawn, but those that are finished."""
        answered = with_prompts(
            responses.table(Response),
            prompts_by_id,
            lambda row: row.prompt_id in drawn and row.answer is not None and row.id not in finished,
        )
        return ((prompt, response) for prompt, response in answered if own_start(prompt, response) is not None)

    waiting = [response.id for _, response in whole()]
    judge: Judge = config.judge.open()

    def make(finished: frozenset[str]) -> Iterator[CheckPlace]:
        pending = dict.fromkeys((each for each in waiting if each not in finished), True)
        thinkings: dict[str, str | None] = {}

        def items() -> Iterator[tuple[Prompt, Response]]:
            for prompt, response in whole(finished):
                thinkings[response.id] = response.thinking
                yield prompt, response

        for place in judge.locate_checks(items()):
            if not pending.pop(place.response_id, False) or not place.fits(thinkings.pop(place.response_id, None)):
                raise DataError(
                    f"judge {config.judge.name!r} tells of response {place.response_id!r} what cannot be: a place that "
                    "is not in its thinking, or it was not asked, or told twice; fix the judge"
                )
            yield place
        for identity in pending:
            empty = make_id("left out", config.judge.name, identity)
            yield CheckPlace(empty, identity, config.judge.name, error="the judge left it out")

    with closing(judge):
        places = draft.stream(CheckPlace, make, total=len(waiting), group=lambda row: row.response_id, groups=waiting)
    everything = sum(prompt_id in drawn for (prompt_id,) in responses.values(Response, "prompt_id"))
    draft.counts[ThinkingFate.NOT_WHOLE] = everything - len(waiting)
    columns = places.columns("error", "quoted_controls")
    draft.counts["judge failed"] = sum(error is not None for error in columns["error"])
    calls.keep(draft, places, "places of checks")
    draft.notes.extend(note_on_controls(columns["quoted_controls"].tolist()))


def _draw(prompts: Artifact, config: LocateConfig) -> list[str]:
    """Ids of the harmful prompts whose thinkings are looked at."""
    return [row.id for row in in_turn(requests_of(prompts.table(Prompt)), True, config.seed)[: config.limit]]


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
