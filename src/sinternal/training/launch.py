"""A training in many processes: `accelerate launch` starts them, and each calls the same function.

Parent and processes talk through a folder: the pickled job, how far the first process is, what each has spent on
servers, why one stopped, and the first one's result. The parent holds a lock in it while it lives; when the lock is
free, the processes end (`sinternal.training.process`).
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from filelock import FileLock, Timeout

from sinternal import budget, errors
from sinternal.budget import Spent
from sinternal.errors import LaunchError, RecipeError, SInternalError
from sinternal.extras import require
from sinternal.settings.launch import Launch
from sinternal.store import Progress
from sinternal.store.files import new_file, write_text

R = TypeVar("R")
JOB, RESULT, CONFIGURATION, PROGRESS = "job.pickle", "result.pickle", "accelerate.yaml", "progress.json"
"""Files of the folder."""
ALIVE, HOST = "alive.lock", "host"
"""The lock that the parent holds, and the name of its machine: only there the lock can be relied on."""
AT_WORK = "at_work.{}.lock"
"""The lock that each process holds: two trainings would write over each other's checkpoints."""
POLL = 0.2
"""Seconds between two looks at the folder."""
PATIENCE = 30.0
"""Seconds that processes are given to end."""
LEFT_ALONE = re.compile(
    r"connection (was )?(closed|reset|refused)|broken pipe|remote (peer|process|worker)|socket (timeout|error)|nccl",
    re.IGNORECASE,
)
"""What gloo, NCCL and torch's store say in a process when another one has died: that is the cause, and says nothing."""


class Failure(NamedTuple):
    """Why a process stopped."""

    kind: str
    """The name of the error's class."""
    message: str
    """What it says."""
    at: float
    """When, in seconds since 1970: the others fail because the first one did."""

    def error(self) -> SInternalError:
        """The same as an error here."""
        kind = getattr(errors, self.kind, None)
        if isinstance(kind, type) and issubclass(kind, SInternalError):
            return kind(self.message)
        return LaunchError(f"a process of the training failed: {self.kind}: {self.message}")


_launch: Launch | None = None
"""The run's, in its worker processes; None: a training is computed where it is called."""


def carry(launch: Launch | None) -> None:
    """Train so from now on, in this process."""
    global _launch
    _launch = launch


def check(launch: Launch, workers: int) -> None:
    """Make sure, before anything is made, that trainings can be launched.

    Raises:
        MissingExtraError: DeepSpeed is asked for and not installed.
        RecipeError: its configuration is not there, or `workers` would launch several at once.
    """
    if workers > 1:
        raise RecipeError(
            f"launch gives one training all processes, and workers ({workers}) would train several: set 1"
        )
    if "DEEPSPEED" in launch.configuration():
        require(f"launch.config {launch.config}", "deepspeed")


def run(job: Callable[..., R], progress: Progress, folder: Path) -> R:
    """Call a function that trains: here, or in every process of the run's launch.

    Args:
        job: called with `progress`; can be pickled, as its result can.
        progress: called with (steps done, steps in all).
        folder: made, and removed again; on every machine, if there are several.

    Returns:
        The result of the first process.

    Raises:
        LaunchError: the processes could not be started, or died.
        SInternalError: what one of them raised.
    """
    if _launch is None:
        return job(progress=progress)
    _wait_for_all(folder)  # of a run that was killed
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        return _launched(_launch, job, progress, folder)
    finally:
        _wait_for_all(folder)
        shutil.rmtree(folder, ignore_errors=True)


def command(launch: Launch, folder: Path) -> list[str]:
    """What starts the processes of a job."""
    host, _, port = (launch.address or "").rpartition(":")
    meeting = ["--main_process_ip", host, "--main_process_port", port, "--rdzv_backend", "c10d"]
    return [
        *launch.start,
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--config_file", str(folder / CONFIGURATION)),
        *("--num_processes", str(launch.processes), "--num_machines", str(launch.machines)),
        *(meeting if launch.machines > 1 else ("--main_process_port", "0")),  # 0: one that is free
        *("-m", "sinternal.training.process", str(folder.resolve())),
    ]


def _launched(launch: Launch, job: Callable[..., R], progress: Progress, folder: Path) -> R:
    (folder / JOB).write_bytes(pickle.dumps(job))
    (folder / CONFIGURATION).write_text(launch.configuration())
    (folder / HOST).write_text(socket.gethostname())
    with FileLock(folder / ALIVE):
        try:
            process = subprocess.Popen(command(launch, folder), stdin=subprocess.DEVNULL)
        except OSError as error:
            raise LaunchError(f"launch.start: {launch.start[0]!r} cannot be run: {error.strerror}") from error
        paid, told = Spent(), ""
        try:
            while process.poll() is None:
                time.sleep(POLL)
                paid = _pay(folder, paid)
                told = _tell(folder, told, progress)
        finally:
            _end(process)
        _pay(folder, paid)
        _tell(folder, told, progress)
    result = folder / RESULT
    if process.returncode or not result.exists():
        raise _failure(folder, process.returncode)
    outcome: R = pickle.loads(result.read_bytes())
    return outcome


def _pay(folder: Path, paid: Spent) -> Spent:
    """Take what the processes have spent since out of the run's purse. Raises BudgetError if nothing is left."""
    spent = sum((Spent(**json.loads(file.read_text())) for file in folder.glob("spent.*.json")), Spent())
    if spent != paid:
        budget.pay(spent - paid)
        budget.check()
    return spent


def _tell(folder: Path, told: str, progress: Progress) -> str:
    """Pass on how far the first process is."""
    file = folder / PROGRESS
    said = file.read_text() if file.exists() else ""
    if said != told:
        progress(*json.loads(said))
    return said


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_all(folder: Path) -> None:
    """Wait until no process is at work any more: if accelerate was killed, they end by themselves, a little later."""
    for lock in folder.glob(AT_WORK.format("*")):
        with suppress(Timeout, OSError, NotImplementedError), FileLock(lock, PATIENCE):
            pass


def _failure(folder: Path, status: int) -> SInternalError:
    failures = [Failure(**json.loads(file.read_text())) for file in folder.glob("failure.*.json")]
    told = [failure for failure in failures if not LEFT_ALONE.search(failure.message)]
    if told:
        return min(told, key=lambda failure: failure.at).error()
    died = f"signal {-status}" if status < 0 else f"status {status}"
    return LaunchError(
        "a process of a training ended without a word, perhaps killed for lack of memory (accelerate ended with "
        f"{died}); what they printed, its own reason if there is one, is in workers.log of the store"
    )


def report_progress(folder: Path, done: int, total: int) -> None:
    """Write how far the first process is, where the parent reads it."""
    write_text(folder / PROGRESS, json.dumps([done, total]))


def report_spent(folder: Path, process: int, spent: Spent) -> None:
    """Write what a process has spent so far."""
    write_text(folder / f"spent.{process}.json", json.dumps(asdict(spent)))


def report_failure(folder: Path, process: int, error: BaseException) -> None:
    """Write why a process stopped."""
    lines: Sequence[str] = str(error).splitlines() or [""]
    failure = Failure(type(error).__name__, lines[0], time.time())
    write_text(folder / f"failure.{process}.json", json.dumps(failure._asdict()))


def report_result(folder: Path, result: Any) -> None:
    """Write what the first process has made."""
    with new_file(folder / RESULT) as stream:
        stream.write(pickle.dumps(result))
