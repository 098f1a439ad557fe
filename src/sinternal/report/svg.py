"""What the report's plots are drawn with: inline SVG whose colours come from the page's style sheet.

Every arm has a colour, a shape and a dash pattern of its own, so that no plot is read by colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import NamedTuple

from markupsafe import Markup

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


def ticks(low: float, high: float) -> list[float]:
    """Round values from low to high, about five."""
    rough = (high - low) / 5
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.999 * rough)
    return [round(step * i, 10) for i in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def rule(left: float, right: float, y: float, label: str) -> Markup:
    """A horizontal rule of the grid, with its label at the left."""
    line = tag("line", class_="grid", x1=left, x2=right, y1=y, y2=y)
    return line + text(left - 8, y + 4, label, anchor="end")


def whisker(x1: float, y1: float, x2: float, y2: float) -> Markup:
    """An interval."""
    return tag("line", class_="whisker", x1=x1, y1=y1, x2=x2, y2=y2)


def mark(i: int, x: float, y: float) -> Markup:
    """The shape of the i-th arm."""
    return tag("path", class_="mark", d=SHAPES[i % len(SHAPES)], transform=f"translate({x:.1f} {y:.1f})")


def colour(i: int) -> str:
    """The class of the i-th arm's colour."""
    return f"arm-{i % COLOURS}"


def text(x: float, y: float, text: str, anchor: str = "start", class_: str = "label") -> Markup:
    """A line of text."""
    return tag("text", text, x=x, y=y, text_anchor=anchor, class_=class_)


def side_title(x: float, y: float, text: str) -> Markup:
    """The title of a vertical axis, turned."""
    return tag("text", text, class_="label", text_anchor="middle", transform=f"translate({x} {y:.1f}) rotate(-90)")


def figure(width: float, height: float, title: str, description: str, content: Sequence[Markup]) -> Markup:
    """A plot with its caption; title and description are read out in its place."""
    size = {"width": ceil(width), "height": ceil(height), "viewBox": f"0 0 {ceil(width)} {ceil(height)}"}
    svg = tag("svg", tag("title", title), tag("desc", description), *content, role="img", **size)
    caption = tag("figcaption", tag("strong", title), " ", description)
    return tag("figure", caption, tag("div", svg, class_="scroll", tabindex=0), class_="plot")


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """An element; children and attributes that are not markup are escaped."""
    written = Markup("").join(
        Markup(' {}="{}"').format(
            key if key == "viewBox" else key.rstrip("_").replace("_", "-"),
            f"{value:.1f}" if isinstance(value, float) else value,
        )
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, Markup("").join(children))
