"""`bench/coverage.py` runs; what it measures stands in docs/measurement.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_coverage_of_every_interval_and_test_is_measured_by_a_command_that_runs() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "coverage.py"), "--quick"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    measured = {line[0] for line in lines[2:]}
    assert {"Wilson", "clustered Wilson", "table bootstrap", "permutation", "kappa", "calibration error"} <= measured
    assert {"paired difference, these runs", "paired difference, other runs", "Rogan-Gladen"} <= measured
    assert {"learning area", "Holm family, any error"} <= measured
    documented = (ROOT / "docs" / "measurement.md").read_text()
    assert all(f"| {line[0]} | {line[1]} |" in documented for line in lines[2:])
