"""Notebooks run from their first cell to their last."""

from __future__ import annotations

import json
import runpy
import shutil
from contextlib import chdir
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

NOTEBOOKS = sorted(ROOT.glob("docs/**/*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs_on_a_tiny_run(file: Path, tiny_run: Path, tmp_path: Path) -> None:
    execute = runpy.run_path(str(ROOT / "docs/execute_notebook.py"))["execute"]
    shutil.copytree(tiny_run, tmp_path / "runs/quickstart")
    with chdir(tmp_path):
        executed = execute(json.loads(file.read_text()))
    cells = [cell for cell in executed["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 3
    assert all(cell["outputs"] for cell in cells if "print(" in "".join(cell["source"]))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_kept_with_outputs(file: Path) -> None:
    cells = [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
