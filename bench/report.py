"""What the report of the demo takes: the stage `report`, part by part, made again from a finished run.

    python -m bench.report                 # the run that `python -m bench.demo` has made
    python -m bench.report --profile       # and the functions that take most

There is no peer: nothing else makes such a report, and what it took at another commit would be another run on another
day. So the figure is held against a goal alone, and `bench/rows.py` compares a table of rates with pandas. Each repeat
is a process of its own, which starts Python, imports, reads, computes and writes into a folder that is thrown away.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench import demo
from bench.harness import Result, at_most, peak_mb, side_by_side

MOST = 10.0
"""Goal: CPU seconds."""
SHOWN = 40
"""Functions that `--profile` shows."""


class Clock:
    """CPU seconds of the parts of one piece of work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is done meanwhile."""
        started = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - started


class Parts(NamedTuple):
    """One report."""

    seconds: dict[str, float]
    """CPU seconds by part."""
    memory: float
    """Peak of resident memory, in MB."""


def make_report(folder: Path, clock: Clock) -> None:
    """Make the report of a finished run again.

    Args:
        folder: the run's.
        clock: takes the time of each part.
    """
    with clock.part("imports"):
        from sinternal.figures.gather import gather
        from sinternal.layout import RunMap
        from sinternal.records import Measured
        from sinternal.report.markdown import render_markdown
        from sinternal.report.results import to_json
        from sinternal.report.study_page import render
        from sinternal.stages.report import ReportConfig
        from sinternal.store import Artifact, Draft
        from sinternal.study.plan import make_plan
        from sinternal.study.run import Run
    run = Run.open(folder)
    last = make_plan(run.recipe).report
    inputs = {name: run.store.find(task.stage.name, task.key) for name, task in last.inputs.items()}
    artifacts = {name: artifact for name, artifact in inputs.items() if artifact is not None}
    assert len(artifacts) == len(inputs)  # the run is finished
    assert isinstance(last.config, ReportConfig)  # the stage's own
    with tempfile.TemporaryDirectory() as temporary:
        draft = Draft(Path(temporary) / "report", lambda _done, _total: None)
        with clock.part("figures"):
            data = gather(last.config.recipe, last.config.variants, RunMap[Artifact].from_flat(artifacts))
        with clock.part("results.json"):
            draft.write_json("results", to_json(data))
        with clock.part("report.html"):
            render(data).write(draft.path / "report.html")
        with clock.part("results.md"):
            (draft.path / "results.md").write_text(render_markdown(data))
        with clock.part("measured.parquet"):
            draft.write(data.measured, Measured, "measured")


def in_a_process(folder: Path) -> Parts:
    """Make the report in a process of its own."""
    command = [sys.executable, "-m", "bench.report", "--here", "--out", str(folder.resolve())]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    here = Path(__file__).parent.parent
    run = subprocess.run(command, env=environment, cwd=here, stdout=subprocess.PIPE, text=True, check=True)
    return Parts(*json.loads(run.stdout.splitlines()[-1]))


def main() -> None:
    """Measure."""
    parser = demo.parser(__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        clock = Clock()
        make_report(args.out, clock)
        print(json.dumps(Parts(clock.seconds, peak_mb())))
        return
    demo.run(args.out, args.set)
    if args.profile:
        profile = cProfile.Profile()
        profile.runcall(make_report, args.out, Clock())
        pstats.Stats(profile).sort_stats("cumulative").print_stats(SHOWN)
    reports: list[Parts] = []

    def work() -> float:
        reports.append(in_a_process(args.out))
        return 1.0

    times = side_by_side({"ours": work}, args.repeats, warm=False)["ours"]
    what = " ".join([f"report of {demo.RECIPE}", *args.set])
    result = Result("report")
    result.rows.append(at_most(what, "s of CPU", times.cpu, MOST))
    result.rows += [
        at_most(f"of this, {part}", "s of CPU", [report.seconds[part] for report in reports], None)
        for part in reports[0].seconds
    ]
    result.rows.append(at_most("peak of memory", "MB", [report.memory for report in reports], None))
    result.notes.append(
        "there is no peer: nothing else makes such a report, and an older commit would have been measured on another "
        "day; a table of rates is compared with pandas under Rows"
    )
    result.print()


if __name__ == "__main__":
    main()
