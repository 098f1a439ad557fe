"""What a user should know before calls are handed in as batches: how often a run may wait, and for how long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sinternal.settings.named_engines import engines_in
from sinternal.settings.plugins import EnginePlugin
from sinternal.study.task import Task


def batch_notes(tasks: Iterable[Task]) -> Iterator[str]:
    """A note for each window that batches of these tasks have."""
    by_window: dict[str, list[Task]] = {}
    for task in tasks:
        for window in dict.fromkeys(_windows(task)):
            by_window.setdefault(window, []).append(task)
    for window, waiting in by_window.items():
        others = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
        rounds = dict.fromkeys(task.stage.rounds for task in waiting if task.stage.rounds)
        yield (
            f"{waiting[0].label}{others}: calls are handed in as batches, each of which may take up to {window}; what "
            f"depends on one waits for it{'; '.join(['', *rounds])}"
        )


def _windows(task: Task) -> Iterator[str]:
    if task.stage.shows_paths:  # the settings of a report name what other stages ask
        return
    for engine in engines_in(task.config.model_dump(mode="json"), inside=True):
        plugin = EnginePlugin(name=engine.name, options=dict(engine.options))
        window: str | None = plugin.plugin_class.window(plugin.validated_options)
        if window is not None:
            yield window
