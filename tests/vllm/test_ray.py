"""Ray Data over the engine `vllm`: an actor that holds vLLM."""

from __future__ import annotations

from pathlib import Path

from sinternal.engines import Engine
from sinternal.engines.ray import RayEngine
from tests.plugins import open_plugin
from tests.vllm.conftest import GREEDY, REQUESTS, SMALL, different, texts


def test_every_request_is_answered_as_by_the_engine_in_this_process(base_model: Path, local: Engine) -> None:
    options = {"worker": {"name": "vllm", "options": SMALL}, "num_gpus": 0, "num_cpus": 1, "batch": 5}
    spread = open_plugin(RayEngine, str(base_model), options)
    try:
        greedy = texts(spread, REQUESTS, GREEDY)
        assert not different(greedy, texts(local, REQUESTS, GREEDY))
    finally:
        spread.close()
