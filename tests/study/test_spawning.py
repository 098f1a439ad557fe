"""Workers know nothing of the script that calls for a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import HANGS

SCRIPT = """
from concurrent.futures import ProcessPoolExecutor
from sinternal.study.spawning import ScriptlessContext
print("once")
with ProcessPoolExecutor(1, ScriptlessContext()) as pool:
    print(pool.submit(abs, -3).result())
"""


@pytest.mark.parametrize("way", ["a script", "standard input"])
def test_a_script_without_a_guard_is_run_once(way: str, tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    command = [sys.executable, str(file) if way == "a script" else "-"]
    done = subprocess.run(command, input=SCRIPT, capture_output=True, text=True, timeout=HANGS, check=False)
    assert (done.stdout.split(), done.stderr) == (["once", "3"], "")
