"""The scripts in bench/ run, in their smallest sizes, and say what they could not measure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench import gpu
from bench.__main__ import PAGE, SCRIPTS, put, section
from bench.harness import Result, Times, compare, side_by_side

ROOT = Path(__file__).parents[1]


def run(name: str, *arguments: str) -> dict[str, object]:
    """The last line of a script."""
    command = [sys.executable, "-m", f"bench.{name}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_gpu_is_measured_by_one_command_that_also_runs_on_a_processor() -> None:
    found = run("gpu", "--models", "tiny", "--parts", "sft lora", "decode transformers", "decode vllm", "grpo")
    parts = found["found"]["tiny"]  # type: ignore[index]
    assert parts["sft lora"]["tokens_per_second"] > 0
    assert parts["decode transformers"]["tokens_per_second"] > 0
    assert parts["grpo"]["seconds_per_step"] > 0
    assert "vllm" in parts["decode vllm"]["not run"].lower()  # not installed beside the tests


def test_a_part_without_time_is_told_as_not_run(tmp_path: Path) -> None:
    assert gpu.run_part("grpo", tmp_path, "tiny", 0.5) == {"not run": "no time was left"}
    assert "more than the 1 s" in gpu.run_part("make", tmp_path, "tiny", 1.0)["not run"]


def test_a_goal_that_was_missed_is_told_so() -> None:
    lines = gpu.goals({"7b": {"sft lora": {"tokens_per_second": 8999.0, "forecast_ratio": 1.2}}})
    assert lines[0].endswith("missed")
    assert "NOT within" in lines[1]


def test_ratios_are_taken_repeat_by_repeat() -> None:
    ours, theirs = Times([1, 1, 1], [1, 2, 4], [8, 8, 8]), Times([1, 1, 1], [2, 2, 2], [8, 8, 8])
    row = compare("work", ours, theirs, "peer", "things/s", 1.5)
    assert (row.ratio, row.low, row.high, row.met) == (1.0, 0.5, 2.0, False)
    row = compare("work", ours, theirs, "peer", "things/s", 1.0, by_cpu=False, limit=16.0)
    assert (row.ratio, row.met, row.limit) == (1.0, True, 0.5)


def test_ways_take_turns_and_each_is_warmed_up_once() -> None:
    calls: list[str] = []

    def work(name: str) -> float:
        calls.append(name)
        return 1.0

    times = side_by_side({"a": lambda: work("a"), "b": lambda: work("b")}, 2)
    assert calls == ["a", "b", "a", "b", "b", "a"]
    assert times["a"].done == [1.0, 1.0]


def test_every_script_has_its_place_on_the_page_and_writes_only_there() -> None:
    page = PAGE.read_text()
    result = Result("prefix", [compare("w", Times([1], [1], [2]), Times([1], [1], [1]), "p", "u", 1.5)])
    found = {"rows": [vars(row) for row in result.rows], "notes": [], "command": "python -m bench.prefix"}
    machine = {"cores": 2, "cpu": "a processor", "python": "3.11", "load": 0.1}
    for name in SCRIPTS:
        changed = put(page, name, section({**found, "machine": machine}))
        assert "| w | p | 2 u of CPU | 1 | 2.00 [2.00, 2.00] | 1 |  | at least 1.5 | reached |" in changed
        others = [other for other in SCRIPTS if other != name]
        assert all(_between(changed, other) == _between(page, other) for other in others)
    with pytest.raises(LookupError, match="no marks"):
        put(page, "unheard-of", "")


def _between(page: str, name: str) -> str:
    return page.partition(f"<!-- bench:{name} -->")[2].partition(f"<!-- /bench:{name} -->")[0]
