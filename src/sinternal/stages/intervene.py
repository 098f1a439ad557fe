"""Stage `intervene`: thinkings without their safety check, and with one that they lacked, for a model to continue.

A check that stands before a safe answer may be its cause, or only keep it company. So a thinking is cut where its check
begins, and the model goes on from there, or from the opening of a review of something else in the place of the check,
after which it will seldom check again. The control is cut just behind the check.

A thinking without any gets the opening of one, where it would stand; what the check finds is left to the model. Its
controls are cut at the same place: one gets nothing, and one the opening of a review of something else, since any
interruption might change an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pydantic import BaseModel, ConfigDict

from sinternal.prompting.fence import spells_control
from sinternal.prompting.think import KNOWN_TAGS, OPEN, begun_thinking, own_start
from sinternal.records import CheckPlace, Intervened, Intervention, Prompt, Response, ThinkingFate, make_id
from sinternal.stages.stage import Costs, Stage
from sinternal.store import Artifact, Draft, Lookup

MOST = 3
"""Continuations of a thinking."""


class InterveneConfig(BaseModel):
    """Nothing can be set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def intervene(
    draft: Draft, _config: InterveneConfig, *, prompts: Artifact, responses: Artifact, places: Artifact
) -> None:
    """Write the tables `prompts`, each with the thinking that is to be continued as its prefill, and `interveneds`."""
    draft.counts.update(dict.fromkeys((fate for fate in ThinkingFate if fate is not ThinkingFate.NOT_WHOLE), 0))
    interventions: list[Intervened] = []

    def continued() -> Iterator[Prompt]:
        for place, prompt, response in _joined(prompts, responses, places):
            texts = thinkings(place, prompt, response)
            draft.counts[_fate(place, prompt, response, texts)] += 1
            for intervention, text in texts.items():
                identity = make_id("intervene", response.id, intervention)
                interventions.append(Intervened(identity, response.id, intervention))
                yield replace(prompt, id=identity, prefill=f"{OPEN}\n{text}")

    draft.write_sorted(continued(), Prompt)
    draft.write(sorted(interventions, key=lambda row: row.id), Intervened)


def _joined(prompts: Artifact, responses: Artifact, places: Artifact) -> Iterator[tuple[CheckPlace, Prompt, Response]]:
    """Each place with its response and its prompt."""
    located = frozenset(response_id for (response_id,) in places.values(CheckPlace, "response_id"))
    prompts_by_id = Lookup(prompts.table(Prompt))
    responses_by_id = Lookup(responses.table(Response), located)
    for batch in places.batches(CheckPlace):
        looked_at = responses_by_id.rows([place.response_id for place in batch])
        asked = prompts_by_id.rows([response.prompt_id for response in looked_at])
        yield from zip(batch, asked, looked_at, strict=True)


def thinkings(place: CheckPlace, prompt: Prompt, response: Response) -> dict[Intervention, str]:
    """How a thinking begins after each intervention; empty if there is none to be made.

    What is given ends in no white space, after which a tokenizer would go on in another way than a model does.
    """
    thinking, own = response.thinking, own_start(prompt, response)
    if thinking is None or own is None or place.error is not None:
        return {}
    given = begun_thinking(prompt.prefill) or ""
    if given and not thinking.startswith(given):
        thinking, own = f"{given} {thinking}", len(given) + 1
        place = _moved(place, own)
    texts = dict(_texts(place, thinking, own))
    return {} if any(_is_unusable(text) for text in texts.values()) else texts


def _texts(place: CheckPlace, thinking: str, own: int) -> Iterator[tuple[Intervention, str]]:
    if place.start is not None:
        if place.start >= own:
            yield Intervention.CUT, thinking[: place.start].rstrip()
            yield Intervention.KEPT, thinking[: place.end].rstrip()
            if place.other_opening:
                yield Intervention.REPLACED, (thinking[: place.start].rstrip() + place.other_opening).strip()
    elif place.place is not None and place.place >= own:
        before = thinking[: place.place].rstrip()
        yield Intervention.UNCHANGED, before
        yield Intervention.INSERTED, (before + place.opening).strip()
        if place.other_opening:
            yield Intervention.OTHER, (before + place.other_opening).strip()


def _moved(place: CheckPlace, by: int) -> CheckPlace:
    """The same place in a text that is longer in front."""
    moved = {name: at + by for name in ("start", "end", "place") if (at := getattr(place, name)) is not None}
    return replace(place, **moved)


def _is_unusable(text: str) -> bool:
    """Whether a server or a tokenizer would read a part of a thinking as something else than text."""
    tags = (tag for pair in KNOWN_TAGS for tag in pair if not tag.isalpha())
    return any(tag in text for tag in tags) or spells_control(text)


def _fate(place: CheckPlace, prompt: Prompt, response: Response, texts: Mapping[Intervention, str]) -> ThinkingFate:
    """What became of a thinking."""
    if place.error is not None:
        return ThinkingFate.NOT_KNOWN
    if texts:
        return ThinkingFate.CHECKED if Intervention.CUT in texts else ThinkingFate.UNCHECKED
    if place.start is None and place.place is None:
        return ThinkingFate.NO_PLACE
    at = place.start if place.start is not None else place.place
    return ThinkingFate.NOT_OWN if at is not None and at < (own_start(prompt, response) or 0) else ThinkingFate.UNUSABLE


def _cost(_config: InterveneConfig, inputs: Mapping[str, int]) -> Costs:
    return Costs(inputs["places"] * MOST)


STAGE = Stage(
    name="intervene",
    function=intervene,
    version=1,
    cost=_cost,
    counted_as="prompts",
)
