"""Stage `contrast`: contrast pairs. A harmful prompt counts only if the model itself answered it both ways."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

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
    labels = {row.response_id: row for row in judgements.rows(Judgement) if row.judge == config.judge}
    answers: dict[str, list[Response]] = defaultdict(list)
    for response in responses.rows(Response):
        if response.finish is Finish.STOP and response.answer is not None and labels[response.id].safe is not None:
            answers[response.prompt_id].append(response)
    rng = random.Random(config.seed)
    dropped: Counter[str] = Counter()
    kept: list[Response] = []
    pairs = 0
    everything = prompts.rows(Prompt)
    for prompt in everything:
        chosen = list(_choose(prompt, answers[prompt.id], labels, rng, dropped))
        pairs += prompt.harmful and len(chosen) == 2
        kept.extend(chosen)
    if not pairs:
        harmful = sum(prompt.harmful for prompt in everything)
        reasons = ", ".join(f"{reason}: {count}" for reason, count in dropped.most_common()) or "no harmful prompts"
        raise DataError(
            f"no contrast pair found among {harmful} harmful prompts ({reasons}); "
            "raise sampling.n or its temperature, or take prompts that this model answers both ways"
        )
    draft.counts.update({"harmful prompts with a pair": pairs, **dropped})
    draft.write(sorted(kept, key=lambda row: row.id), Response)
    draft.write(sorted((labels[row.id] for row in kept), key=lambda row: row.id), Judgement)


def _choose(
    prompt: Prompt,
    answers: list[Response],
    labels: dict[str, Judgement],
    rng: random.Random,
    dropped: Counter[str],
) -> Iterator[Response]:
    if not answers:
        dropped[NO_LABEL] += 1
        return
    if not prompt.harmful:
        yield rng.choice(answers)
        return
    safe = [a for a in answers if labels[a.id].safe]
    unsafe = [a for a in answers if not labels[a.id].safe]
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
