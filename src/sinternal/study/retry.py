"""Asking again for what failed: finished artifacts are reopened, and what depends on them is made again.

Only rows whose request failed or was withheld by a filter are asked for again (with `n` samples of one request, all
`n`). A reopened artifact remembers what it was: if it turns out the same, nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

from sinternal.figures import calls
from sinternal.stages.stage import Answered
from sinternal.store import Artifact, Store
from sinternal.study.preflight import is_reachable
from sinternal.study.task import Plan, Task


def reopen_failed(plan: Plan, store: Store, finished: MutableMapping[str, Artifact], *, everywhere: bool) -> list[Task]:
    """Reopen every finished artifact with failed rows; those still open from an earlier attempt count, too.

    Args:
        plan: what is asked for.
        store: where the artifacts are.
        finished: the finished ones by key; what is reopened is taken out.
        everywhere: also where a local model failed; else only where the server can be reached.
    """
    reopened = []
    for task in plan.tasks:
        if task.stage.asks is None:
            continue
        artifact = finished.get(task.key)
        outcome = calls.read(artifact) if artifact else None
        if artifact and outcome and (outcome.failed or outcome.filtered) and (everywhere or is_reachable(task)):
            _reopen(store, task, finished.pop(task.key))
            reopened.append(task)
        elif artifact is None and store.is_reopened(task.stage.name, task.key):
            reopened.append(task)
    return reopened


def undo_outdated(
    made: Iterable[tuple[Task, Artifact]], plan: Plan, store: Store, finished: MutableMapping[str, Artifact]
) -> list[Task]:
    """Undo what was made from artifacts that were reopened and have changed.

    Args:
        made: finished artifacts, some of which may have been reopened.
        plan: what is asked for.
        store: where the artifacts are.
        finished: the finished ones by key; what is undone is taken out.

    Returns:
        What has to be made again.
    """
    changed = {task.key for task, artifact in made if store.has_changed(artifact)}
    stale = [
        task
        for task in plan.tasks
        if task.key in finished and changed.intersection(parent.key for parent in task.ancestors())
    ]
    for task in stale:
        artifact = finished.pop(task.key)
        if task.stage.asks is not None:
            _reopen(store, task, artifact)
        else:
            store.forget(artifact)
    for _, artifact in made:
        store.settle(artifact)
    return stale


def _reopen(store: Store, task: Task, artifact: Artifact) -> None:
    assert task.stage.asks is not None  # only what a model was asked for is reopened
    row_type: Any = task.stage.asks
    rows = artifact.table(row_type)
    store.reopen(artifact, (row for row in rows if not _failed(row)), row_type)


def _failed(row: Answered) -> bool:
    return row.finish is not None and row.finish.without_text
