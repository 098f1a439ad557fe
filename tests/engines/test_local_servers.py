"""Servers that we start: on the loopback interface alone, and gone soon after us, however we end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from sinternal.engines.orphans import MARK
from tests.commands import HANGS

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc")
RAY = """
from sinternal.engines.ray import RayEngine, RayOptions
engine = RayEngine("model", RayOptions.model_validate({"worker": {"name": "transformers"}, "num_gpus": 0}))
print("up", flush=True)
import time
time.sleep(600)
"""
LEAVES = """
import subprocess, sys, time
from sinternal.engines.orphans import starting_guarded
with starting_guarded():
    grandchild = "import subprocess, sys; sleep = [sys.executable, '-c', 'import time; time.sleep(600)']"
    grandchild += "; print(subprocess.Popen(sleep, stdout=subprocess.DEVNULL).pid)"
    subprocess.run([sys.executable, "-c", grandchild], start_new_session=True)
    print("up", flush=True)
    time.sleep({inside})
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3)"], start_new_session=True)
time.sleep(600)
"""


def started(program: str, tmp_path: Path) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
        env=environment,
    )


def mark_of(parent: int) -> str:
    """The mark of what a process of ours has started."""
    return next(child.environ()[MARK] for child in psutil.Process(parent).children(recursive=True) if _has(child))


def marked(mark: str) -> list[psutil.Process]:
    """What was started under a mark, whoever its parent is by now."""
    return [process for process in psutil.process_iter() if _has(process, mark)]


def _has(process: psutil.Process, mark: str | None = None) -> bool:
    try:
        found = process.environ().get(MARK)
    except psutil.Error:
        return False
    return found is not None if mark is None else found == mark


def wait_until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + HANGS
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds()


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def names_below(parent: int) -> set[str]:
    """The names of the processes that a process has started."""
    names = set()
    for child in psutil.Process(parent).children():
        with suppress(psutil.Error):  # it has ended meanwhile
            names.add(child.name())
    return names


@pytest.mark.parametrize("inside", [600, 0])
def test_what_was_started_under_guard_is_ended_with_us_though_nobody_knows_its_id(inside: int, tmp_path: Path) -> None:
    process = started(LEAVES.replace("{inside}", str(inside)), tmp_path)
    assert process.stdout is not None
    orphan = psutil.Process(int(process.stdout.readline()))
    assert process.stdout.readline() == "up\n"
    assert lives(orphan)
    process.kill()
    process.wait()
    assert wait_until(lambda: not lives(orphan))


def test_a_local_cluster_listens_on_loopback_alone_and_is_gone_soon_after_us(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    process = started(RAY, tmp_path)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        cluster = marked(mark_of(process.pid))
        listening: list[str] = []
        keys: set[str] = set()
        for each in cluster:
            with suppress(psutil.Error):  # it has ended meanwhile
                addresses = [one.laddr.ip for one in each.net_connections("inet") if one.status == psutil.CONN_LISTEN]
                keys.add(each.environ().get("RAY_AUTH_TOKEN", ""))
                listening += addresses
    finally:
        process.kill()
        process.wait()
    assert len(listening) > 3
    assert [len(key) for key in keys] == [64], "a key of its own, that no file holds"
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    assert wait_until(lambda: not any(map(lives, cluster))), list(filter(lives, cluster))


def test_a_local_cluster_that_is_starting_is_gone_soon_after_us(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    process = started(RAY, tmp_path)
    try:
        assert wait_until(lambda: "gcs_server" in names_below(process.pid))
        mark = mark_of(process.pid)
    finally:
        process.kill()
        process.wait()
    assert wait_until(lambda: not marked(mark))
    time.sleep(1)
    assert not marked(mark), "nothing was started after that"
