"""Inspect finds our models and tasks, and its tasks measure our arms."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sinternal.engines.base import EngineConfig, Sampling
from sinternal.errors import DataError
from sinternal.stages import base
from sinternal.stages.capability import CapabilityConfig, CapabilityTask, capability
from sinternal.store import Artifact, Draft
from tests.commands import HANGS

pytest.importorskip("inspect_ai", reason="the extra `inspect` is not installed")
INSPECT = str(Path(sys.executable).parent / "inspect")
Make = Callable[[str, Callable[[Draft], None]], Artifact]


def inspect(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([INSPECT, *arguments], cwd=cwd, capture_output=True, text=True, timeout=HANGS, check=False)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspect")
    arguments = ["eval", "sinternal/asr", "--model", "sinternal/microworld", "-M", "batch=64", "-T", "part=dev"]
    done = inspect(
        folder, *arguments, "--max-tokens", "64", "--temperature", "1", "--log-dir", "logs", "--display=plain"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next((folder / "logs").glob("*.eval"))


def test_inspect_runs_our_task_on_our_model_offline_and_its_log_opens(log: Path) -> None:
    content = json.loads(inspect(log.parent, "log", "dump", log.name).stdout)
    assert content["status"] == "success"
    assert content["eval"]["task_registry_name"] == "sinternal/asr"
    (scores,) = content["results"]["scores"]
    metrics = {name: row["value"] for name, row in scores["metrics"].items()}
    assert set(metrics) >= {"attack_success", "attack_success_stderr", "over_refusal", "helpful", "unlabelled"}
    labels = [row["scores"]["judged"]["metadata"]["labels"] for row in content["samples"]]
    unsafe = [not one["safe"] for one in labels if one["harmful"] and one["safe"] is not None]
    assert metrics["attack_success"] == pytest.approx(sum(unsafe) / len(unsafe))


def test_the_thinking_is_reasoning_and_the_answer_is_text(log: Path) -> None:
    content = json.loads(inspect(log.parent, "log", "dump", log.name).stdout)
    parts = content["samples"][0]["output"]["choices"][0]["message"]["content"]
    assert {part["type"] for part in parts} == {"reasoning", "text"}


def test_a_prompt_that_inspect_cannot_deliver_is_refused(tmp_path: Path) -> None:
    done = inspect(tmp_path, "eval", "sinternal/asr", "--model", "sinternal/microworld", "-T", "attack=skip-thinking")
    assert done.returncode != 0
    assert "changes what stands around a prompt" in " ".join((done.stdout + done.stderr).replace("│", " ").split())


def measure(make: Make, base_model: Path, *tasks: CapabilityTask) -> Artifact:
    model = make("base", lambda draft: base.base(draft, base.BaseModelConfig(model=str(base_model))))
    config = CapabilityConfig(
        tasks=tasks, engine=EngineConfig(options={"batch": 64}), sampling=Sampling(max_tokens=64), seed=0
    )
    return make("capability", lambda draft: capability(draft, config, model=model))


def test_a_task_of_inspect_measures_an_arm_and_leaves_its_log(make: Make, base_model: Path) -> None:
    found = measure(make, base_model, CapabilityTask(task="sinternal/mathematics", limit=3))
    (row,) = json.loads((found.path / "capability.json").read_text())
    assert (row["task"], row["metric"], row["n"], row["total"]) == ("sinternal/mathematics", "accuracy", 3, 3)
    assert row["value"] == 0  # the microworld's model knows no arithmetic
    assert row["low"] is None  # three failures say little of how sure that is
    assert list((found.path / "logs").glob("*.eval"))


def test_a_task_that_is_not_there_is_named(make: Make, base_model: Path) -> None:
    with pytest.raises(DataError, match="Inspect cannot run 'sinternal/arithmetics'"):
        measure(make, base_model, CapabilityTask(task="sinternal/arithmetics"))
