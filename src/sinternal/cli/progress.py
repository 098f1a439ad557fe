"""What a run shows while it works: bars on a terminal, one line a stage elsewhere, and a log file either way."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich import progress as bars
from rich.console import Console

from sinternal.budget import NOTHING, Spent

if TYPE_CHECKING:
    from sinternal.study.execute import Event


class Progress:
    """Shows events as they come."""

    def __init__(self, console: Console, tasks: int, log: Path | None) -> None:
        """`tasks` is the number of artifacts of the whole run; `log` receives a line for each that was made."""
        self.console = console
        self.log = log
        self.finished = 0
        self.cached = 0
        self.spent = NOTHING
        self.tasks = tasks
        self.rows: dict[str, bars.TaskID] = {}
        self.bars = bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(bar_width=24),
            bars.MofNCompleteColumn(),
            _Rate(),
            bars.TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )

    def __enter__(self) -> Progress:
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bars.stop()
        if self.spent.calls:
            self._say(f"calls to servers: {self.spent.in_words()}")
        if self.cached:
            self._say(f"{self.cached} of {self.tasks} artifacts were there already")

    def listen(self, event: Event) -> None:
        """Show one event of a run."""
        label = event.task.label
        if event.cached:
            self.cached += 1
            self.finished += 1
        elif event.artifact is None:
            self.count(label)(event.done, event.total)
        else:
            self.finished += 1
            self.spent += Spent(**event.artifact.manifest.get("spent", {}))
            self._remove(label)
            counts = event.artifact.counts
            name = event.task.stage.counted_as
            shown = f"{counts[name]:,} {name}" if name in counts else "done"
            seconds = event.artifact.manifest["seconds"]
            self._say(f"[{self.finished:>3}/{self.tasks}] {label}: {shown} in {seconds:.1f} s")
            for note in event.artifact.manifest["notes"]:
                self._say(f"note: {label}: {note}")

    def count(self, label: str) -> Callable[[int, int], None]:
        """A callback that moves the bar with this label."""

        def move(done: int, total: int) -> None:
            if label not in self.rows:
                self.rows[label] = self.bars.add_task(label, total=total)
            self.bars.update(self.rows[label], completed=done, total=total)

        return move

    def _remove(self, label: str) -> None:
        if label in self.rows:
            self.bars.remove_task(self.rows.pop(label))

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False)
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("a") as stream:
                stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")


class _Rate(bars.ProgressColumn):
    """Units a second."""

    def render(self, task: bars.Task) -> str:
        return f"{task.speed:,.0f}/s" if task.speed else ""
