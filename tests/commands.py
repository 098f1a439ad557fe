"""The command line, as a user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from traceback import print_exc

from sinternal.cli.main import main

COMMAND = (sys.executable, "-c", "from sinternal.cli.main import main; main()")
HANGS = 1_800
"""Seconds after which a command counts as hanging, on the busiest of machines."""


def sinternal(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Call `sinternal` in a process of its own, and wait for it."""
    environment = dict(os.environ)  # and not what readline, behind its back, puts there: COLUMNS
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=HANGS, check=False
    )


def in_process(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Call `sinternal` in this process: seconds quicker, for what prints and ends, as mistakes do."""
    code, out, err = 0, StringIO(), StringIO()
    with chdir(cwd), redirect_stdout(out), redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except Exception:
            print_exc()
            code = 1
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
