from __future__ import annotations

import json
import multiprocessing
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from bench.faulty import Plan, faulty
from pydantic import BaseModel

from sinternal import budget, pending
from sinternal.budget import Limits
from sinternal.engines import Completion, Engine, Request
from sinternal.engines.openai import OpenAIEngine
from sinternal.engines.ray import (
    RayEngine,
    Worker,
    completion_row,
    fault_row,
    read_completion,
    read_requests,
    requests_row,
)
from sinternal.engines.transformers import TransformersEngine
from sinternal.errors import BudgetError, EngineError, ModelError, RecipeError
from sinternal.records import Finish
from sinternal.registry import Kind
from sinternal.settings.plugins import EnginePlugin
from sinternal.settings.sampling import Sampling
from sinternal.world.benchmark import Microworld
from tests.commands import HANGS
from tests.engines.test_openai_outages import nowhere as nowhere  # a fixture
from tests.plugins import Register, open_plugin

ALONE = {"batch": 1}
"""Batches of one: no padding, so logits are rounded alike however the requests are shared out."""
HOT = Sampling(n=2, temperature=1.0, max_tokens=48)
LOCAL: dict[str, object] = {
    "worker": {"name": "transformers", "options": ALONE},
    "concurrency": 2,
    "num_gpus": 0,
    "batch": 4,
}


@pytest.fixture(autouse=True, scope="module")
def workers_do_not_come_last() -> Iterator[None]:
    """By itself Ray gives its workers what others leave, which is little where tests run beside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        yield


class EchoOptions(BaseModel):
    breaks_over: str = ""


class Echo(Engine):
    """An engine that breaks over some requests."""

    Options = EchoOptions

    def __init__(self, model: str, options: EchoOptions) -> None:
        self.breaks_over = options.breaks_over
        if model == "missing":
            raise ModelError("missing: no such model")

    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        for request in requests:
            if request.id == "outage":
                raise EngineError("the server is away")
            if self.breaks_over in (request.id, "all"):
                raise IndexError("list index out of range\nat length")
            for sample in range(sampling.n):
                yield Completion(request.id, sample, None, "yes", Finish.STOP)


@pytest.fixture
def echo(register: Register) -> None:
    register(Kind.ENGINE, "echo", Echo)


def ask(worker: Worker, *ids: str) -> list[dict[str, str]]:
    return worker(requests_row([Request(name, (("user", "hello"),)) for name in ids]))


def worker(model: str = "model", **options: object) -> Worker:
    return Worker(EnginePlugin(name="echo", options=options), model, Sampling(n=2), 0)


def test_requests_and_completions_come_back_as_they_were_sent() -> None:
    requests = [
        Request("a", (("system", "be kind"), ("user", "ü \ud800 \n")), prefill="<think>"),
        Request("b", (("user", "once"),), raw=True),
    ]
    assert read_requests(requests_row(requests)) == requests
    for completion in (
        Completion("a", 1, "why", "so", Finish.STOP, prompt_tokens=3, tokens=5),
        Completion("a", 0, None, None, Finish.ERROR, "too long", None, None),
    ):
        back = read_completion(completion_row(completion))
        assert back == completion
        assert isinstance(back.finish, Finish)


def test_a_fault_is_raised_where_it_is_read() -> None:
    with pytest.raises(EngineError, match=r"^engine ray: the server is away$"):
        read_completion(fault_row("the server is away"))


@pytest.mark.usefixtures("echo")
def test_a_request_that_breaks_the_worker_costs_only_itself() -> None:
    found = [read_completion(row) for row in ask(worker(breaks_over="b"), "a", "b", "c")]
    assert [(c.request_id, c.sample, c.error) for c in found] == [
        ("a", 0, None),
        ("a", 1, None),
        ("b", 0, "IndexError: list index out of range"),
        ("b", 1, "IndexError: list index out of range"),
        ("c", 0, None),
        ("c", 1, None),
    ]


@pytest.mark.usefixtures("echo")
def test_a_worker_that_breaks_over_every_request_is_broken_itself() -> None:
    assert ask(worker(breaks_over="all"), "a", "b") == [fault_row("IndexError: list index out of range")]


@pytest.mark.usefixtures("echo")
def test_what_was_written_before_an_engine_failed_stands() -> None:
    first, second, fault = ask(worker(), "a", "outage", "b")
    assert [read_completion(row).request_id for row in (first, second)] == ["a", "a"]
    assert fault == fault_row("the server is away")


@pytest.mark.usefixtures("echo")
def test_a_worker_without_its_model_says_so_for_every_row() -> None:
    assert ask(worker("missing"), "a") == [fault_row("missing: no such model")]


def test_an_unknown_worker_is_refused_before_ray_is_started() -> None:
    with pytest.raises(RecipeError, match="did you mean 'transformers'"):
        open_plugin(RayEngine, "model", {"worker": {"name": "transformer"}})


def test_no_cluster_at_the_address_is_an_error_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # where Ray notes the address of the last cluster, alive or not
    with pytest.raises(EngineError, match=r"^engine ray: no cluster at auto: Could not find") as caught:
        open_plugin(RayEngine, "model", {**LOCAL, "address": "auto"})
    assert "\n" not in str(caught.value)


STARTS_ONE = """
import sys
from unittest import mock
import ray
from sinternal.engines.ray import RayEngine, RayOptions
with mock.patch.object(ray, "init", side_effect=lambda **given: print(given.get("address"))):
    RayEngine("model", RayOptions())
"""


def test_a_cluster_of_its_own_is_never_one_that_a_file_of_others_names(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(
        "192.0.2.9:6379"
    )  # where Ray notes the address of the last one
    settings = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    settings["RAY_TMPDIR"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", STARTS_ONE], capture_output=True, text=True, env=settings, check=False)
    assert done.stdout.split() == ["local"], done.stderr


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two nodes of one core each, whatever the machine has."""
    ray = pytest.importorskip("ray")
    utils = pytest.importorskip("ray.cluster_utils")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        nodes = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        nodes.add_node(num_cpus=1)
        ray.init(address=nodes.address, log_to_driver=False)
        yield
        ray.shutdown()
        nodes.shutdown()


@pytest.mark.usefixtures("cluster")
def test_the_text_is_that_of_the_worker_engine_alone(base_model: Path) -> None:
    requests = [Request(row.id, (("user", row.text),)) for row in open_plugin(Microworld, {}).prompts("train")[:9]]
    requests.append(Request("long", (("user", "how to brew p5 ? " * 100),)))
    engine = open_plugin(RayEngine, str(base_model), LOCAL)
    spread = list(engine.generate(iter(requests), HOT, seed=3))
    engine.close()
    alone = list(open_plugin(TransformersEngine, str(base_model), dict(ALONE)).generate(requests, HOT, seed=3))
    assert len(spread) == len(alone) == 20
    assert set(spread) == set(alone)


def actors() -> list[psutil.Process]:
    """The processes of Ray's actors, on both nodes."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "MapWorker" in " ".join(_words(child))]


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):  # it has ended meanwhile
        return process.cmdline()
    return []


@pytest.mark.usefixtures("cluster")
def test_a_worker_that_is_killed_on_one_of_two_nodes_costs_no_sample(base_model: Path) -> None:
    requests = [Request(row.id, (("user", row.text),)) for row in open_plugin(Microworld, {}).prompts("train")[:40]]
    short = Sampling(temperature=1.0, max_tokens=24)
    engine = open_plugin(RayEngine, str(base_model), {**LOCAL, "batch": 1})
    stream = engine.generate(iter(requests), short, seed=3)
    written = [next(stream)]
    end = time.monotonic() + HANGS
    while len(killed := actors()) < 2:  # one on each node; either may be ready long before the other
        assert time.monotonic() < end
        time.sleep(0.1)
    killed[-1].kill()
    written += stream
    engine.close()
    alone = list(open_plugin(TransformersEngine, str(base_model), dict(ALONE)).generate(requests, short, seed=3))
    assert len(written) == len(requests)
    assert set(written) == set(alone)


@pytest.mark.usefixtures("cluster")
def test_a_model_that_no_actor_can_open_is_an_error_in_one_line(tmp_path: Path) -> None:
    engine = open_plugin(RayEngine, str(tmp_path), {**LOCAL, "concurrency": 1})
    with pytest.raises(EngineError, match=r"^engine ray: .*neither a model directory") as caught:
        list(engine.generate([Request("a", (("user", "hello"),))], HOT, seed=0))
    assert "\n" not in str(caught.value)


def served(url: str) -> dict[str, object]:
    """Options of one actor that asks a server."""
    worker = {"name": "openai", "options": {"base_url": url, "patience": 0.4}}
    return {**LOCAL, "worker": worker, "concurrency": 1, "num_cpus": 0.5}


DRAW = [Request(f"{i}", (("user", f"Draw {i} cats"),)) for i in range(6)]


def test_a_worker_says_at_once_who_is_away_and_what_its_calls_have_cost(nowhere: str) -> None:
    said: queue.SimpleQueue[str] = queue.SimpleQueue()

    def worker_of(url: str) -> Worker:
        options = {"base_url": url, "patience": 0.4}
        return Worker(EnginePlugin(name="openai", options=options), "m", Sampling(), 0, said)

    (fault,) = worker_of(nowhere)(requests_row(DRAW))
    assert fault["fault"].startswith(f"{nowhere} cannot be reached")
    assert said.get_nowait().startswith(f"{nowhere} cannot be reached (connection refused); it is tried again until")
    with faulty() as server:
        spent, *rows = worker_of(server.url)(requests_row(DRAW))
    assert json.loads(spent["spent"])["calls"] == len(rows) == len(DRAW)


@pytest.mark.usefixtures("cluster")
def test_a_server_that_is_away_is_told_from_an_actor_as_without_one(nowhere: str) -> None:
    told: list[str] = []
    engine = open_plugin(RayEngine, "m", served(nowhere))
    with pending.heard_by(told.append), pytest.raises(EngineError, match=r"^engine ray: http") as caught:
        list(engine.generate(DRAW, Sampling(), seed=0))
    alone: list[str] = []
    with pending.heard_by(alone.append), pytest.raises(EngineError) as without:
        list(open_plugin(OpenAIEngine, "m", {"base_url": nowhere, "patience": 0.4}).generate(DRAW, Sampling(), seed=0))
    in_ray, by_itself = (re.sub(r", for \d+ s", "", str(error.value)) for error in (caught, without))
    assert in_ray == f"engine ray: {by_itself}"
    assert {line.split(" it is tried")[0] for line in told} == {line.split(" it is tried")[0] for line in alone}


@pytest.mark.usefixtures("cluster")
def test_what_actors_spend_on_servers_is_the_runs_and_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty() as server:
        before = budget.spent()
        written = list(open_plugin(RayEngine, "m", served(server.url)).generate(DRAW, Sampling(), seed=0))
        spent = budget.spent() - before
        assert (len(written), spent.calls) == (6, 6)
        assert spent.tokens > 0
        limits = Limits(max_tokens=1)
        monkeypatch.setattr(budget, "_purse", budget.Purse(limits, multiprocessing.get_context("spawn")))
        with pytest.raises(BudgetError, match="the budget is spent"):
            list(open_plugin(RayEngine, "m", served(server.url)).generate(DRAW, Sampling(), seed=0))


@pytest.mark.usefixtures("cluster")
def test_an_actor_that_dies_again_and_again_is_given_up_in_one_line() -> None:
    over = threading.Event()
    silent = Plan({"hang past the timeout": 1.0}, hang=HANGS)  # so that none is done before it is killed

    def kill() -> None:
        while not over.wait(0.2):
            for actor in actors():
                with suppress(psutil.Error):
                    actor.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with faulty(silent) as server:
            engine = open_plugin(RayEngine, "m", served(server.url))
            with pytest.raises(EngineError, match=r"^engine ray: an actor died 5 times .* lack of memory") as caught:
                list(engine.generate(DRAW, HOT, seed=0))
        assert "\n" not in str(caught.value)
    finally:
        over.set()
        killer.join()
