"""A plot of growth as one SVG file: panels with logarithmic axes, on a white ground, for bright and for dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import ceil, floor, log10

from markupsafe import Markup

from bench.harness import Panel
from sinternal.report import svg
from sinternal.report.svg import Scale

COLUMNS = 4
"""Panels side by side, at most."""
WIDTH, HEIGHT = 272.0, 236.0
"""Of a panel with its titles, in pixels."""
LEFT, RIGHT, TOP, BOTTOM = 66.0, 16.0, 30.0, 50.0
"""What of that is around the frame."""
LEGEND = 34.0
COLOURS, DASHES = ("#0b5cad", "#b3420a", "#5a5a5a"), ("none", "7 4", "2 3")
"""Of the lines, in the order in which their names first come; they differ in their marks, too."""
STYLE = """
text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #222 }
.heading { font-weight: 600 }
.grid { stroke: #dadada }
.frame { fill: none; stroke: #8a8a8a }
.curve { fill: none; stroke-width: 2 }
"""
ROOM = 0.06
"""Share of an axis that is free on either side of what is drawn."""
SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def draw(panels: Sequence[Panel], title: str) -> str:
    """The file's text.

    Args:
        panels: in the order of reading.
        title: read out in the place of the picture.
    """
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines))
    columns = min(COLUMNS, len(panels))
    width, height = columns * WIDTH, LEGEND + ceil(len(panels) / columns) * HEIGHT
    content = [_legend(names)]
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        content.append(
            svg.tag("g", *_panel(panel, names), transform=f"translate({column * WIDTH:g} {LEGEND + row * HEIGHT:g})")
        )
    size = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {width:g} {height:g}"}
    ground = svg.tag("rect", width=width, height=height, fill="#fff")
    style = svg.tag("style", Markup(STYLE))  # the file's own
    picture = svg.tag(
        "svg", svg.tag("title", title), style, ground, *content, width=width, height=height, role="img", **size
    )
    return f"{picture}\n"


def _legend(names: Sequence[str]) -> Markup:
    items, x = [], 14.0
    for number, name in enumerate(names):
        items += [_line(number, [(x, 18.0), (x + 34, 18.0)]), _marks(number, [(x + 17, 18.0)])]
        items.append(svg.text(x + 42, 22.0, name))
        x += 72 + 7.5 * len(name)
    return svg.tag("g", *items)


def _panel(panel: Panel, names: Sequence[str]) -> list[Markup]:
    points = [point for line in panel.lines for point in line.points]
    x = _scale([point[0] for point in points], LEFT, WIDTH - RIGHT)
    y = _scale([point[1] for point in points], HEIGHT - BOTTOM, TOP)
    content = [svg.text(LEFT, TOP - 10, panel.title, class_="heading")]
    for tick in _ticks(y):
        content.append(svg.rule(LEFT, WIDTH - RIGHT, y.at(log10(tick)), _number(tick)))
    for tick in _ticks(x):
        at = x.at(log10(tick))
        content.append(svg.tag("line", class_="grid", x1=at, x2=at, y1=TOP, y2=HEIGHT - BOTTOM))
        content.append(svg.text(at, HEIGHT - BOTTOM + 17, _number(tick), anchor="middle"))
    frame = {"width": WIDTH - LEFT - RIGHT, "height": HEIGHT - TOP - BOTTOM}
    content.append(svg.tag("rect", class_="frame", x=LEFT, y=TOP, **frame))
    content.append(svg.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 13, panel.x, anchor="middle"))
    content.append(svg.side_title(15, (TOP + HEIGHT - BOTTOM) / 2, panel.y))
    for line in panel.lines:
        at_pixels = [(x.at(log10(a)), y.at(log10(b))) for a, b in line.points]
        number = names.index(line.name)
        content += [_line(number, at_pixels), _marks(number, at_pixels)]
    return content


def _scale(values: Sequence[float], start: float, end: float) -> Scale:
    """Of the logarithms of some values; half a decade each way where they are all the same."""
    low, high = log10(min(values)), log10(max(values))
    room = ROOM * (high - low) if high > low else 0.5
    return Scale(low - room, high + room, start, end)


def _ticks(scale: Scale) -> list[float]:
    """Powers of ten, with twice and five times them where there would be few."""
    powers = range(floor(scale.low), ceil(scale.high) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [factor * 10.0**power for power, factor in product(powers, factors)]
        inside = [tick for tick in ticks if scale.low <= log10(tick) <= scale.high]
        if len(inside) > 2:
            break
    return inside


def _number(value: float) -> str:
    """A tick, in words that are short enough."""
    if value < 1e4:
        return f"{value:,g}"
    power = floor(log10(value) + 1e-9)
    factor = round(value / 10**power)
    return f"{'' if factor == 1 else f'{factor}·'}10{str(power).translate(SUPERSCRIPTS)}"


def _line(number: int, points: Sequence[tuple[float, float]]) -> Markup:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    look = {"stroke": COLOURS[number % len(COLOURS)], "stroke_dasharray": DASHES[number % len(DASHES)]}
    return svg.tag("polyline", class_="curve", points=path, **look)


def _marks(number: int, points: Sequence[tuple[float, float]]) -> Markup:
    return svg.tag("g", *(svg.mark(number, x, y) for x, y in points), fill=COLOURS[number % len(COLOURS)])
