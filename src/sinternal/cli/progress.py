"""What a run shows while it works: bars on a terminal, lines elsewhere, and a log file either way.

Each stage shows how fast it goes and how long it still takes. For the whole run there is the share of its artifacts
that are made; how long the rest takes is told as soon as it can be: from how long artifacts of the same stage took.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from types import TracebackType

import typer
from rich import progress as bars
from rich.console import Console
from rich.table import Column

from sinternal.budget import Spent
from sinternal.cli.output import is_quiet, reporting, tell
from sinternal.store.files import append
from sinternal.study.cost import Bill
from sinternal.study.execute import Event
from sinternal.study.run import LAST, Listener, News, Start
from sinternal.visible import visible_line

SHELLS_ADD = 128
"""To the number of a signal, in the exit code of what it ended."""
EXIT_INTERRUPTED = 130
"""Exit code of a run that was interrupted (128 and the number of SIGINT, as shells have it)."""
LOG = "log.txt"
"""In a run's folder: a line for each artifact that was made."""
TO_WRITE = 4.0
"""Seconds that workers have to write what they were answered: it is paid for. Clusters kill after 10 s or more."""
EVERY = 60.0
"""Seconds between two lines on how far a stage is, where there are no bars."""
QUICK = ("prompts", "contrast", "examples", "report", "diagnosis")
"""Stages without a model: the time left is told though nothing is known of how long they take."""
WHOLE = "all"
"""The bar of the whole run."""


@dataclass
class _Work:
    """What is under way."""

    began: float
    """When it was first heard of."""
    at: int
    """Units that were done then: what an interrupted run had done before."""
    told: float
    """When it was last told how far it is."""
    done: int = 0
    total: int = 0

    def left(self, now: float) -> float | None:
        """Seconds that it still takes, at the rate that it had so far; None if that is not known."""
        if self.done <= self.at or self.done >= self.total:
            return None
        return (now - self.began) * (self.total - self.done) / (self.done - self.at)


class Progress:
    """Shows news as they come."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.log: Path | None = None
        self.finished = 0
        self.cached = 0
        self.bill = Bill()
        self.tasks = 0
        self.rows: dict[str, bars.TaskID] = {}
        self._clock = clock
        self._works: dict[str, _Work] = {}
        self._waiting: Counter[str] = Counter()
        """Artifacts that are to be made, by stage."""
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)
        """How long artifacts of each stage took, in this run or before."""
        self._made, self._began = 0.0, clock()
        """Seconds that the artifacts of this run took, and since when."""
        self.bars = bars.Progress(
            bars.TextColumn("{task.description}", markup=False, table_column=_narrow()),
            bars.BarColumn(bar_width=16),
            bars.MofNCompleteColumn(),
            _Rate(),
            _Left(),
            console=console,
            disable=not console.is_terminal or is_quiet(),
            transient=True,
        )

    def __enter__(self) -> Progress:
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bars.stop()
        for line in self.bill.lines():
            self._say(line)
        if self.cached:
            self._say(f"{self.cached} of {self.tasks} artifacts were cached")

    def listen(self, news: News) -> None:
        """Show what a run tells."""
        if isinstance(news, Start):
            self._start(news)
        else:
            self._show(news)

    def _start(self, start: Start) -> None:
        self.tasks, self.log = len(start.plan.tasks), start.folder / LOG
        self._waiting = Counter(task.stage.name for task in start.plan.tasks)
        if not is_quiet():
            for note in start.plan.notes:
                tell(f"note: {note}")
        for words in start.reach.beyond().in_words():
            tell(f"note: this run {words}")  # of what leaves this machine, even a quiet run says so
        if start.discarded:
            self._print(f"{start.discarded} artifacts are made again")
        if start.bound:
            self._print(start.bound.in_words())

    def _show(self, event: Event) -> None:
        label, stage = event.task.label, event.task.stage
        if event.cached:
            self.cached += 1
            self.finished += 1
            self._waiting[stage.name] -= 1
            if event.artifact is not None:
                self._seconds[stage.name].append(event.artifact.manifest["seconds"])
        elif event.words:
            self._say(f"{label}: {event.words}")
        elif event.spent is not None:
            self.bill.add(event.task, event.spent)
        elif event.artifact is None:
            self.count(label)(event.done, event.total)
        else:
            self.finished += 1
            self._waiting[stage.name] -= 1
            self.bill.add(event.task, Spent(**event.artifact.manifest.get("spent", {})))
            self._remove(label)
            counts = event.artifact.counts
            name = stage.counted_as
            shown = f"{counts[name]:,} {name}" if name in counts else "done"
            seconds = event.artifact.manifest["seconds"]
            self._seconds[stage.name].append(seconds)
            self._made += seconds
            left = self._left_in_all()
            self._say(
                f"[{self.finished:>3}/{self.tasks}] {label}: {shown} in {seconds:.1f} s"
                f"{f'; {duration(left)} left' if left else ''}"
            )
            for note in () if stage.name in LAST else event.artifact.manifest["notes"]:  # the command ends in those
                self._say(f"note: {label}: {note}")
        self._move_whole()

    def count(self, label: str) -> Callable[[int, int], None]:
        """A callback that moves the bar with this label; off a terminal, it says how far it is once in a while."""

        def move(done: int, total: int) -> None:
            now = self._clock()
            work = self._works.setdefault(label, _Work(now, done, now))
            work.done, work.total = done, total
            if label not in self.rows:
                self.rows[label] = self.bars.add_task(label, total=total)
            self.bars.update(self.rows[label], completed=done, total=total)
            if self.bars.disable and now - work.told >= EVERY:
                work.told = now
                self._say(f"{label}: {self._how_far(work, now)}")

        return move

    def _how_far(self, work: _Work, now: float) -> str:
        share = f"{work.done:,} of {work.total:,}" if work.total else f"{work.done:,}"
        passed = now - work.began
        rate = (work.done - work.at) / passed if passed > 0 else 0.0
        left = work.left(now)
        parts = [share, *([per_time(rate)] if rate else []), *([f"{duration(left)} left"] if left else [])]
        if (whole := self._left_in_all()) is not None:
            parts.append(f"about {duration(whole)} in all")
        return ", ".join(parts)

    def _left_in_all(self) -> float | None:
        """Seconds until all artifacts are made, as many side by side as so far.

        Artifacts under way count as not begun. None if nothing is known of a stage that models work in.
        """
        left = 0.0
        for stage, number in self._waiting.items():
            if number > 0 and self._seconds[stage]:
                left += number * sum(self._seconds[stage]) / len(self._seconds[stage])
            elif number > 0 and stage not in QUICK:
                return None
        passed = self._clock() - self._began
        side_by_side = self._made / passed if passed > 0 else 1.0
        return left / max(1.0, side_by_side) or None

    def _move_whole(self) -> None:
        if not self.tasks or self.bars.disable:
            return
        if WHOLE not in self.rows:
            self.rows[WHOLE] = self.bars.add_task(WHOLE, total=self.tasks)
        left = self._left_in_all()
        self.bars.update(self.rows[WHOLE], completed=self.finished, total=self.tasks, left=left, whole=True)

    def _remove(self, label: str) -> None:
        self._works.pop(label, None)
        if label in self.rows:
            self.bars.remove_task(self.rows.pop(label))

    def _say(self, text: str) -> None:
        line = visible_line(text)
        self._print(line)
        if self.log is not None:
            try:
                append(self.log, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
            except OSError as error:  # a line less in the log is worth no run
                tell(f"note: {self.log}: {error.strerror or error}; nothing more is written there")
                self.log = None

    def _print(self, text: str) -> None:
        if not is_quiet():
            self.console.print(text, soft_wrap=True)


@contextmanager
def show_progress(*, again: bool = False, as_json: bool = False) -> Iterator[Listener]:
    """Show a run while it goes on. When it is interrupted, say how to go on, and exit.

    Args:
        again: whether it makes artifacts anew, which going on must not do once more.
        as_json: whether standard output is for JSON alone, so that this goes to standard error.
    """
    same = "the same command without --again" if again else "the same command"
    try:
        with _ended_like_ctrl_c(), reporting(as_json) as console, Progress(console) as progress:
            yield progress.listen
    except Ended as error:
        tell(f"stopped by {error.signal.name}; {same} continues from here")
        raise typer.Exit(SHELLS_ADD + error.signal) from None
    except KeyboardInterrupt:
        tell(f"stopped; {same} continues from here")
        raise typer.Exit(EXIT_INTERRUPTED) from None


class Ended(KeyboardInterrupt):
    """A signal asks the run to end: what is under way is put away, as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        """Take the number of the signal."""
        self.signal = Signals(number)
        super().__init__(self.signal.name)


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM (a cluster's, `kill`'s) and SIGHUP (a closed terminal's) end a run in order; a second one at once."""

    def end(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        for worker in multiprocessing.active_children():
            if worker.pid is not None:
                with suppress(OSError):  # it has ended meanwhile
                    os.kill(worker.pid, signal.SIGINT)
        time.sleep(TO_WRITE)
        raise Ended(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            if signal.getsignal(each) is signal.SIG_DFL:  # who ignores it, as nohup does, means it
                before[each] = signal.signal(each, end)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def duration(seconds: float) -> str:
    """`40 s`, `5 min` or `2 h 10 min`."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def per_time(rate: float) -> str:
    """Units in a second, or in a minute where there is less than one a second: `12/s`, `4.5/min`."""
    if rate >= 10:
        return f"{rate:,.0f}/s"
    return f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"


def _narrow() -> Column:
    """A column that gives way where a terminal is narrow."""
    return Column(ratio=1, no_wrap=True, overflow="ellipsis")


class _Rate(bars.ProgressColumn):
    """Units a second."""

    def render(self, task: bars.Task) -> str:
        return per_time(task.speed) if task.speed and not task.fields.get("whole") else ""


class _Left(bars.ProgressColumn):
    """Time left: of the whole run, as far as that can be said."""

    def render(self, task: bars.Task) -> str:
        left = task.fields.get("left") if task.fields.get("whole") else task.time_remaining
        return f"{duration(left)} left" if left else ""
