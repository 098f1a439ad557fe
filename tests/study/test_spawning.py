"""Workers know nothing of the script that calls for a run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import pytest

from sinternal.errors import DataError
from sinternal.store import Store
from sinternal.study.execute import execute
from sinternal.study.plan import Plan
from tests.commands import HANGS
from tests.servers import serve
from tests.study.served import planned as planned  # a fixture
from tests.study.served import says

SCRIPT = """
from concurrent.futures import ProcessPoolExecutor
from sinternal.study.spawning import ScriptlessContext
print("once")
with ProcessPoolExecutor(1, ScriptlessContext()) as pool:
    print(pool.submit(abs, -3).result())
"""


@pytest.mark.parametrize("way", ["a script", "standard input"])
def test_a_script_without_a_guard_is_run_once(way: str, tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    command = [sys.executable, str(file) if way == "a script" else "-"]
    done = subprocess.run(command, input=SCRIPT, capture_output=True, text=True, timeout=HANGS, check=False)
    assert (done.stdout.split(), done.stderr) == (["once", "3"], "")


def test_a_run_that_fails_ends_its_own_processes_and_no_others(planned: Callable[..., Plan], tmp_path: Path) -> None:
    ours, theirs = get_context("spawn").Pipe()
    bystander = get_context("spawn").Process(target=theirs.recv)
    bystander.start()
    with closing(ours), serve(reply=says) as server:
        plan = planned(server.url)
        (tmp_path / "mine.jsonl").write_text("")
        with pytest.raises(DataError, match="prompts: benchmark 'mine' has no prompts"):
            execute(plan, Store(tmp_path / "artifacts"), 1, lambda _event: None)
        assert bystander.is_alive()
        ours.send("go")
        bystander.join(HANGS)
        assert bystander.exitcode == 0
