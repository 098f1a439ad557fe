"""The command line, as a user calls it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COMMAND = (sys.executable, "-c", "from sinternal.cli.main import main; main()")
HANGS = 1_800
"""Seconds after which a command counts as hanging, on the busiest of machines."""


def sinternal(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Call `sinternal` and wait for it."""
    return subprocess.run([*COMMAND, *arguments], cwd=cwd, capture_output=True, text=True, timeout=HANGS, check=False)
