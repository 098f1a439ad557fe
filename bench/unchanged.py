"""What a run takes that has nothing left to do: `sinternal run quickstart` for the second time.

    python -m bench.unchanged              # the run that `python -m bench.demo` has made

Python starts, the recipe is read, the plan is made, every artifact is looked up, and the results are printed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import demo
from bench.harness import Result, Work, at_most, side_by_side

MOST = 2.0
"""Goal: seconds."""
HEAVY = ("torch", "scipy")
"""What it must not load."""
LOOK = (
    "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
    "from sinternal.cli.main import main; main()"
)
IMPORTS = "import sinternal.cli.main, sinternal.cli.progress, sinternal.study.run, sinternal.report.results"
"""What it imports."""


def in_a_process(code: str, arguments: Sequence[str] = ()) -> Work:
    """Some code."""

    def work() -> float:
        subprocess.run([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, check=True)
        return 1.0

    return work


def heavy(folder: Path, overrides: Sequence[str]) -> list[str]:
    """The packages of `HEAVY` that such a run loads."""
    command = [sys.executable, "-c", LOOK, *demo.arguments(folder, overrides)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = {name.partition(".")[0] for name in run.stderr.split()}
    assert "sinternal" in modules
    return [name for name in HEAVY if name in modules]


def main() -> None:
    """Measure."""
    parser = demo.parser(__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    demo.run(args.out, args.set)
    ways = {
        "run": in_a_process(demo.COMMAND, demo.arguments(args.out, args.set)),
        "imports": in_a_process(IMPORTS),
        "python": in_a_process("pass"),
    }
    times = side_by_side(ways, args.repeats)
    loaded = heavy(args.out, args.set)
    what = f"recipe {demo.RECIPE} again"
    result = Result("unchanged")
    result.rows += [
        at_most(what, "s", times["run"].wall, MOST),
        at_most(what, "s of CPU", times["run"].cpu, None),
        at_most("of this, starting Python and importing", "s of CPU", times["imports"].cpu, None),
        at_most("of this, starting Python", "s of CPU", times["python"].cpu, None),
        at_most(f"packages loaded, of {', '.join(HEAVY)}", "", [float(len(loaded))], 0.0),
    ]
    result.notes.append(f"loaded: {', '.join(loaded)}" if loaded else f"neither {' nor '.join(HEAVY)} is loaded")
    result.print()


if __name__ == "__main__":
    main()
