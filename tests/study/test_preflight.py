"""What a run does before and after it asks servers: limits, trials, keys of artifacts, and asking again."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from sinternal.budget import Limits, Spent, money
from sinternal.errors import DataError, EngineError, ModelError, RecipeError, SInternalError
from sinternal.records import Finish, Response
from sinternal.store import Artifact, Store
from sinternal.study.cost import Bill, server_bound
from sinternal.study.execute import Event, execute
from sinternal.study.plan import Plan
from sinternal.study.preflight import check_limits, preflight, without_price
from tests.commands import in_process, sinternal
from tests.servers import Body, Raw, serve
from tests.study.served import PROMPTS, says
from tests.study.served import planned as planned  # a fixture

FILTERED = Raw(400, {"error": {"message": "Filtered by the policy of this deployment.", "code": "content_filter"}})


def ignore(_event: Event) -> None:
    """Nobody looks."""


def made(plan: Plan, store: Store, label: str) -> Artifact:
    task = next(task for task in plan.tasks if task.label == label)
    found = store.find(task.stage.name, task.key)
    assert found is not None
    return found


def judge_at(url: str) -> tuple[str, ...]:
    engine = f"{{name: openai, model: j, options: {{base_url: '{url}', patience: 0}}}}"
    return (f"judge={{name: strongreject, options: {{engine: {engine}}}}}",)


def test_how_a_server_is_reached_is_in_no_key_and_what_it_writes_is(planned: Callable[..., Plan]) -> None:
    with serve() as server, serve() as other:
        keys = [task.key for task in planned(server.url).tasks]
        moved = planned(
            other.url, timeout=5, concurrency=3, batch={}, headers={"a": "b"}, price={"read": 1, "written": 2}
        )
        assert [task.key for task in moved.tasks] == keys
        judged = [planned(server.url, *judge_at(at.url)).report.key for at in (server, other)]
        assert judged[0] == judged[1], "at any depth"
        assert planned(server.url, extra_body={"mode": "x"}).report.key != keys[-1]


def test_the_keys_of_recipes_for_many_machines_do_not_hang_on_the_cluster() -> None:
    from sinternal.study.identity import identity

    inner = {"name": "openai", "options": {"base_url": "http://a/v1", "model": "m"}}
    outer = {"name": "ray", "options": {"address": "auto", "concurrency": 4, "worker": inner}}
    assert identity(outer) == {
        "name": "ray",
        "options": {"worker": {"name": "openai", "options": {"model": "m"}}},
    }


def test_an_engine_that_works_on_other_machines_is_not_tried_from_this_one() -> None:
    from sinternal.settings.named_engines import engines_in

    inner = {"name": "openai", "options": {"base_url": "http://localhost:1/v1", "price": {"read": 1, "written": 1}}}
    outer = {"engine": {"name": "ray", "options": {"worker": inner}}}
    assert [one.name for one in engines_in(outer)] == ["ray"]
    assert [one.name for one in engines_in(outer, inside=True)] == ["ray", "openai"]


def asks_for_a_key(lists: bool) -> Callable[..., Raw | None]:
    """A server that answers nobody, and shows its list of models to everybody if `lists`."""

    def elsewhere(method: str, *_more: object) -> Raw | None:
        return None if lists and method == "GET" else Raw(401, {"error": {"message": "no key"}})

    return elsewhere


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_judge_that_wants_another_key_is_noticed_before_the_first_call_to_anybody(
    planned: Callable[..., Plan], store: Store, monkeypatch: pytest.MonkeyPatch, lists: bool, key: str | None
) -> None:
    monkeypatch.setenv("TARGET_KEY", "a-key-of-the-target")
    if key:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    refused = pytest.raises(EngineError, match=r"labels by strongreject: .*OPENAI_API_KEY")
    with serve(reply=says) as server, serve(elsewhere=asks_for_a_key(lists)) as guard, refused:
        execute(planned(server.url, *judge_at(guard.url), api_key_env="TARGET_KEY"), store, 1, ignore)
    if not (lists and key):  # that a key is wrong shows with the first call where the list is open to all
        assert not server.calls


def test_a_limit_on_cost_without_a_price_is_refused_before_the_first_call(
    planned: Callable[..., Plan], store: Store
) -> None:
    with serve(reply=says) as server:
        for options in ({}, {"price": {"read": 0, "written": 0}}):
            with pytest.raises(RecipeError, match=r"price=\{read"):
                execute(planned(server.url, **options), store, 1, ignore, Limits(max_cost=5.0))
    assert not server.calls


def test_a_limit_on_cost_counts_every_server_of_other_machines_or_is_refused(
    planned: Callable[..., Plan], store: Store
) -> None:
    away, price = "http://guard.invalid:9/v1", {"read": 3, "written": 15}
    free = f"judge.options.engine.options={{base_url: '{away}', price: {{read: 0, written: 0}}}}"
    with serve(reply=says) as server:
        with pytest.raises(RecipeError, match=r"j at http://guard\.invalid:9 has no price.*read: 0"):
            execute(planned(server.url, *judge_at(away), price=price), store, 1, ignore, Limits(max_cost=5.0))
        for stated in (planned(server.url, *judge_at(away), free, price=price), planned(server.url, price=price)):
            check_limits(stated.tasks, Limits(max_cost=5.0))
        near = planned(server.url, *judge_at(server.url), price=price)
        check_limits(near.tasks, Limits(max_cost=5.0))
        assert [unpriced.model for unpriced in without_price(near.tasks)] == ["j"]
    assert not server.calls


def test_a_sum_that_is_not_nothing_is_not_written_as_nothing() -> None:
    assert [money(amount) for amount in (0.0, 1e-9, 0.0003, 0.01, 1234.5)] == [
        *("0.00", "0.0001", "0.0003", "0.01", "1,234.50")
    ]
    assert Spent(1, 2, 3, 0.0003).in_words() == "1 call, 2 tokens read, 3 written, cost 0.0003"


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), -1.0])
def test_a_limit_that_no_sum_can_reach_is_refused(limit: float) -> None:
    with pytest.raises(RecipeError, match="--max-cost"):
        Limits(max_cost=limit)


def test_a_judge_that_cannot_work_is_found_before_the_answers_are_bought(
    planned: Callable[..., Plan], store: Store
) -> None:
    with serve(reply=says) as server:
        with serve() as gone:
            url = gone.url
        with pytest.raises(EngineError, match=r"labels by strongreject: .* cannot be reached"):
            execute(planned(server.url, *judge_at(url)), store, 1, ignore)
        with serve(reply=lambda _body: Raw(404, {"error": {"message": "no such model"}})) as wrong:
            with pytest.raises(EngineError, match=r"labels by strongreject: .* does not know the model 'j'"):
                execute(planned(server.url, *judge_at(wrong.url)), store, 1, ignore)
            assert "2.b" in json.dumps(wrong.calls[0]), "a judge is tried with a question of its own"
    assert len(server.calls) <= 2, "the target was tried, and nothing was asked of it"


def test_a_finished_plan_asks_nothing_and_needs_no_server(planned: Callable[..., Plan], store: Store) -> None:
    with serve(reply=says) as server:
        first = execute(planned(server.url), store, 1, ignore)
        asked = len(server.calls)
    assert asked == PROMPTS + 2 * PROMPTS, "the answers and two verdicts on each: the first of them is the trial"
    again = execute(planned(server.url), store, 1, ignore, Limits(max_cost=1.0), retry_failed=True)
    assert again.path == first.path
    facts = json.loads((first.path / "diagnosis.json").read_text())["facts"]
    assert facts["Calls to servers"].startswith(f"{3 * PROMPTS} calls, {30 * PROMPTS} tokens read")


def test_what_failed_is_asked_for_again_and_nothing_else_is(planned: Callable[..., Plan], store: Store) -> None:
    filtering = True

    def reply(body: Body) -> Body | Raw:
        return FILTERED if filtering and "Draw 3" in body["messages"][-1]["content"] else says(body)

    with serve(reply=reply) as server:
        plan = planned(server.url)
        before = execute(plan, store, 1, ignore)
        rows = made(plan, store, "answers").rows(Response)
        assert sorted(row.finish for row in rows) == [Finish.FILTERED, *[Finish.STOP] * (PROMPTS - 1)]
        page = (before.path / "diagnosis.html").read_text()
        assert "Filtered by the policy of this deployment" in page
        assert "withheld by a content filter" in page
        execute(plan, store, 1, ignore)
        still = made(plan, store, "diagnosis").manifest["started"]
        assert still == before.manifest["started"], "the same outcome makes nothing anew"
        filtering = False
        asked = len(server.calls)
        execute(plan, store, 1, ignore, retry_failed=False)
        assert len(server.calls) == asked, "what failed is kept where that is wished for"
        after = execute(plan, store, 1, ignore)
        assert len(server.calls) - asked == 1 + 2, "the answer, and two verdicts on it"
        fresh = Store(store.root.parent / "fresh")
        anew = execute(plan, fresh, 1, ignore)
    kept_away = execute(plan, store, 1, ignore)
    assert kept_away.path == after.path, "with no server there, all stays as it is"
    kept, drawn = (made(plan, one, "answers").rows(Response) for one in (store, fresh))
    assert kept == drawn, "as if nothing had ever failed"
    figures = [json.loads((one.path / "diagnosis.json").read_text())["figures"] for one in (after, anew)]
    assert figures[0] == figures[1]


def test_what_a_server_left_out_stands_in_the_provenance_of_every_figure(
    planned: Callable[..., Plan], store: Store
) -> None:
    def reply(body: Body) -> Body | Raw:
        unknown = next((name for name in ("min_p", "top_k") if name in body), None)
        return says(body) if unknown is None else Raw(400, {"error": {"message": f"unknown field '{unknown}'"}})

    with serve(reply=reply) as server:
        found = execute(planned(server.url), store, 1, ignore)
    figures = json.loads((found.path / "diagnosis.json").read_text())["figures"]
    assert {figure["provenance"]["decoding"].partition("; ")[2] for figure in figures} == {
        "top_k, min_p as the server has it"
    }


def test_no_secret_of_the_settings_is_in_any_file_of_a_run(planned: Callable[..., Plan], store: Store) -> None:
    with serve(reply=says) as server:
        url = server.url.replace("http://", "http://me:p4ssw0rd@") + "?key=qu3ry-key"
        execute(planned(server.url, base_url=url, headers={"api-key": "h34der-key"}), store, 1, ignore)
        assert server.headers[-1]["api-key"] == "h34der-key"
    written = b"".join(file.read_bytes() for file in store.root.rglob("*") if file.is_file())
    assert not [secret for secret in (b"p4ssw0rd", b"qu3ry-key", b"h34der-key") if secret in written]


def test_a_place_that_cannot_be_written_to_is_the_place_that_is_named(
    planned: Callable[..., Plan], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with serve(reply=says) as server, pytest.raises(SInternalError, match=r"file.*cannot write there"):
        execute(planned(server.url), Store(tmp_path / "file" / "artifacts"), 1, ignore)
    assert not server.calls


def test_a_verification_in_which_every_pair_failed_has_an_exit_code_that_says_so(tmp_path: Path) -> None:
    with serve(reply=lambda _body: Raw(400, {"error": {"message": "no such luck"}})) as server:
        done = in_process(
            *("verify", "--model", "m", "--base-url", server.url, "--prompt", "hi", "--answer", "ho"), cwd=tmp_path
        )
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"].endswith("no such luck")
    assert done.stderr.startswith("error: 1 of 1 pairs could not be verified")
    assert len(done.stderr.splitlines()) == 1


def test_the_calls_of_a_stage_that_ends_early_are_on_the_bill_too(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps({"q": f"Draw {i} cats"}) + "\n" for i in range(4)))
    source = "{benchmark: file, options: {path: mine.jsonl, harmful: true, columns: {text: q}, shares: {eval: 1.0}}}"
    answered: list[Body] = []

    def until_the_key_is_void(body: Body) -> Body | Raw:
        if len(answered) == 7:
            return Raw(401, {"error": {"message": "the key has expired"}})
        answered.append(body)
        return says(body)

    with serve(reply=until_the_key_is_void) as server:
        done = sinternal(
            *("diagnose", "--model", "served", "--base-url", server.url, "--option", "concurrency=1"),
            *("--set", f"prompts.sources=[{source}]", "--set", "prompts.attacks=[plain]"),
            *("--set", "verification_sampling.n=1"),
            cwd=tmp_path,
        )
    assert done.returncode == 2
    assert "calls to servers: 7 calls, 70 tokens read, 35 written" in done.stdout


def test_the_command_tells_what_servers_take_at_most_and_what_they_took(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps({"q": f"Draw {i} cats"}) + "\n" for i in range(4)))
    source = "{benchmark: file, options: {path: mine.jsonl, harmful: true, columns: {text: q}, shares: {eval: 1.0}}}"
    with serve(reply=says) as server:
        done = sinternal(
            *("diagnose", "--model", "served", "--base-url", server.url, "--max-cost", "5"),
            *("--option", "price={read: 3, written: 15}", "--set", f"prompts.sources=[{source}]"),
            *("--set", "prompts.attacks=[plain]", "--set", "verification_sampling.n=1"),
            cwd=tmp_path,
        )
    assert done.returncode == 0, done.stderr
    first, *_ = done.stdout.splitlines()
    assert first.startswith("servers are asked at most 12 times: at most 32,768 tokens written and ")
    assert "cost at most" in first
    assert "calls to servers: 12 calls, 120 tokens read, 60 written, cost 0.00" in done.stdout


def test_the_bill_and_the_bound_tell_the_servers_apart_and_which_of_them_has_no_price(
    planned: Callable[..., Plan], store: Store
) -> None:
    with serve(reply=says) as server, serve(reply=lambda _: {"role": "assistant", "content": "1.b 2.b 3.b"}) as guard:
        plan = planned(server.url, *judge_at(guard.url), price={"read": 3, "written": 15})
        bound = server_bound(plan, store)
        bill = Bill()

        def pay(event: Event) -> None:
            if event.artifact is not None:
                bill.add(event.task, Spent(**event.artifact.manifest.get("spent", {})))

        with suppress(DataError):  # what the guard says is no label
            execute(plan, store, 1, pay)
    assert bound is not None
    asked, judged = (f"{model} at {at.url.removesuffix('/v1')}" for model, at in (("served", server), ("j", guard)))
    assert [name for name, _ in bound.by_server] == [asked, judged]
    *_, of_target, of_judge = bound.in_words().split("; ")
    assert ", cost at most " in of_target
    assert of_judge.endswith(", no price given")
    total, first, second = bill.lines()
    assert total.startswith("calls to servers: ")
    assert first.startswith(f"  {asked}: {3 * PROMPTS} calls, ")
    assert ", cost 0.00" in first
    assert second.startswith(f"  {judged}: ")
    assert second.endswith("written, no price given")
    assert "came back without" not in "".join(bill.lines()), "looks and trials are no calls without a count"


def test_a_judge_that_is_opened_here_is_looked_for_before_anything_is_paid(
    planned: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with serve(says) as server:
        judge = "judge={name: qwen3guard, options: {engine: {name: transformers, model: org/guard}}}"
        with pytest.raises(ModelError, match="labels by qwen3guard: org/guard is not in the cache and the hub cannot"):
            preflight(planned(server.url, judge).tasks, Store(tmp_path / "store"), None)
        hub = "prompts.sources=[{benchmark: strongreject}]"
        monkeypatch.delenv("HF_TOKEN", raising=False)
        with pytest.raises(DataError, match="prompts: benchmark strongreject: gated; accept the terms"):
            preflight(planned(server.url, hub).tasks, Store(tmp_path / "store"), None)
        assert not server.calls
