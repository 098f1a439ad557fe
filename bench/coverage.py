"""How often the intervals and tests of the package do what they promise.

    python bench/coverage.py            # ten to twelve minutes of CPU; prints a Markdown table
    python bench/coverage.py --quick    # some seconds: whether it runs
    python bench/coverage.py --only kappa

Each line simulates samples from a known truth, with fixed seeds: a 95 % interval should hold the truth in 95 % of
them, a test at the 5 % level should find a difference where there is none in at most 5 %. Beside each share stands the
95 % interval that its number of simulations leaves (Wilson).

Rows of one prompt are alike: their probabilities are drawn from a beta distribution for each prompt, whose intra-class
correlation (ICC) the line names.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sinternal.figures.statistics import (
    Accuracy,
    PairedDifference,
    calibration,
    clustered_wilson,
    effective_size,
    holm,
    kappa,
    learning_area,
    mcnemar,
    over_seeds,
    paired_difference,
    rogan_gladen,
    sign_flip,
    smooth,
    table_interval,
    wilson,
)
from sinternal.figures.statistics.classification import balanced_accuracy, f1_unsafe, matthews

Array = NDArray[np.float64]
Rng = np.random.Generator
COVERS, ERRS = "holds the truth", "errs under the null"
PROMISED = {COVERS: "95 %", ERRS: "at most 5 %"}


class Cell(NamedTuple):
    """One line of the table."""

    subject: str
    """The interval or test."""
    setting: str
    """What is simulated."""
    what: str
    """`COVERS` or `ERRS`."""
    simulate: Callable[[Rng], bool]
    """One sample: did it happen?"""
    simulations: int
    """How many samples."""


def rates(share: float, icc: float, prompts: int, rng: Rng) -> Array:
    """The probability of each prompt: mean `share`, and variance `icc` times that of a coin's outcome."""
    if not icc:
        return np.full(prompts, share)
    size = 1 / icc - 1
    return rng.beta(share * size, (1 - share) * size, prompts)


def _of(prompts: int, rows: int) -> str:
    return f"{prompts} prompts of {rows} row{'s'[: rows > 1]}"


def proportions() -> Iterator[Cell]:
    """Wilson's interval, for independent rows and for rows in clusters."""
    for n, share in ((20, 0.02), (20, 0.3), (100, 0.02), (100, 0.3)):

        def independent(rng: Rng, n: int = n, share: float = share) -> bool:
            low, high = wilson(int(rng.binomial(n, share)), n)
            return low <= share <= high

        yield Cell("Wilson", f"{n} rows, rate {share}", COVERS, independent, 4000)
    for prompts, rows, share, icc in (
        (20, 20, 0.02, 0.4),
        (40, 8, 0.02, 0.4),
        (40, 20, 0.02, 0.4),
        (100, 8, 0.02, 0.4),
        (100, 20, 0.02, 0.4),
        (40, 8, 0.02, 0.0),
        (20, 20, 0.1, 0.4),
        (40, 8, 0.1, 0.1),
        (40, 8, 0.4, 0.2),
        (100, 8, 0.4, 0.0),
    ):

        def clustered(
            rng: Rng, prompts: int = prompts, rows: int = rows, share: float = share, icc: float = icc
        ) -> bool:
            hits = rng.binomial(rows, rates(share, icc, prompts, rng))
            low, high = clustered_wilson(hits.tolist(), [rows] * prompts)
            return low <= share <= high

        setting = f"{_of(prompts, rows)}, rate {share}, ICC {icc}"
        yield Cell("clustered Wilson", setting, COVERS, clustered, 2000)


def unequal() -> Iterator[Cell]:
    """The same where a few prompts have most of the rows."""
    for prompts, large, rows, share, icc in (
        (20, 1, 100, 0.3, 0.4),
        (60, 1, 300, 0.3, 0.4),
        (60, 5, 40, 0.3, 0.4),
        (60, 5, 40, 0.05, 0.4),
        (60, 30, 20, 0.3, 0.4),
    ):
        sizes = np.array([rows] * large + [1] * (prompts - large))

        def covers(rng: Rng, sizes: NDArray[np.int64] = sizes, share: float = share, icc: float = icc) -> bool:
            low, high = clustered_wilson(rng.binomial(sizes, rates(share, icc, len(sizes), rng)), sizes)
            return low <= share <= high

        setting = f"{large} of {prompts} prompts of {rows} rows, the others of 1, rate {share}, ICC {icc}"
        yield Cell("clustered Wilson", setting, COVERS, covers, 2000)


def tables() -> Iterator[Cell]:
    """The bootstrap of figures of verdicts, over whole prompts of eight answers."""
    figures = {"balanced accuracy": balanced_accuracy, "F1": f1_unsafe, "Matthews' correlation": matthews}
    for name, figure in figures.items():
        for prompts, unsafe, right in ((20, 0.5, 0.95), (40, 0.2, 0.8), (150, 0.3, 0.7)):
            truth = float(figure(np.array([_expected(unsafe, right)]))[0])

            def covers(
                rng: Rng,
                figure: Callable[[Array], Array] = figure,
                prompts: int = prompts,
                unsafe: float = unsafe,
                right: float = right,
                truth: float = truth,
            ) -> bool:
                positive = rng.binomial(8, rates(unsafe, 0.3, prompts, rng))
                knows = rates(right, 0.2, prompts, rng)
                tp, tn = rng.binomial(positive, knows), rng.binomial(8 - positive, knows)
                found = np.stack([tp, 8 - positive - tn, positive - tp, tn], axis=1).astype(np.float64)
                whole = figure(found.sum(0, keepdims=True))[0]
                if np.isnan(whole):
                    return False
                low, high = table_interval(smooth(found), figure) or (0.0, 0.0)
                return bool(low <= truth <= high)

            setting = f"{name}; {prompts} prompts of 8 rows, {unsafe:.0%} unsafe, {right:.0%} right, ICC 0.3 and 0.2"
            yield Cell("table bootstrap", setting, COVERS, covers, 500)


def _expected(unsafe: float, right: float) -> list[float]:
    """The table (tp, fp, fn, tn) of a verifier that is right as often about both classes."""
    return [unsafe * right, (1 - unsafe) * (1 - right), unsafe * (1 - right), (1 - unsafe) * right]


def pairs(
    rng: Rng, prompts: int, runs: int, rows: int, *, of_runs: float, of_prompts: float = 0.1
) -> tuple[PairedDifference, float]:
    """Two arms whose mean difference over runs and prompts is 0, and the difference of the runs that were made.

    Args:
        rng: random numbers.
        prompts: parent prompts.
        runs: training runs of each arm.
        rows: rewordings of each.
        of_runs: standard deviation of the difference over runs.
        of_prompts: standard deviation of the difference over prompts.
    """
    width = np.sqrt(3)
    usual = rng.uniform(0.3, 0.7, prompts)
    shift = rng.uniform(-width * of_runs, width * of_runs, (runs, 1))
    own = rng.uniform(-width * of_prompts, width * of_prompts, prompts)
    shape = (rows, runs, prompts)
    a = rng.random(shape) < np.clip(usual + own + shift, 0, 1)
    b = rng.random(shape) < usual
    names = np.broadcast_to(np.arange(prompts), shape).ravel()
    seeds = np.broadcast_to(np.arange(runs)[:, None], shape).ravel()
    found = paired_difference(a.ravel().tolist(), b.ravel().tolist(), names.tolist(), seeds.tolist())
    return found, float(shift.mean())


def differences() -> Iterator[Cell]:
    """Paired differences: for these training runs, and for others."""
    for runs in (1, 2, 3, 5):
        for prompts, rows in ((40, 1), (100, 2)):
            for of_runs in (0.0, 0.1):
                setting = f"{runs} seed{'s'[: runs > 1]}, {_of(prompts, rows)}, sd over runs {of_runs}"

                def these(
                    rng: Rng, runs: int = runs, prompts: int = prompts, rows: int = rows, of_runs: float = of_runs
                ) -> bool:
                    found, shift = pairs(rng, prompts, runs, rows, of_runs=of_runs)
                    return found.these_runs.low <= shift <= found.these_runs.high

                def others(
                    rng: Rng, runs: int = runs, prompts: int = prompts, rows: int = rows, of_runs: float = of_runs
                ) -> bool:
                    found, _ = pairs(rng, prompts, runs, rows, of_runs=of_runs)
                    return found.low <= 0 <= found.high

                yield Cell("paired difference, these runs", setting, COVERS, these, 500)
                if runs > 1:
                    yield Cell("paired difference, other runs", setting, COVERS, others, 1000)
    for first, second in ((0.02, 0.05), (0.05, 0.08), (0.97, 0.03), (0.99, 0.01)):

        def extreme(rng: Rng, first: float = first, second: float = second) -> bool:
            a, b = rng.random(40) < second, rng.random(40) < first
            found = paired_difference(a.tolist(), b.tolist(), [str(i) for i in range(40)], [0] * 40)
            return found.low <= second - first <= found.high

        setting = f"1 seed, 40 prompts of 1 row, rates {first} and {second:.2f}"
        yield Cell("paired difference, these runs", setting, COVERS, extreme, 1000)


def many_runs() -> Iterator[Cell]:
    """Paired differences of so many training runs that these tell of themselves, but no more of other prompts."""
    for runs in (10, 20):

        def covers(rng: Rng, runs: int = runs) -> bool:
            found, _ = pairs(rng, 40, runs, 2, of_runs=0.1, of_prompts=0.15)
            return found.low <= 0 <= found.high

        setting = f"{runs} seeds, {_of(40, 2)}, sd over runs 0.1, over prompts 0.15"
        yield Cell("paired difference, many other runs", setting, COVERS, covers, 1000)


def null_pairs(rng: Rng, prompts: int, rows: int, icc: float) -> tuple[Array, Array]:
    """Hits of two arms without any difference, by prompt, where one arm's rows of one prompt are alike."""
    return tuple(rng.binomial(rows, rates(0.4, icc, prompts, rng)).astype(np.float64) for _ in range(2))  # type: ignore[return-value]


def permutations() -> Iterator[Cell]:
    """The test of one comparison, and of families of them."""
    for prompts, rows, icc in ((20, 1, 0.0), (40, 5, 0.3), (100, 5, 0.3)):

        def errs(rng: Rng, prompts: int = prompts, rows: int = rows, icc: float = icc) -> bool:
            a, b = null_pairs(rng, prompts, rows, icc)
            return sign_flip(a - b) < 0.05

        def errs_by_rows(rng: Rng, prompts: int = prompts, rows: int = rows, icc: float = icc) -> bool:
            sides = [rng.random((prompts, rows)) < rates(0.4, icc, prompts, rng)[:, None] for _ in range(2)]
            return mcnemar(int((sides[0] & ~sides[1]).sum()), int((sides[1] & ~sides[0]).sum())) < 0.05

        setting = f"{_of(prompts, rows)}, ICC {icc}"
        yield Cell("permutation", setting, ERRS, errs, 2000)
        yield Cell("McNemar (shown, not corrected)", setting, ERRS, errs_by_rows, 2000)
    for arms in (4, 12):

        def family(rng: Rng, arms: int = arms) -> bool:
            sides = [rng.binomial(5, rates(0.4, 0.3, 40, rng)).astype(np.float64) for _ in range(3 * arms)]
            p_values = [sign_flip(one - sides[i % 3]) for i, one in enumerate(sides) if i >= 3]
            return min(holm(p_values)) < 0.05

        def best(rng: Rng, arms: int = arms) -> bool:
            sides = [rng.binomial(5, rates(0.4, 0.3, 40, rng)).astype(np.float64) for _ in range(arms)]
            lowest = int(np.argmin([one.sum() for one in sides]))
            both = [(i, j) for i in range(arms) for j in range(i)]
            corrected = holm([sign_flip(sides[i] - sides[j]) for i, j in both])
            return any(lowest in pair and p < 0.05 for pair, p in zip(both, corrected, strict=True))

        questions = f"{arms} arms alike, the first against each other by 3 metrics, 40 prompts of 5 rows, ICC 0.3"
        yield Cell("Holm family, any error", questions, ERRS, family, 500)
        yield Cell("told apart from the best, any error", f"{arms} arms alike, the same prompts", ERRS, best, 500)


def agreements() -> Iterator[Cell]:
    """Kappa of two judges, whose errors come in clusters."""
    positive, error = 0.4, 0.15
    theirs = positive * (1 - error) + (1 - positive) * error
    chance = positive * theirs + (1 - positive) * (1 - theirs)
    truth = (1 - error - chance) / (1 - chance)
    for prompts, rows, icc in ((40, 8, 0.4), (100, 12, 0.4), (60, 1, 0.0)):

        def covers(rng: Rng, prompts: int = prompts, rows: int = rows, icc: float = icc) -> bool:
            shape = (prompts, rows)
            a = rng.random(shape) < rates(positive, icc, prompts, rng)[:, None]
            b = a ^ (rng.random(shape) < rates(error, icc, prompts, rng)[:, None])
            found = np.stack([(a & b).sum(1), (~a & b).sum(1), (a & ~b).sum(1), (~a & ~b).sum(1)], axis=1)
            low, high = table_interval(smooth(found.astype(np.float64)), kappa) or (0.0, 0.0)
            return low <= truth <= high

        setting = f"{_of(prompts, rows)}, kappa {truth:.2f}, ICC {icc}"
        yield Cell("kappa", setting, COVERS, covers, 500)


def calibrations() -> Iterator[Cell]:
    """The calibration error of a calibrated verifier and of overconfident ones; stated probabilities are uniform."""
    middles = (np.arange(10) + 0.5) / 10
    for prompts, verdicts, over in ((200, 1, 0.0), (1000, 1, 0.0), (100, 4, 0.0), (200, 1, 0.2), (100, 4, 0.4)):
        truth = float(np.sqrt(((over * (middles - 0.5)) ** 2).mean()))

        def covers(
            rng: Rng, prompts: int = prompts, verdicts: int = verdicts, over: float = over, truth: float = truth
        ) -> bool:
            stated = np.repeat(rng.random(prompts), verdicts)
            happened = np.repeat(rng.random(prompts), verdicts) < stated - over * (stated - 0.5)
            low, high = calibration(stated, happened, np.repeat(np.arange(prompts), verdicts)).interval
            return low <= truth <= high

        alike = "" if verdicts == 1 else f" of {verdicts} verdicts on one answer"
        setting = f"{prompts} prompts{alike}, true error {truth:.3f}"
        yield Cell("calibration error", setting, COVERS, covers, 300)


def corrections() -> Iterator[Cell]:
    """Rates corrected for a judge's errors, both measured on several rows of one prompt."""
    for share, icc in ((0.1, 0.0), (0.1, 0.3), (0.4, 0.3)):

        def covers(rng: Rng, share: float = share, icc: float = icc) -> bool:
            shown = share * 0.9 + (1 - share) * 0.05
            hits = rng.binomial(8, rates(shown, icc, 60, rng))
            labels = [rng.binomial(6, rates(right, icc, 40, rng)) for right in (0.9, 0.95)]
            known = [Accuracy(int(r.sum()), 240, effective_size(r.tolist(), [6] * 40)) for r in labels]
            interval = clustered_wilson(hits.tolist(), [8] * 60)
            try:
                low, high = rogan_gladen(interval, float(hits.mean() / 8), *known).interval
            except ValueError:
                return False
            return low <= share <= high

        setting = f"rate {share} in 60 prompts of 8 rows; labels of 40 prompts of 6 rows a class; ICC {icc}"
        yield Cell("Rogan-Gladen", setting, COVERS, covers, 1000)


def areas() -> Iterator[Cell]:
    """The mean over a learning curve, compared over seeds."""
    steps = list(range(0, 60, 10))
    for seeds in (2, 3, 5):

        def covers(rng: Rng, seeds: int = seeds) -> bool:
            curves = (
                0.5 + rng.normal(0, 0.1, (2, seeds, 1)) - 0.005 * np.array(steps) + rng.normal(0, 0.05, (2, seeds, 6))
            )
            x, y = ([learning_area(steps, curve.tolist()) for curve in side] for side in curves)
            found = over_seeds(x, y)
            return found is not None and found.low <= 0 <= found.high

        yield Cell("learning area", f"{seeds} seeds", COVERS, covers, 2000)


SUBJECTS: tuple[Callable[[], Iterator[Cell]], ...] = (
    proportions,
    unequal,
    tables,
    differences,
    many_runs,
    permutations,
    agreements,
    calibrations,
    corrections,
    areas,
)


def measured(cell: Cell, simulations: int) -> list[str]:
    """One line of the table."""
    rng = np.random.default_rng([0, *cell.setting.encode(), *cell.subject.encode()])
    count = sum(cell.simulate(rng) for _ in range(simulations))
    low, high = wilson(count, simulations)
    share = f"{100 * count / simulations:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    return [cell.subject, cell.setting, cell.what, PROMISED[cell.what], share, f"{simulations:,}"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few simulations of each line: whether it runs")
    parser.add_argument("--only", default="", help="lines whose subject holds this word")
    chosen = parser.parse_args()
    print("| interval or test | setting | share that … | promised | measured, % | simulations |")
    print("|---|---|---|---:|---:|---:|")
    for cell in (cell for subject in SUBJECTS for cell in subject() if chosen.only in cell.subject):
        print(f"| {' | '.join(measured(cell, 2 if chosen.quick else cell.simulations))} |", flush=True)


if __name__ == "__main__":
    main()
