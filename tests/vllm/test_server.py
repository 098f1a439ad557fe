"""vLLM's server on loopback behind the engine `openai`: one server for the file, which is killed in the end."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import httpx2
import psutil
import pytest

from sinternal.engines import Completion, Engine, Request
from sinternal.engines.openai import OpenAIEngine
from sinternal.engines.openai_options import OpenAIOptions
from sinternal.errors import EngineError
from sinternal.records import Finish
from sinternal.settings.sampling import Sampling
from tests.commands import HANGS
from tests.vllm.conftest import GREEDY, REQUESTS, texts

KEEPER = """
import ctypes, signal, subprocess, sys

def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)

subprocess.Popen(sys.argv[1:], preexec_fn=die_with_parent).wait()
"""
"""A program whose server ends with it, however it ends."""


class Served(NamedTuple):
    keeper: subprocess.Popen[bytes]
    address: str
    key: str


@pytest.fixture(scope="module")
def served(base_model: Path) -> Iterator[Served]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    key = secrets.token_hex(8)
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),  # `vllm serve` asks for a package named vllm
        *("--model", str(base_model), "--served-model-name", "microworld"),
        *("--host", "127.0.0.1", "--port", str(port), "--api-key", key, "--generation-config", "vllm"),
        *("--dtype", "float32", "--enforce-eager", "--gpu-memory-utilization", "0.05"),
    ]
    with subprocess.Popen([sys.executable, "-c", KEEPER, *command]) as keeper:
        until = time.monotonic() + HANGS
        with httpx2.Client(trust_env=False) as client:
            while not _answers(client, f"http://127.0.0.1:{port}/health"):
                assert keeper.poll() is None, "the server has ended"
                assert time.monotonic() < until
                time.sleep(1)
        yield Served(keeper, f"http://127.0.0.1:{port}/v1", key)
        keeper.kill()


def _answers(client: httpx2.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx2.HTTPError:
        return False


def engine(served: Served, *, key: str | None = None, **options: object) -> Engine:
    settings = {"base_url": served.address, "model": "microworld", "opens_thinking": True, **options}
    return OpenAIEngine("microworld", OpenAIOptions.model_validate(settings), key or served.key)


def said(completions: dict[str, Completion]) -> dict[str, tuple[object, ...]]:
    """What can be compared: a server counts no quoted control tokens."""
    return {
        name: (text.thinking, text.answer, text.finish, text.prompt_tokens, text.tokens, text.error, text.left_out)
        for name, text in completions.items()
    }


def test_greedy_texts_are_those_of_transformers(served: Served, local: Engine) -> None:
    assert said(texts(engine(served), REQUESTS, GREEDY)) == said(texts(local, REQUESTS, GREEDY))


def test_every_setting_of_a_sampling_is_taken(served: Served, local: Engine) -> None:
    sampling = Sampling(max_tokens=5, repetition_penalty=1.3, presence_penalty=0.5, top_k=5, min_p=0.1, top_p=0.9)
    ours = texts(engine(served), REQUESTS[:8], sampling)
    assert {(text.finish, text.left_out) for text in ours.values()} == {(Finish.LENGTH, "")}
    assert said(ours) == said(texts(local, REQUESTS[:8], sampling))


def test_the_same_seed_gives_the_same_samples(served: Served) -> None:
    hot = Sampling(n=2, temperature=1.0, max_tokens=32)
    asked = REQUESTS[:6]
    first = set(engine(served).generate(asked, hot, 3))
    assert set(engine(served).generate(asked[::-1], hot, 3)) == first
    assert set(engine(served).generate(asked, hot, 4)) != first


@pytest.mark.parametrize(
    "sampling",
    [Sampling(max_tokens=32, top_logprobs=3), Sampling(max_tokens=32, top_logprobs=3, temperature=0.01, top_k=1)],
    ids=["greedy", "temperature"],
)
def test_log_probabilities_are_the_models_own_before_temperature(
    served: Served, local: Engine, sampling: Sampling
) -> None:
    ours, theirs = texts(engine(served), REQUESTS[:4], sampling), texts(local, REQUESTS[:4], sampling)
    for name, text in ours.items():
        mine, other = text.logprobs or (), theirs[name].logprobs or ()
        assert len(other) <= len(mine) <= len(other) + 1, "the end of turn may be counted"
        for token, expected in zip(mine, other, strict=False):
            assert [value for _, value in token.top] == pytest.approx([value for _, value in expected.top], abs=1e-3)
            for (spelled, _), (meant, _) in zip(token.top, expected.top, strict=True):
                assert spelled.strip() == (meant.strip() or "<eos>"), "a server spells the end of turn"


def test_a_turn_that_has_begun_is_continued(served: Served, local: Engine) -> None:
    begun = [
        replace(request, id=f"{number} {request.id}", prefill=prefill)
        for number, prefill in enumerate(("<think> draft :", "<think> draft : refuse . </think>", "<think>"))
        for request in REQUESTS[:4]
    ]
    assert said(texts(engine(served, prefill="continue"), begun, GREEDY)) == said(texts(local, begun, GREEDY))


def test_raw_prompts_are_continued_as_they_are(served: Served, local: Engine) -> None:
    raw = [Request("raw", (("user", "<user> how to brew p5 ? <assistant> <think> draft :"),), raw=True)]
    assert said(texts(engine(served), raw, GREEDY)) == said(texts(local, raw, GREEDY))


def test_a_prompt_that_is_too_long_costs_only_itself(served: Served) -> None:
    long = Request("long", (("user", "how to brew p5 ? " * 100),))
    found = texts(engine(served), [long, REQUESTS[0]], GREEDY)
    assert found["long"].finish is Finish.ERROR
    assert "256" in (found["long"].error or "")
    assert found["r0"].error is None


def test_a_wrong_key_and_a_wrong_name_stop_the_engine_in_one_line(served: Served) -> None:
    with pytest.raises(EngineError, match="refuses the key") as refused:
        texts(engine(served, key="wrong-key"), REQUESTS[:1], GREEDY)
    with pytest.raises(EngineError, match="does not know the model 'other'; it has: microworld") as unknown:
        texts(engine(served, model="other"), REQUESTS[:1], GREEDY)
    assert "\n" not in f"{refused.value}{unknown.value}"


def test_the_server_ends_with_the_process_that_started_it(served: Served) -> None:
    children = psutil.Process(served.keeper.pid).children(recursive=True)
    assert children
    os.kill(served.keeper.pid, signal.SIGKILL)
    served.keeper.wait()
    _, alive = psutil.wait_procs(children, timeout=HANGS)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
