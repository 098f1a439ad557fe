"""Two or more ways to do the same work, side by side in one run: the base of every script here.

A machine is noisy, and differs from the next one; a ratio taken in one run hardly does. So every way is repeated, the
order turned round each time, and what is told is the median of the ratios with the smallest and the largest. CPU
seconds count where both ways compute in this process or its children, wall seconds where one of them waits. Where
there is no peer, the figure itself is told, with its smallest and its largest value.

Every script prints a table and, as its last line, one JSON object; `python -m bench` writes tables, data and plots
in docs/ from these lines.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

Work = Callable[[], float]
"""Does the work once; returns how much it was, for example tokens written."""


@dataclass(frozen=True)
class Times:
    """What one way took, repeat by repeat."""

    wall: list[float]
    """Seconds."""
    cpu: list[float]
    """CPU seconds of this process and the children that it has waited for."""
    done: list[float]
    """How much was done."""

    def rates(self, *, by_cpu: bool) -> list[float]:
        """How much was done in a second."""
        seconds = self.cpu if by_cpu else self.wall
        return [done / second for done, second in zip(self.done, seconds, strict=True)]


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    what: str
    """The work."""
    against: str
    """The peer; empty for none."""
    unit: str
    """Of `ours` and `theirs`."""
    ours: float
    """Median."""
    theirs: float | None
    """Median; None without a peer."""
    ratio: float | None
    """Ours by theirs, above 1 where ours is better: median over repeats; None without a peer."""
    low: float
    """The smallest ratio; without a peer, the smallest of ours."""
    high: float
    """The largest."""
    n: int
    """Repeats."""
    goal: str
    """What was aimed at."""
    met: bool | None
    """Whether it was reached by the median; None if there is no goal for this peer."""
    limit: float | None = None
    """Share of what this machine could do at most, where that is known."""

    @property
    def comparison(self) -> str:
        """The ratio with its range; without a peer, the range of ours."""
        if self.ratio is None:
            return f"[{self.low:,.4g}, {self.high:,.4g}]"
        return f"{self.ratio:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Line:
    """One line of a plot."""

    name: str
    """Whose it is; lines of one name are drawn alike in all panels."""
    points: list[tuple[float, float]]
    """Positive x and y."""


@dataclass(frozen=True)
class Panel:
    """One panel of a plot of growth; both of its axes are logarithmic."""

    title: str
    """What is measured."""
    x: str
    """Title of the axis, with the unit."""
    y: str
    """Title of the axis, with the unit."""
    lines: list[Line]
    """What is drawn."""


@dataclass
class Result:
    """What a script found."""

    measure: str
    """Its name: that of the script."""
    rows: list[Row] = field(default_factory=list)
    """Its table."""
    notes: list[str] = field(default_factory=list)
    """What a reader should know: what was not run, and why."""
    panels: list[Panel] = field(default_factory=list)
    """Its plot; none for most."""

    def print(self) -> None:
        """The table for people, and one line of JSON for programs."""
        for row in self.rows:
            peer = "" if row.theirs is None else f" against {row.theirs:,.4g} ({row.against}), ratio"
            share = f", {row.limit:.0%} of the machine's limit" if row.limit is not None else ""
            verdict = {True: "reached", False: "missed", None: "no goal"}[row.met]
            print(
                f"{row.what}: {f'{row.ours:,.4g} {row.unit}'.rstrip()}{peer} {row.comparison}, n {row.n}{share}; "
                f"goal {row.goal}: {verdict}"
            )
        for note in self.notes:
            print(f"note: {note}")
        print(json.dumps({**asdict(self), "command": command(), "machine": machine()}))


def side_by_side(ways: Mapping[str, Work], repeats: int, *, warm: bool = True) -> dict[str, Times]:
    """Let every way do its work so many times, in turns.

    Args:
        ways: by name.
        repeats: how often.
        warm: whether each does it once before, unmeasured.
    """
    times = {name: Times([], [], []) for name in ways}
    if warm:
        for work in ways.values():
            work()
    for name in turns(ways, repeats):
        wall, cpu = time.perf_counter(), cpu_seconds()
        done = ways[name]()
        times[name].cpu.append(cpu_seconds() - cpu)
        times[name].wall.append(time.perf_counter() - wall)
        times[name].done.append(done)
    return times


def turns(names: Iterable[str], repeats: int) -> Iterator[str]:
    """Each name so often, in an order that is turned round each time."""
    order = list(names)
    for repeat in range(repeats):
        yield from order if repeat % 2 == 0 else reversed(order)


def compare(
    what: str,
    ours: Times,
    theirs: Times,
    against: str,
    unit: str,
    goal: float | None,
    *,
    by_cpu: bool = True,
    limit: float | None = None,
) -> Row:
    """A row: rates of ours by rates of theirs, repeat by repeat.

    Args:
        what: the work.
        ours: how long we took.
        theirs: how long the peer took.
        against: the peer's name.
        unit: what is done in a second, for example `tokens/s`.
        goal: the ratio that should be reached; None for none.
        by_cpu: whether CPU seconds count, and not wall seconds.
        limit: the most that this machine could do in a second.
    """
    mine, other = ours.rates(by_cpu=by_cpu), theirs.rates(by_cpu=by_cpu)
    ratios = [a / b for a, b in zip(mine, other, strict=True)]
    return Row(
        what,
        against,
        f"{unit} of CPU" if by_cpu else unit,
        median(mine),
        median(other),
        median(ratios),
        min(ratios),
        max(ratios),
        len(ratios),
        "none" if goal is None else f"at least {goal:g}",
        None if goal is None else median(ratios) >= goal,
        None if limit is None else median(mine) / limit,
    )


def at_most(
    what: str,
    unit: str,
    ours: Sequence[float],
    most: float | None,
    theirs: Sequence[float] | None = None,
    against: str = "",
) -> Row:
    """A row of figures that should be small: theirs by ours, repeat by repeat.

    Args:
        what: the work.
        unit: of the figures.
        ours: repeat by repeat.
        most: what ours should not exceed; None for no goal.
        theirs: the peer's, repeat by repeat; None for no peer.
        against: the peer's name.
    """
    ratios = None if theirs is None else [b / a for a, b in zip(ours, theirs, strict=True)]
    return Row(
        what,
        against,
        unit,
        median(ours),
        None if theirs is None else median(theirs),
        None if ratios is None else median(ratios),
        min(ratios or ours),
        max(ratios or ours),
        len(ours),
        "none" if most is None else f"at most {most:,g}",
        None if most is None else median(ours) <= most,
    )


def alone(what: str, ours: Times, unit: str, *, limit: float, by_cpu: bool = True) -> Row:
    """A row of what is done in a second, with no peer but the machine.

    Args:
        what: the work.
        ours: how long it took.
        unit: what is done in a second.
        limit: the most that this machine could do in a second.
        by_cpu: whether CPU seconds count, and not wall seconds.
    """
    rates = ours.rates(by_cpu=by_cpu)
    middle = median(rates)
    kind = f"{unit} of CPU" if by_cpu else unit
    return Row(what, "", kind, middle, None, None, min(rates), max(rates), len(rates), "none", None, middle / limit)


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def peak_mb() -> float:
    """The most memory that this process has held.

    Where there is /proc, by its own count: that of getrusage begins with what the parent held at the fork.
    """
    try:
        with Path("/proc/self/status").open() as lines:
            return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024
    except (OSError, StopIteration):
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def command() -> str:
    """How this was called."""
    return shlex.join(["python", "-m", f"bench.{Path(sys.argv[0]).stem}", *sys.argv[1:]])


def machine() -> dict[str, object]:
    """Where it was measured."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def _cpu_name() -> str:
    try:
        with Path("/proc/cpuinfo").open() as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def table(rows: Sequence[Row]) -> str:
    """Rows in Markdown, without the columns that none of them fills."""
    columns = {
        "work": [row.what for row in rows],
        "against": [row.against for row in rows],
        "ours": [f"{row.ours:,.4g} {row.unit}".rstrip() for row in rows],
        "theirs": ["" if row.theirs is None else f"{row.theirs:,.4g}" for row in rows],
        "ratio": [row.comparison for row in rows],
        "n": [str(row.n) for row in rows],
        "of the limit": ["" if row.limit is None else f"{row.limit:.0%}" for row in rows],
        "goal": [row.goal for row in rows],
        "": [{True: "reached", False: "**missed**", None: ""}[row.met] for row in rows],
    }
    if not any(columns["against"]):
        columns = {"range" if name == "ratio" else name: cells for name, cells in columns.items()}
    filled = {name: cells for name, cells in columns.items() if any(cells)}
    lines = [filled, ["---"] * len(filled), *zip(*filled.values(), strict=True)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
