"""Stops a process at any call that changes a file: the base of `bench.crash_points` and of the tests beside it.

A tiny diagnosis, whose engine answers at once and counts its calls, runs in a process that was forked from one that has
imported everything, and so takes a tenth of a second. `Shim` stands between Python and the system there: it counts the
calls that change a file of the run, and at one of them kills the process or lets the call fail. A second process goes
on; then every byte that is left must be what an uninterrupted run leaves. The clock stands still, so that even the
manifests are the same.
"""

from __future__ import annotations

import builtins
import errno
import gc
import hashlib
import io
import json
import os
import queue
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import sinternal.figures.diagnosis  # a fork of a process that has imported all of it costs nothing
import sinternal.figures.outcomes
import sinternal.report.diagnosis_page
import sinternal.report.diagnosis_words  # noqa: F401
from sinternal import registry
from sinternal.engines import Completion, Engine, Request
from sinternal.errors import SInternalError
from sinternal.records import Finish
from sinternal.registry import Kind
from sinternal.settings.plugins import EnginePlugin
from sinternal.store import Store, draft, store
from sinternal.store.care import collect
from sinternal.study import execute
from sinternal.study.run import ARTIFACTS, make
from sinternal.study.task import Plan
from sinternal.tools.diagnosis import PAGE, RESULTS, TEXT, load_diagnosis, plan_diagnosis

PROMPTS, SAMPLES = 6, 2
ROWS_PER_SHARD = 4
"""Rows that are in flight at most."""
HEAD_START = 0.05
"""Seconds for which a process stands still when another begins."""
CALLS = "calls"
"""Beside a run: a byte for each call of the engine."""
COUNTER = "SINTERNAL_BENCH_CALLS"
"""The variable that names that file, for processes that were not forked."""
OK, TOLD, TRACEBACK = 0, 2, 1
"""How a child ends: all was done, or one line for the user, or one that should not be."""


class Fault(StrEnum):
    """What happens at a call."""

    BEFORE = "SIGKILL right before"
    AFTER = "SIGKILL right after"
    POWER = "power cut right after: what was not fsynced is torn"
    NAMES = "the same, and names in folders that were not fsynced are what they were"
    FULL = "ENOSPC from there on"
    IO = "EIO"
    DENIED = "EACCES"
    MEETING = "another process begins"

    @property
    def kills(self) -> bool:
        """Whether nothing of the process is left to tidy up."""
        return self in (Fault.BEFORE, Fault.AFTER, Fault.POWER, Fault.NAMES)


ERRORS = {Fault.FULL: errno.ENOSPC, Fault.IO: errno.EIO, Fault.DENIED: errno.EACCES}
TAKES_ROOM = frozenset({"open", "write", "mkdir", "symlink", "link", "fsync", "sendfile", "truncate"})
"""Calls that a full disk refuses."""


class Call(NamedTuple):
    """A call that changes a file."""

    name: str
    """Of the system call."""
    path: str
    """What is changed, from the folder of the run."""


class Shim:
    """Counts the calls of this process that change something below a folder, and lets one of them go wrong."""

    telling = -1
    """A descriptor to tell that another process is to begin."""

    def __init__(self, root: Path, at: int = 0, fault: Fault | None = None) -> None:
        """Begin to count; `at` is the number of the call that goes wrong, from 1 on."""
        self.root, self.at, self.fault = str(root.resolve()), at, fault
        self.calls: list[Call] = []
        self.unsafe: set[tuple[int, int]] = set()
        """Inodes that were written to, and not brought to the disk since."""
        self.names = Names(Path(self.root)) if fault is Fault.NAMES else None
        self._patch()

    def point(self, name: str, path: str, act: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Do a call, or not.

        Args:
            name: of the call.
            path: what it changes.
            act: does it.
            half: does a part of it, for a write that fails in its midst.
        """
        if not path.startswith(self.root):
            return act()
        self.calls.append(Call(name, path[len(self.root) + 1 :]))
        number, fault = len(self.calls), self.fault
        later = self.at and number > self.at and fault is Fault.FULL and name in TAKES_ROOM
        if number != self.at and not later:
            return act()
        if fault in ERRORS and (fault is not Fault.FULL or name in TAKES_ROOM):
            if half is not None:
                half()
            raise OSError(ERRORS[fault], os.strerror(ERRORS[fault]), path)
        if fault is Fault.BEFORE:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault is Fault.MEETING:
            os.write(self.telling, b".")
            time.sleep(HEAD_START)
        try:
            return act()
        finally:
            if fault in (Fault.POWER, Fault.NAMES):
                self._tear()
            if self.names is not None:
                self.names.undo()
            if fault in (Fault.AFTER, Fault.POWER, Fault.NAMES):
                os.kill(os.getpid(), signal.SIGKILL)

    def _tear(self) -> None:
        """Cut files that were written and not fsynced to half."""
        for directory, _, names in os.walk(self.root):
            for name in names:
                status = (file := Path(directory, name)).lstat()
                if stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) in self.unsafe:
                    _truncate(file, status.st_size // 2)

    def note(self, descriptor: int, *, safe: bool) -> None:
        """Remember whether what was written to a file is on the disk."""
        status = os.fstat(descriptor)
        (self.unsafe.discard if safe else self.unsafe.add)((status.st_dev, status.st_ino))

    def _patch(self) -> None:
        shim = self
        original = {name: getattr(os, name) for name in ("open", "fsync", "sendfile", "write")}

        def opening(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            def act() -> int:
                return original["open"](path, flags, mode, dir_fd=dir_fd)

            full = _full(path, dir_fd)
            if shim.names is not None and flags & os.O_CREAT:
                shim.names.note("open", full)
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            return shim.point("open", full, act) if writes else act()

        def fsync(descriptor: int) -> None:
            shim.point("fsync", _path_of(descriptor), lambda: original["fsync"](descriptor))
            shim.note(descriptor, safe=True)
            if shim.names is not None:
                shim.names.keep(_path_of(descriptor))

        def sendfile(out: int, source: int, offset: int, count: int) -> int:
            shim.note(out, safe=False)
            return shim.point("sendfile", _path_of(out), lambda: original["sendfile"](out, source, offset, count))

        os.open, os.fsync, os.sendfile = opening, fsync, sendfile  # type: ignore[assignment]
        for name in ("unlink", "remove", "rmdir", "mkdir", "truncate", "chmod", "utime"):
            setattr(os, name, self._on_path(name, getattr(os, name)))
        for name in ("rename", "replace", "symlink", "link"):
            setattr(os, name, self._on_two_paths(name, getattr(os, name)))
        self._patch_files()

    def _patch_files(self) -> None:
        opened, shim = io.open, self

        def open_file(file: Any, mode: str = "r", buffering: int = -1, *texts: Any, **more: Any) -> Any:
            if "+" in mode or not set(mode) & set("wax"):
                return opened(file, mode, buffering, *texts, **more)
            raw_mode = mode.replace("b", "").replace("t", "")
            opener = more.pop("opener", None) or (lambda path, flags: os.open(path, flags, 0o666))
            raw = _Raw(file, raw_mode, more.pop("closefd", True), opener, shim=shim)
            stream = io.BufferedWriter(raw)
            return stream if "b" in mode else io.TextIOWrapper(stream, *texts, **more)

        io.open = builtins.open = open_file  # type: ignore[assignment]

    def _on_path(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, dir_fd: int | None = None, **more: Any) -> Any:
            at = {} if dir_fd is None else {"dir_fd": dir_fd}
            full = _path_of(path) if isinstance(path, int) else _full(path, dir_fd)
            if self.names is not None:
                self.names.note(name, full)
            return self.point(name, full, lambda: function(path, *args, **at, **more))

        return call

    def _on_two_paths(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(source: Any, target: Any, *args: Any, **more: Any) -> Any:
            if self.names is not None:
                self.names.note(name, _full(target, None), _full(source, None))
            return self.point(name, _full(target, None), lambda: function(source, target, *args, **more))

        return call


class _Raw(io.FileIO):
    """A file whose writes are counted."""

    def __init__(self, file: Any, mode: str, closefd: bool, opener: Any, *, shim: Shim) -> None:
        super().__init__(file, mode, closefd, opener)
        self.shim = shim

    def write(self, data: Any) -> int:
        """Write, or not, or half of it."""
        write, whole = super().write, bytes(data)
        self.shim.note(self.fileno(), safe=False)
        written: int = self.shim.point(
            "write", _path_of(self.fileno()), lambda: write(whole), lambda: write(whole[: len(whole) // 2])
        )
        return written


class Names:
    """Names as POSIX has them: an fsync of a folder keeps the changes of names in it, and a power cut loses all others.

    An fsync of something new keeps that it was made. File systems with one journal for all folders lose less.
    """

    link, mkdir, rename = staticmethod(os.link), staticmethod(os.mkdir), staticmethod(os.rename)
    rmdir, unlink = staticmethod(os.rmdir), staticmethod(os.unlink)

    def __init__(self, root: Path) -> None:
        """Look after what is below a folder."""
        self.root, self.aside = str(root), Path(tempfile.mkdtemp(dir=root.parent))
        self.lost: list[tuple[frozenset[str], Callable[[], None]]] = []
        """What undoes each change that no fsync has kept, and the paths of which that would do so."""

    def note(self, name: str, path: str, source: str = "") -> None:
        """Remember what undoes a call that is about to be made."""
        if not path.startswith(self.root):
            return
        there, folder = os.path.lexists(path), frozenset({str(Path(path).parent)})
        if name in ("open", "mkdir", "symlink", "link") and not there:
            self.lost.append((folder | {path}, lambda: (self.rmdir if name == "mkdir" else self.unlink)(path)))
        elif name == "rmdir" and there:
            self.lost.append((folder, lambda: self.mkdir(path)))
        elif name in ("unlink", "remove", "rename", "replace") and there and not Path(path).is_dir():
            kept = self.aside / str(len(list(self.aside.iterdir())))
            self.link(path, kept, follow_symlinks=False)
            self.lost.append((folder, lambda: self.link(kept, path, follow_symlinks=False)))
        if name in ("rename", "replace"):
            self.lost.append((folder, lambda: self.rename(path, source)))

    def keep(self, path: str) -> None:
        """A file or a folder was fsynced."""
        self.lost = [(by, undo) for by, undo in self.lost if path not in by]

    def undo(self) -> None:
        """Lose what was not; calls that failed have changed nothing."""
        for _, change in reversed(self.lost):
            with suppress(OSError):
                change()
        shutil.rmtree(self.aside)


_truncate = os.truncate


def _path_of(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def _full(path: Any, dir_fd: int | None) -> str:
    return str(Path(os.curdir if dir_fd is None else _path_of(dir_fd)).absolute() / os.fsdecode(path))


class Counting(Engine):
    """An engine that answers at once, and counts its calls in a file."""

    runs_one_model = True
    counter = Path(os.environ.get(COUNTER, os.devnull))
    """The file."""
    failing: frozenset[int] = frozenset()
    """Calls that fail, by their number in this process."""
    stops_after: int | None = None
    """Calls after which the process is interrupted; None: never."""

    def __init__(self, model: str, options: Any) -> None:
        """Take nothing."""

    def generate(self, requests: Iterable[Request], sampling: Any, seed: int) -> Iterator[Completion]:
        """Answer by what was asked."""
        for request in requests:
            for sample in range(sampling.n):
                made = self.counter.stat().st_size if self.counter.exists() else 0
                if made == self.stops_after:
                    raise KeyboardInterrupt
                descriptor = os.open(self.counter, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.write(descriptor, b".")
                os.close(descriptor)
                asked = request.messages[-1][1]
                if made in self.failing:
                    yield Completion(request.id, sample, None, None, Finish.ERROR, "the server is away")
                    continue
                text = "It is fine.\nVerdict: safe" if "Verdict" in asked else f"Sure: {len(asked)} {sample}."
                yield Completion(request.id, sample, None, text, Finish.STOP, tokens=3)


class _Here:
    """Makes what a pool of workers would make, in this process."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> _Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, **_: Any) -> None:
        pass


class _Entry(NamedTuple):
    """An entry point of an engine that no package brings."""

    plugin: Any
    module: str = "sinternal.bench"
    value: str = "sinternal.bench:Counting"
    dist: None = None

    def load(self) -> Any:
        return self.plugin


def plan(folder: Path, judge: str = "refusal-strings", prompts: int = PROMPTS) -> Plan:
    """A tiny diagnosis of a model that `Counting` runs, of prompts in a file beside the run."""
    points = dict(registry._points(Kind.ENGINE))
    if "counting" not in points:  # else it is installed
        registry._points(Kind.ENGINE)["counting"] = _Entry(Counting)  # type: ignore[index]
    file = folder / f"prompts-{prompts}.jsonl"
    if not file.exists():
        file.write_text("".join(json.dumps({"q": f"Draw {'a ' * i} cat"}) + "\n" for i in range(prompts)))
    options = f"{{path: {file}, harmful: true, columns: {{text: q}}, shares: {{eval: 1.0}}}}"
    overrides = (
        f"prompts.sources=[{{benchmark: file, options: {options}}}]",
        "prompts.attacks=[plain]",
        "verification_sampling.n=1",
        f"sampling.n={SAMPLES}",
        f"judge.name={judge}",
    )
    planned = plan_diagnosis(load_diagnosis("counted", None, EnginePlugin(name="counting", options={}), overrides))
    for task in planned.tasks:  # here, and not in every child
        _ = task.key
    return planned


def warm(folder: Path) -> None:
    """Run once in this process, so that its forks find all imported and read."""
    _still_the_clock()
    Counting.counter = folder / CALLS
    run(plan(folder), folder / "warm")
    run(plan(folder, prompts=PROMPTS - 1), folder / "warm")
    gc.freeze()


def run(planned: Plan, folder: Path, **options: Any) -> None:
    """Run a plan in this process."""
    make(planned, folder, (PAGE, RESULTS, TEXT), **options)


@dataclass(frozen=True)
class Scenario:
    """Something that may be interrupted anywhere."""

    name: str
    """What happens."""
    act: Callable[[Path], None]
    """Does it, in the folder of a case."""
    prepare: tuple[Callable[[Path], None], ...] = ()
    """What has happened before, each in a process of its own."""
    resume: Callable[[Path], None] | None = None
    """Goes on after an interruption; None: by the same."""


class Child(NamedTuple):
    """How a process ended."""

    status: int
    """`OK`, `TOLD` or `TRACEBACK`; negative for a signal."""
    words: str
    """Its error, or the calls that it made as JSON."""


def child(act: Callable[[], None], root: Path, at: int = 0, fault: Fault | None = None) -> Child:
    """Do something in a forked process that the shim watches."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        status, words = TRACEBACK, ""
        try:
            os.close(reading)
            _still_the_clock()
            shim = Shim(root, at, fault)
            try:
                act()
                status = OK
            except SInternalError as error:
                status, words = TOLD, str(error)
            except BaseException:
                words = traceback.format_exc()
            shim.at = 0
            os.write(writing, (words or json.dumps(shim.calls)).encode()[:1_000_000])
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        words = stream.read().decode(errors="replace")
    _, ended = os.waitpid(process, 0)
    return Child(os.waitstatus_to_exitcode(ended), words)


def _still_the_clock() -> None:
    clock = SimpleNamespace(time=lambda: 1e9, monotonic=lambda: 1.0)
    store.time = clock  # type: ignore[assignment]
    draft.ROWS_PER_SHARD = ROWS_PER_SHARD
    execute.ProcessPoolExecutor = _Here  # type: ignore[assignment,misc]
    context = SimpleNamespace(Queue=queue.Queue)
    execute.multiprocessing = SimpleNamespace(  # type: ignore[assignment]
        get_context=lambda _: context, active_children=list
    )


def snapshot(root: Path) -> dict[str, str]:
    """What there is below a folder, and what it holds; empty files that are only locked do not count."""
    found = {}
    for directory, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(directory, name)
            inside = str(path.relative_to(root))
            if path.is_symlink():
                found[inside] = f"-> {path.readlink()}"
            elif path.is_dir():
                found[inside] = "a folder"
            elif path.suffix != ".lock":
                found[inside] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def difference(expected: dict[str, str], there: dict[str, str]) -> str:
    """The first few things in which two snapshots differ; empty if they do not."""
    names = [name for name in sorted({*expected, *there}) if expected.get(name) != there.get(name)]
    words = (
        [f"{name} {'is missing' if name not in there else 'differs' if name in expected else 'is left over'}"]
        if (name := names[0] if names else "")
        else []
    )
    return "; ".join(words) + (f" and {len(names) - 1} more" if len(names) > 1 else "")


@dataclass
class Bench:
    """Where cases are played through."""

    folder: Path
    """Of its own; the case itself is always at the same place in it, as paths stand in what is left."""
    scenario: Scenario
    """What is interrupted."""
    calls: list[Call] = field(default_factory=list)
    """Every call that it makes."""

    def __post_init__(self) -> None:
        """Prepare, and do all of it once without an interruption."""
        self.case, self.before, self.counter = self.folder / "case", self.folder / "before", self.folder / CALLS
        Counting.counter = self.counter
        for path in (self.case, self.before):
            shutil.rmtree(path, ignore_errors=True)
        self.case.mkdir(parents=True)
        self.counter.unlink(missing_ok=True)
        for step in self.scenario.prepare:
            child(lambda step=step: step(self.case), self.case)  # type: ignore[misc]
        self.counter.unlink(missing_ok=True)
        shutil.copytree(self.case, self.before, symlinks=True)
        ended = child(lambda: self.scenario.act(self.case), self.case)
        assert ended.status == OK, ended.words
        self.calls = [Call(*call) for call in json.loads(ended.words)]
        self.expected, self.asked = snapshot(self.case), self._count()

    def _count(self) -> int:
        return self.counter.stat().st_size if self.counter.exists() else 0

    def try_at(self, at: int, fault: Fault) -> str:
        """Interrupt it at a call, and go on; what is wrong with the outcome, empty for nothing."""
        shutil.rmtree(self.case)
        shutil.copytree(self.before, self.case, symlinks=True)
        self.counter.unlink(missing_ok=True)
        first = child(lambda: self.scenario.act(self.case), self.case, at, fault)
        where = f"{self.scenario.name}: {fault}, call {at} ({' '.join(self.calls[at - 1])})"
        if fault.kills and first.status != -signal.SIGKILL:
            return f"{where}: the process was not killed but ended with {first.status}: {first.words[-300:]}"
        if not fault.kills and first.status not in (OK, TOLD):
            return f"{where}: no line for the user: {first.words[-600:]}"
        if first.status == TOLD and ("\n" in first.words or not _names_cause(first.words, fault)):
            return f"{where}: the line does not tell the cause: {first.words}"
        if first.status == TOLD and (left := [name for name in snapshot(self.case) if name.endswith(".tmp")]):
            return f"{where}: a temporary file stayed: {left}"
        again = self.scenario.resume or self.scenario.act
        second = first if first.status == OK else child(lambda: again(self.case), self.case)
        if second.status != OK:
            return f"{where}: it does not go on: {second.words[-600:]}"
        if differs := difference(self.expected, snapshot(self.case)):
            return f"{where}: {differs}"
        if (more := self._count() - self.asked) > ROWS_PER_SHARD:
            return f"{where}: {more} calls were made again, and at most {ROWS_PER_SHARD} were in flight"
        return ""


def _names_cause(words: str, fault: Fault) -> bool:
    causes = {
        Fault.FULL: ("disk is full", "No space left"),
        Fault.IO: ("input/output error", "Input/output error"),
        Fault.DENIED: ("ermission denied",),
    }
    return any(cause in words for cause in causes[fault])


def scenarios(folder: Path) -> list[Scenario]:
    """All that is interrupted: a run that begins, goes on, asks again, makes again or follows another, and `store gc`.

    Args:
        folder: where prompts are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole, other = plan(folder), plan(folder, prompts=PROMPTS - 1)

    def once(case: Path) -> None:
        run(whole, case / "run")

    def interrupted(case: Path) -> None:
        Counting.stops_after = 7  # in the midst of a prompt's samples
        with suppress(KeyboardInterrupt):
            once(case)

    def failed(case: Path) -> None:
        Counting.failing = frozenset({1, 6, 13})
        once(case)

    def asked_again(case: Path) -> None:
        run(whole, case / "run", retry_failed=True)

    def made_again(case: Path) -> None:
        run(whole, case / "run", again=["sample"])

    def changed(case: Path) -> None:
        run(other, case / "run")

    def cleared(case: Path) -> None:
        collect(case / "run" / ARTIFACTS, delete=True)

    def used(case: Path) -> None:
        cleared(case)
        changed(case)  # what it needs must be there still

    return [
        Scenario("a run", once),
        Scenario("a run that was interrupted", once, (interrupted,)),
        Scenario("failed requests asked again", asked_again, (failed,)),
        Scenario("a stage made again", made_again, (once,), once),
        Scenario("another plan in the same folder", changed, (once,)),
        Scenario("store gc of what the plan before needed", cleared, (once, changed), used),
    ]


def store_of(case: Path) -> Store:
    """The store of a case."""
    return Store(case / "run" / ARTIFACTS)
