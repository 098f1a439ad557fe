"""Two logs of Inspect, compared sample by sample: the tests of our own comparisons on anyone's scores.

Samples are paired by id and epoch, and, where logs say which training run they are of, by run. What has no score on
either side counts nowhere; how many these are is told, and, for scores from 0 to 1, what they could change.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sinternal.errors import DataError
from sinternal.figures.statistics import holm, smallest_difference
from sinternal.figures.statistics.numeric import NumericDifference, numeric_difference
from sinternal.integrations.logs.read import Log, Scored, find_logs, read_log
from sinternal.validation import nearest

SHOWN = 6
"""Names that a message lists at most."""


class Group(NamedTuple):
    """What logs have to share for their samples to be the same."""

    task: str
    """The task."""
    dataset: str
    """The data set."""
    args: str
    """The task's arguments, as JSON; between single logs they may differ, which is told."""


@dataclass(frozen=True)
class Side:
    """The logs of one task on one side, one for each training run."""

    name: str
    """The model, or the file where both sides have the same."""
    logs: Mapping[int, Log]
    """The logs, by seed."""

    @property
    def first(self) -> Log:
        """One of them."""
        return next(iter(self.logs.values()))


@dataclass(frozen=True)
class ScoreComparison:
    """One scorer, on the pairs that both sides have a score of."""

    scorer: str
    """The scorer; of one with several values `scorer/value`."""
    a: float
    """Mean under A."""
    b: float
    """Mean under B."""
    difference: float
    """Mean under A less mean under B."""
    low: float
    """Lower end of the 95 % interval; it holds for other samples and, with several runs, for other runs."""
    high: float
    """Upper end."""
    p: float
    """Two-sided p value of the permutation test that swaps A and B in whole clusters."""
    exact: bool
    """Whether the p value is exact, or of swaps that were drawn."""
    detectable: float
    """The smallest difference that so many pairs could detect with 80 % power."""
    n: int
    """Pairs that count."""
    clusters: int
    """Clusters of these."""
    runs: int
    """Training runs."""
    higher_a: int
    """Pairs in which A scores higher."""
    higher_b: int
    """Pairs in which B does."""
    missing_a: int
    """Pairs that have a score under B only."""
    missing_b: int
    """Pairs that have a score under A only."""
    neither: int
    """Pairs without any score: the scorer does not concern them, or failed on both sides."""
    lowest: float | None
    """The difference if scores that one side alone misses spoke against A; None where scores are not from 0 to 1."""
    highest: float | None
    """The difference if they spoke for A."""
    low_with_missing: float | None = None
    """Lower end of the interval that covers the difference whatever these scores are."""
    high_with_missing: float | None = None
    """Upper end."""
    p_holm: float | None = None
    """P value, corrected for the number of comparisons that were made together; None of a single one."""

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class LogComparison:
    """What came out of two sides of one task."""

    a: Side
    """One side."""
    b: Side
    """The other."""
    task: str
    """The task."""
    cluster: str
    """What clusters are made by."""
    comparisons: tuple[ScoreComparison, ...]
    """By scorer."""
    notes: tuple[str, ...]
    """What a reader should know."""

    @property
    def title(self) -> str:
        """Both sides and the task, for tables."""
        return f"{self.task}: {self.a.name} against {self.b.name}"


def compare_logs(
    paths: Sequence[Path | str],
    *,
    scorers: Collection[str] = (),
    cluster: str | None = None,
    any_task: bool = False,
) -> list[LogComparison]:
    """Compare logs of Inspect with the first of them.

    Args:
        paths: logs, or folders of logs, whose tasks are then compared one by one.
        scorers: which scores to compare; by default all that both sides have.
        cluster: the field of samples' metadata that those share which are not independent; parts of it by dots. By
            default what the logs themselves say, or the sample, whose epochs belong together.
        any_task: whether logs of different tasks, data sets or arguments may be compared.

    Raises:
        DataError: there is no log, they are not of one task, have no sample or no score in common, or a name is wrong.
        MissingExtraError: Inspect is not installed.
    """
    if len(paths) < 2:
        raise DataError("name at least two logs to compare")
    sides = [_groups(Path(path)) for path in paths]
    several = len(sides[0]) > 1
    found = []
    for path, theirs in zip(paths[1:], sides[1:], strict=True):
        pairs = _matched(sides[0], theirs, Path(paths[0]), Path(path), any_task=any_task)
        for ours, other in pairs:
            comparison = _compare(*_named(ours, other), scorers, cluster, lenient=several and not scorers)
            if comparison is not None:
                found.append(comparison)
    if not found:
        raise DataError(f"{paths[0]} and {paths[1]}: no task has a score in both")
    corrected = iter(holm([row.p for one in found for row in one.comparisons]))
    number = sum(len(one.comparisons) for one in found)
    return [
        replace(
            one,
            comparisons=tuple(
                replace(row, p_holm=value if number > 1 else None)
                for row, value in zip(one.comparisons, corrected, strict=False)
            ),
        )
        for one in found
    ]


def _groups(path: Path) -> dict[Group, list[Log]]:
    """The logs of a file or folder, by what has to be the same on both sides."""
    logs = [read_log(file) for file in find_logs(path)]
    groups: dict[Group, list[Log]] = {}
    for log in logs:
        args = json.dumps(log.task_args, sort_keys=True, default=str)
        group = groups.setdefault(Group(log.task, log.dataset, args), [])
        if same := next((other for other in group if other.seed == log.seed), None):
            raise DataError(
                f"{same.path.name} and {log.path.name} in {path} are both of task {log.task}, and of the same run: "
                "which of them counts? Name that file"
            )
        group.append(log)
    return groups


def _matched(
    ours: Mapping[Group, list[Log]], theirs: Mapping[Group, list[Log]], a: Path, b: Path, *, any_task: bool
) -> Iterator[tuple[list[Log], list[Log]]]:
    common = [group for group in ours if group in theirs]
    if common:
        yield from ((ours[group], theirs[group]) for group in common)
        return
    if len(ours) == len(theirs) == 1:
        (group, logs), (other, others) = next(iter(ours.items())), next(iter(theirs.items()))
        same = group[:2] == other[:2]
        if same or any_task:
            yield logs, others
            return
        what = "task" if group.task != other.task else "dataset"
        raise DataError(
            f"{a} is of {what} {getattr(group, what)!r}, {b} of {getattr(other, what)!r}: a difference would not be "
            "one of the models; compare them all the same with --any-task"
        )
    raise DataError(
        f"{a} and {b} have no task in common (with the same dataset and arguments): "
        f"{_list(dict.fromkeys(group.task for group in ours))} there, "
        f"{_list(dict.fromkeys(group.task for group in theirs))} here"
    )


def _named(ours: Sequence[Log], theirs: Sequence[Log]) -> tuple[Side, Side]:
    names = [ours[0].model, theirs[0].model]
    if names[0] == names[1]:
        names = [f"{logs[0].model} ({logs[0].path.name})" for logs in (ours, theirs)]
    return (
        Side(names[0], {log.seed: log for log in sorted(ours, key=lambda log: log.seed)}),
        Side(names[1], {log.seed: log for log in sorted(theirs, key=lambda log: log.seed)}),
    )


class _Pair(NamedTuple):
    a: Scored
    b: Scored
    seed: int


def _compare(a: Side, b: Side, scorers: Collection[str], cluster: str | None, *, lenient: bool) -> LogComparison | None:
    pairs, alone = _pairs(a, b)
    if not pairs:
        raise DataError(
            f"{a.first.path} and {b.first.path} have no sample of the same id and epoch, so nothing can be paired; "
            "evaluate both on the same samples"
        )
    names = _chosen(a, b, scorers)
    if not names:
        if lenient:
            return None
        raise DataError(_no_common(a, b))
    field, clusters = _clusters(a, b, pairs, cluster)
    rows, notes = [], list(_notes(a, b, pairs, alone, names, asked=bool(scorers)))
    if field != "sample" and cluster is None:
        notes.append(f"samples with the same {field} in their metadata count as one cluster, as the logs say")
    for name in names:
        row = _compare_scores(name, pairs, clusters)
        if row is None:
            notes.append(f"{name}: fewer than two clusters have a score in both, so nothing can be said")
        else:
            rows.append(row)
            notes += _score_notes(row)
    for number in dict.fromkeys(row.neither for row in rows if row.neither):
        silent = _list([row.scorer for row in rows if row.neither == number])
        notes.append(f"{silent}: {number:,} pairs have no score on either side, and count nowhere")
    return LogComparison(a, b, a.first.task, field, tuple(rows), tuple(notes))


def _pairs(a: Side, b: Side) -> tuple[list[_Pair], tuple[int, int]]:
    """The samples that both sides have, and how many each has alone."""
    common = [seed for seed in a.logs if seed in b.logs]
    if not common and len(a.logs) == len(b.logs) == 1:  # one run each: which seeds they have is their own business
        keyed = [(0, a.first, b.first)]
    else:
        keyed = [(seed, a.logs[seed], b.logs[seed]) for seed in common]
    pairs, only_a, only_b = [], 0, 0
    for seed, ours, theirs in keyed:
        first, second = _by_key(ours), _by_key(theirs)
        pairs += [_Pair(row, second[key], seed) for key, row in first.items() if key in second]
        only_a += len(first.keys() - second.keys())
        only_b += len(second.keys() - first.keys())
    return pairs, (only_a, only_b)


def _by_key(log: Log) -> dict[tuple[str, int], Scored]:
    rows: dict[tuple[str, int], Scored] = {}
    for row in log.samples:
        if (row.id, row.epoch) in rows:
            raise DataError(
                f"{log.path}: sample {row.id!r} is there twice in epoch {row.epoch}, so it cannot be paired"
            )
        rows[row.id, row.epoch] = row
    return rows


def _chosen(a: Side, b: Side, scorers: Collection[str]) -> list[str]:
    first, second = (dict.fromkeys(n for log in side.logs.values() for n in log.scorers) for side in (a, b))
    if not scorers:
        return [name for name in first if name in second]
    for name in scorers:
        for side, there in ((a, first), (b, second)):
            if name not in there:
                odd = {k: v for log in side.logs.values() for k, v in log.odd.items()}
                if name in odd:
                    raise DataError(f"{side.first.path}: scores of {name!r} are no numbers (one is {odd[name]!r})")
                close = nearest(name, there)
                hint = f"did you mean {close!r}?" if close else f"there are: {_list(there)}"
                raise DataError(f"{side.first.path} has no score {name!r}; {hint}")
    return list(dict.fromkeys(scorers))


def _no_common(a: Side, b: Side) -> str:
    words = []
    for side in (a, b):
        there = dict.fromkeys(name for log in side.logs.values() for name in log.scorers)
        words.append(f"{side.first.path} has {_list(there) or 'none that is a number'}")
    return f"no score is in both logs: {'; '.join(words)}"


def _list(names: Collection[str]) -> str:
    shown = list(names)[:SHOWN]
    return ", ".join(shown) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _clusters(a: Side, b: Side, pairs: Sequence[_Pair], cluster: str | None) -> tuple[str, list[str]]:
    """What clusters are made by, and the cluster of each pair."""
    said = a.first.cluster if a.first.cluster == b.first.cluster else None
    for field in (cluster, said if cluster is None else None):
        if field is not None:
            values = [_at(pair.a.metadata, field) for pair in pairs]
            if None not in values:
                return field, [str(value) for value in values]
            if cluster is not None:
                sample = pairs[values.index(None)].a
                raise DataError(
                    f"{a.first.path}: sample {sample.id!r} has no {cluster!r} in its metadata to be clustered by; it "
                    f"has: {_list(sample.metadata) or 'none'}"
                )
    return "sample", [pair.a.id for pair in pairs]


def _at(metadata: Mapping[str, Any], field: str) -> object:
    if field in metadata:
        return metadata[field]
    value: object = metadata
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _compare_scores(name: str, pairs: Sequence[_Pair], clusters: Sequence[str]) -> ScoreComparison | None:
    a, b = (
        np.array([side.scores.get(name, np.nan) for side in column])
        for column in ([pair.a for pair in pairs], [pair.b for pair in pairs])
    )
    seeds, groups = np.array([pair.seed for pair in pairs]), np.array(clusters, dtype=object)
    missing_a, missing_b = np.isnan(a), np.isnan(b)
    known = ~(missing_a | missing_b)
    if len(set(groups[known].tolist())) < 2:
        return None
    result = numeric_difference(a[known], b[known], groups[known], seeds[known])
    scores = np.concatenate([a[~missing_a], b[~missing_b]])
    neither = missing_a & missing_b
    least: NumericDifference | None = None
    most: NumericDifference | None = None
    if bool(((scores >= 0) & (scores <= 1)).all()):
        completed = ((np.where(missing_a, ours, a), np.where(missing_b, 1 - ours, b), groups, seeds) for ours in (0, 1))
        least, most = (numeric_difference(*(column[~neither] for column in columns)) for columns in completed)
    return ScoreComparison(
        name,
        float(a[known].mean()),
        float(b[known].mean()),
        result.difference,
        result.low,
        result.high,
        result.p,
        result.exact,
        smallest_difference(*result.these_runs),
        result.n,
        result.clusters,
        result.runs,
        result.higher_a,
        result.higher_b,
        int((missing_a & ~neither).sum()),
        int((missing_b & ~neither).sum()),
        int(neither.sum()),
        least.difference if least else None,
        most.difference if most else None,
        low_with_missing=min(least.low, result.low) if least else None,
        high_with_missing=max(most.high, result.high) if most else None,
    )


def _notes(
    a: Side, b: Side, pairs: Sequence[_Pair], alone: tuple[int, int], names: Sequence[str], *, asked: bool
) -> Iterator[str]:
    for side, other, number in ((a, b, alone[0]), (b, a, alone[1])):
        yield from _side_notes(side, other, number)
    yield from _differences(a.first, b.first)
    for name in names:
        if unanswered := sum((name in pair.a.unanswered) + (name in pair.b.unanswered) for pair in pairs):
            yield f"{name}: {unanswered:,} scores are N, no answer, which Inspect counts as 0"
    for side in () if asked else (a, b):
        there = dict.fromkeys(name for log in side.logs.values() for name in log.scorers)
        if only_here := [name for name in there if name not in names]:
            yield f"scores that only {side.name} has: {_list(only_here)}"
        if odd := {name: value for log in side.logs.values() for name, value in log.odd.items()}:
            yield f"scores of {side.name} that are no numbers: {_list([f'{k} ({v})' for k, v in odd.items()])}"


def _side_notes(side: Side, other: Side, alone: int) -> Iterator[str]:
    if alone:
        yield f"{alone:,} samples of {side.name} have no counterpart of the same id and epoch on the other side"
    for log in side.logs.values():
        if log.status != "success":
            yield f"{log.path.name}: the evaluation ended as {log.status!r}, so samples may be missing"
        if log.failed:
            yield f"{log.path.name}: {log.failed:,} samples failed or were declared invalid; their scores are missing"
    several = len(side.logs) + len(other.logs) > 2
    if several and (only := [str(seed) for seed in side.logs if seed not in other.logs]):
        yield f"runs of {side.name} that the other side has not are left out: seed {', '.join(only)}"


def _differences(a: Log, b: Log) -> Iterator[str]:
    pairs: list[tuple[str, Any, Any]] = [
        ("task", a.task, b.task),
        ("dataset", a.dataset, b.dataset),
        ("task version", a.version, b.version),
    ]
    for kind, ours, theirs in (("argument", a.task_args, b.task_args), ("setting", a.settings, b.settings)):
        pairs += [(f"{kind} {name}", ours.get(name), theirs.get(name)) for name in sorted({*ours, *theirs})]
    for what, mine, yours in pairs:
        if mine != yours:
            yield f"the logs differ in {what} ({_plain(mine)} and {_plain(yours)}): a difference may come from that"


def _plain(value: object) -> str:
    text = "none" if value is None else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _score_notes(row: ScoreComparison) -> Iterator[str]:
    if row.missing_a or row.missing_b:
        words = f"{row.scorer}: {row.missing_a:,} pairs have no score in A only, {row.missing_b:,} in B only"
        if row.lowest is None or row.highest is None or row.low_with_missing is None or row.high_with_missing is None:
            yield f"{words}: if these are unlike those that count, so is the difference"
        else:
            undone = row.clear and row.low_with_missing <= 0 <= row.high_with_missing
            more = ": what looks clear is not, because missing scores could undo it" if undone else ""
            yield (
                f"{words}. With these, the difference is between {row.lowest:+.3f} and {row.highest:+.3f}, and its "
                f"interval [{row.low_with_missing:+.3f}, {row.high_with_missing:+.3f}]{more}"
            )
