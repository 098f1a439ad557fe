"""How fast each arm learned from rewards: from the logs of its training to the figures that compare the starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median, stdev

from sinternal.figures.estimate import Estimate
from sinternal.figures.statistics import holm, learning_area, over_seeds, steps_to
from sinternal.figures.study import Arm, Learning, LearningCurve
from sinternal.store import Artifact

SOURCES = {"rollouts": "training", "held out": "held_out"}
THRESHOLDS = {"10": 0.10, "5": 0.05}
"""Attack success rates that a curve is asked to reach, by their names in percent."""


def read_curves(trained: Artifact, variant: str, arm: str, seed: int) -> Iterator[LearningCurve]:
    """The curves that the stage `grpo` has logged."""
    for source, name in SOURCES.items():
        log = trained.json(name)
        figures = dict.fromkeys(figure for entry in log for figure in entry if figure != "step")
        points = {
            figure: tuple((int(e["step"]), float(e[figure])) for e in log if e.get(figure) is not None)
            for figure in figures
        }
        if log:
            yield LearningCurve(variant, arm, seed, source, points)


def learning(curves: Sequence[LearningCurve], arms: Sequence[Arm]) -> Iterator[Learning]:
    """One row for each variant and arm, each compared with the arm that was trained alike from the base."""
    for variant in dict.fromkeys(curve.variant for curve in curves):
        held_out = {
            (curve.arm, curve.seed): curve.points["asr"]
            for curve in curves
            if (curve.variant, curve.source) == (variant, "held out") and len(curve.points.get("asr", ())) > 1
        }
        rows = [row for arm in arms if (row := _row(variant, arm, held_out))]
        yield from _compare(rows, arms, held_out)


def _row(variant: str, arm: Arm, held_out: Mapping[tuple[str, int], Sequence[tuple[int, float]]]) -> Learning | None:
    curves = [points for (name, _), points in held_out.items() if name == arm.name]
    if not curves:
        return None
    areas = [_area(points) for points in curves]
    reached = {
        name: [step for points in curves if (step := steps_to(*_apart(points), limit)) is not None]
        for name, limit in THRESHOLDS.items()
    }
    return Learning(
        variant,
        arm.name,
        arm.start or "base",
        max(points[-1][0] for points in curves),
        len(curves),
        fmean(points[0][1] for points in curves),
        fmean(points[-1][1] for points in curves),
        fmean(areas),
        stdev(areas) if len(areas) > 1 else None,
        {name: (len(steps), float(median(steps)) if steps else None) for name, steps in reached.items()},
    )


def _compare(
    rows: Sequence[Learning], arms: Sequence[Arm], held_out: Mapping[tuple[str, int], Sequence[tuple[int, float]]]
) -> Iterator[Learning]:
    untrained = {arm.name for arm in arms if not arm.steps}
    trained_on = {arm.name: arm.trained_on for arm in arms}
    references: dict[str, str] = {}
    for row in rows:
        if row.start in (*untrained, "base"):
            references.setdefault(trained_on[row.arm], row.arm)
    differences, seeds_compared = {}, {}
    for row in rows:
        reference = references.get(trained_on[row.arm])
        seeds = [seed for name, seed in held_out if name == row.arm and (reference, seed) in held_out]
        if reference is not None and row.arm != reference:
            mine = [_area(held_out[row.arm, seed]) for seed in seeds]
            differences[row.arm] = over_seeds(mine, [_area(held_out[reference, seed]) for seed in seeds])
            seeds_compared[row.arm] = len(seeds)
    comparisons = {arm: result for arm, result in differences.items() if result is not None}
    p_holm = dict(zip(comparisons, holm([result.p for result in comparisons.values()]), strict=True))
    for row in rows:
        if row.arm in comparisons:
            result = comparisons[row.arm]
            difference = Estimate(value=result.difference, low=result.low, high=result.high, n=seeds_compared[row.arm])
            against = references[trained_on[row.arm]]
            yield replace(row, against=against, difference=difference, p=result.p, p_holm=p_holm[row.arm])
        else:
            yield row


def _area(points: Sequence[tuple[int, float]]) -> float:
    return learning_area(*_apart(points))


def _apart(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    """Steps and values of a curve."""
    return [step for step, _ in points], [value for _, value in points]
