"""What a report takes, and what a run takes that has nothing left to do: CPU seconds, part by part.

    sinternal run quickstart
    python bench/report.py runs/quickstart
    python bench/report.py runs/quickstart --profile   # and the functions that take most

The report of a finished run is made again in a folder that is thrown away, then the run's recipe is run again. The last
line is JSON.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SHOWN = 40
"""Functions that `--profile` shows."""
IMPORTS = "import sinternal.cli.main, sinternal.cli.progress, sinternal.study.run, sinternal.report.results"
"""What an unchanged run imports."""
COMMAND = "import sys; from sinternal.cli.main import main; main(sys.argv[1:])"


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


def make_report(folder: Path, store: Path | None, clock: Clock) -> None:
    """Make the report of a finished run again.

    Args:
        folder: the run's.
        store: its artifacts, if they are elsewhere.
        clock: takes the time of each part.
    """
    with clock.part("import"):
        from sinternal.figures.gather import gather
        from sinternal.layout import RunMap
        from sinternal.records import Measured
        from sinternal.report.markdown import render_markdown
        from sinternal.report.results import to_json
        from sinternal.report.study_page import render_html
        from sinternal.stages.report import ReportConfig
        from sinternal.store import Artifact, Draft
        from sinternal.study.plan import make_plan
        from sinternal.study.run import Run
    run = Run.open(folder, store)
    last = make_plan(run.recipe).report
    inputs = {name: run.store.find(task.stage.name, task.key) for name, task in last.inputs.items()}
    if missing := next((name for name, artifact in inputs.items() if artifact is None), None):
        sys.exit(f"{run.store.root}: there is no {missing}: finish the run, or name its --store")
    artifacts = {name: artifact for name, artifact in inputs.items() if artifact is not None}
    assert isinstance(last.config, ReportConfig)  # the stage's own
    with tempfile.TemporaryDirectory() as temporary:
        draft = Draft(Path(temporary) / "report", lambda _done, _total: None)
        with clock.part("figures"):
            data = gather(last.config.recipe, last.config.variants, RunMap[Artifact].from_flat(artifacts))
        with clock.part("results.json"):
            draft.write_json("results", to_json(data))
        with clock.part("report.html"):
            (draft.path / "report.html").write_text(render_html(data))
        with clock.part("results.md"):
            (draft.path / "results.md").write_text(render_markdown(data))
        with clock.part("measured.parquet"):
            draft.write(data.measured, Measured, "measured")


def in_a_process(code: str, *arguments: str) -> float:
    """CPU seconds of a Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run_again(folder: Path, store: Path | None) -> dict[str, float]:
    """CPU seconds of running a finished run's recipe again, and how many of them are imports."""
    artifacts = store or folder / "artifacts"
    out = ("--out", str(folder), "--store", str(artifacts))
    whole = in_a_process(COMMAND, "run", str(folder / "recipe.yaml"), *out)
    python, imports = in_a_process("pass"), in_a_process(IMPORTS)
    return {"python": python, "import": imports - python, "the rest": whole - imports}


def told(title: str, seconds: dict[str, float]) -> dict[str, float]:
    """Print the parts of some work, and give them back with their sum."""
    total = sum(seconds.values())
    print(f"{title}: {total:.2f} CPU seconds")
    for name, part in seconds.items():
        print(f"  {name:<18}{part:>7.2f}  {part / total:>4.0%}")
    return {name: round(part, 2) for name, part in seconds.items()} | {"total": round(total, 2)}


def profiled(work: Callable[[], None]) -> None:
    """Do something, and print the functions that take most."""
    profile = cProfile.Profile()
    profile.runcall(work)
    pstats.Stats(profile).sort_stats("cumulative").print_stats(SHOWN)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure a finished run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--store", type=Path, help="its artifacts, if they are elsewhere")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    clock = Clock()
    if given.profile:
        profiled(lambda: make_report(given.run, given.store, Clock()))
    make_report(given.run, given.store, clock)
    report = told("Report", clock.seconds)
    unchanged = told("Unchanged run", run_again(given.run, given.store))
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps({"report": report, "unchanged": unchanged, "report peak MB": peak}))


if __name__ == "__main__":
    main()
