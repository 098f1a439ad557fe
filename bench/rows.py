"""How fast, and in how much memory, stages and figures map rows, beside a plain pandas script on the same work.

    python -m bench.rows                            # 10^4, 10^5 and 10^6 rows: 20 minutes, GBs of memory and disk
    python -m bench.rows --rows 10000 100000        # some minutes
    python -m bench.rows --rows 10000 --works contrast figures

Each work is done by the package's own functions and by the script, each in a process of its own, by turns: CPU seconds
of all threads, without imports, and the peak of resident memory, with them. Both write the same rows, or make the same
table: their results are compared. A million rows are mapped once. All files are temporary.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.harness import Line, Panel, Result, Row, Times, at_most, compare, cpu_seconds, peak_mb, turns
from bench.plot import COLUMNS

OURS, PANDAS = "sinternal", "pandas"
MODULES = {OURS: "bench.rows_ours", PANDAS: "bench.rows_pandas"}
MILLION = 1_000_000
MOST_MB = 1000
"""Goal at a million rows."""
STEEPEST = 1.1
"""Goal: the exponent of rows in CPU seconds. Sorting alone, n log n, has 1.08 from 10^5 to 10^6."""
HERE = Path(__file__).parent


class Work(NamedTuple):
    """One piece of work."""

    function: str
    """Its name in the modules of both sides."""
    of_a_run: bool = False
    """Whether it is done with the responses of a run, and not with single tables."""
    peer: bool = True
    """Whether the script does it, too."""


WORKS = {
    "deduplicate": Work("deduplicate"),
    "decontaminate": Work("decontaminate"),
    "contrast": Work("make_pairs"),
    "examples": Work("make_examples"),
    "judge-join": Work("join_labels"),
    "judge-texts": Work("join_texts"),
    "figures": Work("figures", of_a_run=True),
    "report": Work("report", of_a_run=True, peer=False),
}
NOTE = (
    "figures is a table of attack success with its intervals; the package counts the other rates of responses on the "
    "way, and its intervals know which rows are of one prompt. report is every figure, test and transcript of a run, "
    "which the script does not have"
)


class Measurement(NamedTuple):
    """One process."""

    cpu: float
    """Seconds of CPU."""
    wall: float
    """Seconds."""
    memory: float
    """Peak of resident memory, in MB."""
    result: str
    """Hash of what came out."""


class Case(NamedTuple):
    """One work with so many rows, repeat by repeat."""

    work: str
    rows: int
    sides: dict[str, list[Measurement]]
    """By side; that of the script is missing where it does not do the work, or had not enough memory."""

    def times(self, side: str) -> Times:
        """What one side took."""
        runs = self.sides[side]
        return Times([run.wall for run in runs], [run.cpu for run in runs], [self.rows] * len(runs))

    def middle(self, side: str, figure: Callable[[Measurement], float]) -> float:
        """The median of one side's figure."""
        return median(map(figure, self.sides[side]))


def measure_here(work: str, side: str, inputs: Path) -> Measurement:
    """Do a piece of work in this process."""
    function: Callable[[Path, Path], object] = vars(import_module(MODULES[side]))[WORKS[work].function]
    with tempfile.TemporaryDirectory() as out:
        gc.collect()
        wall, cpu = time.perf_counter(), cpu_seconds()
        returned = function(inputs, Path(out))
        cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
        memory = peak_mb()
        ids = [] if WORKS[work].of_a_run else [_ids(path) for path in sorted(Path(out).glob("*.parquet"))]
        return Measurement(cpu, wall, memory, hashlib.sha256(repr((returned, ids)).encode()).hexdigest()[:16])


def _ids(path: Path) -> str:
    from sinternal.parquet import read_batches

    ids = hashlib.sha256()
    for batch in read_batches(path):
        ids.update(json.dumps(batch.column("id").to_pylist()).encode())
    return ids.hexdigest()


def measure(work: str, side: str, inputs: Path) -> Measurement | None:
    """Do a piece of work in a process of its own; None if the machine had not enough memory for the script."""
    run = _in_a_process("--here", work, side, str(inputs))
    if run.returncode and side == PANDAS and (run.returncode == -signal.SIGKILL or "MemoryError" in run.stderr):
        return None
    if run.returncode:
        sys.exit(f"{work} by {side}: {run.stderr}")
    return Measurement(*json.loads(run.stdout.splitlines()[-1]))


def _in_a_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.rows", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def write_inputs(folder: Path, rows: int, *, of_a_run: bool) -> None:
    """Write what work starts from."""
    if of_a_run:
        import_module("bench.rows_run").write_run(folder, rows)
    else:
        import_module("bench.rows_tables").write_tables(folder, rows)


def cases(works: Sequence[str], rows: int, repeats: int) -> Iterator[Case]:
    """Measure works with so many rows."""
    for of_a_run in (False, True):
        chosen = [work for work in works if WORKS[work].of_a_run is of_a_run]
        if not chosen:
            continue
        with tempfile.TemporaryDirectory(prefix="rows-") as folder:
            written = _in_a_process("--write", "run" if of_a_run else "tables", str(rows), folder)
            if written.returncode:
                sys.exit(f"inputs of {rows:,} rows: {written.stderr}")
            for work in chosen:
                yield _case(work, rows, repeats, Path(folder))


def _case(work: str, rows: int, repeats: int, inputs: Path) -> Case:
    sides: dict[str, list[Measurement]] = {side: [] for side in (OURS, PANDAS) if side == OURS or WORKS[work].peer}
    for side in turns(list(sides), repeats):
        if side in sides:
            if (run := measure(work, side, inputs)) is None:
                del sides[side]
            else:
                sides[side].append(run)
    results = {run.result for runs in sides.values() for run in runs}
    if len(results) > 1:
        sys.exit(f"{work} with {rows:,} rows: the results differ")
    return Case(work, rows, sides)


def table(measured: Sequence[Case]) -> Iterator[Row]:
    """Speed with every number of rows; memory with the most, and how CPU seconds grow up to it."""
    for case in measured:
        what, ours = f"{case.work}, {case.rows:,} rows", case.times(OURS)
        if PANDAS in case.sides:
            yield compare(what, ours, case.times(PANDAS), PANDAS, "rows/s", 1.0)
        else:
            yield at_most(what, "s of CPU", ours.cpu, None)
    most = max(case.rows for case in measured)
    for case in (case for case in measured if case.rows == most):
        what, goal = f"{case.work}, {case.rows:,} rows, peak", MOST_MB if case.rows >= MILLION else None
        memory = {side: [run.memory for run in runs] for side, runs in case.sides.items()}
        yield at_most(what, "MB", memory[OURS], goal, memory.get(PANDAS), PANDAS if PANDAS in memory else "")
    for case in (case for case in measured if case.rows == most):
        smaller = [other for other in measured if other.work == case.work and other.rows < case.rows]
        if smaller:
            before = max(smaller, key=lambda other: other.rows)
            what = f"{case.work}, growth from {before.rows:,} rows: exponent of CPU seconds"
            yield at_most(what, "", [_exponent(before, case)], STEEPEST)


def _exponent(before: Case, after: Case) -> float:
    seconds = [case.middle(OURS, lambda run: run.cpu) for case in (before, after)]
    return math.log(seconds[1] / seconds[0]) / math.log(after.rows / before.rows)


def panels(measured: Sequence[Case]) -> list[Panel]:
    """CPU seconds of the works, and beneath them their memory."""
    works = list(dict.fromkeys(case.work for case in measured))
    figures: tuple[tuple[str, Callable[[Measurement], float]], ...] = (
        ("CPU seconds", lambda run: run.cpu),
        ("peak MB", lambda run: run.memory),
    )
    return [
        Panel(work, "rows", title, [line for side in MODULES if (line := _line(side, work, measured, figure)).points])
        for start in range(0, len(works), COLUMNS)
        for title, figure in figures
        for work in works[start : start + COLUMNS]
    ]


def _line(side: str, work: str, measured: Sequence[Case], figure: Callable[[Measurement], float]) -> Line:
    of_work = sorted((case for case in measured if case.work == work and side in case.sides), key=lambda c: c.rows)
    return Line(side, [(case.rows, max(0.001, case.middle(side, figure))) for case in of_work])


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, MILLION])
    parser.add_argument("--repeats", type=int, default=3, help="with fewer than a million rows")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--here", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--write", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        work, side, inputs = given.here
        print(json.dumps(measure_here(work, side, Path(inputs))))
        return
    if given.write:
        kind, rows, folder = given.write
        write_inputs(Path(folder), int(rows), of_a_run=kind == "run")
        return
    measured: list[Case] = []
    for rows in sorted(given.rows):
        for case in cases(given.works, rows, given.repeats if rows < MILLION else 1):
            measured.append(case)
            print(case.work, f"{rows:,}", *(row.comparison for row in table([case])), file=sys.stderr, flush=True)
    result = Result("rows", list(table(measured)), panels=panels(measured))
    lacking = [f"{c.work} with {c.rows:,}" for c in measured if WORKS[c.work].peer and PANDAS not in c.sides]
    if lacking:
        result.notes.append(f"this machine's memory was not enough for pandas: {', '.join(lacking)}")
    if any(WORKS[work].of_a_run for work in given.works):
        result.notes.append(NOTE)
    result.print()


if __name__ == "__main__":
    main()
