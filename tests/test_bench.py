"""The scripts in bench/ run, in their smallest sizes, and say what they could not measure."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from bench import __main__ as every
from bench import gpu, rows
from bench.__main__ import SCRIPTS, SPEED, put, section
from bench.harness import Line, Panel, Result, Row, Times, alone, at_most, compare, side_by_side
from bench.plot import draw

from sinternal.stages import examples
from sinternal.training import lengths
from tests.commands import HANGS

ROOT = Path(__file__).parents[1]
ONCE = ("--repeats", "1")
TINY = {
    "sampling": ("--texts", "6", "--max-tokens", "4", *ONCE),
    "prefix": ("--prompts", "4", "--tokens", "80", *ONCE),
    "sft": ("--model", "microworld", "--batch", "8", "--length", "20", "--longest", "40", "--steps", "2", *ONCE),
    "grpo": ("--steps", "1", *ONCE),
    "models": (
        "--models",
        "microworld",
        "128x1",
        "--texts",
        "4",
        "--max-tokens",
        "4",
        "--rows",
        "2",
        "--steps",
        "2",
        *ONCE,
    ),
    "evaluation": ("--prompts", "6", *ONCE),
    "rows": ("--rows", "200", "--works", "contrast", *ONCE),
    "endpoints": ("--requests", "20"),
    "page": ("--rows", "40", *ONCE),
    "hostile": ("--texts", "1", "--pages", "1", "--large", "20000"),
}
"""What the scripts are given here; `bench.servers` runs in tests/models/test_smollm2.py, where its model is fetched."""
IN_PROCESSES = {"crash_points": ("--every", "200", "--times", "0", "--stage", "prompts"), "damage": ("--flips", "2")}
"""What the scripts are given that change the process they run in."""
ELSEWHERE = ("servers", "kill_test")
"""Scripts whose parts other tests run: tests/models/test_smollm2.py and tests/study/test_run.py."""
OF_A_RUN = ("demo", "unchanged", "report")
DEMO = ("arms=[{name: base}]", "seeds=[0]", "workers=1", "prompts.train_limit=24", "prompts.eval_limit=8")
Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """A script in this process, which has imported torch already; its last line."""

    def run_here(name: str, *arguments: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", [f"bench/{name}.py", *arguments])
        monkeypatch.chdir(ROOT)
        import_module(f"bench.{name}").main()
        found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    return run_here


def check(found: dict[str, Any], name: str) -> None:
    """It is what `python -m bench` reads, and all that was measured is a number."""
    assert found["measure"] == name
    assert found["command"].startswith(f"python -m bench.{name}")
    for row in (Row(**row) for row in found["rows"]):
        assert math.isfinite(row.ours)
        assert row.low <= (row.ours if row.ratio is None else row.ratio) <= row.high
        assert (row.ratio is None) is (row.theirs is None) is (not row.against)
    assert f"```sh\n{found['command']}\n```\n\n| work |" in section(found)


def test_every_script_is_run_here() -> None:
    assert {*TINY, *IN_PROCESSES, *OF_A_RUN, *ELSEWHERE} == {
        name for name, script in SCRIPTS.items() if not script.apart
    }


@pytest.mark.parametrize("name", IN_PROCESSES)
def test_what_a_process_does_to_itself_it_does_to_one_of_its_own(name: str) -> None:
    found = run(name, *IN_PROCESSES[name])
    check(found, name)
    assert all(row["met"] for row in found["rows"]), found["rows"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", TINY)
def test_a_script_measures_and_its_last_line_is_json(name: str, call: Call) -> None:
    found = call(name, *TINY[name])
    check(found, name)
    assert found["rows"]


def test_trainings_with_other_losses_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    sft = import_module("bench.sft")
    losses = iter([[1.0, 0.9], [1.0, 0.8]])
    monkeypatch.setattr(sft, "train", lambda *_, **__: sft.Timing(1.0, 1.0, next(losses)))
    settings = sft.SftSettings(steps=2, batch=8, learning_rate=1e-5)
    with pytest.raises(SystemExit, match="losses differ"):
        sft.measure(ROOT, None, settings, 8, 1)


def test_the_demo_its_report_and_the_same_command_again(tmp_path: Path, call: Call) -> None:
    given = ("--out", str(tmp_path / "run"), *(f"--set={override}" for override in DEMO))
    check(call("demo", *given), "demo")
    again = call("unchanged", *given, *ONCE)
    check(again, "unchanged")
    assert again["rows"][-1]["ours"] == 0
    assert again["notes"] == ["neither torch nor scipy is loaded"]
    report = call("report", *given, *ONCE)
    check(report, "report")
    parts = [row["ours"] for row in report["rows"] if row["what"].startswith("of this")]
    assert 0 < sum(parts) <= report["rows"][0]["ours"]


def test_package_and_script_make_the_same_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "loss_tokens", lengths.loss_tokens)  # one work replaces it, and what follows
    monkeypatch.setattr(examples, "model_path", examples.model_path)
    for of_a_run in (False, True):
        folder = tmp_path / str(of_a_run)
        folder.mkdir()
        rows.write_inputs(folder, 300, of_a_run=of_a_run)
        for name, work in rows.WORKS.items():
            if work.peer and work.of_a_run is of_a_run:
                results = {rows.measure_here(name, side, folder).result for side in rows.MODULES}
                assert len(results) == 1, name


def case(rows_: int, cpu: float, memory: float, *, pandas: bool = True) -> rows.Case:
    sides = {rows.OURS: [rows.Measurement(cpu, cpu, memory, "")]}
    if pandas:
        sides[rows.PANDAS] = [rows.Measurement(2 * cpu, cpu, 4 * memory, "")]
    return rows.Case("contrast", rows_, sides)


def test_rows_have_goals_for_speed_memory_and_growth() -> None:
    thousands, million = case(100_000, 2.0, 100.0), case(1_000_000, 20.0, 1001.0)
    table = list(rows.table([thousands, million]))
    assert [(row.ratio, row.met) for row in table[:2]] == [(2.0, True), (2.0, True)]
    memory, growth = table[2:]
    assert (memory.ours, memory.ratio, memory.goal, memory.met) == (1001.0, 4.0, "at most 1,000", False)
    assert (pytest.approx(growth.ours), growth.met) == (1.0, True)
    assert not list(rows.table([thousands, case(1_000_000, 40.0, 100.0)]))[-1].met
    alone_, peak = rows.table([case(1_000_000, 20.0, 100.0, pandas=False)])
    assert (alone_.ratio, alone_.unit, peak.ratio, peak.met) == (None, "s of CPU", None, True)


def test_a_plot_is_white_and_names_its_axes() -> None:
    lines = [Line("sinternal", [(1e4, 0.3), (1e6, 25.0)]), Line("pandas", [(1e4, 0.5)])]
    root = ET.fromstring(draw([Panel("a < b", "rows", "peak MB", lines)] * 5, "Growth"))
    kinds = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{kinds}rect").attrib["fill"] == "#fff"  # type: ignore[union-attr]
    words = [text.text for text in root.iter(f"{kinds}text")]
    assert {"a < b", "rows", "peak MB", "sinternal", "pandas", "10⁴", "10⁶"} <= set(words)
    assert len(list(root.iter(f"{kinds}polyline"))) == 2 + 5 * 2


def test_what_was_measured_goes_to_the_page_the_data_and_the_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(every, "IMAGES", tmp_path / "images")
    page = tmp_path / SPEED.name
    page.write_text(SPEED.read_text())
    for name in ("demo", "rows"):
        monkeypatch.setitem(every.SCRIPTS, name, SCRIPTS[name]._replace(page=page))
    Result("rows", list(rows.table([case(100, 1.0, 9.0)])), ["no"], rows.panels([case(100, 1.0, 9.0)])).print()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    every.write(found)
    Result("demo", [at_most("w", "s", [1.0], 3.0)]).print()
    every.write(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert "(images/growth-rows.svg)" in page.read_text()
    assert ET.parse(every.IMAGES / "growth-rows.svg").getroot().attrib["role"] == "img"
    data = json.loads(page.with_suffix(".json").read_text())
    assert list(data) == ["demo", "rows"]
    assert data["rows"] == found


def run(name: str, *arguments: str) -> dict[str, object]:
    """The last line of a script."""
    command = [sys.executable, "-m", f"bench.{name}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_gpu_is_measured_by_one_command_that_also_runs_on_a_processor() -> None:
    found = run("gpu", "--models", "tiny", "--parts", "decode vllm", "--seconds", str(HANGS))
    parts = found["found"]["tiny"]  # type: ignore[index]
    assert "vllm" in parts["decode vllm"]["not run"].lower()  # not installed beside the tests


def test_each_part_of_what_a_gpu_does_also_runs_on_a_processor(tmp_path: Path) -> None:
    gpu.make_model("tiny", tmp_path / "model")
    for part, figure in (
        ("sft lora", "tokens_per_second"),
        ("decode transformers", "tokens_per_second"),
        ("grpo", "seconds_per_step"),
    ):
        assert gpu.PARTS[part](tmp_path / "model", "tiny")[figure] > 0


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


def test_without_a_peer_the_range_is_that_of_ours() -> None:
    row = at_most("work", "s", [3.0, 1.0, 2.0], 2.0)
    assert (row.ours, row.theirs, row.ratio, row.low, row.high, row.met) == (2.0, None, None, 1.0, 3.0, True)
    row = at_most("work", "s", [3.0, 1.0, 2.0], 1.9, [6.0, 1.0, 8.0], "peer")
    assert (row.ratio, row.low, row.high, row.met) == (2.0, 1.0, 4.0, False)
    row = alone("work", Times([1, 1], [2, 4], [8, 8]), "things/s", limit=6.0)
    assert (row.ours, row.low, row.high, row.limit) == (3.0, 2.0, 4.0, 0.5)


def test_ways_take_turns_and_each_is_warmed_up_once() -> None:
    calls: list[str] = []

    def work(name: str) -> float:
        calls.append(name)
        return 1.0

    times = side_by_side({"a": lambda: work("a"), "b": lambda: work("b")}, 2)
    assert calls == ["a", "b", "a", "b", "b", "a"]
    assert times["a"].done == [1.0, 1.0]


def test_every_script_has_its_place_on_the_page_and_writes_only_there() -> None:
    result = Result("prefix", [compare("w", Times([1], [1], [2]), Times([1], [1], [1]), "p", "u", 1.5)])
    found = {"rows": [vars(row) for row in result.rows], "notes": [], "panels": [], "command": "bench.prefix"}
    machine = {"cores": 2, "cpu": "a processor", "python": "3.11", "load": 0.1}
    for name, script in SCRIPTS.items():
        page = script.page.read_text()
        changed = put(page, name, section({**found, "machine": machine}))
        assert "| w | p | 2 u of CPU | 1 | 2.00 [2.00, 2.00] | 1 | at least 1.5 | reached |" in changed
        others = [other for other, its in SCRIPTS.items() if other != name and its.page == script.page]
        assert all(_between(changed, other) == _between(page, other) for other in others)
    with pytest.raises(LookupError, match="no marks"):
        put("a page", "unheard-of", "")


def _between(page: str, name: str) -> str:
    return page.partition(f"<!-- bench:{name} -->")[2].partition(f"<!-- /bench:{name} -->")[0]
