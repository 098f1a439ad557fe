"""Asking again for what failed: finished artifacts are opened once more, and what depends on them is made anew.

Rows that are right stay: only those are asked for again whose request failed or was withheld by a filter (with `n`
samples of one request, all `n`). An artifact that was opened remembers what it was: if it turns out the same, nothing
else changes.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

from sinternal.figures import calls
from sinternal.records import Judgement, Response, Verification
from sinternal.store import Artifact, Store
from sinternal.study.preflight import can_be_asked
from sinternal.study.task import Plan, Task


def reopen_failed(plan: Plan, store: Store, there: MutableMapping[str, Artifact], *, everywhere: bool) -> list[Task]:
    """Open every finished artifact with rows that failed; those of an earlier attempt that are still open count, too.

    Args:
        plan: what is asked for.
        store: where the artifacts are.
        there: the finished ones by key; what is opened is taken out.
        everywhere: also what a local model failed at; else only what servers did that are there to be asked.
    """
    opened = []
    for task in plan.tasks:
        if task.stage.asks is None:
            continue
        found = there.get(task.key)
        told = calls.read(found) if found else None
        if found and told and (told.failed or told.filtered) and (everywhere or can_be_asked(task)):
            _reopen(store, task, there.pop(task.key))
            opened.append(task)
        elif found is None and store.is_reopened(task.stage.name, task.key):
            opened.append(task)
    return opened


def outdated(
    made: Iterable[tuple[Task, Artifact]], plan: Plan, store: Store, there: MutableMapping[str, Artifact]
) -> list[Task]:
    """Undo what was made from earlier contents of artifacts that were opened, and have changed.

    Args:
        made: finished artifacts, some of which may have been opened.
        plan: what is asked for.
        store: where the artifacts are.
        there: the finished ones by key; what is undone is taken out.

    Returns:
        What has to be made anew.
    """
    changed = {task.key for task, artifact in made if store.has_changed(artifact)}
    stale = [
        task
        for task in plan.tasks
        if task.key in there and changed.intersection(parent.key for parent in task.ancestors())
    ]
    for task in stale:
        artifact = there.pop(task.key)
        if task.stage.asks is not None:
            _reopen(store, task, artifact)
        else:
            store.forget(artifact)
    for _, artifact in made:
        store.settle(artifact)
    return stale


def _reopen(store: Store, task: Task, artifact: Artifact) -> None:
    assert task.stage.asks is not None  # only what a model was asked for is opened
    row_type: Any = task.stage.asks
    rows = artifact.rows(row_type)
    store.reopen(artifact, [row for row in rows if not _failed(row)], row_type)


def _failed(row: Response | Judgement | Verification) -> bool:
    return row.finish is not None and row.finish.without_text
