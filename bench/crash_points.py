"""Every call that changes a file of a run as a point of death: a kill there, a power cut, a full disk, an error.

    python -m bench.crash_points                # every call: about 30 minutes on two idle cores
    python -m bench.crash_points --every 20     # each twentieth

What is interrupted: a tiny diagnosis; one that goes on after an interruption; one whose failed requests are asked
again; one with a stage made again; another plan in the same folder; and `store gc` after that. Afterwards the same
command runs again, and all that is left must be, to the byte, what an uninterrupted run leaves, with no more calls of
the engine made again than were in flight. Two runs at once must leave what one after the other leaves. Python's own
calls are counted; those of the real process, with its worker and what libraries write in C++ and Rust,
`strace -e inject=…` interrupts, every so many of them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import sinternal
from bench.crashes import (
    CALLS,
    COUNTER,
    OK,
    TOLD,
    Bench,
    Counting,
    Fault,
    child,
    difference,
    plan,
    run,
    scenarios,
    snapshot,
    warm,
)
from bench.harness import Result, at_most
from bench.races import races
from sinternal.errors import SInternalError
from sinternal.store import MANIFEST
from sinternal.study.execute import WORKER_LOG
from sinternal.study.run import ARTIFACTS

IN_MEMORY = Path("/dev/shm")
"""Where cases are played through if it is there: thousands of them would wear a disk, and wait for it."""
FIRST = (Fault.BEFORE, Fault.AFTER, Fault.POWER, Fault.NAMES, Fault.FULL, Fault.IO, Fault.DENIED)
FURTHER = (Fault.BEFORE, Fault.POWER, Fault.NAMES, Fault.FULL)
"""What happens in every scenario but the first: right after a call is right before the next."""
TRACED = ("rename", "fsync", "mkdir", "unlink", "write")
"""System calls that strace interrupts. It counts those of each process, whatever they change."""
INJECTED = ("signal=KILL", "error=ENOSPC", "error=EIO")
MOST_TRACED = 40
"""Up to which of a process' calls of a kind."""
OURS = f'File "{Path(sinternal.__file__).parent}{os.sep}'
"""A line of a traceback through the package; the interpreter's own finalizers may print theirs as it ends."""
SIZES = (24, 48, 80, 120, 160, 200, 240, 280, 320, 360)
"""Of a small disk, in kB; a whole run takes less than 400."""
SHOWN = 5
"""Wrong ends that are printed of each kind."""


def points(bench: Bench, every: int, offset: int = 0) -> list[int]:
    """The calls at which something happens: each one, or every so many, from another on each time."""
    return list(range(1 + offset % every, len(bench.calls) + 1, every))


def points_of(bench: Bench, stage: str) -> list[int]:
    """All calls that change something of a stage's artifacts."""
    return [at for at, call in enumerate(bench.calls, 1) if f"/{ARTIFACTS}/{stage}" in f"/{call.path}"]


def through(folder: Path, every: int, stage: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """Interrupt all scenarios; for each fault of each what it was, and what went wrong.

    Args:
        folder: of its own.
        every: so many calls from one to the next.
        stage: of this one every call in the first scenario, besides.
    """
    (folder / "warm").mkdir()
    warm(folder / "warm")
    for number, scenario in enumerate(scenarios(folder / "plans")):
        bench = Bench(folder / "bench", scenario)
        for offset, fault in enumerate(FURTHER if number else FIRST):
            chosen = points(bench, every, offset + number)
            at_all = f"at {len(chosen):,} of {len(bench.calls):,} calls"
            yield f"{scenario.name}: {fault}, {at_all}", interrupt(bench, chosen, fault)
        if stage and not number:
            of_stage = points_of(bench, stage)
            for fault in FURTHER:
                at_all = f"at all {len(of_stage):,} calls of stage {stage}"
                yield f"{scenario.name}: {fault}, {at_all}", interrupt(bench, of_stage, fault)


def interrupt(bench: Bench, calls: Sequence[int], fault: Fault) -> list[str]:
    """Interrupt a scenario at each of some calls; what went wrong."""
    return [words for at in calls if (words := bench.try_at(at, fault))]


def trace(folder: Path, times: int) -> Iterator[tuple[str, list[str]]]:
    """Interrupt real processes, the run and its worker, by their system calls; for each kind what went wrong.

    Args:
        folder: of its own.
        times: how often each kind of call is interrupted in each way.
    """
    real = RealRun(folder)
    expected = real.whole()
    for call in TRACED:
        wrong = []
        for number, (words, injected) in enumerate(product(INJECTED, range(times))):
            at = 1 + (7 * injected + 3 * number) % MOST_TRACED
            wrong += real.interrupted(call, f"{words}:when={at}", expected)
        kinds = ", ".join(words.partition("=")[2] for words in INJECTED)
        yield f"real processes, by strace: {call} ({kinds})", wrong


class RealRun:
    """The same tiny diagnosis by the command line's own ways: a process, its pool of workers, and the real clock."""

    def __init__(self, folder: Path) -> None:
        """Put the engine into a package, as workers are started anew and know only what is installed."""
        self.folder, self.site, self.case = folder, folder / "site", folder / "case"
        info = self.site / "counting_ext.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: counting-ext\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[sinternal.engines]\ncounting = bench.crashes:Counting\n")

    def whole(self) -> dict[str, str]:
        """Run it without an interruption; what it leaves."""
        done = self._run([])
        assert done.returncode == 0, done.stderr
        return _stable(self.case)

    def interrupted(self, call: str, injection: str, expected: dict[str, str]) -> list[str]:
        """Interrupt it once, and go on; what is wrong, empty for nothing."""
        shutil.rmtree(self.case, ignore_errors=True)  # some interruptions come before it is made
        log = self.folder / "strace.log"
        what = f"{call}:{injection}"
        first = self._run(["strace", "-f", "-qq", "-o", str(log), f"-etrace={call}", f"-einject={what}"])
        told = any(line.startswith("error: ") for line in first.stderr.splitlines())
        if OURS in first.stderr or (first.returncode > 0 and not told):
            return [f"strace {what}: no line for the user: {first.stderr[-400:]}"]
        if first.returncode and (second := self._run([])).returncode:
            return [f"strace {what}: it does not go on: {second.stderr[-400:]}"]
        differs = difference(expected, _stable(self.case))
        return [f"strace {what}: {differs}"] if differs else []

    def _run(self, before: Sequence[str]) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join([str(Path(__file__).parents[1]), str(self.site)])
        settings = {**os.environ, "PYTHONPATH": paths, COUNTER: str(self.folder / "calls")}
        command = [*before, sys.executable, "-c", COMMAND, str(self.case)]
        return subprocess.run(command, env=settings, capture_output=True, text=True, timeout=300, check=False)


def small_disk(folder: Path, sizes: Sequence[int]) -> tuple[str, list[str]]:
    """Let a disk be full at some size, give it room, make it read-only and writable again: it goes on each time.

    Args:
        folder: of its own.
        sizes: of the disk in kB, growing.

    Raises:
        OSError: no disk can be mounted here.
    """
    wrong = []
    whole, disk = folder / "whole", folder / "disk"
    planned = plan(folder)
    Counting.counter = folder / CALLS
    for path in (whole, disk):
        path.mkdir()
    child(lambda: run(planned, whole / "run"), whole)
    _mount("-t", "tmpfs", "-o", f"size={sizes[0]}k", "tmpfs", str(disk))
    try:
        full = 0
        for options, cause in [*((f"size={size}k", "the disk is full") for size in sizes), ("ro", "read-only")]:
            _mount("-o", f"remount,{options}", str(disk))
            ended = child(lambda: run(planned, disk / "run"), disk)
            full += ended.status == TOLD and cause == "the disk is full"
            if ended.status not in (OK, TOLD) or (ended.status == TOLD and cause not in ended.words.lower()):
                wrong.append(f"a disk of {options}: {ended.words[-500:]}")
            if options == "ro" and ended.status == OK:
                wrong.append("a read-only disk was written to")
        _mount("-o", f"remount,rw,size={64 * sizes[-1]}k", str(disk))
        ended = child(lambda: run(planned, disk / "run"), disk)
        stable = {name: value for name, value in _stable(whole).items() if "artifacts/runs/" not in name}
        there = {name: value for name, value in _stable(disk).items() if "artifacts/runs/" not in name}
        if ended.status != OK or (differs := difference(stable, there)):
            wrong.append(f"with room again: {ended.words[-300:] if ended.status != OK else differs}")
    finally:
        subprocess.run(["umount", str(disk)], check=False)
    return f"a disk of {sizes[0]} to {sizes[-1]:,} kB, full {full} times, then read-only, then large", wrong


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(" ".join(done.stderr.split()))


COMMAND = "from bench.crash_points import go; go()"


def go() -> None:
    """Run the diagnosis in this process, and tell as the command line would what keeps it from that."""
    case = Path(sys.argv[1])
    try:
        case.mkdir(parents=True, exist_ok=True)
        run(plan(case.parent), case / "run")
    except (SInternalError, OSError) as error:
        sys.exit(f"error: {error}")


def _stable(case: Path) -> dict[str, str]:
    """What is left, but for times: of manifests and logs only that they are there."""
    return {
        name: "there" if name.endswith((MANIFEST, WORKER_LOG)) else content for name, content in snapshot(case).items()
    }


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="only every so many of the calls")
    parser.add_argument("--stage", help="at every call of this stage, besides")
    parser.add_argument("--times", type=int, default=5, help="interruptions of each kind by strace; 0 for none")
    args = parser.parse_args()
    result = Result("crash_points")

    def add(what: str, wrong: Sequence[str]) -> None:
        """Keep a row, and show it at once: what comes after it may take long, and fail."""
        print(f"{what}: {len(wrong)}", *wrong[:SHOWN], sep="\n", file=sys.stderr, flush=True)
        result.rows.append(at_most(what, "wrong ends", [float(len(wrong))], 0))

    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
        for what, wrong in through(Path(folder), args.every, args.stage):
            add(what, wrong)
        for race in races(Path(folder) / "races"):
            calls = range(1, race.calls + 1, args.every)
            begun = [words for at in calls if (words := race.begin_at(at))]
            add(f"{race.name}, the second begins at {len(calls):,} of {race.calls:,} calls of the first", begun)
        try:
            (disk := Path(folder) / "small").mkdir()
            add(*small_disk(disk, SIZES))
        except OSError as error:
            result.notes.append(f"a small disk: not run, as none can be mounted here ({error})")
        if not args.times:
            result.notes.append("real processes under strace: not run, as told")
        elif shutil.which("strace") is None:
            result.notes.append("real processes: not run, as strace is not installed (apt-get install strace)")
        else:
            for what, wrong in trace(Path(folder) / "traced", args.times):
                add(f"{what}, {args.times} times each", wrong)
    result.print()


if __name__ == "__main__":
    main()
