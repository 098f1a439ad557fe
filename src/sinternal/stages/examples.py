"""Stage `examples`: prompt / completion rows for fine-tuning, balanced and as many as were asked for."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sinternal.errors import DataError
from sinternal.figures.placebo import note_on_tokens
from sinternal.records import Example, Judgement, Prompt, Response
from sinternal.settings.arms import ExampleTarget
from sinternal.stages.candidates import AnswerThenCheck, Candidate, Demonstrated, Source, Verified
from sinternal.stages.stage import Costs, Stage
from sinternal.stages.strata import (
    DEMONSTRATED,
    DEMONSTRATION_SHARES,
    MIXED_SHARES,
    VERIFICATION_SHARES,
    order_key,
    quotas,
)
from sinternal.stages.target import model_path
from sinternal.store import Artifact, Draft, Index, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    harmful = dict(prompts.values(Prompt, "id", "harmful"))
    shown = (demonstrations or responses).table(Response)
    accepted = None
    if judgements is not None:
        accepted = acceptable(draft, harmful, shown, judgements, refusals or judgements)
    demonstrated = Demonstrated(prompts, shown, accepted, harmful, config.system)
    sources: list[Source]
    if verifications is None:
        sources, shares = [demonstrated], DEMONSTRATION_SHARES
    elif demonstrations is None:
        sources, shares = [Verified(verifications, responses, harmful, config.target)], VERIFICATION_SHARES
    elif config.mixed:
        verified = Verified(verifications, responses, harmful, config.target)
        sources, shares = [verified, replace(demonstrated, kind=f"{DEMONSTRATED} ")], MIXED_SHARES
    else:
        sources, shares = [AnswerThenCheck(demonstrated, verifications, responses)], VERIFICATION_SHARES
    rows = [row for source in sources for row in source.candidates()]
    draft.counts.update(
        {f"different {name}": count for name, count in sorted(Counter(r.stratum for r in rows).items())}
    )
    if config.size is None:
        drawn = _shuffle_all(rows, config.seed)
    elif counterpart is not None:
        drawn = _same_answers(draft, rows, counterpart)
    else:
        pools = _pools(rows, quotas(config.size, shares), config)
        draft.counts.update({f"used {name}": len(members) for name, members in sorted(pools.items())})
        size = config.size
        if reference is not None:
            tokens = _pool_tokens(model, sources, pools)
            size = _size_for_tokens(pools, shares, tokens, reference, config.size)
        drawn = balance(pools, shares, size, random.Random(config.seed))
    ranks = {row.id: rank for rank, row in enumerate(drawn)}
    written = draft.write_sorted(_examples(sources, drawn), Example, ranks=ranks)
    seen = Exposure(len({row.prompt_id for row in drawn}), len(drawn), _tokens_of_all(model, written, drawn))
    draft.write_json(EXPOSURE, seen._asdict())
    if counterpart is not None:
        draft.notes.extend(note_on_tokens(seen.loss_tokens, _read_exposure(counterpart).loss_tokens))


def _examples(sources: Iterable[Source], drawn: Iterable[Candidate]) -> Iterator[Example]:
    """What was drawn, in any order."""
    by_row: dict[str, list[Candidate]] = defaultdict(list)
    for row in drawn:
        by_row[row.row_id].append(row)
    return (example for source in sources for example in source.examples(by_row))


def _pool_tokens(
    model: Artifact, sources: Iterable[Source], pools: Mapping[str, Iterable[Candidate]]
) -> dict[str, int]:
    """Tokens under the loss of each row of some pools, by its id."""
    from sinternal.training.lengths import loss_tokens

    ids: list[str] = []

    def noted() -> Iterator[Example]:
        for example in _examples(sources, chain.from_iterable(pools.values())):
            ids.append(example.id)
            yield example

    counts = loss_tokens(model_path(model), noted())
    return dict(zip(ids, counts, strict=True))


def _tokens_of_all(model: Artifact, written: Table[Example], drawn: Sequence[Candidate]) -> int:
    """Tokens under the loss of a whole set, each different row counted as often as it stands there."""
    from sinternal.training.lengths import loss_tokens

    times = Counter(row.row_id for row in drawn)
    unseen = set(times)

    def first_of_each() -> Iterator[Example]:
        for row, example in zip(drawn, written, strict=True):
            if row.row_id in unseen:
                unseen.remove(row.row_id)
                yield example

    counts = loss_tokens(model_path(model), first_of_each())
    return sum(number * count for number, count in zip(times.values(), counts, strict=True))


class Exposure(NamedTuple):
    """What a training set shows a model in one pass."""

    prompts: int
    """Different prompts behind its rows."""
    rows: int
    """Rows."""
    loss_tokens: int
    """Tokens under the loss."""


def _same_answers(draft: Draft, rows: Sequence[Candidate], method: Artifact) -> list[Candidate]:
    """A row about the answer of each row of the method, in the same order.

    Where the placebo's expert has left nothing usable about an answer, another row of the same kind stands in.
    """
    about = {row.response_id: row for row in rows}
    spare: dict[str, list[Candidate]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.id):
        spare[row.stratum].append(row)
    times: Counter[str] = Counter()
    drawn, replaced = [], 0
    for response_id, stratum in method.values(Example, "response_id", "stratum"):
        taken = about.get(response_id)
        if taken is None:
            replaced += 1
            if not (others := spare[stratum]):
                raise DataError(
                    f"no training example of kind {stratum!r}; sample more prompts, or more answers to each"
                )
            taken = min(others, key=lambda other: times[other.id])
        times[taken.id] += 1
        drawn.append(taken.repeat(times[taken.id] - 1))
    draft.counts[REPLACED] = replaced
    return drawn


def balance(
    pools: Mapping[str, Sequence[Candidate]], shares: Mapping[str, float], size: int, rng: random.Random
) -> list[Candidate]:
    """Draw `size` examples with these shares, in random order; a repeated example gets an id of its own.

    Args:
        pools: the different examples of each kind, which are gone through in their order, and again where they end.
        shares: of each kind; together 1.
        size: rows in all.
        rng: of their order.

    Raises:
        DataError: a kind with a share is empty.
    """
    drawn: list[Candidate] = []
    for name, count in quotas(size, shares).items():
        members = pools.get(name, ())
        if not members:
            raise DataError(f"no training example of kind {name!r}; sample more prompts, or more answers to each")
        for i in range(count):
            repetition, position = divmod(i, len(members))
            drawn.append(members[position].repeat(repetition))
    rng.shuffle(drawn)
    return drawn


def _pools(rows: Iterable[Candidate], counts: Mapping[str, int], config: ExamplesConfig) -> dict[str, list[Candidate]]:
    """The different examples of each kind that are used: the first ones, in the order that all arms share."""
    pools: dict[str, list[Candidate]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (order_key(config.seed, row.prompt_id), row.id)):
        pools[row.stratum].append(row)
    kept = {name: members[: counts.get(name, 0)] for name, members in pools.items()}
    return {name: members[: max(1, round(config.share * len(members)))] for name, members in kept.items()}


def _shuffle_all(rows: Sequence[Candidate], seed: int) -> list[Candidate]:
    if not rows:
        raise DataError("the data set has no row to train on; see how many were dropped, and why")
    drawn = sorted(rows, key=lambda row: row.id)
    random.Random(seed).shuffle(drawn)
    return drawn


def _size_for_tokens(
    pools: Mapping[str, Sequence[Candidate]],
    shares: Mapping[str, float],
    tokens: Mapping[str, int],
    reference: Artifact,
    size: int,
) -> int:
    """The number of rows whose loss tokens come nearest to those of another set."""
    budget = _read_exposure(reference).loss_tokens
    sums = {name: [0, *accumulate(tokens[row.id] for row in pools.get(name, ()))] for name in shares}

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


def acceptable(
    draft: Draft, harmful: Mapping[str, bool], shown: Table[Response], judgements: Artifact, refusals: Artifact
) -> frozenset[str]:
    """Ids of the answers that a model should give: safe ones, and to benign prompts no refusals; others are counted.

    An answer without a label is not acceptable. Rows that are left out stay in the artifacts that they come from.
    """
    columns = shown.columns("id", "prompt_id", known=["answer"])
    ids, prompt_ids = (columns[name][columns["answer"]] for name in ("id", "prompt_id"))
    benign = ~np.fromiter(map(harmful.__getitem__, prompt_ids.tolist()), np.bool_, len(ids))
    safe = _labels(judgements, "safe", ids)
    refused = _labels(refusals, "refused", ids)
    unlabelled = (safe < 0) | (benign & (refused < 0))
    unsafe = ~unlabelled & (safe == 0)
    refuses = ~unlabelled & ~unsafe & benign & (refused == 1)
    faults = {NO_LABEL: unlabelled, UNSAFE: unsafe, REFUSES: refuses}
    draft.counts.update({reason: int(rows.sum()) for reason, rows in faults.items() if rows.any()})
    return frozenset(ids[~(unlabelled | unsafe | refuses)].tolist())


def _labels(judgements: Artifact, name: str, response_ids: NDArray[Any]) -> NDArray[np.int8]:
    """A label of each of some responses: 1 or 0, or -1 if there is none."""
    columns = judgements.columns(Judgement, "response_id", name)
    places = Index(columns["response_id"]).places(response_ids)
    return np.append(columns[name], np.int8(-1))[places]


def _cost(config: ExamplesConfig, inputs: Mapping[str, int]) -> Costs:
    return Costs(config.size or inputs["responses"])


STAGE = Stage(
    name="examples",
    function=examples,
    version=4,
    cost=_cost,
    counted_as="examples",
)
