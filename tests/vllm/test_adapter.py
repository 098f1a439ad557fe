"""An adapter by the engine `vllm`: in a process of its own, which is killed in the end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from sinternal.engines import Engine
from sinternal.engines.transformers import TransformersEngine
from sinternal.engines.vllm import VllmEngine
from tests.commands import HANGS
from tests.plugins import open_plugin
from tests.vllm.conftest import GREEDY, REQUESTS, SMALL, different, texts

Answers = dict[str, dict[str, object]]


@pytest.fixture(scope="module")
def adapter(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that changes the model: PEFT's own start would leave it as it is."""
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(0)
    settings = LoraConfig(r=6, lora_alpha=12, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base_model), settings)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.4)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def process(adapter: Path) -> Iterator[tuple[subprocess.Popen[str], Answers]]:
    """A process that has answered by the adapter and keeps vLLM open, and what it has answered."""
    command = [sys.executable, "-m", "tests.vllm.test_adapter", str(adapter)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        answers = next((json.loads(line) for line in started.stdout if line.startswith("{")), None)
        assert answers is not None, "it has ended without a word"
        yield started, answers
        started.kill()


def test_an_adapter_answers_as_the_merged_model(
    process: tuple[subprocess.Popen[str], Answers], adapter: Path, local: Engine
) -> None:
    merged = open_plugin(TransformersEngine, str(adapter), {"batch": 1})
    expected = texts(merged, REQUESTS, GREEDY)
    assert len(different(expected, texts(local, REQUESTS, GREEDY))) > 12, "the adapter changes nothing"
    assert process[1] == json.loads(json.dumps({name: asdict(text) for name, text in expected.items()}))


def test_vllm_ends_with_the_process_that_opened_it_however_that_ends(
    process: tuple[subprocess.Popen[str], Answers],
) -> None:
    parent = psutil.Process(process[0].pid)
    children = parent.children(recursive=True)
    assert len(children) > 1, "vLLM has a process of its own, and a guard"
    parent.kill()
    process[0].wait()
    _, alive = psutil.wait_procs(children, timeout=HANGS)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]


if __name__ == "__main__":
    opened = open_plugin(VllmEngine, sys.argv[1], dict(SMALL))
    print(json.dumps({name: asdict(text) for name, text in texts(opened, REQUESTS, GREEDY).items()}), flush=True)
    sys.stdin.read()
