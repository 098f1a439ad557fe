"""The report's plots as inline SVG. Colours come from the page's style sheet, so that they follow light and dark.

Every arm has a colour, a shape and a dash pattern of its own, so that no plot is read by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, floor, log10
from typing import NamedTuple

from markupsafe import Markup

from sinternal.figures.metric import ASR, HELPFUL, Over
from sinternal.figures.score import Figures, Key, Score, by_key
from sinternal.figures.study import Arm, LearningCurve, LossCurve
from sinternal.records import Split
from sinternal.report.format import MINUS, interval, percent

SHAPES = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
    "M-4.5-4.5h9v9h-9z",
    "M0-6.4L6.4 0 0 6.4-6.4 0z",
    "M0-6L6 4.8H-6z",
    "M0 6L6-4.8H-6z",
    "M-2-6h4v4h4v4h-4v4h-4v-4h-4v-4h4z",
)
DASHES = ("1 3", "8 3", "3 3", "none", "8 3 2 3", "12 4")
COLOURS = 7
"""How many the style sheet defines; not a multiple of the shapes, so that both repeat together only after 42 arms."""
POINTS_PER_LINE = 300


class Scale(NamedTuple):
    """Values to pixels."""

    low: float
    """Least value."""
    high: float
    """Greatest value."""
    start: float
    """Pixel of the least value."""
    end: float
    """Pixel of the greatest."""

    def at(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def legend(arms: Sequence[Arm]) -> Markup:
    """Which arm has which colour, shape and dashes: a list to stand above the plots."""
    items = []
    for i, arm in enumerate(arms):
        line = _tag("line", class_="curve", x1=0, y1=8, x2=34, y2=8, stroke_dasharray=DASHES[i % len(DASHES)])
        swatch = _tag("svg", line, _mark(i, 17, 8), class_=_colour(i), width=34, height=16, aria_hidden="true")
        items.append(_tag("li", swatch, arm.name))
    return _tag("ul", *items, class_="legend")


def asr_by_family(scores: Sequence[Score], arms: Sequence[Arm], variant: str) -> Markup | None:
    """Attack success by family and arm with 95 % intervals, ID families left, OOD right; None if unmeasured."""
    figures = by_key(scores)
    families = {split: _families(scores, variant, split) for split in (Split.ID, Split.OOD)}
    names = [*families[Split.ID], *families[Split.OOD]]
    if not names:
        return None
    step = max(112.0, 18.0 * len(arms) + 30, 6.8 * max(map(len, names)) + 10)
    left, top, bottom, gap = 58.0, 34.0, 304.0, 22.0
    y = Scale(0, 1, bottom, top)
    edge, content, frames = left, [], []
    for split, words in ((Split.ID, "ID: families that tuning saw"), (Split.OOD, "OOD: families never tuned on")):
        if not families[split]:
            continue
        width = max(step * len(families[split]), 7.4 * len(words))
        pitch = width / len(families[split])
        frames.append(_tag("rect", class_=f"region {split}", x=edge, y=top, width=width, height=bottom - top))
        content.append(_text(edge + 4, top - 10, words, class_="heading"))
        for i, family in enumerate(families[split]):
            centre = edge + pitch * (i + 0.5)
            content.append(_text(centre, bottom + 18, family, anchor="middle"))
            content.extend(_group(figures, arms, Key(variant, "", ASR.name, Over.HARMFUL, split, family), centre, y))
        edge += width + gap
    right = edge - gap
    rules = [_rule(left, right, y.at(tick), f"{tick:.0%}") for tick in _ticks(0, 1)]
    axes = [
        _side_title(14, (top + bottom) / 2, "attack success rate"),
        _text((left + right) / 2, bottom + 40, "attack family", anchor="middle"),
    ]
    return _figure(
        right + 12,
        bottom + 50,
        "Attack success by family and arm",
        "Lower is safer. Whiskers are 95 % intervals, pooled over seeds.",
        [*frames, *rules, *axes, *content],
    )


def _group(figures: Figures, arms: Sequence[Arm], place: Key, centre: float, y: Scale) -> Iterable[Markup]:
    """The arms of one family, side by side."""
    for i, arm in enumerate(arms):
        score = figures.get(place._replace(arm=arm.name))
        if score is not None and score.value is not None:
            x = centre + 18 * (i - (len(arms) - 1) / 2)
            ends = (
                [] if score.low is None or score.high is None else [_whisker(x, y.at(score.low), x, y.at(score.high))]
            )
            title = (
                f"{arm.name}, {place.family}: {percent(score.value)} % {interval(score.low, score.high)}, n = {score.n}"
            )
            yield _tag("g", _tag("title", title), *ends, _mark(i, x, y.at(score.value)), class_=_colour(i))


def safety_against_helpfulness(
    scores: Sequence[Score], arms: Sequence[Arm], seeds: Sequence[int], variant: str
) -> Markup | None:
    """A point for each arm, with both intervals as a cross, and a faint one for each seed; None if unmeasured."""
    figures = by_key(scores)
    pairs = {
        (i, seed): (help_, attack)
        for i, arm in enumerate(arms)
        for seed in (*(seeds if len(seeds) > 1 else ()), None)
        if (help_ := figures.get(Key(variant, arm.name, HELPFUL.name, Over.BENIGN, Split.OOD, seed=seed)))
        and (attack := figures.get(Key(variant, arm.name, ASR.name, Over.HARMFUL, Split.OOD, seed=seed)))
        and help_.value is not None
        and attack.value is not None
    }
    if not pairs:
        return None
    whole = [pair for (_, seed), pair in pairs.items() if seed is None]
    x = _share_scale([v for a, _ in whole for v in (a.low, a.high)] + [a.value for a, _ in pairs.values()], 64, 500)
    safe = [
        1 - v
        for _, b in pairs.values()
        for v in ((b.value,) if b.seed is not None else (b.low, b.value, b.high))
        if v is not None
    ]
    y = _share_scale(safe, 330, 16)
    content = _grid(x, y, "helpful on benign OOD requests", f"safe on harmful OOD requests (1 {MINUS} ASR)")
    content.append(_frontier([(a.value or 0, 1 - (b.value or 0)) for a, b in whole], x, y))
    for (i, seed), (a, b) in pairs.items():
        content.append(_point(i, arms[i].name, seed, a, b, x, y))
    return _figure(
        516,
        384,
        "Safety against helpfulness",
        "Up is safer, right is more helpful. The line is the frontier: no arm is both safer and more helpful than "
        "those on it. Crosses are 95 % intervals; faint marks are single seeds.",
        content,
    )


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
    return _tag("polyline", _tag("title", "frontier"), class_="frontier", points=" ".join(line))


def _point(i: int, arm: str, seed: int | None, a: Score, b: Score, x: Scale, y: Scale) -> Markup:
    at = (x.at(a.value or 0), y.at(1 - (b.value or 0)))
    title = f"{arm}{'' if seed is None else f', seed {seed}'}: helpful {percent(a.value)} %, ASR {percent(b.value)} %"
    cross = []
    if seed is None and None not in (a.low, a.high, b.low, b.high):
        cross = [
            _whisker(x.at(a.low or 0), at[1], x.at(a.high or 0), at[1]),
            _whisker(at[0], y.at(1 - (b.low or 0)), at[0], y.at(1 - (b.high or 0))),
        ]
    faint = "" if seed is None else " faint"
    return _tag("g", _tag("title", title), *cross, _mark(i, *at), class_=_colour(i) + faint)


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
        end = _mark(i, x.at(curve.points[-1][0]), y.at(curve.points[-1][1]))
        content.append(_tag("g", _tag("title", f"{curve.arm}, seed {curve.seed}"), line, end, class_=_colour(i)))
    return _figure(
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
            content += [_tag("g", _line(points, x, y), class_=f"{_colour(i)} faintest") for points in seeds]
        if seeds:
            mean = _mean_line(seeds)
            end = _mark(i, x.at(mean[-1][0]), y.at(mean[-1][1]))
            content.append(_tag("g", _tag("title", arm.name), _line(mean, x, y, dashes), end, class_=_colour(i)))
    described = "Mean over seeds; faint lines are single seeds." if len({s for _, s in lines}) > 1 else "One seed."
    return _figure(516, 294, title, described, content)


def _mean_line(seeds: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    """The mean over seeds at every step that all of them have."""
    values = [dict(points) for points in seeds]
    common = sorted(set.intersection(*(set(points) for points in values)))
    return [(step, sum(points[step] for points in values) / len(values)) for step in common] or list(seeds[0])


def _line(points: Sequence[tuple[int, float]], x: Scale, y: Scale, dashes: str = "none") -> Markup:
    thinned = points[:: ceil(len(points) / POINTS_PER_LINE)]
    path = " ".join(f"{x.at(step):.1f},{y.at(value):.1f}" for step, value in thinned)
    return _tag("polyline", class_="curve", points=path, stroke_dasharray=dashes)


def _families(scores: Sequence[Score], variant: str, split: Split) -> list[str]:
    return list(
        dict.fromkeys(
            s.family for s in scores if s.variant == variant and s.metric == ASR.name and s.split == split and s.family
        )
    )


def _share_scale(values: Iterable[float | None], start: float, end: float) -> Scale:
    """Tenths around the values, at least three of them, so that near arms do not lie on each other."""
    known = [value for value in values if value is not None]
    low, high = max(0, floor(10 * min(known) - 0.1)), min(10, ceil(10 * max(known) + 0.1))
    while high - low < 3:
        low, high = max(0, low - 1), min(10, high + 1)
    return Scale(low / 10, high / 10, start, end)


def _ticks(low: float, high: float) -> list[float]:
    """Round values from low to high, about five."""
    rough = (high - low) / 5
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.999 * rough)
    return [round(step * i, 10) for i in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _grid(x: Scale, y: Scale, x_title: str, y_title: str, share: bool = True, steps: bool = False) -> list[Markup]:
    """Rules, ticks and titles of a plot with two continuous axes, both in shares unless `share` or `steps` deny it."""
    parts = [_rule(x.start, x.end, y.at(t), f"{t:.0%}" if share else f"{t:g}") for t in _ticks(y.low, y.high)]
    for tick in _ticks(x.low, x.high):
        parts.append(
            _text(x.at(tick), y.start + 18, f"{tick:.0%}" if share and not steps else f"{tick:g}", anchor="middle")
        )
        parts.append(_tag("line", class_="grid", x1=x.at(tick), x2=x.at(tick), y1=y.start, y2=y.end))
    parts.append(_text((x.start + x.end) / 2, y.start + 42, x_title, anchor="middle"))
    parts.append(_side_title(14, (y.start + y.end) / 2, y_title))
    return parts


def _rule(left: float, right: float, y: float, label: str) -> Markup:
    line = _tag("line", class_="grid", x1=left, x2=right, y1=y, y2=y)
    return line + _text(left - 8, y + 4, label, anchor="end")


def _whisker(x1: float, y1: float, x2: float, y2: float) -> Markup:
    return _tag("line", class_="whisker", x1=x1, y1=y1, x2=x2, y2=y2)


def _mark(i: int, x: float, y: float) -> Markup:
    return _tag("path", class_="mark", d=SHAPES[i % len(SHAPES)], transform=f"translate({x:.1f} {y:.1f})")


def _colour(i: int) -> str:
    return f"arm-{i % COLOURS}"


def _text(x: float, y: float, text: str, anchor: str = "start", class_: str = "label") -> Markup:
    return _tag("text", text, x=x, y=y, text_anchor=anchor, class_=class_)


def _side_title(x: float, y: float, text: str) -> Markup:
    return _tag("text", text, class_="label", text_anchor="middle", transform=f"translate({x} {y:.1f}) rotate(-90)")


def _figure(width: float, height: float, title: str, description: str, content: Sequence[Markup]) -> Markup:
    size = {"width": ceil(width), "height": ceil(height), "viewBox": f"0 0 {ceil(width)} {ceil(height)}"}
    svg = _tag("svg", _tag("title", title), _tag("desc", description), *content, role="img", **size)
    caption = _tag("figcaption", _tag("strong", title), " ", description)
    return _tag("figure", caption, _tag("div", svg, class_="scroll", tabindex=0), class_="plot")


def _tag(name: str, *children: str, **attributes: object) -> Markup:
    """An element; children and attributes that are not markup are escaped."""
    written = Markup("").join(
        Markup(' {}="{}"').format(
            key if key == "viewBox" else key.rstrip("_").replace("_", "-"),
            f"{value:.1f}" if isinstance(value, float) else value,
        )
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, Markup("").join(children))
