"""What a run shows while it works: bars on a terminal, one line a stage elsewhere, and a log file either way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import typer
from rich import progress as bars
from rich.console import Console

from sinternal.budget import NOTHING, Spent
from sinternal.cli.output import out, tell
from sinternal.store.files import append
from sinternal.study.execute import Event
from sinternal.study.run import Listener, News, Start
from sinternal.visible import visible_line

EXIT_INTERRUPTED = 130
"""Exit code of a run that was interrupted (128 and the number of SIGINT, as shells have it)."""
LOG = "log.txt"
"""In a run's folder: a line for each artifact that was made."""


class Progress:
    """Shows news as they come."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.log: Path | None = None
        self.finished = 0
        self.cached = 0
        self.spent = NOTHING
        self.tasks = 0
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
            self._say(f"{self.cached} of {self.tasks} artifacts were cached")

    def listen(self, news: News) -> None:
        """Show what a run tells."""
        if isinstance(news, Start):
            self._start(news)
        else:
            self._show(news)

    def _start(self, start: Start) -> None:
        self.tasks, self.log = len(start.plan.tasks), start.folder / LOG
        for note in start.plan.notes:
            tell(f"note: {note}")
        for words in start.reach.beyond().in_words():
            tell(f"note: this run {words}")
        if start.discarded:
            self.console.print(f"{start.discarded} artifacts are made again")
        if start.bound:
            self.console.print(start.bound.in_words(), soft_wrap=True)

    def _show(self, event: Event) -> None:
        label = event.task.label
        if event.cached:
            self.cached += 1
            self.finished += 1
        elif event.words:
            self._say(f"{label}: {event.words}")
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

    def _say(self, text: str) -> None:
        line = visible_line(text)
        self.console.print(line, soft_wrap=True)
        if self.log is not None:
            try:
                append(self.log, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
            except OSError as error:  # a line less in the log is worth no run
                tell(f"note: {self.log}: {error.strerror or error}; nothing more is written there")
                self.log = None


@contextmanager
def show_progress(*, again: bool = False) -> Iterator[Listener]:
    """Show a run while it goes on. When it is interrupted, say how to go on, and exit.

    Args:
        again: whether it makes artifacts anew, which going on must not do once more.
    """
    try:
        with Progress(out) as progress:
            yield progress.listen
    except KeyboardInterrupt:
        tell(f"stopped; {'the same command without --again' if again else 'the same command'} continues from here")
        raise typer.Exit(EXIT_INTERRUPTED) from None


class _Rate(bars.ProgressColumn):
    """Units a second."""

    def render(self, task: bars.Task) -> str:
        return f"{task.speed:,.0f}/s" if task.speed else ""
