"""From a plan to artifacts: what the store already holds, and who makes the rest."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from queue import Empty

from pydantic import BaseModel

from sinternal import pending
from sinternal.budget import Limits, Purse, Spent, carry
from sinternal.engines.orphans import guarded
from sinternal.errors import DataError, RecipeError, SInternalError, StoreError
from sinternal.extras import explained, is_there
from sinternal.redaction import redacted
from sinternal.settings.launch import Launch
from sinternal.stages.stage import Stage
from sinternal.store import Artifact, Draft, Store
from sinternal.store.files import open_to_append
from sinternal.study.contents import Contents, check_models, check_unchanged
from sinternal.study.identity import identity
from sinternal.study.preflight import check_trackers, preflight
from sinternal.study.retry import reopen_failed, undo_outdated
from sinternal.study.spawning import ScriptlessContext
from sinternal.study.task import Plan, Task
from sinternal.training import launch as launching
from sinternal.training import tracking as tracked
from sinternal.training.tracking import NOBODY, Tracking
from sinternal.validation import nearest

WORKER_LOG = "workers.log"
"""In the store: what libraries print while they work."""

_Report = tuple[str, tuple[int, int] | str]
"""From a worker: the key of an artifact, with its units done and in all, or with what it waits for."""


@dataclass(frozen=True)
class Event:
    """News of a task: for the progress display and the log."""

    task: Task
    """Which."""
    done: int = 0
    """Units done."""
    total: int = 0
    """Units in all, 0 if unknown."""
    artifact: Artifact | None = None
    """The result, once it is finished."""
    cached: bool = False
    """Whether the store already held it."""
    words: str = ""
    """What it waits for, where that takes long."""
    spent: Spent | None = None
    """What it has taken on servers, where it ended before it was finished."""


def execute(
    plan: Plan,
    store: Store,
    workers: int,
    listen: Callable[[Event], None],
    limits: Limits | None = None,
    *,
    retry_failed: bool | None = None,
    launch: Launch | None = None,
    tracking: Tracking = NOBODY,
) -> Artifact:
    """Make every artifact of a plan that is still missing; return the report.

    Independent artifacts are made side by side in `workers` processes; with more than one, each computes on one
    thread. The next call resumes an interrupted run. `limits` bounds what this run spends on servers. Failed
    requests are sent again: if `retry_failed` is None, those to servers that can be reached; if true, all of them; if
    false, none. Every server that is needed is tried first. `launch` spreads each training over processes,
    and `tracking` says who is told of it.

    Raises:
        BudgetError: the limits are reached.
        StoreError: the store cannot be written.
        SInternalError: a stage could not do its work. What was finished stays.
    """
    if launch is not None:
        launching.check(launch, workers)
    finished: dict[str, Artifact] = {}
    for task in plan.tasks:
        if artifact := store.find(task.stage.name, task.key):
            finished[task.key] = artifact
    reopened = [] if retry_failed is False else reopen_failed(plan, store, finished, everywhere=bool(retry_failed))
    undo_outdated([(task, finished[task.key]) for task in plan.tasks if task.key in finished], plan, store, finished)
    to_make = set[str]().union(*(_keys_to_make(task, finished) for task in (plan.report, *reopened)))
    for task in plan.tasks:
        if task.key in finished:
            listen(Event(task, artifact=finished[task.key], cached=True))
    if to_make:
        store.check_writable()
        waiting = [task for task in plan.tasks if task.key in to_make]
        preflight(waiting, store, limits)
        check_trackers(tracking.trackers)
        _make_all(waiting, plan, finished, store, workers, listen, limits, launch, tracking)
    return finished[plan.report.key]


def discard(plan: Plan, store: Store, stages: Collection[str]) -> int:
    """Delete what some stages have made for a plan, and all that was made from it, so that it is made again.

    Args:
        plan: whose artifacts.
        store: where they are.
        stages: names of stages.

    Returns:
        How many there were.

    Raises:
        RecipeError: no artifact of the plan is of such a stage.
    """
    known = {task.stage.name for task in plan.tasks}
    if unknown := next((name for name in stages if name not in known), None):
        close = nearest(unknown, known)
        hint = f"did you mean {close!r}?" if close else f"there are: {', '.join(sorted(known))}"
        raise RecipeError(f"--again {unknown}: this run has no such stage; {hint}")
    old: set[str] = set()
    for task in plan.tasks:  # inputs stand before what needs them
        if task.stage.name in stages or any(parent.key in old for parent in task.inputs.values()):
            old.add(task.key)
    # The last first: a run that is interrupted meanwhile would be content with a report whose inputs are gone.
    return sum(store.discard(task.stage.name, task.key) for task in reversed(plan.tasks) if task.key in old)


def _keys_to_make(task: Task, finished: Mapping[str, Artifact]) -> set[str]:
    """Keys of the artifacts that have to be made for a task."""
    if task.key in finished:
        return set()
    return {task.key}.union(*(_keys_to_make(parent, finished) for parent in task.inputs.values()))


FIRST = "prompts"
"""Prompts need nothing but prompts, and all are read before anything is sampled: a data set may be missing, or odd."""


def _make_all(
    waiting: list[Task],
    plan: Plan,
    finished: dict[str, Artifact],
    store: Store,
    workers: int,
    listen: Callable[[Event], None],
    limits: Limits | None,
    launch: Launch | None,
    tracking: Tracking,
) -> None:
    context, others = ScriptlessContext(), multiprocessing.active_children()  # of whoever calls us
    threads = 1 if workers > 1 else None
    try:
        news: multiprocessing.Queue[_Report] = context.Queue()
        purse = Purse(limits, context) if limits else None
        start = (news, purse, threads, store.root, launch, tracking)
        started = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=start)
    except OSError as error:
        raise StoreError(
            f"processes cannot talk to each other: {error.strerror}; make room in /dev/shm, and run again"
        ) from error
    by_key = {task.key: task for task in plan.tasks}
    running: dict[Future[Artifact], Task] = {}
    # A library that holds the interpreter while it opens a model keeps a worker from noticing that we are gone.
    with guarded(), started as pool:
        try:
            while waiting or running:
                for task in _ready(waiting, running.values(), finished):
                    waiting.remove(task)
                    paths = {name: finished[parent.key] for name, parent in task.inputs.items()}
                    what = (
                        store.root,
                        task.stage,
                        task.config,
                        paths,
                        task.key,
                        task.contents,
                        task.models,
                        task.label,
                    )
                    job = pool.submit(_make, *what)
                    running[job] = task
                completed, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                _forward_progress(news, by_key, listen)
                for future in completed:
                    task = running[future]
                    artifact = finished[task.key] = _result(future, task)
                    del running[future]
                    listen(Event(task, artifact=artifact))
                    waiting += undo_outdated([(task, artifact)], plan, store, finished)
        except BaseException as error:
            for process in set(multiprocessing.active_children()).difference(others):
                process.terminate()
            pool.shutdown(cancel_futures=True)
            for task in running.values():
                if (spent := store.spent_so_far(task.stage.name, task.key)).calls:
                    listen(Event(task, spent=spent))
            if isinstance(error, BrokenProcessPool):
                raise StoreError(
                    f"a worker died, perhaps for lack of memory; see {store.root / WORKER_LOG}, or set workers=1"
                ) from error
            raise


def _ready(waiting: Collection[Task], running: Collection[Task], finished: Collection[str]) -> list[Task]:
    """What can be made now."""
    ready = [task for task in waiting if all(parent.key in finished for parent in task.inputs.values())]
    first = any(task.stage.name == FIRST for task in (*waiting, *running))
    return [task for task in ready if task.stage.name == FIRST or not first]


def _result(future: Future[Artifact], task: Task) -> Artifact:
    """What a task made. An error of the user's says which task met it."""
    try:
        return future.result()
    except SInternalError as error:
        error.args = (f"{task.label}: {error}",)
        raise
    except ModuleNotFoundError as error:
        raise explained(error, task.label) from error
    except OSError as error:
        what = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
        raise StoreError(f"{task.label}: {what}") from error


def _forward_progress(
    news: multiprocessing.Queue[_Report], by_key: Mapping[str, Task], listen: Callable[[Event], None]
) -> None:
    latest: dict[str, tuple[int, int]] = {}
    while True:
        try:
            key, progress = news.get_nowait()
        except Empty:
            break
        if isinstance(progress, str):
            listen(Event(by_key[key], words=progress))
        else:
            latest[key] = progress
    for key, (done, total) in latest.items():
        listen(Event(by_key[key], done, total))


_news: multiprocessing.Queue[_Report] | None = None
"""Set in worker processes only: where they report progress."""


def _start_worker(
    news: multiprocessing.Queue[_Report],
    purse: Purse | None,
    threads: int | None,
    root: Path,
    launch: Launch | None,
    tracking: Tracking,
) -> None:
    _redirect_output(root / WORKER_LOG)
    if is_there("tqdm"):
        from tqdm import tqdm

        tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a worker that is ended would leak
    carry(purse)
    launching.carry(launch)
    tracked.carry(tracking)
    global _news  # a process pool can hand a queue to its workers only through their initializer
    _news = news
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if threads is not None and is_there("torch"):
        import torch

        torch.set_num_threads(threads)


def _redirect_output(log: Path) -> None:
    """Send what libraries print to a file: it would tear the progress display apart."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        stream = open_to_append(log)
    except OSError:  # another user's in a shared store, or no room: a worker that cannot chat works all the same
        stream = os.open(os.devnull, os.O_WRONLY)
    for standard in (1, 2):
        os.dup2(stream, standard)


def _exit_with_parent() -> None:
    """Leave no worker running, and holding its lock, when the run itself was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make(
    root: Path,
    stage: Stage,
    config: BaseModel,
    inputs: Mapping[str, Artifact],
    key: str,
    named: Contents,
    models: Mapping[str, str],
    label: str,
) -> Artifact:
    """Make one artifact, in a worker process, from what it named when the run was planned: files, plug-ins, models."""
    settings = config.model_dump(mode="json")

    def progress(done: int, total: int) -> None:
        if _news is not None:
            _news.put((key, (done, total)))

    def tell(words: str) -> None:
        if _news is not None:
            _news.put((key, words))

    def check() -> None:
        check_unchanged(named, identity(settings))
        check_models(models)

    def build(draft: Draft) -> None:
        check()
        stage.function(draft, config, **inputs)
        try:
            check()
        except DataError:
            draft.discard()
            raise

    tracked.carry(tracked.current().of(label))
    with pending.heard_by(tell):
        return Store(root).make(
            stage.name,
            key,
            build,
            stage_version=stage.version,
            config=redacted(settings),
            inputs={name: artifact.path.name for name, artifact in inputs.items()},
            progress=progress,
            plugins=named.revisions,
        )
