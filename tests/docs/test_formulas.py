"""The page on measurement has a formula for whatever computes a figure."""

from __future__ import annotations

import ast
from pathlib import Path

from sinternal.figures import statistics

ROOT = Path(__file__).parents[2]
PLUMBING = {"add_up", "sums", "multiplicities"}
"""Functions that only add up or draw for others."""


def test_every_statistic_is_named_beside_its_formula() -> None:
    page = (ROOT / "docs/measurement.md").read_text()
    (formulas,) = [part for part in page.split("\n## ") if part.startswith("Formulas\n")]
    files = Path(statistics.__file__).parent.glob("*.py")
    defined = [node for file in files for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
    names = {node.name for node in defined if not node.name.startswith("_")} - PLUMBING
    assert len(names) > 25
    assert not {name for name in names if f"`{name}`" not in formulas}


def test_the_page_begins_with_what_an_interval_means() -> None:
    page = (ROOT / "docs/measurement.md").read_text()
    assert page.split("\n## ")[1].startswith("What [a, b] means\n")
    assert (ROOT / "docs/results.md").read_text().split("\n## ")[1].startswith("In plain words\n")
