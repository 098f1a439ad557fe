"""Stage `contrast`: contrast pairs. A harmful prompt counts only if the model itself answered it both ways."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from sinternal.errors import DataError
from sinternal.records import Finish, Judgement, Prompt, Response
from sinternal.stages.stage import Costs, Stage
from sinternal.store import Artifact, Draft, Index, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_UNSAFE, NO_SAFE, NO_LABEL = "no unsafe answer", "no safe answer", "no labelled answer"


class ContrastConfig(BaseModel):
    """Which of the answers are taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    judge: str
    """The judge whose labels count."""
    seed: int
    """Seed of the choice among answers of one kind."""


def contrast(
    draft: Draft, config: ContrastConfig, *, prompts: Artifact, responses: Artifact, judgements: Artifact
) -> None:
    """Write the tables `responses` and `judgements` of the answers that are kept.

    A harmful prompt keeps one safe and one unsafe answer, if its samples hold both; a benign prompt keeps one answer.
    Answers that are truncated, empty or have no label, or whose thinking never closed are ignored.

    Raises:
        DataError: no harmful prompt has both kinds of answer.
    """
    answered, labelled = responses.table(Response), judgements.table(Judgement)
    labels = labelled.columns("response_id", "judge", "safe")
    (by_judge,) = np.nonzero(labels["judge"] == config.judge)
    answers = _answers(answered, labels["response_id"][by_judge], labels["safe"][by_judge])
    rng = random.Random(config.seed)
    dropped: Counter[str] = Counter()
    kept: list[int] = []
    pairs = harmful = 0
    for prompt_id, is_harmful in prompts.values(Prompt, "id", "harmful"):
        chosen = list(_choose(answers.by_prompt.get(prompt_id, ()), is_harmful, answers.safe, rng, dropped))
        harmful += is_harmful
        pairs += is_harmful and len(chosen) == 2
        kept.extend(chosen)
    if not pairs:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in dropped.most_common()) or "no harmful prompts"
        raise DataError(
            f"no contrast pair found among {harmful} harmful prompts ({reasons}); "
            "raise sampling.n or its temperature, or take prompts that this model answers both ways"
        )
    draft.counts.update({"harmful prompts with a pair": pairs, **dropped})
    draft.select(answered, _mask(len(answers.label_places), kept))
    draft.select(labelled, _mask(len(labels["safe"]), by_judge[answers.label_places[kept]]))


def _mask(number: int, places: Sequence[int] | NDArray[np.int64]) -> NDArray[np.bool_]:
    """For each row of a table whether it is among some."""
    mask = np.zeros(number, dtype=np.bool_)
    mask[places] = True
    return mask


class _Answers(NamedTuple):
    """The answers in a table of responses. Each is named by its place there."""

    label_places: NDArray[np.int64]
    """Of each response, taken or not, the place of its label; -1 if it has none."""
    by_prompt: Mapping[str, Sequence[int]]
    """Those that can be taken."""
    safe: Sequence[int]
    """The label of each response: 1 or 0, or -1 if it has none."""


def _answers(responses: Table[Response], labelled: NDArray[Any], safe: NDArray[np.int8]) -> _Answers:
    """The answers that can be taken.

    Args:
        responses: all of them.
        labelled: ids of the responses that have a label.
        safe: the labels: 1, 0, or -1 for one that says nothing.
    """
    columns = responses.columns("id", "prompt_id", "finish")
    label_places = Index(labelled).places(columns["id"])
    labels = np.where(label_places < 0, -1, np.append(safe, -1)[label_places])
    says_something = np.array([bool(answer) for (answer,) in responses.values("answer")], dtype=np.bool_)
    complete = (columns["finish"] == Finish.STOP.value) & says_something
    places = np.flatnonzero(complete & (labels >= 0))
    by_prompt: dict[str, list[int]] = defaultdict(list)
    for prompt_id, place in zip(columns["prompt_id"][places].tolist(), places.tolist(), strict=True):
        by_prompt[prompt_id].append(place)
    return _Answers(label_places, by_prompt, labels.tolist())


def _choose(
    answers: Sequence[int],
    harmful: bool,
    labels: Sequence[int],
    rng: random.Random,
    dropped: Counter[str],
) -> Iterator[int]:
    if not answers:
        dropped[NO_LABEL] += 1
        return
    if not harmful:
        yield rng.choice(answers)
        return
    safe = [each for each in answers if labels[each]]
    unsafe = [each for each in answers if not labels[each]]
    if safe and unsafe:
        yield rng.choice(unsafe)
        yield rng.choice(safe)
    else:
        dropped[NO_UNSAFE if safe else NO_SAFE] += 1


def _cost(_config: ContrastConfig, inputs: Mapping[str, int]) -> Costs:
    return Costs(min(2 * inputs["prompts"], inputs["responses"]))


STAGE = Stage(
    name="contrast",
    function=contrast,
    version=2,
    cost=_cost,
    counted_as="responses",
)
