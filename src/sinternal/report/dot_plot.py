"""Points with intervals, one row for each arm or variant, in panels side by side that share their scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import NamedTuple

from markupsafe import Markup

from sinternal.report import svg
from sinternal.report.format import MINUS
from sinternal.report.svg import Scale

WIDE = 1110.0
"""Pixels that a laptop's window leaves for all panels in one row."""
NARROW = 350.0
"""Pixels of a panel on its own, so that a telephone's window holds it."""
ROW, HEAD, AXIS, FOOT, GAP = 25.0, 44.0, 24.0, 42.0, 20.0
"""Heights of a row, and of what stands above the rows, beneath them and beneath the axis; space between panels."""
LETTER = 6.7
"""Width of a letter of a label, in pixels."""


class Line(NamedTuple):
    """One row."""

    label: str
    """Its name."""
    shape: int
    """Number of the arm whose shape and colour its marks have."""
    tied: bool = False
    """Whether it is one of those that belong together."""


@dataclass(frozen=True)
class Dot:
    """One figure."""

    value: float | None
    """None if only its bounds are known."""
    low: float | None
    """Lower end of the interval."""
    high: float | None
    """Upper end."""
    words: str
    """The figure in words, for readers who see no picture."""
    single: tuple[float, ...] = ()
    """The figure of each seed, if there are several."""
    hollow: bool = False
    """Whether its mark is only outlined: a difference that is not clear."""


@dataclass(frozen=True)
class Panel:
    """One column."""

    title: str
    """Its heading."""
    subtitle: str
    """What else a reader should know, in small type."""
    dots: Mapping[str, Dot]
    """By label of the row."""
    reference: float | None = None
    """Where a line is drawn across all rows."""
    foot: tuple[str, str] = ("", "")
    """Two lines beneath the axis: a figure and its interval."""
    bold: bool = False
    """Whether these stand out."""
    words: str = ""
    """What the panel says beyond its points."""


@dataclass(frozen=True)
class Plot:
    """Rows and columns of points."""

    title: str
    """The heading."""
    caption: str
    """How to read it."""
    lines: Sequence[Line]
    """The rows; those that are tied stand together."""
    panels: Sequence[Panel]
    """The columns."""
    low: float
    """Least value of the scale."""
    high: float
    """Greatest value."""
    unit: str = "%"
    """What stands behind a tick."""
    foot: str = ""
    """What the lines beneath the axis are."""
    signed: bool = False
    """Whether ticks have a sign."""


def draw(plot: Plot) -> Markup:
    """All panels in a row and, for narrow windows, each on its own: the style sheet shows one of these."""
    caption = svg.tag("figcaption", svg.tag("strong", plot.title), " ", plot.caption)
    wide = svg.tag("div", _svg(plot, plot.panels, WIDE), class_="scroll in-a-row", tabindex=0)
    alone = svg.tag("div", *(_svg(plot, [panel], NARROW) for panel in plot.panels), class_="one-by-one")
    return svg.tag("figure", caption, wide, alone, class_="plot glance")


def _svg(plot: Plot, panels: Sequence[Panel], width: float) -> Markup:
    """Some panels as one drawing."""
    left = max(LETTER * max(map(len, (*(line.label for line in plot.lines), plot.foot))), 60) + 18
    each = min(max((width - left) / len(panels) - GAP, 118), 250)
    right = left + len(panels) * (each + GAP)
    bottom = HEAD + ROW * len(plot.lines)
    content = [_band(plot.lines, right - GAP / 2)]
    for i, line in enumerate(plot.lines):
        kind = "label name strong" if line.tied else "label name"
        content.append(svg.text(left - 14, _middle(i) + 4, line.label, anchor="end", class_=kind))
    if plot.foot:
        content.append(svg.text(left - 14, bottom + AXIS + 18, plot.foot, anchor="end", class_="label name"))
    for i, panel in enumerate(panels):
        start = left + i * (each + GAP)
        content += _panel(plot, panel, Scale(plot.low, plot.high, start + 5, start + each - 5), bottom)
    height = bottom + AXIS + (FOOT if plot.foot else 0)
    size = {"width": ceil(right), "height": ceil(height), "viewBox": f"0 0 {ceil(right)} {ceil(height)}"}
    said = [svg.tag("title", plot.title), svg.tag("desc", " ".join(map(_in_words, panels)))]
    return svg.tag("svg", *said, *content, role="img", **size)


def _in_words(panel: Panel) -> str:
    figures = "; ".join(dot.words for dot in panel.dots.values())
    return f"{panel.title}, {panel.subtitle}: {figures}. {panel.words}".strip()


def _middle(row: int) -> float:
    return HEAD + ROW * (row + 0.5)


def _band(lines: Sequence[Line], right: float) -> Markup:
    """What shows that some rows belong together."""
    tied = [i for i, line in enumerate(lines) if line.tied]
    if len(tied) < 2:
        return Markup()
    top, height = _middle(tied[0]) - ROW / 2, ROW * len(tied)
    bracket = svg.tag("rect", class_="tie", x=0.0, y=top + 3, width=3.0, height=height - 6)
    return svg.tag("rect", class_="band", x=0.0, y=top, width=right, height=height) + bracket


def _panel(plot: Plot, panel: Panel, x: Scale, bottom: float) -> list[Markup]:
    """The headings, axis and points of one panel."""
    middle = (x.start + x.end) / 2
    parts = [
        svg.text(middle, 16, panel.title, anchor="middle", class_="heading"),
        svg.text(middle, 33, panel.subtitle, anchor="middle", class_="label small"),
        *(_tick(plot, tick, x, bottom) for tick in _few_ticks(plot, x)),
    ]
    if panel.reference is not None:
        at = x.at(panel.reference)
        parts.append(svg.tag("line", class_="reference", x1=at, x2=at, y1=HEAD - 2, y2=bottom))
    parts.append(_connection(plot.lines, panel, x))
    for i, line in enumerate(plot.lines):
        if line.label in panel.dots:
            parts.append(_dot(line.shape, panel.dots[line.label], x, _middle(i)))
    if not plot.foot:
        return parts
    value, interval = panel.foot
    kind = "effect clear" if panel.bold else "effect"
    parts.append(svg.text(middle, bottom + AXIS + 18, value, anchor="middle", class_=kind))
    parts.append(svg.text(middle, bottom + AXIS + 34, interval, anchor="middle", class_="label small"))
    return parts


def _few_ticks(plot: Plot, x: Scale) -> list[float]:
    """Round values, as many as the width leaves room for; 0 is one of them."""
    room = max(1, int((x.end - x.start) / 42))
    step = next((step for step in (0.1, 0.2, 0.25, 0.5) if (plot.high - plot.low) / step <= room), 1.0)
    first, last = ceil(round(plot.low / step, 6)), floor(round(plot.high / step, 6))
    return [i * step for i in range(first, last + 1)]


def _tick(plot: Plot, tick: float, x: Scale, bottom: float) -> Markup:
    """A line of the grid and its label, which does not reach into the panel beside it."""
    label = f"{100 * tick:+.0f}".replace("-", MINUS) if plot.signed and tick else f"{100 * tick:.0f}"
    at = x.at(tick)
    anchor = "start" if at - x.start < 14 else "end" if x.end - at < 14 else "middle"
    edge = {"start": x.start - 5, "end": x.end + 5, "middle": at}[anchor]
    line = svg.tag("line", class_="grid", x1=at, x2=at, y1=HEAD - 2, y2=bottom)
    return line + svg.text(edge, bottom + 15, f"{label}{plot.unit}", anchor=anchor, class_="label small")


def _connection(lines: Sequence[Line], panel: Panel, x: Scale) -> Markup:
    """A line from the first of the rows that are tied to each other one."""
    tied = [(i, panel.dots[line.label]) for i, line in enumerate(lines) if line.tied and line.label in panel.dots]
    known = [(x.at(dot.value), _middle(i)) for i, dot in tied if dot.value is not None]
    pairs = zip(known[:1] * len(known[1:]), known[1:], strict=True)
    return Markup("").join(
        svg.tag("line", class_="connection", x1=x1, y1=y1, x2=x2, y2=y2) for (x1, y1), (x2, y2) in pairs
    )


def _dot(shape: int, dot: Dot, x: Scale, y: float) -> Markup:
    """A point with its interval, and faint ones for single seeds; of a figure with bounds alone, these."""
    parts = [svg.tag("title", dot.words)]
    if dot.low is not None and dot.high is not None:
        whisker = svg.whisker(x.at(max(dot.low, x.low)), y, x.at(min(dot.high, x.high)), y)
        parts.append(whisker if dot.value is not None else svg.tag("g", whisker, class_="bounds"))
    parts += [svg.tag("circle", class_="seed", cx=x.at(value), cy=y, r=2.6) for value in dot.single]
    if dot.value is not None:
        parts.append(svg.mark(shape, x.at(dot.value), y))
    return svg.tag("g", *parts, class_=f"{svg.colour(shape)}{' hollow' if dot.hollow else ''}")
