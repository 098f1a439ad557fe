"""The report's plots of arms: safety against help, loss and learning curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, floor

from markupsafe import Markup

from sinternal.figures.metric import ASR, HELPFUL, Over
from sinternal.figures.score import Key, Score, by_key
from sinternal.figures.study import Arm, LearningCurve, LossCurve
from sinternal.records import Split
from sinternal.report import svg
from sinternal.report.format import MINUS, bounds, percent
from sinternal.report.svg import DASHES, Scale

POINTS_PER_LINE = 300


def legend(arms: Sequence[Arm]) -> Markup:
    """Which arm has which colour, shape and dashes: a list to stand above the plots."""
    items = []
    for i, arm in enumerate(arms):
        line = svg.tag("line", class_="curve", x1=0, y1=8, x2=34, y2=8, stroke_dasharray=DASHES[i % len(DASHES)])
        swatch = svg.tag("svg", line, svg.mark(i, 17, 8), class_=svg.colour(i), width=34, height=16, aria_hidden="true")
        items.append(svg.tag("li", swatch, arm.name))
    return svg.tag("ul", *items, class_="legend")


def safety_against_helpfulness(
    scores: Sequence[Score], arms: Sequence[Arm], seeds: Sequence[int], variant: str
) -> Markup | None:
    """A point for each arm, with both intervals as a cross, and a faint one for each seed; None if unmeasured.

    Of a figure that has only bounds, because labels are missing, these are drawn, and no point.
    """
    figures = by_key(scores)
    pairs = {
        (i, seed): (help_, attack)
        for i, arm in enumerate(arms)
        for seed in (*(seeds if len(seeds) > 1 else ()), None)
        if (help_ := figures.get(Key(variant, arm.name, HELPFUL.name, Over.BENIGN, Split.OOD, seed=seed)))
        and (attack := figures.get(Key(variant, arm.name, ASR.name, Over.HARMFUL, Split.OOD, seed=seed)))
        and _is_drawn(help_, attack)
    }
    whole = [pair for (_, seed), pair in pairs.items() if seed is None]
    if not whole:
        return None
    known = [(a.value, 1 - b.value) for a, b in whole if a.value is not None and b.value is not None]
    x = _share_scale((v for a, _ in pairs.values() for v in (*_ends(a, whole=a.seed is None), a.value)), 64, 500)
    safe = (v for _, b in pairs.values() for v in (*_ends(b, whole=b.seed is None), b.value))
    y = _share_scale((1 - v for v in safe if v is not None), 330, 16)
    content = _grid(x, y, "helpful on benign OOD requests", f"safe on harmful OOD requests (1 {MINUS} ASR)")
    content.append(_frontier(known, x, y))
    for (i, seed), (a, b) in pairs.items():
        content.append(_point(i, arms[i].name, seed, a, b, x, y))
    without = (
        " Dotted lines without a mark: bounds, where labels are missing; the frontier leaves them out."
        if len(known) < len(whole)
        else ""
    )
    return svg.figure(
        516,
        384,
        "Safety against helpfulness",
        "Up is safer, right is more helpful. The line is the frontier: no arm is both safer and more helpful than "
        f"those on it. Crosses are 95 % intervals; faint marks are single seeds.{without}",
        content,
    )


def _is_drawn(a: Score, b: Score) -> bool:
    """Whether two figures are known: of a single seed both, of all seeds at least their bounds."""
    return all(score.value is not None or (score.seed is None and score.bounded) for score in (a, b))


def _ends(score: Score, *, whole: bool = True) -> tuple[float | None, float | None]:
    """The ends of what is drawn of a figure: its interval or its bounds; of a single seed none."""
    if not whole:
        return None, None
    return (score.lowest, score.highest) if score.value is None else (score.low, score.high)


def _frontier(arms: Sequence[tuple[float, float]], x: Scale, y: Scale) -> Markup:
    """A step line through the arms that no other arm beats in both; (helpful, safe) each."""
    best, line = -1.0, []
    for helpful, safe in sorted(arms, reverse=True):
        if safe > best:
            line += [
                f"{x.at(helpful):.1f},{y.at(best if best >= 0 else safe):.1f}",
                f"{x.at(helpful):.1f},{y.at(safe):.1f}",
            ]
            best = safe
    return svg.tag("polyline", svg.tag("title", "frontier"), class_="frontier", points=" ".join(line))


def _point(i: int, arm: str, seed: int | None, a: Score, b: Score, x: Scale, y: Scale) -> Markup:
    helpful, attack = (bounds(score) if score.value is None else percent(score.value) for score in (a, b))
    title = f"{arm}{'' if seed is None else f', seed {seed}'}: helpful {helpful} %, ASR {attack} %"
    at = (x.at(_middle(a)), y.at(1 - _middle(b)))
    parts = [svg.tag("title", title)]
    if seed is None:
        (left, right), (low, high) = _ends(a), _ends(b)
        if left is not None and right is not None:
            parts.append(_bar(a, x.at(left), at[1], x.at(right), at[1]))
        if low is not None and high is not None:
            parts.append(_bar(b, at[0], y.at(1 - low), at[0], y.at(1 - high)))
    if a.value is not None and b.value is not None:
        parts.append(svg.mark(i, *at))
    return svg.tag("g", *parts, class_=svg.colour(i) + ("" if seed is None else " faint"))


def _bar(score: Score, *ends: float) -> Markup:
    """An interval, or bounds."""
    bar = svg.whisker(*ends)
    return bar if score.value is not None else svg.tag("g", bar, class_="bounds")


def _middle(score: Score) -> float:
    low, high = _ends(score)
    return score.value if score.value is not None else ((low or 0.0) + (high or 0.0)) / 2


def training_loss(losses: Sequence[LossCurve], arms: Sequence[Arm], variant: str) -> Markup | None:
    """The training loss by optimiser step, one line for each arm and seed; None if nothing was trained."""
    curves = [curve for curve in losses if curve.variant == variant and curve.points]
    if not curves:
        return None
    steps = [step for curve in curves for step, _ in curve.points]
    top = max(loss for curve in curves for _, loss in curve.points)
    x = Scale(0, max(steps) or 1, 64, 500)
    y = Scale(0, 1.05 * top or 1, 330, 16)
    content = _grid(x, y, "optimiser step", "training loss, nats per token", share=False)
    order = {arm.name: i for i, arm in enumerate(arms)}
    for curve in curves:
        i = order[curve.arm]
        line = _line(curve.points, x, y, DASHES[i % len(DASHES)])
        end = svg.mark(i, x.at(curve.points[-1][0]), y.at(curve.points[-1][1]))
        content.append(
            svg.tag("g", svg.tag("title", f"{curve.arm}, seed {curve.seed}"), line, end, class_=svg.colour(i))
        )
    return svg.figure(
        516,
        384,
        "Training loss",
        "Mean cross-entropy on the completion; the arms learn different texts, so levels are not comparable.",
        content,
    )


PANELS = (
    ("held out", "asr", "Attack success, held-out training prompts", "attack success rate"),
    ("held out", "over_refusal", "Over-refusal, held-out training prompts", "share of benign refused"),
    ("rollouts", "reward_harmful", "Reward on harmful prompts", "mean reward"),
    ("rollouts", "reward_benign", "Reward on benign prompts", "mean reward"),
    ("rollouts", "reward_mathematics", "Reward on mathematics", "mean reward"),
    ("rollouts", "reward_verification", "Reward on verification", "mean reward"),
    ("rollouts", "balanced_accuracy", "Balanced accuracy of verdicts", "mean share right over both labels"),
    ("rollouts", "unsafe_verdicts", "Verdicts that say unsafe", "share of readable verdicts"),
    ("rollouts", "right_unsafe", "Right verdicts on unsafe answers", "share of verdicts"),
    ("rollouts", "right_safe", "Right verdicts on safe answers to harmful prompts", "share of verdicts"),
    ("rollouts", "right_benign", "Right verdicts on safe answers to benign prompts", "share of verdicts"),
    ("rollouts", "self_judge_gap", "Own answers called safe, policy less judge", "difference of shares"),
    ("rollouts", "unread_verdicts", "Verdicts that cannot be read", "share of verdicts"),
    ("rollouts", "unverified", "Own verdicts cut short", "share of own verdicts"),
    ("rollouts", "over_refusal", "Over-refusal, training rollouts", "share of benign refused"),
    ("rollouts", "zero_spread", "Groups without spread", "share of groups"),
    ("rollouts", "truncated", "Truncated rollouts", "share of rollouts"),
    ("rollouts", "unreadable", "Rollouts without a readable answer", "share of rollouts"),
    ("rollouts", "judge_failed", "Judge failures", "share of judged rollouts"),
    ("rollouts", "entropy", "Entropy", "nats per token"),
    ("rollouts", "length", "Length", "tokens"),
)
"""What is watched in reinforcement learning: source, figure, title and unit."""
ABSOLUTE = ("entropy", "length")
"""Figures that are no shares."""


def learning_curves(curves: Sequence[LearningCurve], arms: Sequence[Arm], variant: str) -> list[Markup]:
    """One plot for each figure that was logged: the mean over seeds, and faint lines for single seeds."""
    of_variant = [curve for curve in curves if curve.variant == variant]
    return [plot for panel in PANELS if (plot := _learning_panel(of_variant, arms, *panel))]


def _learning_panel(
    curves: Sequence[LearningCurve], arms: Sequence[Arm], source: str, figure: str, title: str, unit: str
) -> Markup | None:
    lines = {
        (curve.arm, curve.seed): curve.points[figure]
        for curve in curves
        if curve.source == source and curve.points.get(figure)
    }
    if not lines:
        return None
    is_share = figure not in ABSOLUTE
    values = [value for points in lines.values() for _, value in points]
    top, bottom = max(values), min(0, floor(10 * min(values)) / 10)
    x = Scale(0, max(points[-1][0] for points in lines.values()) or 1, 64, 500)
    y = Scale(bottom, min(1, max(0.1, ceil(10 * top) / 10)) if is_share else 1.05 * top or 1, 240, 16)
    content = _grid(x, y, "optimiser step", unit, share=is_share, steps=True)
    for i, arm in enumerate(arms):
        seeds = [points for (name, _), points in lines.items() if name == arm.name]
        dashes = DASHES[i % len(DASHES)]
        if len(seeds) > 1:
            content += [svg.tag("g", _line(points, x, y), class_=f"{svg.colour(i)} faintest") for points in seeds]
        if seeds:
            mean = _mean_line(seeds)
            end = svg.mark(i, x.at(mean[-1][0]), y.at(mean[-1][1]))
            content.append(
                svg.tag("g", svg.tag("title", arm.name), _line(mean, x, y, dashes), end, class_=svg.colour(i))
            )
    described = "Mean over seeds; faint lines are single seeds." if len({s for _, s in lines}) > 1 else "One seed."
    return svg.figure(516, 294, title, described, content)


def _mean_line(seeds: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    """The mean over seeds at every step that all of them have."""
    values = [dict(points) for points in seeds]
    common = sorted(set.intersection(*(set(points) for points in values)))
    return [(step, sum(points[step] for points in values) / len(values)) for step in common] or list(seeds[0])


def _line(points: Sequence[tuple[int, float]], x: Scale, y: Scale, dashes: str = "none") -> Markup:
    thinned = points[:: ceil(len(points) / POINTS_PER_LINE)]
    path = " ".join(f"{x.at(step):.1f},{y.at(value):.1f}" for step, value in thinned)
    return svg.tag("polyline", class_="curve", points=path, stroke_dasharray=dashes)


def _share_scale(values: Iterable[float | None], start: float, end: float) -> Scale:
    """Tenths around the values, at least three of them, so that near arms do not lie on each other."""
    known = [value for value in values if value is not None]
    low, high = max(0, floor(10 * min(known) - 0.1)), min(10, ceil(10 * max(known) + 0.1))
    while high - low < 3:
        low, high = max(0, low - 1), min(10, high + 1)
    return Scale(low / 10, high / 10, start, end)


def _grid(x: Scale, y: Scale, x_title: str, y_title: str, share: bool = True, steps: bool = False) -> list[Markup]:
    """Rules, ticks and titles of a plot with two continuous axes, both in shares unless `share` or `steps` deny it."""
    parts = [svg.rule(x.start, x.end, y.at(t), f"{t:.0%}" if share else f"{t:g}") for t in svg.ticks(y.low, y.high)]
    for tick in svg.ticks(x.low, x.high):
        parts.append(
            svg.text(x.at(tick), y.start + 18, f"{tick:.0%}" if share and not steps else f"{tick:g}", anchor="middle")
        )
        parts.append(svg.tag("line", class_="grid", x1=x.at(tick), x2=x.at(tick), y1=y.start, y2=y.end))
    parts.append(svg.text((x.start + x.end) / 2, y.start + 42, x_title, anchor="middle"))
    parts.append(svg.side_title(14, (y.start + y.end) / 2, y_title))
    return parts
