"""Stage `examples`: prompt / completion rows for fine-tuning, balanced and as many as were asked for."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from sinternal.errors import DataError
from sinternal.figures.placebo import note_on_tokens
from sinternal.records import Example, Judgement, Prompt, Response, Subject, Verdict, Verification, make_id
from sinternal.settings.arms import ExampleTarget
from sinternal.stages.sample import check_trainable
from sinternal.stages.stage import Costs, Stage
from sinternal.stages.strata import (
    DEMONSTRATED,
    DEMONSTRATION_SHARES,
    MIXED_SHARES,
    VERIFICATION_SHARES,
    kind_of_answer,
    order_key,
    quotas,
)
from sinternal.stages.target import model_path
from sinternal.store import Artifact, Draft

EXPOSURE = "exposure"
"""Name of the file that says what training on the set shows a model."""
UNSAFE, REFUSES, NO_LABEL = "the judge calls it unsafe", "refuses a benign request", "no label"
"""Why an answer is not trained on."""
REPLACED = "about another answer than the method's"
"""Rows of a placebo for which its expert wrote nothing usable."""
LONGEST = 100
"""How many times more rows than `size` a set may take to have as many loss tokens as another."""


class ExamplesConfig(BaseModel):
    """How many rows, and how they are drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int | None = Field(ge=4)
    """Rows, the same for every arm. A kind with fewer rows than its share is repeated. None: every row once."""
    share: float = Field(1.0, gt=0, le=1)
    """Share of the different examples of each kind that is used."""
    target: ExampleTarget = ExampleTarget.BOTH
    """What of a verification is trained on."""
    mixed: bool = False
    """Whether verifications and demonstrations are rows of their own, half and half, where there are both."""
    system: str = ""
    """System message of demonstrated responses to prompts that bring none of their own; empty for none."""
    seed: int
    """Seed of the draw."""


def examples(
    draft: Draft,
    config: ExamplesConfig,
    *,
    prompts: Artifact,
    responses: Artifact,
    model: Artifact,
    judgements: Artifact | None = None,
    refusals: Artifact | None = None,
    verifications: Artifact | None = None,
    demonstrations: Artifact | None = None,
    reference: Artifact | None = None,
    counterpart: Artifact | None = None,
) -> None:
    """Write the table `examples`, and `exposure.json`: different prompts, rows, and tokens under the loss.

    Args:
        draft: what is written.
        config: how many.
        prompts: what was asked.
        responses: the answers that were verified, or that are to be learned.
        model: whose tokenizer counts the tokens under the loss.
        judgements: if given, keep only answers that are safe and, to benign prompts, no refusals.
        refusals: labels of refusals, if `judgements` holds none.
        verifications: train on verifying, not on responding, if given.
        demonstrations: with `verifications`, unless they are mixed: train on drafting an answer, verifying it, and
            giving it or, if it is unsafe, the demonstrated one instead.
        reference: another arm's examples: take as many rows as have as many tokens under the loss as these.
        counterpart: the examples that these are a placebo of: take rows about the same answers, each as often and in
            the same order.

    Raises:
        DataError: a kind is empty, or a row cannot be tokenised.
    """
    prompts_by_id = {prompt.id: prompt for prompt in prompts.rows(Prompt)}
    responses_by_id = {response.id: response for response in responses.rows(Response)}
    demonstrated = {row.id: row for row in (demonstrations or responses).rows(Response)}
    if judgements is not None:
        demonstrated = _acceptable(
            draft, prompts_by_id, demonstrated, judgements.rows(Judgement), (refusals or judgements).rows(Judgement)
        )
    used = [row for row in verifications.rows(Verification) if row.dropped is None] if verifications else []
    candidates: Iterable[Example]
    if verifications is None:
        candidates, shares = _demonstrations(prompts_by_id, demonstrated, config.system), DEMONSTRATION_SHARES
    elif demonstrations is None:
        candidates, shares = _verifications(used, prompts_by_id, responses_by_id, config.target), VERIFICATION_SHARES
    elif config.mixed:
        verified = _verifications(used, prompts_by_id, responses_by_id, config.target)
        shown = _demonstrations(prompts_by_id, demonstrated, config.system)
        candidates = [*verified, *(replace(row, stratum=f"{DEMONSTRATED} {row.stratum}") for row in shown)]
        shares = MIXED_SHARES
    else:
        candidates = _answer_then_check(used, prompts_by_id, responses_by_id, demonstrated.values(), config.system)
        shares = VERIFICATION_SHARES
    rows = list(candidates)
    draft.counts.update(
        {f"different {name}": count for name, count in sorted(Counter(r.stratum for r in rows).items())}
    )
    tokens = _loss_tokens(model, rows)
    if config.size is None:
        drawn = _shuffle_all(rows, config.seed)
    elif counterpart is not None:
        drawn = _same_answers(draft, rows, counterpart.rows(Example))
    else:
        pools = _pools(rows, quotas(config.size, shares), config)
        draft.counts.update({f"used {name}": len(members) for name, members in sorted(pools.items())})
        size = config.size if reference is None else _size_for_tokens(pools, shares, tokens, reference, config.size)
        drawn = balance(pools, shares, size, random.Random(config.seed))
    draft.write(drawn, Example)
    seen = Exposure(len({row.prompt_id for row in drawn}), len(drawn), sum(tokens[_key(row)] for row in drawn))
    draft.write_json(EXPOSURE, seen._asdict())
    if counterpart is not None:
        draft.notes.extend(note_on_tokens(seen.loss_tokens, _read_exposure(counterpart).loss_tokens))


class Exposure(NamedTuple):
    """What a training set shows a model in one pass."""

    prompts: int
    """Different prompts behind its rows."""
    rows: int
    """Rows."""
    loss_tokens: int
    """Tokens under the loss."""


def _same_answers(draft: Draft, rows: Sequence[Example], method: Sequence[Example]) -> list[Example]:
    """A row about the answer of each row of the method, in the same order.

    Where the placebo's expert has left nothing usable about an answer, another row of the same kind stands in.
    """
    about = {row.response_id: row for row in rows}
    spare: dict[str, list[Example]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.id):
        spare[row.stratum].append(row)
    times: Counter[str] = Counter()
    drawn, replaced = [], 0
    for row in method:
        taken = about.get(row.response_id)
        if taken is None:
            replaced += 1
            if not (others := spare[row.stratum]):
                raise DataError(
                    f"no training example of kind {row.stratum!r}; sample more prompts, or more answers to each"
                )
            taken = min(others, key=lambda other: times[other.id])
        times[taken.id] += 1
        drawn.append(replace(taken, id=make_id("example", taken.id, times[taken.id] - 1)))
    draft.counts[REPLACED] = replaced
    return drawn


def balance(
    pools: Mapping[str, Sequence[Example]], shares: Mapping[str, float], size: int, rng: random.Random
) -> list[Example]:
    """Draw `size` examples with these shares, in random order; a repeated example gets an id of its own.

    Args:
        pools: the different examples of each kind, which are gone through in their order, and again where they end.
        shares: of each kind; together 1.
        size: rows in all.
        rng: of their order.

    Raises:
        DataError: a kind with a share is empty.
    """
    drawn: list[Example] = []
    for name, count in quotas(size, shares).items():
        members = pools.get(name, ())
        if not members:
            raise DataError(f"no training example of kind {name!r}; sample more prompts, or more answers to each")
        for i in range(count):
            repetition, position = divmod(i, len(members))
            drawn.append(replace(members[position], id=make_id("example", members[position].id, repetition)))
    rng.shuffle(drawn)
    return drawn


def _pools(rows: Iterable[Example], counts: Mapping[str, int], config: ExamplesConfig) -> dict[str, list[Example]]:
    """The different examples of each kind that are used: the first ones, in the order that all arms share."""
    pools: dict[str, list[Example]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (order_key(config.seed, row.prompt_id), row.id)):
        pools[row.stratum].append(row)
    kept = {name: members[: counts.get(name, 0)] for name, members in pools.items()}
    return {name: members[: max(1, round(config.share * len(members)))] for name, members in kept.items()}


def _shuffle_all(rows: Sequence[Example], seed: int) -> list[Example]:
    if not rows:
        raise DataError("the data set has no row to train on; see how many were dropped, and why")
    drawn = sorted(rows, key=lambda row: row.id)
    random.Random(seed).shuffle(drawn)
    return drawn


def _size_for_tokens(
    pools: Mapping[str, Sequence[Example]],
    shares: Mapping[str, float],
    tokens: Mapping[tuple[str, str, str], int],
    reference: Artifact,
    size: int,
) -> int:
    """The number of rows whose loss tokens come nearest to those of another set."""
    budget = _read_exposure(reference).loss_tokens
    sums = {name: [0, *accumulate(tokens[_key(row)] for row in pools.get(name, ()))] for name in shares}

    def length(rows: int) -> int:
        """Loss tokens of so many rows, drawn as `balance` draws them."""
        total = 0
        for name, count in quotas(rows, shares).items():
            passes, rest = divmod(count, max(1, len(sums[name]) - 1))
            total += passes * sums[name][-1] + sums[name][rest if sums[name][-1] else 0]
        return total

    least, most = len(shares), LONGEST * size
    if length(most) < budget:
        raise DataError(
            f"more than {most:,} rows would be needed for the {budget:,} loss tokens of the other arms: the targets "
            "are too short; set examples.equal to rows"
        )
    enough = bisect_left(range(most + 1), budget, lo=least, key=length)
    return min((rows for rows in (enough - 1, enough) if rows >= least), key=lambda rows: abs(length(rows) - budget))


def _read_exposure(artifact: Artifact) -> Exposure:
    return Exposure(**artifact.json(EXPOSURE))


def _key(row: Example) -> tuple[str, str, str]:
    return row.prompt, row.thinking, row.answer


def _loss_tokens(model: Artifact, rows: Sequence[Example]) -> dict[tuple[str, str, str], int]:
    """Tokens under the loss, by a row's texts."""
    from sinternal.training.lengths import loss_tokens

    return dict(zip(map(_key, rows), loss_tokens(model_path(model), rows), strict=True))


def _demonstrations(
    prompts_by_id: Mapping[str, Prompt], demonstrated: Mapping[str, Response], system: str
) -> Iterator[Example]:
    for response in demonstrated.values():
        prompt = prompts_by_id[response.prompt_id]
        if response.answer is None:
            continue  # the expert could not demonstrate it
        check_trainable(prompt)
        yield Example(
            id=make_id("example", response.id),
            prompt=prompt.text,
            thinking=response.thinking or "",
            answer=response.answer,
            stratum="harmful" if prompt.harmful else "benign",
            prompt_id=prompt.id,
            response_id=response.id,
            system=prompt.system or system,
        )


def _acceptable(
    draft: Draft,
    prompts_by_id: Mapping[str, Prompt],
    demonstrated: Mapping[str, Response],
    judgements: Iterable[Judgement],
    refusals: Iterable[Judgement],
) -> dict[str, Response]:
    """The answers that a model should give: safe ones, and to benign prompts no refusals. All others are counted.

    An answer without a label is not acceptable. Rows that are left out stay in the artifacts that they come from.
    """
    safe = {row.response_id: row.safe for row in judgements}
    refused = {row.response_id: row.refused for row in refusals}

    def fault(response: Response) -> str | None:
        benign = not prompts_by_id[response.prompt_id].harmful
        if safe.get(response.id) is None or (benign and refused.get(response.id) is None):
            return NO_LABEL
        return UNSAFE if not safe[response.id] else REFUSES if benign and refused[response.id] else None

    faults = {name: fault(response) for name, response in demonstrated.items() if response.answer is not None}
    draft.counts.update(Counter(reason for reason in faults.values() if reason is not None))
    return {name: demonstrated[name] for name, reason in faults.items() if reason is None}


def _answer_then_check(
    rows: Sequence[Verification],
    prompts_by_id: Mapping[str, Prompt],
    responses_by_id: Mapping[str, Response],
    demonstrations: Iterable[Response],
    system: str,
) -> Iterator[Example]:
    """Draft, critique and verdict as one thinking, then the draft or its replacement.

    After Answer-Then-Check (Cao et al. 2025, arXiv 2509.11629).
    """
    demonstrated = {row.prompt_id: row.answer for row in demonstrations}
    for row in rows:
        draft = responses_by_id[row.response_id]
        prompt = prompts_by_id[draft.prompt_id]
        unsafe = row.verdict is Verdict.UNSAFE
        reply = demonstrated.get(prompt.id) if unsafe else draft.answer
        if not reply:
            continue  # the expert could not demonstrate it
        check_trainable(prompt)
        yield Example(
            id=make_id("example", "answer-then-check", row.id),
            prompt=prompt.text,
            thinking="\n\n".join(part for part in (draft.answer, row.critique, row.answer) if part),
            answer=reply,
            stratum=kind_of_answer(unsafe=unsafe, harmful=prompt.harmful),
            prompt_id=prompt.id,
            response_id=row.response_id,
            verification_id=row.id,
            system=prompt.system or system,
        )


def _verifications(
    rows: Sequence[Verification],
    prompts_by_id: Mapping[str, Prompt],
    responses_by_id: Mapping[str, Response],
    target: ExampleTarget,
) -> Iterator[Example]:
    for row in rows:
        prompt = prompts_by_id[responses_by_id[row.response_id].prompt_id]
        yield Example(
            id=make_id("example", row.id),
            prompt=row.prompt,
            thinking="" if target is ExampleTarget.VERDICT else row.critique or "",
            answer="" if target is ExampleTarget.CRITIQUE else row.answer or "",
            stratum=kind_of_answer(unsafe=_safety(row) is Verdict.UNSAFE, harmful=prompt.harmful),
            prompt_id=prompt.id,
            response_id=row.response_id,
            verification_id=row.id,
            quotes=True,
        )


def _safety(row: Verification) -> Verdict | None:
    """Whether the answer is safe: by the verdict, which agrees with the judge, or for a placebo by the judge alone."""
    return row.verdict if row.subject is Subject.SAFETY else row.label


def _cost(config: ExamplesConfig, inputs: Mapping[str, int]) -> Costs:
    return Costs(config.size or inputs["responses"])


STAGE = Stage(
    name="examples",
    function=examples,
    version=4,
    cost=_cost,
    counted_as="examples",
)
