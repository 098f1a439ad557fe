"""Two finished runs, compared response by response: on the same prompts, of the same seed and sample."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sinternal.errors import DataError
from sinternal.figures.columns import Names
from sinternal.figures.comparisons import (
    BY_SPLIT,
    Responses,
    Scope,
    Side,
    Twins,
    compare_sides,
    index_responses,
    with_holm,
)
from sinternal.figures.provenance import Provenance
from sinternal.figures.study import Comparison
from sinternal.records import Measured
from sinternal.report.comparison_tables import titled
from sinternal.report.format import points
from sinternal.report.results import read_results
from sinternal.settings.recipe import DEFAULT_VARIANT
from sinternal.store import read_table
from sinternal.store.sums import checked
from sinternal.study.run import Run, no_run
from sinternal.tools.differences import Difference, Measurements, differences
from sinternal.tools.differences import to_json as differences_to_json

FILES = ("results.json", "measured.parquet")
SAME = ("judge", "judge_revision", "judged", "decoding")
"""What has to be alike for a difference to be one of the models."""


@dataclass(frozen=True)
class RunArm:
    """One arm of one run."""

    folder: Path
    """The run."""
    arm: str
    """The arm."""
    variant: str
    """The variant of its recipe."""
    responses: Responses
    """What was measured of its responses."""
    provenances: Mapping[str, Provenance]
    """Where its figures come from, by metric."""

    @property
    def side(self) -> Side:
        """As a side of a comparison."""
        return Side(self.arm, self.responses, self.provenances.__getitem__)

    @property
    def title(self) -> str:
        """For messages: the arm, its variant if it has one, and the run."""
        variant = "" if self.variant == DEFAULT_VARIANT else f" ({self.variant})"
        return f"{self.arm}{variant} of {self.folder}"


@dataclass(frozen=True)
class ArmComparison:
    """Two arms, compared on the prompts that their runs share."""

    a: RunArm
    """One side."""
    b: RunArm
    """The other."""
    comparisons: tuple[Comparison, ...]
    """By metric and split; difference is A less B."""
    caveats: tuple[str, ...]
    """What a reader should know."""
    differences: tuple[Difference, ...] = ()
    """In what the two runs differ beside their arms; the same for all arms."""


def compare(
    a: Run | Path | str, b: Run | Path | str, arm_a: str | None = None, arm_b: str | None = None
) -> list[ArmComparison]:
    """Compare arms of two runs, in variants of the same name; without names, arms that have the same name in both.

    Args:
        a: a finished run, or its folder.
        b: another, or the same.
        arm_a: an arm of the first.
        arm_b: an arm of the second; by default that of the same name.

    Raises:
        DataError: a folder holds no finished run, an arm is not there, or the two have no prompt in common.
    """
    if arm_a is None and arm_b is not None:
        raise DataError("--arm-b names an arm of the second run: name one of the first with --arm-a, too")
    a, b = (run.folder if isinstance(run, Run) else Path(run) for run in (a, b))
    names = Names()
    ours_read, theirs_read = _read(a), _read(b)
    ours, theirs = _arms(ours_read, names), _arms(theirs_read, names)
    chosen = [(place, (place[0], arm_b or place[1])) for place in ours if arm_a in (None, place[1])]
    for folder, arm, known in ((a, arm_a, ours), (b, arm_b or arm_a, theirs)):
        there = list(dict.fromkeys(name for _, name in known))
        if arm is not None and arm not in there:
            raise DataError(f"{folder} has no arm {arm!r}; it has: {', '.join(there)}")
    differing = differences(ours_read, theirs_read)
    pairs = [
        replace(_compare_arms(ours[place], theirs[other]), differences=differing)
        for place, other in chosen
        if other in theirs
    ]
    if not pairs:
        raise DataError(
            f"{a} and {b} have no arm of the same name in a variant of the same name; choose with --arm-a and --arm-b"
        )
    return pairs


def _read(folder: Path) -> Measurements:
    for name in FILES:
        if not (folder / name).exists():
            raise DataError(no_run(folder, f"no finished run to compare (no {name})"))
    results = read_results(folder / "results.json")
    return Measurements(folder, results, list(read_table(checked(folder / "measured.parquet"), Measured)))


def _arms(run: Measurements, names: Names) -> dict[tuple[str, str], RunArm]:
    """The arms of a run, by variant and name."""
    provenances: dict[tuple[str, str], dict[str, Provenance]] = defaultdict(dict)
    for score in run.results.scores:
        if score.spec is None:
            provenances[score.variant, score.arm].setdefault(score.metric, score.provenance)
    rows: dict[tuple[str, str], list[Measured]] = defaultdict(list)
    for row in run.rows:
        rows[row.variant, row.arm].append(row)
    return {
        (variant, arm): RunArm(run.folder, arm, variant, index_responses(own, names), provenances[variant, arm])
        for (variant, arm), own in rows.items()
    }


def _compare_arms(a: RunArm, b: RunArm) -> ArmComparison:
    twins = Twins(a.responses, b.responses)
    ours, _ = twins.both
    if not len(ours):
        raise DataError(
            f"{a.title} and {b.title} have no prompt, seed and sample in common, so nothing can be paired; "
            "measure both on the same benchmarks, attacks and seeds"
        )
    places = [place for place in BY_SPLIT if place.holds(ours).any()]
    comparisons = {place: compare_sides(a.side, b.side, place, twins=twins) for place in places}
    rows = tuple(with_holm([row for row in comparisons.values() if row is not None]))
    return ArmComparison(a, b, rows, tuple(_caveats(a, b, twins, comparisons)))


def _caveats(a: RunArm, b: RunArm, twins: Twins, comparisons: Mapping[Scope, Comparison | None]) -> Iterator[str]:
    ours, theirs = twins.both
    for run in (a, b):
        if missing := len(run.responses) - len(ours):
            yield f"{missing} of {len(run.responses)} responses of {run.folder} have no counterpart in the other run"
    if moved := int((ours.split != theirs.split).sum()):
        yield f"{moved} of {len(ours)} pairs are in another split in {b.folder}: they are counted as in {a.folder}"
    for name in SAME:
        metrics = [place.metric for place, row in comparisons.items() if row is not None]
        differing = {
            f"{getattr(a.provenances[metric], name)} and {getattr(b.provenances[metric], name)}"
            for metric in metrics
            if getattr(a.provenances[metric], name) != getattr(b.provenances[metric], name)
        }
        for words in sorted(differing):
            yield f"the runs differ in {name.replace('_', ' ')} ({words}): a difference may come from that"
    for place, row in comparisons.items():
        what = titled(place.metric, place.split.upper())
        if row is None:
            yield f"{what}: fewer than two requests have a label in both runs, so nothing can be said"
        elif row.missing_a or row.missing_b:
            yield (
                f"{what}: {row.n} pairs count; others have no label in {a.folder} ({row.missing_a}) or in {b.folder} "
                f"({row.missing_b}). {_open(row)}"
            )


def _open(row: Comparison) -> str:
    """What the difference may be with the pairs that do not count."""
    if row.lowest is None or row.highest is None:
        return "If these are unlike those that count, so is the difference"
    sentence = f"With these, the difference is between {points(row.lowest)} and {points(row.highest)} points"
    if not (row.observed_clear and row.open):
        return sentence
    return f"{sentence}: what looks clear is not, because missing labels could undo it"


def to_json(pairs: Sequence[ArmComparison]) -> dict[str, Any]:
    """Comparisons as plain values."""
    return {
        "version": 2,
        "differences": differences_to_json(pairs[0].differences) if pairs else [],
        "pairs": [
            {
                "a": {"run": str(pair.a.folder), "arm": pair.a.arm, "variant": pair.a.variant},
                "b": {"run": str(pair.b.folder), "arm": pair.b.arm, "variant": pair.b.variant},
                "caveats": list(pair.caveats),
                "comparisons": [_plain(row) for row in pair.comparisons],
            }
            for pair in pairs
        ],
    }


def _plain(row: Comparison) -> dict[str, Any]:
    skipped = ("variant", "a", "b", "family", "benchmark", "harm_shows")
    return {name: value for name, value in asdict(row).items() if name not in skipped}
