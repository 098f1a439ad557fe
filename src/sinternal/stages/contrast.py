"""Stage `contrast`: contrast pairs. A harmful prompt counts only if the model itself answered it both ways."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from sinternal.errors import DataError
from sinternal.records import Finish, Judgement, Prompt, Response
from sinternal.stages.stage import Costs, Stage
from sinternal.store import Artifact, Draft

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
    Answers that are truncated, have no label, or whose thinking never closed are ignored.

    Raises:
        DataError: no harmful prompt has both kinds of answer.
    """
    safe = {
        response_id: label
        for response_id, judge, label in judgements.values(Judgement, "response_id", "judge", "safe")
        if judge == config.judge
    }
    answers = _answers(responses, safe)
    rng = random.Random(config.seed)
    dropped: Counter[str] = Counter()
    kept: list[str] = []
    pairs = harmful = 0
    for prompt_id, is_harmful in prompts.values(Prompt, "id", "harmful"):
        chosen = list(_choose(answers.get(prompt_id, ()), is_harmful, safe, rng, dropped))
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
    chosen_ids = frozenset(kept)
    answered, labelled = responses.table(Response), judgements.table(Judgement)
    draft.select(answered, answered.having("id", chosen_ids))
    label_ids = {
        response_id: identity
        for identity, response_id, judge in judgements.values(Judgement, "id", "response_id", "judge")
        if judge == config.judge and response_id in chosen_ids
    }
    draft.select(labelled, labelled.having("id", frozenset(label_ids.values())))


def _answers(responses: Artifact, safe: Mapping[str, bool | None]) -> dict[str, list[str]]:
    """Ids of the answers that can be taken, by prompt."""
    answers: dict[str, list[str]] = defaultdict(list)
    for identity, prompt_id, finish, answer in responses.values(Response, "id", "prompt_id", "finish", "answer"):
        if finish == Finish.STOP and answer is not None and safe[identity] is not None:
            answers[prompt_id].append(identity)
    return answers


def _choose(
    answers: Sequence[str],
    harmful: bool,
    labels: Mapping[str, bool | None],
    rng: random.Random,
    dropped: Counter[str],
) -> Iterator[str]:
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
    version=1,
    cost=_cost,
    counted_as="responses",
)
