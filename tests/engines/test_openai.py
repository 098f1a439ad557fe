from __future__ import annotations

import multiprocessing
import zlib
from collections import Counter

import pytest
from bench.faulty import closed_port

from sinternal import budget
from sinternal.budget import Limits, Purse, Spent
from sinternal.engines import Completion, Request, TokenLogprobs
from sinternal.engines.openai import OpenAIEngine
from sinternal.engines.openai_failures import OUTAGE
from sinternal.errors import BudgetError, EngineError, RecipeError
from sinternal.records import Finish
from sinternal.settings.sampling import Sampling
from tests.plugins import open_plugin
from tests.servers import Body, Fault, Server, echo, no_fault, serve

PASSING = (
    Fault.BUSY_AND_SAYS_WHEN,
    Fault.BUSY,
    Fault.BROKEN,
    Fault.HANGS,
    Fault.RESETS,
    Fault.TRUNCATED,
    Fault.NO_CHOICES,
)
GREEDY = Sampling(max_tokens=32)


def ask(server: Server, text: str = "hello", sampling: Sampling = GREEDY, **options: object) -> Completion:
    (completion,) = engine(server, **options).generate([Request("r", (("user", text),))], sampling, 0)
    return completion


def engine(server: Server, **options: object) -> OpenAIEngine:
    return open_plugin(
        OpenAIEngine, "served", {"base_url": server.url, "max_retries": 2, "timeout": 10, "patience": 0, **options}
    )


def says(content: str | None, **more: object) -> object:
    return lambda _body: {"role": "assistant", "content": content, **more}


def requests(number: int) -> list[Request]:
    return [Request(f"r{i}", (("user", f"number {i}"),)) for i in range(number)]


def test_a_thousand_requests_through_every_fault_lose_double_and_mix_up_nothing() -> None:
    hopeless = {f"number {i}": fault for i, fault in enumerate((Fault.BROKEN, Fault.REFUSES, Fault.NO_CHOICES), 300)}

    def fault(body: Body, before: int) -> Fault:
        text = body["messages"][-1]["content"]
        if text in hopeless:
            return hopeless[text]
        draw = zlib.crc32(text.encode())
        if before == 0 and draw % 4 == 0:
            return PASSING[draw // 4 % len(PASSING)]
        return Fault.NO_USAGE if draw % 5 == 0 else Fault.NONE

    with serve(fault=fault) as server:
        wanted = requests(1000)
        got = list(engine(server, timeout=2, concurrency=32, max_retries=3).generate(wanted, GREEDY, 0))
        calls = Counter(call["messages"][-1]["content"] for call in server.calls)
    assert Counter(c.request_id for c in got) == Counter(r.id for r in wanted)
    failed = {c.request_id: c.error for c in got if c.error}
    assert set(failed) == {"r300", "r301", "r302"}
    assert "500" in str(failed["r300"])
    assert "too long" in str(failed["r301"])
    assert "no choices" in str(failed["r302"])
    for completion in got:
        if not completion.error:
            assert completion.answer == f"you said: number {completion.request_id[1:]}"
            assert completion.tokens in (5, None)
    assert sum(c.tokens is None for c in got if not c.error) > 50
    assert sum(calls.values()) > 1200, "the faults were not met"


def test_every_sample_is_asked_for_with_a_seed_of_its_own_that_depends_on_nothing_else() -> None:
    with serve() as server:
        sampling = Sampling(n=3, temperature=0.7, top_p=0.9, max_tokens=7)
        first = list(engine(server).generate(requests(2), sampling, 5))
        again = list(engine(server).generate(requests(2)[::-1], sampling, 5))
    assert Counter((c.request_id, c.sample) for c in first) == Counter((r, s) for r in ("r0", "r1") for s in range(3))
    seeds = [call["seed"] for call in server.calls]
    assert len(set(seeds[:6])) == 6
    assert sorted(seeds[:6]) == sorted(seeds[6:])
    assert len(again) == 6
    assert {(c["temperature"], c["top_p"], c["max_tokens"]) for c in server.calls} == {(0.7, 0.9, 7)}


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thinking_that_the_server_has_parsed_is_kept_apart_from_the_answer(name: str) -> None:
    with serve(reply=says("the answer", **{name: "the thinking"})) as server:
        completion = ask(server)
    assert (completion.thinking, completion.answer) == ("the thinking", "the answer")


def test_thinking_that_stands_in_the_text_is_split_off() -> None:
    with serve(reply=says("<think>\nhm\n</think>\n\nyes")) as server:
        completion = ask(server)
    assert (completion.thinking, completion.answer) == ("hm", "yes")


@pytest.mark.parametrize("content", [None, ""])
def test_a_parsed_thinking_that_never_closed_has_no_answer(content: str | None) -> None:
    with serve(reply=says(content, reasoning_content="on and on", finish_reason="length")) as server:
        completion = ask(server)
    assert (completion.thinking, completion.answer, completion.finish) == ("on and on", None, Finish.LENGTH)


def test_text_without_tags_is_thinking_where_the_template_has_opened_it() -> None:
    with serve(reply=says("on and on", finish_reason="length")) as server:
        assert ask(server, opens_thinking=True).answer is None
        assert ask(server).answer == "on and on"


def test_a_prefill_is_continued_in_the_way_that_the_server_knows() -> None:
    request = Request("r", (("user", "hello"),), prefill="<think>\nsure\n</think>\n\n")
    with serve(reply=says("here it is")) as server:
        for mode in ("trailing", "continue", "no"):
            (got,) = engine(server, prefill=mode).generate([request], GREEDY, 0)
            if mode == "no":
                assert "prefill" in str(got.error)
            else:
                assert (got.thinking, got.answer) == ("sure", "here it is")
    trailing, continued = server.calls
    assert trailing["messages"][-1] == {"role": "assistant", "content": request.prefill}
    assert continued["continue_final_message"] is True
    assert continued["add_generation_prompt"] is False


def test_a_raw_request_goes_past_the_chat_template() -> None:
    with serve(reply=says(" a time")) as server:
        (got,) = engine(server).generate([Request("r", (("user", "once upon"),), raw=True)], GREEDY, 0)
    assert got.answer == "a time"
    assert server.paths == ["/v1/completions"]
    assert server.calls[0]["prompt"] == "once upon"


def test_the_repetition_penalty_is_sent_under_the_name_that_the_server_has_for_it() -> None:
    with serve() as server:
        ask(server, sampling=Sampling(repetition_penalty=1.2), fields={"repetition_penalty": "repeat_penalty"})
    assert server.calls[0]["repeat_penalty"] == 1.2
    assert "repetition_penalty" not in server.calls[0]


def test_text_that_a_content_filter_withheld_is_no_answer_and_no_failure() -> None:
    with serve(reply=says("half of it", finish_reason="content_filter")) as server:
        completion = ask(server)
    assert (completion.answer, completion.finish) == (None, Finish.FILTERED)


def test_a_key_that_is_refused_stops_at_once_and_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "wrong")
    with serve(fault=lambda *_: Fault.NO_KEY) as server, pytest.raises(EngineError, match="MY_KEY"):
        ask(server, api_key_env="MY_KEY")
    assert len(server.calls) == 1


def test_an_unknown_model_stops_at_once_and_lists_those_that_the_server_has() -> None:
    with serve(fault=lambda *_: Fault.NO_MODEL) as server, pytest.raises(EngineError, match=r"'x'; it has: served"):
        ask(server, model="x")


def test_a_server_that_is_not_there_is_one_line_that_asks_whether_it_runs() -> None:
    told = r"cannot be reached \(connection refused\); is the server running\?"
    with closed_port() as port, pytest.raises(EngineError, match=told):
        ask(Server(echo, no_fault, f"http://127.0.0.1:{port}/v1"))


def test_a_server_that_goes_away_in_the_middle_leaves_no_errors_that_pass_for_results() -> None:
    def fault(body: Body, _before: int) -> Fault:
        return Fault.RESETS if int(body["messages"][-1]["content"].split()[1]) >= 20 else Fault.NONE

    got: list[Completion] = []
    with serve(fault=fault) as server:
        running = engine(server, max_retries=0, concurrency=4).generate(requests(100), GREEDY, 0)
        with pytest.raises(EngineError, match="in a row"):
            got.extend(running)
    assert sorted(c.request_id for c in got) == sorted(f"r{i}" for i in range(20))
    assert not any(c.error for c in got)
    assert len(server.calls) <= 20 + OUTAGE + 4


def test_a_request_that_always_fails_is_a_result_even_if_it_is_the_last(one_at_a_time: dict[str, object]) -> None:
    def fault(body: Body, _before: int) -> Fault:
        return Fault.BROKEN if body["messages"][-1]["content"] == "number 4" else Fault.NONE

    with serve(fault=fault) as server:
        got = {c.request_id: c.error for c in engine(server, **one_at_a_time).generate(requests(5), GREEDY, 0)}
        (alone,) = engine(server, **one_at_a_time).generate(requests(5)[4:], GREEDY, 0)
    assert [name for name, error in got.items() if error] == ["r4"]
    assert "500" in str(alone.error)


def test_a_server_that_dies_before_the_last_request_leaves_it_for_the_next_run(
    one_at_a_time: dict[str, object],
) -> None:
    got: list[Completion] = []
    with serve() as server:
        running = engine(server, **one_at_a_time).generate(requests(3), GREEDY, 0)
        got += [next(running), next(running)]
        server.stop()
        with pytest.raises(EngineError, match="is the server running"):
            got.extend(running)
    assert [c.request_id for c in got if not c.error] == ["r0", "r1"]
    assert len(got) == 2


@pytest.fixture
def one_at_a_time() -> dict[str, object]:
    return {"max_retries": 0, "concurrency": 1}


def test_a_server_that_refuses_everything_from_the_start_is_one_error() -> None:
    with serve(fault=lambda *_: Fault.REFUSES) as server, pytest.raises(EngineError, match="refuses every request"):
        list(engine(server).generate(requests(100), GREEDY, 0))


def test_no_key_is_needed_for_a_server_of_ones_own_but_for_a_hosted_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with serve() as server:
        assert ask(server).error is None
    with pytest.raises(EngineError, match="OPENAI_API_KEY"):
        open_plugin(OpenAIEngine, "gpt", {})


def test_a_key_in_the_options_is_an_error() -> None:
    with pytest.raises(RecipeError, match="api_key"):
        open_plugin(OpenAIEngine, "m", {"base_url": "http://localhost:1/v1", "api_key": "secret"})


def test_a_budget_stops_new_calls_and_keeps_what_was_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_purse", None)
    budget.carry(Purse(Limits(max_cost=1.0), multiprocessing.get_context("spawn")))
    before = budget.spent()
    got: list[Completion] = []
    with serve() as server:
        priced = engine(server, concurrency=4, price={"read": 1_000.0, "written": 18_000.0})
        with pytest.raises(BudgetError, match=r"--max-cost 1\.0"):
            got.extend(priced.generate(requests(100), GREEDY, 0))
    assert 10 <= len(got) <= 14
    assert len(got) == len(server.calls)
    assert budget.spent() - before == Spent(len(got), 10 * len(got), 5 * len(got), pytest.approx(0.1 * len(got)))


def test_tokens_that_a_server_does_not_tell_count_against_a_budget_at_their_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budget, "_purse", None)
    budget.carry(Purse(Limits(max_tokens=100), multiprocessing.get_context("spawn")))
    with serve(fault=lambda *_: Fault.NO_USAGE) as server, pytest.raises(BudgetError):
        list(engine(server, concurrency=1).generate(requests(100), GREEDY, 0))
    assert len(server.calls) == 1  # 32 tokens written, and of the prompt a token for each byte and for its template


def test_nothing_is_asked_for_before_it_is_wanted() -> None:
    taken = []

    def stream() -> object:
        for request in requests(1000):
            taken.append(request)
            yield request

    with serve() as server:
        running = engine(server, concurrency=4).generate(stream(), GREEDY, 0)  # type: ignore[arg-type]
        next(running)
        running.close()
    assert len(taken) < 20


def test_a_servers_log_probabilities_are_passed_on_and_a_server_without_them_is_no_error() -> None:
    asked = Request("a", (("user", "hello"),))
    recording = Sampling(max_tokens=8, top_logprobs=2)
    with serve() as server:
        (without,) = open_plugin(OpenAIEngine, "served", {"base_url": server.url}).generate([asked], recording, 0)
        assert (server.calls[0]["logprobs"], server.calls[0]["top_logprobs"]) == (True, 2)
    assert without.logprobs is None
    token = {"token": "hi", "logprob": -0.1, "top_logprobs": [{"token": "hi", "logprob": -0.1}]}

    def reply(_body: Body) -> Body:
        return {"role": "assistant", "content": "hi", "logprobs": {"content": [token]}}

    with serve(reply=reply) as server:
        (found,) = open_plugin(OpenAIEngine, "served", {"base_url": server.url}).generate([asked], recording, 0)
    assert found.logprobs == (TokenLogprobs("hi", (("hi", -0.1),)),)
