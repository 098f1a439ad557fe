"""How long the demo takes after the set-up: recipe `quickstart`, with nothing in its store, from command to report.

    python -m bench.demo                   # in runs/bench, which is thrown away before; the scripts below need it
    python -m bench.demo --set seeds=[0] --out runs/smaller

`bench.report` and `bench.unchanged` look at the finished run afterwards, and finish it where it is not.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.harness import Result, at_most, cpu_seconds

RUN = Path("runs/bench")
RECIPE = "quickstart"
COMMAND = "from sinternal.cli.main import main; main()"
MOST = 180.0
"""Goal: seconds on two idle cores."""


def parser(description: str) -> argparse.ArgumentParser:
    """What scripts that look at the demo's run are told."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--out", type=Path, default=RUN, help="folder of the run")
    made.add_argument("--set", action="append", default=[], help="override a field of the recipe")
    return made


def arguments(folder: Path, overrides: Sequence[str]) -> list[str]:
    """Of the command line, for a run of the demo."""
    return ["run", RECIPE, "--out", str(folder), *(f"--set={override}" for override in overrides)]


def run(folder: Path, overrides: Sequence[str]) -> None:
    """Run the demo, except for what is made already."""
    command = [sys.executable, "-c", COMMAND, *arguments(folder, overrides)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(finished.stderr[-2000:])


def main() -> None:
    """Measure."""
    args = parser(__doc__.splitlines()[0]).parse_args()
    if args.out == RUN:
        shutil.rmtree(RUN, ignore_errors=True)
    if args.out.exists():
        sys.exit(f"{args.out} is there already: name another folder, or remove it")
    wall, cpu = time.perf_counter(), cpu_seconds()
    run(args.out, args.set)
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    what = " ".join([f"recipe {RECIPE}", *args.set])
    result = Result("demo")
    result.rows += [at_most(what, "s", [wall], MOST), at_most(what, "s of CPU", [cpu], None)]
    result.notes.append("there is no peer; without idle cores, wall seconds say little")
    result.print()


if __name__ == "__main__":
    main()
