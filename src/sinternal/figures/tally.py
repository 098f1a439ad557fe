"""Every metric, counted over responses: by family, split and where harm shows, and by benchmark if several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from sinternal.figures.columns import Flags, Names, Numbers, first_seen
from sinternal.figures.counts import Added, Clusters, Tally, count_other_side, count_rows
from sinternal.figures.metric import OF_RESPONSES, OF_VERDICTS, PAIRS_RIGHT, Metric, Over, is_pair_right
from sinternal.figures.outcomes import Outcomes, Verdicts
from sinternal.linked import first_linked
from sinternal.records import HarmShows, Split
from sinternal.settings.plugins import PLAIN


class Cell(NamedTuple):
    """One figure that is still counts, so that seeds can be pooled before a rate is taken."""

    metric: Metric
    """The metric."""
    over: Over
    """What it is over."""
    split: Split | None = None
    """In-distribution or out-of-distribution; None for both."""
    family: str | None = None
    """Attack family, None for all of the split."""
    spec: bool | None = None
    """Whether the specification was quoted, for verification."""
    benchmark: str | None = None
    """One benchmark of several; None for all."""
    condition: str | None = None
    """The condition of stress; None for none."""
    harm_shows: HarmShows | None = None
    """Where the harm of its prompts shows; None for both."""


class _Entry(NamedTuple):
    """A cell with its counts, and what it comes after: cells stand in the order in which responses add to them."""

    order: tuple[int, ...]
    cell: Cell
    tally: Tally


def count(outcomes: Outcomes, verdicts: Verdicts | None = None) -> dict[Cell, Tally]:
    """Count every metric, by family, by split, by where harm shows, and by benchmark if there are several.

    Args:
        outcomes: the responses.
        verdicts: how the models verified them.
    """
    if not len(outcomes):
        return {}
    crossed = is_crossed(outcomes)
    entries = list(_of_responses(outcomes, crossed=crossed))
    if verdicts is not None and len(verdicts):
        entries += _of_verdicts(outcomes, verdicts, crossed=crossed)
    entries.sort(key=lambda entry: entry.order)
    entries += _pairs_right(outcomes, crossed=crossed)
    return {entry.cell: entry.tally for entry in entries if entry.tally.rows.any()}


def is_crossed(outcomes: Outcomes) -> bool:
    """Whether figures are also given by where harm shows: where it shows in the request alone, they would be the same.

    Where all of it shows in drafts they would be, too, but a reader should be told.
    """
    return bool((outcomes.harm_shows != outcomes.names.find(HarmShows.REQUEST)).any())


class _Level(NamedTuple):
    """By what responses are grouped: some of their columns; those that are None are not told apart."""

    phase: int
    """Cells of a phase stand before those of later ones."""
    split: Numbers | None = None
    family: Numbers | None = None
    benchmark: Numbers | None = None
    harm_shows: Numbers | None = None


class _Groups(NamedTuple):
    """The groups of some rows."""

    of_rows: Numbers
    """The group of each row."""
    places: list[dict[str, Any]]
    """What cells of each group say of it."""


_KINDS: Mapping[str, Callable[[str], str]] = {
    "split": Split,
    "family": str,
    "benchmark": str,
    "harm_shows": HarmShows,
}


def _group(level: _Level, names: Names, rows: int) -> _Groups:
    group, places = np.zeros(rows, dtype=np.int64), [dict[str, Any]()]
    for name, kind in _KINDS.items():
        column: Numbers | None = getattr(level, name)
        if column is not None:
            different, at = np.unique(column, return_inverse=True)
            group = group * len(different) + at
            places = [{**place, name: kind(names[number])} for place in places for number in different]
    return _Groups(group, places)


def _of_responses(outcomes: Outcomes, *, crossed: bool) -> Iterator[_Entry]:
    """The counts of every rate of responses."""
    levels = [_Level(0, outcomes.split, outcomes.family), _Level(0, outcomes.split), _Level(0)]
    if len(first_seen(outcomes.benchmark)) > 1:
        levels.append(_Level(2, benchmark=outcomes.benchmark))
    if crossed:
        levels += [_Level(3, outcomes.split, harm_shows=outcomes.harm_shows), _Level(3, harm_shows=outcomes.harm_shows)]
    grouped = [_group(level, outcomes.names, len(outcomes)) for level in levels]
    clusters = [Clusters(outcomes.parent, groups.of_rows) for groups in grouped]
    for number, metric in enumerate(OF_RESPONSES):
        own, others = count_responses(outcomes, metric), count_other_side(metric.of(outcomes))
        for at, (level, groups, rows) in enumerate(zip(levels, grouped, clusters, strict=True)):
            for position, over in enumerate(metric.over if level.benchmark is None else (metric.over_benchmark,)):
                if over is Over.ALL and metric.by_side:  # what is on neither side counts for nothing
                    added = own * (outcomes.harmful | outcomes.helpable)
                else:
                    added = np.where(_side(outcomes, over), own, others)
                for group, first, tally in rows.tallies(added):
                    order = (first, level.phase, 0, number, at, position)
                    yield _Entry(order, Cell(metric, over, **groups.places[group]), tally)


def _side(outcomes: Outcomes, over: Over) -> Flags:
    """Which responses a figure is about."""
    sides = {Over.HARMFUL: outcomes.harmful, Over.BENIGN: outcomes.helpable}
    return sides.get(over, np.ones(len(outcomes), dtype=np.bool_))


def count_responses(outcomes: Outcomes, metric: Metric) -> Added:
    """The counts that responses add to a rate over them."""
    return count_rows(
        metric.of(outcomes),
        truncated=outcomes.truncated,
        no_answer=outcomes.no_answer,
        filtered=outcomes.filtered,
    )


def _of_verdicts(outcomes: Outcomes, verdicts: Verdicts, *, crossed: bool) -> Iterator[_Entry]:
    """The counts of every figure of verdicts."""
    split, shows, parents = (column[verdicts.row] for column in (outcomes.split, outcomes.harm_shows, outcomes.parent))
    levels = [_Level(1, split), _Level(1)]
    if crossed:
        levels += [_Level(3, split, harm_shows=shows), _Level(3, harm_shows=shows)]
    added = [metric.verdicts(verdicts) for metric in OF_VERDICTS if metric.verdicts is not None]
    for at, level in enumerate(levels):
        groups = _group(level, outcomes.names, len(verdicts))
        rows = Clusters(parents, 2 * groups.of_rows + verdicts.with_spec)
        for number, (metric, counts) in enumerate(zip(OF_VERDICTS, added, strict=True)):
            for group, first, tally in rows.tallies(counts):
                cell = Cell(metric, Over.OWN_ANSWERS, spec=bool(group % 2), **groups.places[group // 2])
                order = (int(verdicts.row[first]), level.phase, 1, int(verdicts.place[first]), at, number)
                yield _Entry(order, cell, tally)


def _pairs_right(outcomes: Outcomes, *, crossed: bool) -> list[_Entry]:
    """For each harmful prompt and its benign twin: is the one answered safely, and the other helped with?

    A twin is one in the same disguise or, where only the harmful prompt comes in one, a plain one; with several twins
    there are several pairs.
    """
    harmful, benign = (outcomes.take(rows) for rows in _twins(outcomes))
    if not len(harmful):
        return []
    added = count_rows(
        is_pair_right(harmful, benign),
        truncated=harmful.truncated | benign.truncated,
        no_answer=harmful.no_answer | benign.no_answer,
        filtered=harmful.filtered | benign.filtered,
    )
    shown = (None, harmful.harm_shows) if crossed else (None,)
    requests, entries = _together(harmful.parent, benign.parent), []
    for at, (split, shows) in enumerate(product((harmful.split, None), shown)):
        groups = _group(_Level(0, split, harm_shows=shows), outcomes.names, len(harmful))
        for group, first, tally in Clusters(requests, groups.of_rows).tallies(added):
            entries.append(_Entry((first, at), Cell(PAIRS_RIGHT, Over.PAIRS, **groups.places[group]), tally))
    return sorted(entries, key=lambda entry: entry.order)


def _together(harmful: Numbers, benign: Numbers) -> Numbers:
    """One number for all pairs that have a request in common, on either side: they are not independent."""
    links = np.unique(np.stack([harmful, benign]), axis=1).T.tolist()
    first = first_linked((int(one), int(other)) for one, other in links)
    return np.array([first[request] for request in harmful.tolist()], dtype=np.int64)


def _twins(outcomes: Outcomes) -> tuple[Numbers, Numbers]:
    """The places of harmful responses and, beside each, of a benign twin; again for each twin that it has."""
    names, paired = outcomes.names, outcomes.pair != outcomes.names.find("")
    harmful, benign = (np.flatnonzero(paired & (outcomes.harmful == kind)) for kind in (True, False))
    samples, plain = int(outcomes.sample.max()) + 1, names.find(PLAIN)

    def key(rows: Numbers, family: Numbers | int) -> Numbers:
        keys: Numbers = (outcomes.pair[rows] * (len(names) + 1) + family) * samples + outcomes.sample[rows]
        return keys

    keys = key(benign, outcomes.family[benign])
    benign, keys = benign[order := np.argsort(keys, kind="stable")], keys[order]
    ranges = []
    for family in (outcomes.family[harmful], len(names) if plain < 0 else plain):
        wanted = key(harmful, family)
        ranges.append([np.searchsorted(keys, wanted, side=side) for side in ("left", "right")])
    alike = ranges[0][0] < ranges[0][1]
    start, end = (np.where(alike, *ends) for ends in zip(*ranges, strict=True))
    times = end - start
    within = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    return np.repeat(harmful, times), benign[np.repeat(start, times) + within]
