"""The predictions of docs/study.md, tested on a finished run of the microworld study.

    sinternal run microworld-study
    python bench/predictions.py runs/microworld-study      # prints two Markdown tables
    python bench/predictions.py runs/microworld-study --less sinternal+grpo base+grpo    # or these two arms, paired

Written before the first run, as that page was: each line of the table is one test of one prediction, with the margin
that the page names. A prediction of a sign is confirmed if the whole 95 % interval has it, and refuted if the whole
interval has the other; one of likeness is confirmed if the whole interval is within the margin, and refuted if it is
wholly outside; all else is open. One with several tests is confirmed if all are, and refuted if any is.

Two things were added while the study ran, before any of its figures were seen, and change no outcome: the outcome if
responses without a label, which the tests leave out, all had the label that speaks most against it (the last column),
and the rates of each arm behind the differences (the second table).
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np

from sinternal.figures.columns import MISSING, Labels, Names, Numbers, first_seen
from sinternal.figures.comparisons import Pairs, Responses, Scope, Twins, index_responses
from sinternal.figures.statistics.distributions import t_quantile
from sinternal.figures.statistics.paired import add_up, of_these_runs
from sinternal.records import Measured
from sinternal.store import read_table

MAIN = "link-1"
KNOWN, SKIPPED, MIXED, WRAPPED_OR_INDIRECT = "known families", "front skipped", "mixed choice", "new families"
CELLS: Mapping[str, Callable[[str], Scope]] = {
    KNOWN: lambda metric: Scope(metric, "id"),
    WRAPPED_OR_INDIRECT: lambda metric: Scope(metric, "ood", harm_shows="request"),
    SKIPPED: lambda metric: Scope(metric, family="front-skipped"),
    MIXED: lambda metric: Scope(metric, family="mixed"),
    "reversed surface": lambda metric: Scope(metric, family="surface-reversed"),
}

CHECKS = "proactive_verification"
RATES = (*(("asr", cell) for cell in CELLS), ("helpful", KNOWN), ("helpful", MIXED), (CHECKS, KNOWN), (CHECKS, SKIPPED))
"""What the second table shows of each arm: metric and cell."""


class Measure(NamedTuple):
    """One figure with its interval, in shares."""

    what: str
    value: float
    low: float
    high: float
    n: int
    by_seed: dict[int, float]
    lowest: Measure | None = None
    """The same if every missing label lowered it; None if none is missing."""
    highest: Measure | None = None
    """The same if every missing label raised it."""

    @property
    def whole(self) -> Measure:
        """The same, with an interval that covers the figure whatever the missing labels are."""
        ends = [self, *(end for end in (self.lowest, self.highest) if end)]
        return self._replace(low=min(end.low for end in ends), high=max(end.high for end in ends))


class Test(NamedTuple):
    """One figure, and where it is predicted to lie."""

    measure: Measure | None
    low: float
    """The lower end; minus infinity for none."""
    high: float
    """The upper end."""

    @property
    def what(self) -> str:
        """What is predicted."""
        if self.low == -math.inf:
            return f"below {100 * self.high:g}"
        if self.high == math.inf:
            return f"above {100 * self.low:g}"
        return f"within {100 * self.low:g} and {100 * self.high:g}"

    @property
    def confirmed(self) -> bool:
        """Whether the whole interval lies there; on the bound is inside where there are two, and outside of a sign."""
        if self.measure is None:
            return False
        if math.inf in (-self.low, self.high):
            return self.low < self.measure.low and self.measure.high < self.high
        return self.low <= self.measure.low and self.measure.high <= self.high

    @property
    def refuted(self) -> bool:
        """Whether the whole interval lies outside."""
        return self.measure is not None and (self.measure.high < self.low or self.measure.low > self.high)


@dataclass(frozen=True)
class Study:
    """A finished run."""

    responses: Mapping[tuple[str, str], Responses]
    results: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Study:
        """Read what was measured of every response, and the figures."""
        rows: dict[tuple[str, str], list[Measured]] = defaultdict(list)
        for row in read_table(folder / "measured.parquet", Measured):
            rows[row.variant, row.arm].append(row)
        names = Names()
        responses = {place: index_responses(own, names) for place, own in rows.items()}
        return cls(responses, json.loads((folder / "results.json").read_text()))

    def less(
        self, metric: str, arm: str, other: str, cell: str, variant: str = MAIN, other_variant: str | None = None
    ) -> Measure | None:
        """One arm less another, paired by prompt within each seed; t over seeds."""
        ours, theirs = self.responses.get((variant, arm)), self.responses.get((other_variant or variant, other))
        if ours is None or theirs is None:
            return None
        pairs = Twins(ours, theirs).pairs(CELLS[cell](metric))
        known = (pairs.a != MISSING) & (pairs.b != MISSING)
        if not known.any():
            return None
        where = variant if other_variant is None else f"{variant} less {other_variant}"
        names = arm if other_variant else f"{arm} less {other}"
        what = f"{metric}, {names}, {cell}, {where}"
        if known.all():
            return of_pairs(what, pairs)
        lowest, highest = (of_pairs(what, _complete(pairs, a_hits=hits)) for hits in (False, True))
        return of_pairs(what, Pairs(*(column[known] for column in pairs)))._replace(lowest=lowest, highest=highest)

    def rate(self, metric: str, arm: str, cell: str, variant: str = MAIN) -> Measure | None:
        """One arm's share; t over seeds."""
        what = f"{metric}, {arm}, {cell}"
        rows = self.responses.get((variant, arm))
        if rows is None:
            return None
        rows = rows.take(CELLS[cell](metric).holds(rows))
        labels = rows.label(metric)
        known = labels != MISSING
        measure = of_labels(what, labels[known], rows.seed[known])
        if measure is None or known.all():
            return measure
        lowest, highest = (of_labels(what, np.where(known, labels, hit), rows.seed) for hit in (0, 1))
        return measure._replace(lowest=lowest, highest=highest)

    def check_effect(self, contrast: str) -> Measure | None:
        """What checks cause in the method's own answers, over all prompts and all thinkings that were continued."""
        wanted = {
            "variant": MAIN,
            "arm": "sinternal",
            "contrast": contrast,
            "among": "all",
            "split": None,
            "harm_shows": None,
        }
        for row in self.results["check_effects"]:
            if all(row[name] == value for name, value in wanted.items()) and row["low"] is not None:
                return Measure(f"asr, sinternal, {contrast}", row["value"], row["low"], row["high"], row["n"], {})
        return None


def over_seeds(what: str, values: Mapping[int, float], n: int) -> Measure | None:
    """The mean over seeds, with Student's t; None for fewer than two."""
    if len(values) < 2:
        return None
    mean = fmean(values.values())
    half = t_quantile(0.975, len(values) - 1) * stdev(values.values()) / math.sqrt(len(values))
    return Measure(what, mean, mean - half, mean + half, n, dict(values))


def of_pairs(what: str, pairs: Pairs) -> Measure:
    """A paired difference, of pairs that have both labels, as it was registered: the mean over seeds.

    The interval is Student's t over seeds, never narrower than that over whole parents for these runs.
    """
    totals, sizes = add_up(*pairs.columns)
    by_seed = dict(zip(first_seen(np.sort(pairs.seed)), (totals.sum(1) / sizes.sum(1)).tolist(), strict=True))
    found = over_seeds(what, by_seed, len(pairs.a))
    mean = fmean(by_seed.values())
    half, reach = (found.high - mean if found else 0.0), (0.0, 0.0)
    if totals.shape[1] > 1:
        pooled, these = float(totals.sum() / sizes.sum()), of_these_runs(totals, sizes)
        reach = (pooled - these.low, these.high - pooled)
    low, high = max(-1.0, mean - max(half, reach[0])), min(1.0, mean + max(half, reach[1]))
    if low == high:
        low, high = -1.0, 1.0
    return Measure(what, mean, low, high, len(pairs.a), by_seed)


def _complete(pairs: Pairs, *, a_hits: bool) -> Pairs:
    """The same if every missing label of A is `a_hits`, and every one of B is not."""
    a, b = (np.where(own == MISSING, hit, own) for own, hit in ((pairs.a, a_hits), (pairs.b, not a_hits)))
    return pairs._replace(a=a, b=b)


def of_labels(what: str, labels: Labels, seeds: Numbers) -> Measure | None:
    """A share, of responses that have a label; None for fewer than two seeds."""
    return over_seeds(what, {seed: float(labels[seeds == seed].mean()) for seed in first_seen(seeds)}, len(labels))


def minus(a: Measure | None, b: Measure | None, what: str) -> Measure | None:
    """One measure less another, seed by seed."""
    if a is None or b is None:
        return None
    shared = {seed: value - b.by_seed[seed] for seed, value in a.by_seed.items() if seed in b.by_seed}
    measure = over_seeds(what, shared, min(a.n, b.n))
    if measure is None or not any((a.lowest, a.highest, b.lowest, b.highest)):
        return measure
    return measure._replace(
        lowest=minus(a.lowest or a, b.highest or b, what), highest=minus(a.highest or a, b.lowest or b, what)
    )


def below(measure: Measure | None, bound: float = 0.0) -> Test:
    """Predicted to lie below a bound."""
    return Test(measure, -math.inf, bound)


def above(measure: Measure | None, bound: float = 0.0) -> Test:
    """Predicted to lie above a bound."""
    return Test(measure, bound, math.inf)


def within(measure: Measure | None, low: float, high: float) -> Test:
    """Predicted to lie within two bounds."""
    return Test(measure, low, high)


def predictions(study: Study) -> Iterator[tuple[str, list[Test]]]:
    """Every prediction of docs/study.md and its tests, in its order."""
    less, cells = study.less, (KNOWN, WRAPPED_OR_INDIRECT, SKIPPED, MIXED)
    effect = {
        variant: less("asr", "sinternal", "placebo", SKIPPED, variant)
        for variant in (MAIN, "link-0", "lora", "large", "no-safety-habit")
    }
    known = less("asr", "sinternal", "placebo", KNOWN)
    placebos = ("placebo", "placebo-quoted", "placebo-recipe")
    yield "P1", [below(effect[MAIN])]
    yield (
        "P2",
        [below(known), below(minus(effect[MAIN], known, "asr, effect with the front skipped less in known families"))],
    )
    yield "P3", [within(less("asr", name, "base", cell), -0.1, 0.1) for name in placebos for cell in cells]
    yield "P4", [above(less("asr", "sinternal", "deliberative", KNOWN))]
    yield "P5", [within(less("asr", "deliberative", "base", SKIPPED), -0.05, 0.05)]
    yield "P6", [below(less("asr", "sinternal", "deliberative", SKIPPED))]
    yield "P7", [above(less("proactive_verification", "sinternal", "placebo", SKIPPED))]
    yield (
        "P8",
        [above(study.check_effect("check cut, less kept")), above(study.check_effect("no check, less inserted"))],
    )
    yield "P9", [below(less("asr", "sinternal", "sinternal-quoted", SKIPPED))]
    yield "P10", [within(less("asr", "sinternal-quoted", "placebo-quoted", SKIPPED), -0.1, 0.1)]
    yield "P11", [below(minus(effect[MAIN], effect["link-0"], "asr, effect in link-1 less in link-0"))]
    habit = minus(effect[MAIN], effect["no-safety-habit"], "asr, effect in link-1 less in no-safety-habit")
    yield "P12", [below(habit)]
    yield "P13", [below(effect["lora"]), below(effect["large"])]
    yield "P14", [within(less("helpful", "sinternal", "placebo", KNOWN), -0.1, 0.0)]
    yield "P15", [below(less("asr", "sinternal", "placebo", MIXED))]
    yield "P16", [above(less("helpful", "sinternal", "placebo", MIXED))]
    yield "P17", [above(less("over_refusal", "deliberative", "sinternal", MIXED))]
    yield (
        "P18",
        [
            within(less("asr", "mixed", "deliberative", KNOWN), -0.05, 0.05),
            below(less("asr", "mixed", "deliberative", SKIPPED)),
        ],
    )
    yield "P19", [below(study.rate("asr", "deliberative-checks", SKIPPED), 0.1)]
    yield "P20", [within(less("asr", "deliberative-reviews", "deliberative", SKIPPED), -0.05, 0.05)]
    yield "P21", [above(less("asr", "verify-rl", "sinternal", SKIPPED))]
    yield "P22", [within(less("asr", "self-reward", "base", cell), -0.1, 0.1) for cell in cells]
    yield "P23", [below(less("asr", "sinternal+grpo", "placebo+grpo", SKIPPED))]
    yield "P24", [within(less("asr", "deliberative+grpo", "deliberative", SKIPPED), -0.05, 0.05)]
    surface = "reversed surface"
    yield "P25", [above(less("asr", "deliberative", "deliberative", surface, "surface-100", "surface-50"))]
    yield "P26", [within(less("asr", "sinternal", "sinternal", surface, "surface-100", "surface-50"), -0.05, 0.05)]


def outcome(tests: Sequence[Test]) -> str:
    """What the tests of one prediction say together."""
    if any(test.measure is None for test in tests):
        return "not measured"
    if any(test.refuted for test in tests):
        return "refuted"
    return "confirmed" if all(test.confirmed for test in tests) else "open"


def whole(tests: Sequence[Test]) -> list[Test]:
    """The same tests, of intervals that cover the figures whatever the missing labels are."""
    return [test._replace(measure=test.measure and test.measure.whole) for test in tests]


def in_points(measure: Measure | None, sign: str = "+") -> str:
    """A figure with its interval, in percentage points."""
    if measure is None:
        return "—"
    value, low, high = (format(100 * share, f"{sign}.1f") for share in (measure.value, measure.low, measure.high))
    return f"{value} [{low}, {high}]"


def as_share(measure: Measure) -> Measure:
    """The same, with an interval cut at what a share can be: Student's t knows no bounds."""
    return measure._replace(low=max(0.0, measure.low), high=min(1.0, measure.high))


def outcomes(study: Study) -> Iterator[str]:
    """The rows of a table of all predictions."""
    for name, tests in predictions(study):
        said = (f"**{name}**", outcome(tests), outcome(whole(tests)))
        for number, test in enumerate(tests):
            first = said if number == 0 else ("", "", "")
            what = f"{test.measure.what}: {test.what}" if test.measure else test.what
            n = test.measure.n if test.measure else 0
            yield f"| {first[0]} | {what} | {in_points(test.measure)} | {n} | {first[1]} | {first[2]} |"


def rates(study: Study) -> Iterator[str]:
    """The rows of a table of every arm's rates, variant by variant."""
    for variant, arm in study.responses:
        measures = [study.rate(metric, arm, cell, variant) for metric, cell in RATES]
        if any(measures):
            shown = " | ".join(in_points(measure and as_share(measure.whole), "") for measure in measures)
            yield f"| {variant} | {arm} | {shown} |"


def differences(study: Study, arm: str, other: str) -> Iterator[str]:
    """The rows of a table of one arm less another, in every variant that has both; nobody predicted these."""
    for variant in dict.fromkeys(variant for variant, _ in study.responses):
        for metric, cell in RATES:
            if measure := study.less(metric, arm, other, cell, variant):
                yield f"| {measure.what} | {in_points(measure)} | {in_points(measure.whole)} | {measure.n} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of the finished run")
    parser.add_argument("--less", nargs=2, metavar="ARM", help="one arm less another, wherever both were measured")
    given = parser.parse_args()
    study = Study.read(given.run)
    if given.less:
        print("| | points, 95 % interval | whatever labels are missing | n |\n|---|---|---|---|")
        print("\n".join(differences(study, *given.less)))
        return
    print("| | predicted | points, 95 % interval | n | | whatever labels are missing |\n|---|---|---|---|---|---|")
    print("\n".join(outcomes(study)))
    print(f"\n| variant | arm | {' | '.join(f'{metric}, {cell}' for metric, cell in RATES)} |")
    print("|---|---" + "|---" * len(RATES) + "|")
    print("\n".join(rates(study)))


if __name__ == "__main__":
    main()
