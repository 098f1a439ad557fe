"""Stage `prompts`: collect prompts of benchmarks, wrap them in attacks, and keep training apart from evaluation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sinternal.attacks import Attack
from sinternal.benchmarks import Benchmark
from sinternal.benchmarks.parts import unite, words_alone
from sinternal.errors import DataError
from sinternal.figures.contamination import own_texts
from sinternal.records import HarmShows, Prompt, Split, make_id
from sinternal.registry import Kind, load
from sinternal.settings.plugins import PLAIN, AttackPlugin, BenchmarkPlugin
from sinternal.stages.overlap import overlapping
from sinternal.stages.stage import Costs, Stage
from sinternal.store import Artifact, Draft, Table

if TYPE_CHECKING:
    from sinternal.stages.overlap import Mask


class Asked(NamedTuple):
    """What decides whether a prompt is drawn."""

    id: str
    """Its id."""
    parent_id: str
    """The prompt that it wraps, or itself."""
    pair_id: str
    """What it shares with its twin, if it has one."""
    family: str
    """Its attack family."""
    harmful: bool
    """Whether helping would be harmful."""
    place: int
    """Its place in the table."""


P = TypeVar("P", Prompt, Asked)
SALTS = ("", "salt")
"""Texts are compared by a hash of 64 bits after each: that two different ones share both is as good as impossible."""


class SourceConfig(BaseModel):
    """Prompts of one benchmark."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: str
    """Name of a registered benchmark."""
    options: dict[str, object] = {}
    """Its options."""
    part: str
    """Which of its parts: `train`, `dev` or `eval`."""
    limit: int | None = Field(None, ge=1)
    """At most this many harmful and this many benign ones, drawn at random before they are disguised."""
    attacks: tuple[AttackPlugin, ...] = Field(min_length=1)
    """Each disguises every prompt."""

    def open(self) -> Benchmark:
        """The benchmark."""
        opened: Benchmark = BenchmarkPlugin(name=self.benchmark, options=self.options).open()
        return opened


class PromptsConfig(BaseModel):
    """Which prompts, in which disguises."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    """Where they come from."""
    tuned_on: tuple[AttackPlugin, ...]
    """Attacks that tuning sees; every other family is out-of-distribution."""
    limit: int | None = Field(None, ge=1)
    """At most this many harmful and this many benign prompts of all, disguised ones counted; None takes all."""
    for_training: bool
    """Whether arms are tuned on these prompts."""
    seed: int
    """Seed of the attacks and the draw."""


def prompts(
    draft: Draft,
    config: PromptsConfig,
    *,
    evaluation: Artifact | None = None,
    training: Artifact | None = None,
    among: Artifact | None = None,
) -> None:
    """Write the table `prompts`.

    Args:
        draft: what is written.
        config: which prompts.
        evaluation: for training prompts, the evaluation prompts: what asks the same is dropped.
        training: for held-out prompts, the training prompts: the same.
        among: prompts whose requests are asked again: all others are left out.

    Raises:
        DataError: nothing is left, or evaluation-only data or a held-out attack is asked for as training input.
    """
    known = None if among is None else _asked_in(among)
    with draft.temporary(collect(config, known), Prompt) as rows:
        draft.notes.extend(dict.fromkeys(_notes(config)))
        wanted = first_of_each(rows)
        draft.counts["duplicates"] = int(np.count_nonzero(~wanted))
        if others := {name: each for name, each in (("evaluation", evaluation), ("training", training)) if each}:
            different = int(np.count_nonzero(wanted))
            tuned = {attack.family for attack in config.tuned_on if attack.name != PLAIN}
            theirs = chain.from_iterable(texts_of(each.table(Prompt), tuned) for each in others.values())
            wanted &= ~overlapping(texts_of(rows, tuned), theirs)
            overlaps = different - int(np.count_nonzero(wanted))
            draft.counts["overlapping"] = overlaps
            if draft.notes and overlaps:
                what = " or ".join(others)
                draft.notes.append(f"{overlaps} of {different} are left out because they overlap with {what}")
        if config.limit is not None:
            wanted = _draw(rows, wanted, config.limit, config.seed)
        _check_some(draft, config, wanted)
        draft.select(rows, wanted)


def collect(config: PromptsConfig, known: frozenset[str] | None = None) -> Iterator[Prompt]:
    """All prompts of all sources in each disguise, before any is left out; see `prompts`.

    Args:
        config: which prompts.
        known: ids and words of the requests that are asked again; None: all are asked.

    Raises:
        DataError: evaluation-only data or a held-out attack is asked for as training input.
    """
    originals = [originals_of(source, config, known) for source in config.sources]
    united = iter(unite([row for rows in originals for row in rows]))
    for source, rows in zip(config.sources, originals, strict=True):
        yield from disguised(list(islice(united, len(rows))), source, config)


def _asked_in(prompts: Artifact) -> frozenset[str]:
    """Ids and words of all requests: of one that stands in several benchmarks, the ids of the others are not there."""
    rows = prompts.values(Prompt, "parent_id", "text", "goal")
    return frozenset(known for parent, text, goal in rows for known in (parent, words_alone(goal or text)))


def _check_some(draft: Draft, config: PromptsConfig, wanted: Mask) -> None:
    if not wanted.any():
        names = ", ".join(f"{source.benchmark!r} ({source.part})" for source in config.sources)
        overlapping = draft.counts.get("overlapping")
        why = f": all {overlapping} overlap with prompts of another side; name others" if overlapping else ""
        raise DataError(f"no prompts are left of {names}{why}")


def originals_of(source: SourceConfig, config: PromptsConfig, known: frozenset[str] | None = None) -> Sequence[Prompt]:
    """One benchmark's prompts as they are; for `known` and errors, see `collect`."""
    benchmark = source.open()
    if config.for_training and benchmark.evaluation_only:
        raise DataError(
            f"benchmark {source.benchmark!r} is for evaluation only, by its licence or its purpose: take another one "
            "for prompts.train (`sinternal list benchmarks` shows which may be trained on)"
        )
    selected = [
        row
        for row in benchmark.prompts(source.part)
        if known is None or {row.parent_id, words_alone(row.plain_request)} & known
    ]
    return _limit(selected, source.limit, config.seed)


def disguised(originals: Sequence[Prompt], source: SourceConfig, config: PromptsConfig) -> Iterator[Prompt]:
    """Prompts of one benchmark in each of its disguises; errors are those of `collect`."""
    tuned = {attack.family for attack in config.tuned_on}
    for attack in source.attacks:
        for row in _wrap(originals, attack, config):
            split = Split.TRAIN if config.for_training else Split.ID if row.family in tuned else Split.OOD
            yield row if row.split is split else replace(row, split=split)


def _notes(config: PromptsConfig) -> Iterator[str]:
    """How much of the user's own data was read, and how much of it is used."""
    for source in config.sources:
        if note := source.open().note(source.part):
            drawn = (
                f", at most {source.limit} harmful and {source.limit} harmless of them drawn" if source.limit else ""
            )
            yield f"{note}{drawn}"


def _wrap(originals: Sequence[Prompt], attack: AttackPlugin, config: PromptsConfig) -> Iterable[Prompt]:
    if attack.name == PLAIN:
        return originals
    opened: Attack = attack.open()
    if opened.held_out and config.for_training:
        raise DataError(f"attack {attack.name!r} is held out for evaluation: take it out of prompts.train_attacks")
    wrapped = opened.wrap(originals, config.seed)
    if opened.harm_shows is not HarmShows.REQUEST:
        wrapped = (replace(row, harm_shows=opened.harm_shows) for row in wrapped)
    if not attack.options:
        return wrapped
    # The same attack may stand twice in a recipe, with other options: other prompts, other ids.
    return (replace(row, id=make_id(row.id, attack.options)) for row in wrapped)


def texts_of(prompts: Table[Prompt], tuned_on: Collection[str]) -> Iterator[Sequence[str]]:
    """What of each prompt is compared with that of others; see `own_texts`."""
    for family, text, goal in prompts.values("family", "text", "goal"):
        yield own_texts(family, text, goal, tuned_on)


def first_of_each(rows: Table[Prompt]) -> Mask:
    """For each row whether it is the first that would send the same thing."""
    hashes = [np.zeros((len(SALTS), 0), dtype=np.int64)]
    for texts, *others in rows.value_batches("text", "system", "prefill", "raw"):
        around = list(zip(*others, strict=True))
        salted = (zip(map(salt.__add__, texts), around, strict=True) for salt in SALTS)
        hashes.append(np.array([np.fromiter(map(hash, sent), np.int64, len(texts)) for sent in salted]))
    both = np.concatenate(hashes, axis=1)
    order = np.lexsort(both)  # stable: equal ones stay in the order of the table
    again = (both[:, order[1:]] == both[:, order[:-1]]).all(axis=0)
    first = np.ones(len(order), dtype=np.bool_)
    first[order[1:][again]] = False
    return first


def requests_of(prompts: Table[Prompt]) -> Iterator[Asked]:
    """What decides whether each prompt is drawn."""
    for place, values in enumerate(prompts.values(*Asked._fields[:-1])):
        yield Asked._make((*values, place))


def _draw(rows: Table[Prompt], wanted: Mask, limit: int, seed: int) -> Mask:
    """For each row whether it is drawn, at random, of those that are wanted."""
    drawn = np.zeros_like(wanted)
    requests = [row for row in requests_of(rows) if wanted[row.place]]
    drawn[[row.place for row in _limit(requests, limit, seed)]] = True
    return drawn


def _limit(rows: Sequence[P], limit: int | None, seed: int) -> list[P]:
    """At most `limit` harmful and `limit` benign rows, drawn at random.

    Both sides are drawn in one order of requests, each request in one order of its families: of as many requests as
    there are before any comes in a second disguise, and with a twin wherever there is one.
    """
    if limit is None:
        return list(rows)
    return [row for harmful in (True, False) for row in in_turn(rows, harmful, seed)[:limit]]


def in_turn(rows: Iterable[P], harmful: bool, seed: int) -> list[P]:
    """One side's rows, shuffled by hashes: a first row of every request, then a second of every one, and so on."""
    by_request: dict[str, list[P]] = defaultdict(list)
    for row in rows:
        if row.harmful == harmful:
            by_request[row.pair_id or row.parent_id].append(row)
    for request, group in by_request.items():
        group.sort(key=lambda row: (make_id(seed, request, row.family), row.id))
    ordered = [by_request[request] for request in sorted(by_request, key=lambda request: make_id(seed, request))]
    return [row for turn in zip_longest(*ordered) for row in turn if row is not None]


def _cost(config: PromptsConfig, inputs: Mapping[str, int]) -> Costs:
    sides, calls = [0, 0], 0
    for source in config.sources:
        disguises = [attack for attack in source.attacks if attack.name != PLAIN]
        asked = sum(attack.plugin_class.calls(attack.validated_options) for attack in disguises)
        for side, available in enumerate(_originals(source)):
            usable = min(available, inputs.get("among", available))
            taken = min(usable, source.limit or usable)
            sides[side] += taken * len(source.attacks)
            calls += taken * asked
    return Costs(sum(min(total, config.limit or total) for total in sides), calls)


def _originals(source: SourceConfig) -> tuple[int, int]:
    """Harmful and benign prompts of a benchmark; if it cannot be read here, all that it is known to hold for each."""
    try:
        rows = source.open().prompts(source.part)
    except DataError:
        size: int | None = load(Kind.BENCHMARK, source.benchmark).size
        if size is None:
            raise
        return size, size
    harmful = sum(row.harmful for row in rows)
    return harmful, len(rows) - harmful


STAGE = Stage(
    name="prompts",
    function=prompts,
    version=8,
    cost=_cost,
    counted_as="prompts",
    rounds="an attack that refines its prompts asks attacker, target and judge in turn, round by round",
)
