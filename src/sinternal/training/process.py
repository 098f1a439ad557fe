"""One process of a training, as `accelerate launch` starts it: `python -m sinternal.training.process FOLDER`.

It ends with its parent: a training that nobody waits for would hold its GPUs.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from sinternal import budget
from sinternal.budget import NOTHING
from sinternal.training.launch import (
    ALIVE,
    AT_WORK,
    HOST,
    JOB,
    report_failure,
    report_progress,
    report_result,
    report_spent,
)

BEAT = 1.0
"""Seconds between two looks at the parent."""


def main(folder: Path) -> None:
    """Do the job of a folder."""
    process = int(os.environ["RANK"])
    at_work = FileLock(folder / AT_WORK.format(process))
    with suppress(OSError, NotImplementedError):  # file systems of several machines may know no locks
        at_work.acquire()
    threading.Thread(target=_watch, args=(folder, process), daemon=True).start()
    try:
        job = pickle.loads((folder / JOB).read_bytes())
        result = job(progress=_ignore if process else partial(report_progress, folder))
        report_spent(folder, process, budget.spent())
        if process == 0:
            report_result(folder, result)
    except BaseException as error:
        traceback.print_exc()
        report_failure(folder, process, error)
        sys.stderr.flush()
        os._exit(1)  # at once: leaving the group of processes in order would wait for the others


def _watch(folder: Path, process: int) -> None:
    """Tell the parent what is spent; end when it is gone."""
    told, near = NOTHING, socket.gethostname() == (folder / HOST).read_text()
    while True:
        time.sleep(BEAT)
        if near and _is_free(folder / ALIVE):
            os._exit(1)
        if (spent := budget.spent()) != told:
            report_spent(folder, process, spent)
            told = spent


def _is_free(lock: Path) -> bool:
    if not lock.exists():  # to take it would make its folder again
        return True
    try:
        with FileLock(lock, blocking=False):  # given back, as the others look, too
            return True
    except (Timeout, OSError):
        return not lock.parent.exists()


def _ignore(done: int, total: int) -> None:
    """Leave telling to the first process."""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
