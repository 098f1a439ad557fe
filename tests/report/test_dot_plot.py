"""Rows of panels use the window that they have."""

from __future__ import annotations

import re

import pytest

from sinternal.report.dot_plot import NARROW, Dot, Line, Panel, Plot, draw


@pytest.mark.parametrize("panels", range(2, 9))
def test_the_longest_row_of_a_narrow_picture_is_as_wide_as_the_window(panels: int) -> None:
    dot = Dot(0.5, 0.4, 0.6, "x")
    plot = Plot("t", "c", [Line("base", 0)], [Panel(f"p{i}", "", {"base": dot}) for i in range(panels)], 0.0, 1.0)
    narrow = draw(plot).partition('class="in-rows"')[2]
    widths = [int(width) for width in re.findall(r'<svg role="img" width="(\d+)"', narrow)]
    assert max(widths) >= NARROW - 2
    assert max(widths) <= NARROW + 1
