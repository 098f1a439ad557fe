"""Calls in batches: what comes back of them is what would have come back of calls, and nothing is paid for twice."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sinternal import budget
from sinternal.budget import Limits, Purse, Spent
from sinternal.engines import Completion, Request, openai_attempts
from sinternal.engines import openai_batch_calls as calls
from sinternal.engines.openai import OpenAIEngine
from sinternal.errors import BudgetError, EngineError
from sinternal.records import Finish, Response
from sinternal.settings.sampling import Sampling
from tests.batch_servers import Endpoint, Hold, serve_batches
from tests.engines.batch_work import REQUESTS, STAY, work
from tests.plugins import open_plugin
from tests.servers import HANG_UP, Body, Fault, Raw, Server, serve

GREEDY = Sampling(max_tokens=32)
NO_LIMITS: dict[str, object] = {}
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SINTERNAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(calls, "WAITS_TO_CREATE", (0.01, 0.01))
    return tmp_path / "cache"


def engine(server: Server, batch: dict[str, object] | None = NO_LIMITS, **options: object) -> OpenAIEngine:
    handed_in = None if batch is None else {"poll": 0.01, **batch}
    settings = {"base_url": server.url, "max_retries": 0, "patience": 0, "timeout": 10, "batch": handed_in}
    return open_plugin(OpenAIEngine, "served", settings | options)


def requests(number: int) -> list[Request]:
    return [Request(f"r{i}", (("user", f"number {i}"),)) for i in range(number)]


def ask(server: Server, number: int = 10, sampling: Sampling = GREEDY, **options: Any) -> dict[str, Completion]:
    got = list(engine(server, **options).generate(requests(number), sampling, 0))
    assert Counter(each.request_id for each in got) == Counter(f"r{i}" for i in range(number)), "each request once"
    return {each.request_id: each for each in got}


def are_right(got: dict[str, Completion], besides: tuple[str, ...] = ()) -> bool:
    fine = {name: each for name, each in got.items() if name not in besides}
    return all(each.answer == f"you said: number {name[1:]}" and not each.error for name, each in fine.items())


def of(text: str, fault: Fault, times: int = 99) -> Callable[[Body, int], Fault]:
    """A fault of the first calls with this text."""
    return lambda body, before: fault if body["messages"][-1]["content"] == text and before < times else Fault.NONE


def test_calls_go_in_one_batch_after_the_first_and_are_known_by_who_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with serve_batches(Endpoint(looks=3)) as (server, endpoint):
        sampling = Sampling(n=2, temperature=0.7, max_tokens=32)
        got = list(engine(server).generate(requests(10), sampling, 5))
        alone = list(engine(server, batch=None).generate(requests(10), sampling, 5))
    assert Counter((each.request_id, each.sample) for each in got) == Counter(
        (f"r{i}", j) for i in range(10) for j in (0, 1)
    )
    assert endpoint.sizes() == [19]
    assert len(server.calls) == 1 + 20
    lines = endpoint.requests("file-0")
    assert {(line["method"], line["url"]) for line in lines} == {("POST", "/v1/chat/completions")}
    assert len({line["custom_id"] for line in lines}) == 19
    assert Counter(json.dumps(each) for each in [server.calls[0], *(line["body"] for line in lines)]) == Counter(
        map(json.dumps, server.calls[1:])
    )
    assert sorted(map(repr, got)) == sorted(map(repr, alone))
    (batch,) = endpoint.batches.values()
    assert (batch["completion_window"], batch["endpoint"]) == ("24h", "/v1/chat/completions")
    told = capsys.readouterr().err
    assert "batch 1 of 19 requests is handed in as batch_0; it may take up to 24h" in told
    assert "batch 1: 0 of 19 done" in told


def test_what_a_batch_has_written_may_be_larger_than_any_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_attempts, "MOST_BYTES", 4_000)
    with serve_batches() as (server, endpoint):
        assert are_right(ask(server, 40))
    assert max(map(len, endpoint.files.values())) > 4_000


def test_one_call_is_not_worth_a_batch() -> None:
    with serve_batches() as (server, endpoint):
        assert are_right(ask(server, 1))
    assert not endpoint.seen


def test_batches_are_no_larger_than_they_may_be_and_raw_requests_are_in_one_of_their_own() -> None:
    mixed = [*requests(8), *(Request(f"raw{i}", (("user", f"once {i}"),), raw=True) for i in range(3))]

    def reply(body: Body) -> Body:
        return {"role": "assistant", "content": f"said {body.get('prompt') or body['messages'][-1]['content']}"}

    with serve_batches(reply=reply) as (server, endpoint):
        got = list(engine(server, {"max_requests": 3}).generate(mixed, GREEDY, 0))
        assert sorted(str(each.answer) for each in got) == sorted(f"said {each.messages[-1][1]}" for each in mixed)
        assert sorted(endpoint.sizes()) == [1, 3, 3, 3]
        small = Endpoint()
        server.elsewhere, small.server = small, server
        assert len(ask(server, 9, batch={"max_bytes": 900})) == 9
    assert sum(small.sizes()) == 8
    inputs = [small.files[batch["input_file_id"]] for batch in small.batches.values()]
    assert all(len(text) <= 900 for text in inputs)
    assert any(len(text.splitlines()) > 1 for text in inputs)


def test_a_thousand_requests_through_every_fault_of_batches_lose_double_and_mix_up_nothing() -> None:
    hopeless = {f"number {i}": fault for i, fault in enumerate((Fault.BROKEN, Fault.REFUSES, Fault.NO_CHOICES), 300)}

    def fault(body: Body, before: int) -> Fault:
        text = body["messages"][-1]["content"]
        if text in hopeless:
            return hopeless[text]
        draw = zlib.crc32(text.encode())
        return (Fault.BUSY, Fault.BROKEN, Fault.NO_CHOICES)[draw % 3] if before == 0 and draw % 7 == 0 else Fault.NONE

    def write(number: int, rows: list[Body]) -> list[Any]:
        return (
            rows if number > 3 else [*rows[5:], *rows[:50], rows[60], b"half of a li\n", {**rows[7], "custom_id": "?"}]
        )

    endpoint = Endpoint(
        end=lambda number: "expired" if number % 2 else "completed",
        keep=lambda number, rows: rows[: 3 * len(rows) // 4] if number < 6 else rows,
        write=write,
    )
    with serve_batches(endpoint, fault=fault) as (server, _):
        got = ask(server, 1000, batch={"max_requests": 300})
    assert are_right(got, ("r300", "r301", "r302"))
    assert "answered 500" in str(got["r300"].error)
    assert "answered 400" in str(got["r301"].error)
    assert "no choices" in str(got["r302"].error)
    assert sorted(endpoint.sizes()[:4]) == [99, 300, 300, 300]
    assert len(endpoint.batches) > 5, "the faults were not met"


PASSING = {"partial": "completed", "late": "expired", "lost": "completed", "twice": "completed", "spoilt": "completed"}


@pytest.mark.parametrize("fault", PASSING)
def test_what_a_batch_ends_without_is_in_the_next_one(fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    def spoil(number: int, rows: list[Body]) -> list[Any]:
        if number > 0:
            return rows
        changed = {
            "lost": [{**rows[0], "custom_id": "someone else's"}, *rows[1:]],
            "twice": [*rows, rows[3]],
            "spoilt": [b"{half of a li\n", b"\n", b"[]\n", b"\xff\xfe\n", b'{"custom_id": 7}\n', *rows[1:]],
        }
        return changed.get(fault, rows)

    endpoint = Endpoint(
        end=lambda number: PASSING[fault] if number == 0 else "completed",
        keep=lambda number, rows: rows[:4] if number == 0 and fault in ("partial", "late") else rows,
        write=spoil,
    )
    with serve_batches(endpoint) as (server, _):
        assert are_right(ask(server))
    assert endpoint.sizes() == {"partial": [9, 5], "late": [9, 5], "twice": [9]}.get(fault, [9, 1])
    told = capsys.readouterr().err
    odd = {"lost": "1 of no request of it", "twice": "1 about the same again", "spoilt": "4 unreadable"}
    assert odd.get(fault, "brought a reply") in told


STOPPING = {
    "expired": r"batch 1 \(batch_0\) expired with 9 requests unanswered; .* run again",
    "completed": r"batch 1 \(batch_0\) ended with 9 requests unanswered",
    "cancelled": r"batch 1 \(batch_0\) was cancelled with 6 requests unanswered; what came back is kept",
    "failed": r"batch 1 \(batch_0\) failed with 9 requests unanswered: line 3 is no request",
}


@pytest.mark.parametrize("end", STOPPING)
def test_a_batch_that_brings_nothing_more_stops_the_run_in_one_line_and_is_no_result(end: str) -> None:
    errors = {"object": "list", "data": [{"code": "invalid_json", "message": "line 3 is no request", "line": 3}]}
    endpoint = Endpoint(
        end=lambda _number: end,
        keep=lambda _number, rows: rows[:3] if end == "cancelled" else [],
        errors=lambda _number: errors if end == "failed" else None,
    )
    got: list[Completion] = []
    with serve_batches(endpoint) as (server, _):
        running = engine(server).generate(requests(10), GREEDY, 0)
        with pytest.raises(EngineError, match=STOPPING[end]) as told:
            got.extend(running)
        assert "\n" not in str(told.value)
        assert len(got) == (4 if end == "cancelled" else 1)
        assert not any(each.error for each in got)
        endpoint.end, endpoint.keep = (lambda _number: "completed"), (lambda _number, rows: rows)
        done = {each.request_id for each in got}
        rest = [each for each in requests(10) if each.id not in done]
        again = list(engine(server).generate(rest, GREEDY, 0))
    assert Counter(each.request_id for each in (*got, *again)) == Counter(f"r{i}" for i in range(10))


def test_when_too_much_is_waiting_the_rest_is_handed_in_once_another_batch_is_done() -> None:
    error = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached for served"}
    endpoint = Endpoint(
        longer=lambda number: 30 if number == 0 else 0,
        end=lambda number: "failed" if number == 1 else "completed",
        errors=lambda number: {"data": [error]} if number == 1 else None,
    )
    with serve_batches(endpoint) as (server, _):
        assert are_right(ask(server, 9, batch={"max_requests": 4}))
        assert endpoint.sizes() == [4, 4, 4]
        assert [batch["looks"] for batch in endpoint.batches.values()] == [32, 2, 2]
        endpoint.end, endpoint.errors = (lambda _number: "failed"), (lambda _number: {"data": [error]})
        with pytest.raises(
            EngineError, match=r"Enqueued token limit reached.*lower the engine's option batch\.max_requests"
        ):
            list(engine(server).generate(requests(20), GREEDY, 1))


def test_lines_that_failed_are_told_from_lines_that_the_server_refused() -> None:
    def fault(body: Body, before: int) -> Fault:
        at = int(body["messages"][-1]["content"].split()[1])
        always = {4: Fault.REFUSES, 5: Fault.BROKEN}
        once = {6: Fault.BUSY, 7: Fault.NO_CHOICES}
        return always.get(at) or (once.get(at, Fault.NONE) if before == 0 else Fault.NONE)

    with serve_batches(fault=fault) as (server, endpoint):
        got = ask(server)
    assert are_right(got, ("r4", "r5"))
    assert "answered 400: 400" in str(got["r4"].error)
    assert "answered 500: 500" in str(got["r5"].error)
    assert endpoint.sizes() == [9, 3]


def test_a_server_that_fails_at_everything_leaves_no_errors_that_pass_for_results() -> None:
    with serve_batches(fault=lambda *_: Fault.BROKEN) as (server, endpoint):
        got: list[Completion] = []
        with pytest.raises(EngineError, match="40 requests failed twice in batches, the last with: 500"):
            got.extend(engine(server).generate(requests(40), GREEDY, 0))
    assert got == []
    assert endpoint.sizes() == [40, 40]


def test_a_key_that_a_batch_refuses_stops_the_run() -> None:
    with (
        serve_batches(fault=of("number 4", Fault.NO_KEY)) as (server, _),
        pytest.raises(EngineError, match="asks for a key"),
    ):
        list(engine(server, api_key_env="NOT_SET_ANYWHERE").generate(requests(10), GREEDY, 0))


def test_a_filter_in_a_batch_is_an_outcome() -> None:
    refused = {"error": {"code": "content_filter", "message": "filtered by the content management policy"}}

    def reply(body: Body) -> Body | Raw:
        text = body["messages"][-1]["content"]
        if text == "number 3":
            return Raw(400, refused)
        return {"content": "half", "finish_reason": "content_filter"} if text == "number 4" else {"content": "fine"}

    with serve_batches(reply=reply) as (server, _):
        got = ask(server)
    assert {name for name, each in got.items() if each.finish is Finish.FILTERED} == {"r3", "r4"}


def test_a_field_that_a_server_refuses_is_learnt_by_the_first_call_or_else_from_a_batch() -> None:
    def refuses(body: Body) -> Body | Raw:
        if "min_p" in body:
            return Raw(400, {"error": {"message": "Unsupported parameter: 'min_p'", "param": "min_p"}})
        return {"content": f"you said: {body['messages'][-1]['content']}"}

    with serve_batches(reply=refuses) as (server, endpoint):
        got = ask(server)
        assert {each.left_out for each in got.values()} == {"min_p"}
        assert endpoint.sizes() == [9]

    with serve_batches(
        reply=lambda body: refuses(body) if server.calls[1:] or endpoint.batches else {"content": "fine"}
    ) as (
        server,
        endpoint,
    ):
        late = ask(server)
    assert endpoint.sizes() == [9, 9]
    assert [late[f"r{i}"].left_out for i in range(10)] == ["", *["min_p"] * 9]


def test_servers_that_copy_the_endpoint_with_other_words_are_understood() -> None:
    def dress(batch: Body) -> Body:
        shown = {name: value for name, value in batch.items() if name != "request_counts"}
        whole = {**shown, "status": batch["status"].upper(), "error_file_id": batch["error_file_id"] or ""}
        return {"job": whole} if batch["looks"] == 0 else whole

    def write(_number: int, rows: list[Body]) -> list[Body]:
        bare = [{"custom_id": row["custom_id"], "response": row["response"]["body"]} for row in rows[:4]]
        return [
            *bare,
            *({"custom_id": row["custom_id"], "response": {"body": row["response"]["body"]}} for row in rows[4:]),
        ]

    with serve_batches(Endpoint(dress=dress, write=write)) as (server, _):
        assert are_right(ask(server))


def test_a_server_without_batches_says_how_to_do_without(cache: Path) -> None:
    with serve() as server:
        server.elsewhere = lambda *asked: Raw(404, {"detail": "Not Found"}) if "files" in asked[1] else None
        with pytest.raises(EngineError, match=r"answered 404: Not Found.*option batch to null"):
            list(engine(server).generate(requests(3), GREEDY, 0))
    assert not list(cache.rglob("*.json"))


def test_a_server_that_is_busy_or_away_while_a_batch_goes_on_is_waited_for() -> None:
    looks = iter(range(100))

    def answer(method: str, path: str) -> Raw | None:
        if method == "GET" and path.startswith("/v1/batches/"):
            return {1: Raw(503, {"error": {"message": "busy"}}), 2: Raw(HANG_UP, b"")}.get(next(looks))
        return None

    with serve_batches(Endpoint(looks=3, answer=answer)) as (server, endpoint):
        assert are_right(ask(server))
        endpoint.answer = lambda method, path: Raw(503, {}) if (method, path[:12]) == ("GET", "/v1/batches/") else None
        with pytest.raises(EngineError, match="goes on there, run again to fetch it"):
            list(engine(server).generate(requests(5), GREEDY, 1))
        endpoint.answer = lambda *_: None
        assert len(list(engine(server).generate(requests(5)[1:], GREEDY, 1))) == 4
    assert endpoint.sizes() == [9, 4]


@pytest.mark.parametrize("lost", [Raw(HANG_UP, b""), Raw(502, b"<html>Bad gateway</html>"), Raw(200, b"{}")])
def test_a_batch_whose_making_was_not_confirmed_is_not_made_again(lost: Raw) -> None:
    confirmed = iter([lost])
    endpoint = Endpoint(after=lambda *asked: next(confirmed, None) if asked == ("POST", "/v1/batches") else None)
    with serve_batches(endpoint) as (server, _):
        assert are_right(ask(server))
    assert endpoint.sizes() == [9]


def test_a_server_that_does_not_say_what_it_has_made_is_not_asked_for_a_batch_again() -> None:
    def answer(method: str, path: str) -> Raw | None:
        return Raw(501, {}) if (method, path) == ("GET", "/v1/batches") else None

    def after(method: str, path: str) -> Raw | None:
        return Raw(HANG_UP, b"") if (method, path) == ("POST", "/v1/batches") else None

    endpoint = Endpoint(answer=answer, after=after)
    with serve_batches(endpoint) as (server, _):
        for run in (requests(5), requests(5)[1:]):
            with pytest.raises(EngineError, match=r"does not say whether a batch was made of file file-0 .* delete "):
                list(engine(server).generate(run, GREEDY, 0))
        endpoint.answer = endpoint.after = lambda *_: None
        assert len(list(engine(server).generate(requests(5)[1:], GREEDY, 0))) == 4
    assert endpoint.sizes() == [4]


def test_after_a_batch_that_stops_the_run_nothing_more_is_handed_in() -> None:
    endpoint = Endpoint(
        longer=lambda number: 5 if number == 1 else 0,
        end=lambda number: "cancelled" if number == 0 else "completed",
        keep=lambda _number, rows: rows[:2],
    )
    got: list[Completion] = []
    with serve_batches(endpoint) as (server, _), pytest.raises(EngineError, match=r"batch \d .* was cancelled"):
        got.extend(engine(server, {"max_requests": 4}).generate(requests(9), GREEDY, 0))
    assert len(got) == 1 + 2 + 2, "what was under way came back"
    assert endpoint.sizes() == [4, 4]


def test_a_batch_that_is_gone_is_not_silently_paid_for_again(cache: Path) -> None:
    with serve_batches(Endpoint(looks=10**9)) as (server, endpoint):
        stopped = engine(server, {"poll": 0.01}).generate(requests(3), GREEDY, 0)
        next(stopped)
        endpoint.answer = lambda *asked: Raw(500, {}) if asked[1] == "/v1/batches/batch_0" else None
        with pytest.raises(EngineError):
            list(stopped)
        endpoint.answer = lambda *_: None
        endpoint.batches.clear()
        with pytest.raises(EngineError, match=r"does not know batch batch_0.*delete (.*\.json)"):
            list(engine(server).generate(requests(3)[1:], GREEDY, 0))
        (note,) = cache.rglob("*.json")
        note.unlink()
        endpoint.looks = 0
        assert len(list(engine(server).generate(requests(3)[1:], GREEDY, 0))) == 2


def test_what_is_noted_of_a_batch_holds_no_key_and_no_text_and_is_deleted_in_the_end(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "s3cret-value")
    noted: list[str] = []

    def note(*_asked: str) -> None:
        noted.extend(file.read_text() for file in cache.rglob("*.json"))

    with serve_batches(Endpoint(answer=note)) as (server, endpoint):
        url = server.url.replace("http://", "http://user:pass-word@")
        secrets = {
            "headers": {"api-key": "$MY_KEY"},
            "query": {"key": "$MY_KEY"},
            "extra_body": {"api_key": "s3cret-value"},
        }
        ask(server, base_url=url, **secrets)
    assert any('"batch": "batch_0"' in text for text in noted)
    assert not any(word in text for text in noted for word in ("s3cret", "pass-word", "user", "number"))
    assert {headers["api-key"] for headers in endpoint.headers} == {"s3cret-value"}
    assert all(headers["authorization"].startswith("Basic ") for headers in endpoint.headers)
    assert not list(cache.rglob("*.json"))


def test_no_proxy_stands_between_this_machine_and_its_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with serve_batches() as (server, _):
        assert are_right(ask(server, 4))


def limited(monkeypatch: pytest.MonkeyPatch, **limits: Any) -> Spent:
    monkeypatch.setattr(budget, "_purse", None)
    budget.carry(Purse(Limits(**limits), multiprocessing.get_context("spawn")))
    return budget.spent()


PRICE = {"read": 1_000.0, "written": 18_000.0}


def test_calls_in_a_batch_cost_half_and_the_first_costs_all(monkeypatch: pytest.MonkeyPatch) -> None:
    before = limited(monkeypatch, max_cost=100.0)
    with serve_batches() as (server, _):
        ask(server, 11, price=PRICE)
        assert budget.spent() - before == Spent(11, 110, 55, pytest.approx(0.1 + 10 * 0.05))
        ask(server, 11, price={**PRICE, "batch": 0.75})
    assert (budget.spent() - before).cost == pytest.approx(0.6 + 0.1 + 10 * 0.075)


def test_no_batch_is_handed_in_that_could_cost_more_than_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    most = (len("number 0") + 64) + 32
    limited(monkeypatch, max_tokens=15 + 3 * most + 50)
    with serve_batches() as (server, endpoint):
        assert are_right(ask(server, 8))
    assert endpoint.sizes()[0] == 3, "what could cost all that is left"
    assert sum(endpoint.sizes()) == 7

    limited(monkeypatch, max_tokens=most + 20)
    got: list[Completion] = []
    short = pytest.raises(BudgetError, match=r"does not cover one more request at its most \(104 tokens; .* left\)")
    with serve_batches() as (server, endpoint), short:
        got.extend(engine(server).generate(requests(8), GREEDY, 0))
    assert len(got) == 2
    assert endpoint.sizes() == [1]


KILLED_AT = {
    "upload": ("POST", "/v1/files"),
    "making": ("POST", "/v1/batches"),
    "made": ("POST", "/v1/batches"),
    "look": ("GET", "/v1/batches/"),
    "download": ("GET", "/v1/files/"),
}
DONE_ALL_THE_SAME = ("made", "download")
"""Where the server does what it was asked for before the run is killed."""


@pytest.mark.parametrize("point", [*KILLED_AT, STAY])
def test_a_run_that_is_killed_anywhere_loses_no_reply_and_hands_in_nothing_twice(point: str, tmp_path: Path) -> None:
    hold = Hold(*KILLED_AT[point]) if point in KILLED_AT else None
    endpoint = Endpoint()
    if hold is not None:
        setattr(endpoint, "after" if point in DONE_ALL_THE_SAME else "answer", hold)
    with serve_batches(endpoint) as (server, _):
        command = [
            sys.executable,
            "-m",
            "tests.engines.batch_work",
            server.url,
            str(tmp_path),
            *([STAY] * (hold is None)),
        ]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
            if hold is None:
                assert run.stdout is not None
                assert run.stdout.readline().strip() == STAY
            else:
                assert hold.reached.wait(600), "the run did not get there"
            run.kill()
        if hold is not None:
            hold.released.set()
        assert not (tmp_path / "sample/key").exists()
        artifact = work(server.url, tmp_path)
    rows = artifact.rows(Response)
    assert sorted(row.prompt_id for row in rows) == sorted(f"r{i}" for i in range(REQUESTS))
    assert all(row.answer == f"you said: number {row.prompt_id[1:]}" for row in rows)
    asked = Counter(
        line["custom_id"] for batch in endpoint.batches.values() for line in endpoint.requests(batch["input_file_id"])
    )
    assert set(asked.values()) == {1}, "a request is in two batches"
    assert not [file for file in artifact.path.iterdir() if file.name == "batches"]
