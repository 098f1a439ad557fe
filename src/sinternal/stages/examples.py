"""Stage `examples`: prompt / completion rows for fine-tuning, balanced and as many as were asked for."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, compress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sinternal.engines import TemplateOptions
from sinternal.errors import DataError
from sinternal.figures.placebo import note_on_tokens
from sinternal.records import Example, Judgement, Prompt, Response, make_ids
from sinternal.settings.arms import ExampleTarget
from sinternal.stages.candidates import AnswerThenCheck, Candidates, Demonstrated, Source, Verified, numbers_of
from sinternal.stages.stage import Costs, Stage
from sinternal.stages.strata import (
    DEMONSTRATED,
    DEMONSTRATION_SHARES,
    MIXED_SHARES,
    VERIFICATION_SHARES,
    order_keys,
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
    speech: TemplateOptions = TemplateOptions()
    """The chat-template options of the engine that measures the model."""
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
    rows = _Rows(sources, [source.candidates() for source in sources])
    different = Counter(rows.all.strata.tolist())
    draft.counts.update({f"different {name}": count for name, count in sorted(different.items())})
    if config.size is None:
        drawn = _shuffle_all(rows.all, config.seed)
    elif counterpart is not None:
        drawn = _same_answers(draft, rows.all, counterpart)
    else:
        pools = _pools(rows.all, quotas(config.size, shares), config)
        draft.counts.update({f"used {name}": len(members) for name, members in sorted(pools.items())})
        size = config.size
        if reference is not None:
            tokens = _pool_tokens(model, rows, pools, config.speech)
            size = _size_for_tokens(tokens, shares, reference, config.size)
        drawn = balance(pools, shares, size, random.Random(config.seed))
    ids = _ids_in_set(rows.all, drawn)
    ranks = dict(zip(ids.tolist(), range(len(ids)), strict=True))
    written = draft.write_sorted(rows.examples(drawn.numbers, ids), Example, ranks=ranks)
    prompt_ids = frozenset(rows.all.prompt_ids[drawn.numbers].tolist())
    seen = Exposure(len(prompt_ids), len(ids), _tokens_of_all(model, written, drawn, config.speech))
    draft.write_json(EXPOSURE, seen._asdict())
    if counterpart is not None:
        draft.notes.extend(note_on_tokens(seen.loss_tokens, _read_exposure(counterpart).loss_tokens))


class _Rows:
    """All that may be trained on, whose numbers are their places among the candidates of all sources."""

    def __init__(self, sources: Sequence[Source], candidates: Sequence[Candidates]) -> None:
        self.sources = sources
        self.all = Candidates.join(candidates)
        self.starts = [0, *accumulate(map(len, candidates))]

    def examples(self, numbers: NDArray[np.int64], ids: NDArray[Any]) -> Iterator[Example]:
        """Some of them, in any order.

        Args:
            numbers: of the candidates.
            ids: those that they get.
        """
        wanted = replace(self.all.take(numbers), ids=ids)
        for source, first, end in zip(self.sources, self.starts, self.starts[1:], strict=False):
            (own,) = np.nonzero((numbers >= first) & (numbers < end))
            yield from source.examples(wanted.take(own[wanted.places[own].argsort(kind="stable")]))


class Draw(NamedTuple):
    """Rows of a training set, in their order."""

    numbers: NDArray[np.int64]
    """Of the candidates."""
    repetitions: NDArray[np.int64] | None = None
    """How often each stood in the set before, which gives it an id of its own; None: every one stands there once."""


def _ids_in_set(rows: Candidates, drawn: Draw) -> NDArray[Any]:
    ids = rows.ids[drawn.numbers]
    if drawn.repetitions is not None:
        order = drawn.repetitions.argsort(kind="stable")
        for same in np.split(order, np.flatnonzero(np.diff(drawn.repetitions[order])) + 1):
            ids[same] = make_ids(("example",), ids[same].tolist(), drawn.repetitions[same[:1]].tolist())
    return ids


def _pool_tokens(
    model: Artifact, rows: _Rows, pools: Mapping[str, NDArray[np.int64]], speech: TemplateOptions
) -> dict[str, list[int]]:
    """Tokens under the loss of each row of some pools."""
    from sinternal.training.lengths import loss_tokens

    ids: list[str] = []

    def noted() -> Iterator[Example]:
        for example in rows.examples(numbers, rows.all.ids[numbers]):
            ids.append(example.id)
            yield example

    numbers = np.concatenate([np.zeros(0, dtype=np.int64), *pools.values()])
    counts = loss_tokens(model_path(model), noted(), speech)
    tokens = dict(zip(ids, counts, strict=True))
    return {name: [tokens[each] for each in rows.all.ids[own].tolist()] for name, own in pools.items()}


def _tokens_of_all(model: Artifact, written: Table[Example], drawn: Draw, speech: TemplateOptions) -> int:
    """Tokens under the loss of a whole set, each different row counted as often as it stands there."""
    from sinternal.training.lengths import loss_tokens

    _, first, times = np.unique(drawn.numbers, return_index=True, return_counts=True)
    is_first = np.zeros(len(drawn.numbers), dtype=np.bool_)
    is_first[first] = True
    counts = loss_tokens(model_path(model), compress(written, is_first.tolist()), speech)
    return sum(number * count for number, count in zip(times[first.argsort()].tolist(), counts, strict=True))


class Exposure(NamedTuple):
    """What a training set shows a model in one pass."""

    prompts: int
    """Different prompts behind its rows."""
    rows: int
    """Rows."""
    loss_tokens: int
    """Tokens under the loss."""


def _same_answers(draft: Draft, rows: Candidates, method: Artifact) -> Draw:
    """A row about the answer of each row of the method, in the same order.

    Where the placebo's expert has left nothing usable about an answer, another row of the same kind stands in.
    """
    about = dict(zip(rows.response_ids.tolist(), range(len(rows)), strict=True))
    spare: dict[str, list[int]] = defaultdict(list)
    for number in rows.id_numbers().argsort(kind="stable").tolist():
        spare[rows.strata[number]].append(number)
    times: Counter[int] = Counter()
    drawn: list[tuple[int, int]] = []
    replaced = 0
    for response_id, stratum in method.values(Example, "response_id", "stratum"):
        taken = about.get(response_id)
        if taken is None:
            replaced += 1
            if not (others := spare[stratum]):
                raise _empty(stratum)
            taken = min(others, key=times.__getitem__)
        drawn.append((taken, times[taken]))
        times[taken] += 1
    draft.counts[REPLACED] = replaced
    numbers, repetitions = np.array(drawn, dtype=np.int64).reshape(-1, 2).T
    return Draw(numbers, repetitions)


def _empty(stratum: str) -> DataError:
    return DataError(f"no training example of kind {stratum!r}; sample more prompts, or more answers to each")


def balance(pools: Mapping[str, NDArray[np.int64]], shares: Mapping[str, float], size: int, rng: random.Random) -> Draw:
    """Draw `size` examples with these shares, in random order; a repeated example gets an id of its own.

    Args:
        pools: the different examples of each kind, by their numbers, which are gone through in their order, and again
            where they end.
        shares: of each kind; together 1.
        size: rows in all.
        rng: of their order.

    Raises:
        DataError: a kind with a share is empty.
    """
    numbers, repetitions = [], []
    for name, count in quotas(size, shares).items():
        members = pools.get(name, ())
        if not len(members):
            raise _empty(name)
        passes, positions = np.divmod(np.arange(count), len(members))
        numbers.append(np.asarray(members)[positions])
        repetitions.append(passes)
    order = list(range(size))
    rng.shuffle(order)
    return Draw(np.concatenate(numbers)[order], np.concatenate(repetitions)[order])


def _pools(rows: Candidates, counts: Mapping[str, int], config: ExamplesConfig) -> dict[str, NDArray[np.int64]]:
    """The different examples of each kind that are used: the first ones, in the order that all arms share."""
    prompt_ids = rows.prompt_ids.tolist()
    different = list(dict.fromkeys(prompt_ids))
    turns = dict(zip(different, numbers_of(order_keys(config.seed, different)).tolist(), strict=True))
    turn_of_each = np.fromiter(map(turns.__getitem__, prompt_ids), np.uint64, len(rows))
    order = np.lexsort((rows.id_numbers(), turn_of_each))
    strata = rows.strata[order]
    kept = {name: order[strata == name][: counts.get(name, 0)] for name in dict.fromkeys(rows.strata.tolist())}
    return {name: members[: max(1, round(config.share * len(members)))] for name, members in kept.items()}


def _shuffle_all(rows: Candidates, seed: int) -> Draw:
    if not len(rows):
        raise DataError("the data set has no row to train on; see how many were dropped, and why")
    drawn = rows.id_numbers().argsort(kind="stable").tolist()
    random.Random(seed).shuffle(drawn)
    return Draw(np.array(drawn, dtype=np.int64))


def _size_for_tokens(
    tokens: Mapping[str, Sequence[int]], shares: Mapping[str, float], reference: Artifact, size: int
) -> int:
    """The number of rows whose loss tokens come nearest to those of another set.

    Args:
        tokens: under the loss, of each row that may be drawn, by its kind.
        shares: of each kind.
        reference: the other set.
        size: rows that were asked for.
    """
    budget = _read_exposure(reference).loss_tokens
    sums = {name: [0, *accumulate(tokens.get(name, ()))] for name in shares}

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
    version=5,
    cost=_cost,
    counted_as="examples",
)
