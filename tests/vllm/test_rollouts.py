"""GRPO with rollouts by vLLM in the same process: what it writes has to be the policy's own, step after step."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sinternal.models.loading import load_model
from sinternal.training.grpo import Log
from tests.commands import HANGS
from tests.training.test_grpo import settings, trained

METHODS = ("full", "lora")
STEPS = 2


@pytest.fixture(scope="module")
def logs(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[dict[str, float]]]]:
    """What both methods have logged, trained one after the other in one process, as a study does it."""
    out = tmp_path_factory.mktemp("rollouts")
    command = [sys.executable, "-m", "tests.vllm.test_rollouts", str(base_model), str(out)]
    subprocess.run(command, check=True, timeout=HANGS)
    return out, json.loads((out / "logs.json").read_text())


@pytest.mark.parametrize("method", METHODS)
def test_vllm_writes_with_the_weights_of_each_step(
    logs: tuple[Path, dict[str, list[dict[str, float]]]], base_model: Path, method: str
) -> None:
    out, rows = logs
    assert [row["step"] for row in rows[method]] == list(range(1, STEPS + 1))
    for row in rows[method]:
        assert row["sampling_ratio"] > 0.9, "another policy has written"
        assert row["sampling_ratio_min"] > 0.5
        assert row["sampling_difference"] < 0.05
    before = load_model(base_model).state_dict()
    after = load_model(out / method / "model").state_dict()
    assert any(not torch.equal(after[name], weight) for name, weight in before.items())


def take_kernels_that_take_new_weights() -> None:
    """Let vLLM compute with torch's own products: for the others on a CPU it packs weights once, as it loads them.

    What is tested is that TRL and we bring the weights to vLLM, which a GPU's kernels take.
    """
    import vllm._custom_ops
    import vllm.model_executor.layers.utils

    vllm._custom_ops._supports_onednn = False
    vllm.model_executor.layers.utils.check_cpu_sgl_kernel = lambda *_: False


def train_all(base: Path, out: Path) -> None:
    """Train by every method, at a rate that makes old weights tell."""
    take_kernels_that_take_new_weights()
    rollouts = {"n": 4, "max_tokens": 64, "engine": "vllm-colocate", "vllm_memory": 0.05}
    logs: dict[str, list[dict[str, float | None]]] = {}
    for method in METHODS:
        how = settings(method=method, steps=STEPS, learning_rate=3e-3, rollouts=rollouts)
        log = trained(base, out / method, how)
        assert isinstance(log, Log)
        logs[method] = log.training
        print(method, log.training, log.notes, file=sys.stderr, flush=True)
    (out / "logs.json").write_text(json.dumps(logs))


if __name__ == "__main__":
    train_all(Path(sys.argv[1]), Path(sys.argv[2]))
