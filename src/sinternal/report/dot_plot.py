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
NARROW = 352.0
"""Pixels that a telephone's window leaves."""
ABREAST = 3
"""Panels in a row of a narrow window."""
AT_MOST = 7
"""Panels in a row of a wide one."""
LEAST, MOST = 62.0, 250.0
"""Pixels that a panel has at least and at most."""
NAME = 104.0
"""Pixels of the names of rows in a narrow window."""
HEAD, AXIS, FOOT, COUNT, GAP = 44.0, 24.0, 42.0, 17.0, 20.0
"""Heights of what stands above the rows, beneath them, beneath the axis, and of each count; space between panels."""
ROWS, LEAST_ROW, MOST_ROW = 250.0, 25.0, 48.0
"""Height of all rows of a wide picture, and of one row at least and at most."""
LETTER, BOLD = 6.7, 7.3
"""Width of a letter of a label, and of a heading, in pixels."""


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
    n: int = 0
    """Answers that it is of."""
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
    counts: tuple[str, ...] = ()
    """Further lines beneath: what `Plot.counts` names, in its order."""
    words: str = ""
    """What the panel says beyond its points."""
    high: float | None = None
    """Greatest value, if the panel has a scale of its own."""
    mirrored: bool = False
    """Whether the scale runs to the left."""


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
    counts: tuple[str, ...] = ()
    """Names of the further lines beneath each panel."""
    signed: bool = False
    """Whether ticks have a sign."""


def draw(plot: Plot) -> Markup:
    """All panels in a row and, for narrow windows, a few of them in each: the style sheet shows one of these."""
    caption = svg.tag("figcaption", svg.tag("strong", plot.title))
    how = svg.tag("p", plot.caption, class_="how note")
    wide = svg.tag("div", *(_svg(plot, row, WIDE) for row in _cut(plot.panels, AT_MOST)), class_="in-a-row")
    few = (_svg(plot, row, NARROW, narrow=True) for row in _cut(plot.panels, ABREAST))
    return svg.tag("figure", caption, wide, svg.tag("div", *few, class_="in-rows"), how, class_="plot glance")


def _cut(panels: Sequence[Panel], abreast: int) -> list[Sequence[Panel]]:
    """Rows of panels, as even as can be."""
    rows = ceil(len(panels) / abreast)
    each = ceil(len(panels) / rows) if rows else 1
    return [panels[i : i + each] for i in range(0, len(panels), each)]


def _svg(plot: Plot, panels: Sequence[Panel], width: float, *, narrow: bool = False) -> Markup:
    """Some panels as one drawing."""
    longest = max((8.2 if line.tied else LETTER) * len(line.label) for line in plot.lines) + 20
    beneath = max(map(len, (plot.foot, *plot.counts)))
    left = min(max(longest, LETTER * beneath + 18), NAME if narrow else 260.0)
    height = 19.0 if narrow else min(MOST_ROW, max(LEAST_ROW, ROWS / len(plot.lines)))
    foot = plot.foot if any(any(panel.foot) for panel in panels) else ""
    middles = [HEAD + height * (i + 0.5) for i in range(len(plot.lines))]
    gap = 8.0 if narrow else GAP
    abreast = len(_cut(plot.panels, ABREAST if narrow else AT_MOST)[0])
    each = min(max((width - left) / abreast - gap, LEAST), MOST)
    right = left + len(panels) * (each + gap)
    bottom = HEAD + height * len(plot.lines)
    content = [_band(plot.lines, middles, height, right - gap / 2)]
    for line, middle in zip(plot.lines, middles, strict=True):
        kind = "label name strong" if line.tied else "label name"
        content.append(_label(line.label, left - 14, middle + 4, left - 16, kind))
    if foot:
        content.append(_label(foot, left - 14, bottom + AXIS + 18, left - 16, "label name"))
    under = bottom + AXIS + (FOOT if foot else 0)
    for i, name in enumerate(plot.counts):
        content.append(_label(name, left - 14, under + COUNT * i + 12, left - 16, "label small"))
    for i, panel in enumerate(panels):
        start = left + i * (each + gap)
        content += _panel(plot, panel, _scale(plot, panel, start + 5, start + each - 5), middles, bottom)
        content += _counts(panel, start + each / 2, each + gap, under)
    whole = under + COUNT * len(plot.counts) + 2
    size = {"width": ceil(right), "height": ceil(whole), "viewBox": f"0 0 {ceil(right)} {ceil(whole)}"}
    said = [svg.tag("title", plot.title), svg.tag("desc", " ".join(map(_in_words, panels)))]
    return svg.tag("svg", *said, *content, role="img", **size)


def _counts(panel: Panel, middle: float, room: float, top: float) -> list[Markup]:
    """The further lines beneath a panel."""
    return [
        svg.text(
            middle,
            top + COUNT * i + 12,
            words,
            anchor="middle",
            class_="label small" if len(words) * 5.6 <= room else "label tiny",
        )
        for i, words in enumerate(panel.counts)
    ]


def _scale(plot: Plot, panel: Panel, start: float, end: float) -> Scale:
    high = plot.high if panel.high is None else panel.high
    return Scale(plot.low, high, *((end, start) if panel.mirrored else (start, end)))


def _label(words: str, right: float, y: float, room: float, kind: str) -> Markup:
    """The name of a row, cut to the room that there is; the whole of it is read out."""
    letters = int(room / (8.4 if "strong" in kind else 7.5))
    if len(words) * (8.2 if "strong" in kind else LETTER) <= room:
        return svg.text(right, y, words, anchor="end", class_=kind)
    cut = svg.text(right, y, f"{words[: letters - 1]}\u2026", anchor="end", class_=kind)
    return svg.tag("g", svg.tag("title", words), cut)


def _in_words(panel: Panel) -> str:
    figures = "; ".join(dot.words for dot in panel.dots.values())
    return f"{panel.title}, {panel.subtitle}: {figures}. {panel.words}".strip()


def _band(lines: Sequence[Line], middles: Sequence[float], row: float, right: float) -> Markup:
    """What shows that some rows belong together."""
    tied = [i for i, line in enumerate(lines) if line.tied]
    if len(tied) < 2:
        return Markup()
    top, height = middles[tied[0]] - row / 2, row * len(tied)
    bracket = svg.tag("rect", class_="tie", x=0.0, y=top + 3, width=3.0, height=height - 6)
    return svg.tag("rect", class_="band", x=0.0, y=top, width=right, height=height) + bracket


def _panel(plot: Plot, panel: Panel, x: Scale, middles: Sequence[float], bottom: float) -> list[Markup]:
    """The headings, axis and points of one panel."""
    middle, room = (x.start + x.end) / 2, abs(x.end - x.start) + 12
    parts = [
        *_headings(panel, middle, room),
        *(_tick(plot, tick, x, bottom) for tick in _few_ticks(x)),
    ]
    if panel.reference is not None:
        at = x.at(panel.reference)
        parts.append(svg.tag("line", class_="reference", x1=at, x2=at, y1=HEAD - 2, y2=bottom))
    parts.append(_connection(plot.lines, panel, x, middles))
    for line, middle_of_row in zip(plot.lines, middles, strict=True):
        if line.label in panel.dots:
            parts.append(_dot(line.shape, panel.dots[line.label], x, middle_of_row))
    if not any(panel.foot):
        return parts
    value, interval = panel.foot
    kind = "effect clear" if panel.bold else "effect"
    parts.append(svg.text(middle, bottom + AXIS + 18, value, anchor="middle", class_=kind))
    size = "label small" if len(interval) * 5.6 <= room else "label tiny"
    parts.append(svg.text(middle, bottom + AXIS + 34, interval, anchor="middle", class_=size))
    return parts


def _headings(panel: Panel, middle: float, room: float) -> list[Markup]:
    """Title and subtitle; a title that is wider than the panel takes the place of both."""
    if len(panel.title) * BOLD <= room:
        subtitle = panel.subtitle if len(panel.subtitle) * 6.2 <= room else ""
        return [
            svg.text(middle, 16, panel.title, anchor="middle", class_="heading"),
            svg.text(middle, 33, subtitle, anchor="middle", class_="label small"),
        ]
    words = panel.title.split(" ")
    cuts = [(" ".join(words[:i]), " ".join(words[i:])) for i in range(1, len(words) + 1)]
    lines = min(cuts, key=lambda cut: max(map(len, cut)))
    kind = "heading" if max(map(len, lines)) * BOLD <= room else "heading tiny"
    letters = int(room / 5.6)
    return [
        svg.text(middle, y, line if len(line) <= letters else f"{line[: letters - 1]}\u2026", "middle", kind)
        for y, line in zip((16, 33), lines, strict=True)
        if line
    ]


def _few_ticks(x: Scale) -> list[float]:
    """Round values, as many as the width leaves room for; 0 is one of them."""
    room = max(1, int(abs(x.end - x.start) / 50))
    step = next((step for step in (0.1, 0.2, 0.25, 0.5) if (x.high - x.low) / step <= room), 1.0)
    first, last = ceil(round(x.low / step, 6)), floor(round(x.high / step, 6))
    return [i * step for i in range(first, last + 1)]


def _tick(plot: Plot, tick: float, x: Scale, bottom: float) -> Markup:
    """A line of the grid and its label, which does not reach into the panel beside it."""
    label = f"{100 * tick:+.0f}".replace("-", MINUS) if plot.signed and tick else f"{100 * tick:.0f}"
    at = x.at(tick)
    first, last = min(x.start, x.end), max(x.start, x.end)
    anchor = "start" if at - first < 14 else "end" if last - at < 14 else "middle"
    edge = {"start": first - 5, "end": last + 5, "middle": at}[anchor]
    line = svg.tag("line", class_="grid", x1=at, x2=at, y1=HEAD - 2, y2=bottom)
    return line + svg.text(edge, bottom + 15, f"{label}{plot.unit}", anchor=anchor, class_="label small")


def _connection(lines: Sequence[Line], panel: Panel, x: Scale, middles: Sequence[float]) -> Markup:
    """A line from the first of the rows that are tied to each other one."""
    tied = [(i, panel.dots[line.label]) for i, line in enumerate(lines) if line.tied and line.label in panel.dots]
    known = [(x.at(dot.value), middles[i]) for i, dot in tied if dot.value is not None]
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
