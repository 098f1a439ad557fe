"""Studies whose calls go in batches: what a user is told, what it costs, and what is left behind."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from sinternal.cli.progress import Progress
from sinternal.errors import EngineError
from sinternal.records import Response
from sinternal.stages import critique, grpo, prompts
from sinternal.store import Store
from sinternal.study.batches import batch_notes
from sinternal.study.cost import server_bound
from sinternal.study.execute import Event, execute
from sinternal.study.plan import Plan
from tests.batch_servers import Endpoint, serve_batches
from tests.servers import serve
from tests.study.served import PROMPTS, says
from tests.study.served import planned as planned  # a fixture

PRICE = {"read": 1_000.0, "written": 1_000.0}


def test_a_run_goes_through_batches_and_leaves_no_note_of_them(planned: Callable[..., Plan], store: Store) -> None:
    news: list[Event] = []
    shown = io.StringIO()
    progress = Progress(Console(file=shown, width=200))

    def listen(event: Event) -> None:
        news.append(event)
        progress.listen(event)

    with serve_batches(Endpoint(looks=2), says) as (server, endpoint):
        plan = planned(server.url, batch={"poll": 0.05}, price=PRICE)
        execute(plan, store, 1, listen)
        again = planned(server.url, price=PRICE)
        assert [task.key for task in again.tasks] == [task.key for task in plan.tasks], "no key hangs on batches"
    assert endpoint.sizes() == [PROMPTS - 1, 2 * PROMPTS - 1]
    words = [f"{event.task.label}: {event.words}" for event in news if event.words]
    assert f"answers: {server.url}: batch 1: 0 of 5 done" in words
    assert set(words) <= set(shown.getvalue().splitlines())
    (answers,) = (event.artifact for event in news if event.artifact and event.task.label == "answers")
    assert len(answers.rows(Response)) == PROMPTS
    assert answers.manifest["spent"]["cost"] == pytest.approx(0.015 + 5 * 0.0075)
    assert not list(store.root.rglob("*batches*"))


def test_a_run_that_stops_in_the_middle_of_a_batch_fetches_it_the_next_time(
    planned: Callable[..., Plan], store: Store
) -> None:
    endpoint = Endpoint(end=lambda _number: "cancelled", keep=lambda _number, rows: rows[:2])
    with serve_batches(endpoint, says) as (server, _):
        plan = planned(server.url, batch={"poll": 0.05})
        with pytest.raises(
            EngineError, match=r"answers: .*batch 1 \(batch_0\) was cancelled with 3 requests unanswered"
        ):
            execute(plan, store, 1, lambda _event: None)
        endpoint.end, endpoint.keep = (lambda _number: "completed"), (lambda _number, rows: rows)
        execute(plan, store, 1, lambda _event: None)
    assert endpoint.sizes() == [5, 2, 2 * PROMPTS - 1], "one of the three that were left is asked by itself"


def test_a_plan_says_how_long_batches_may_take_and_both_prices(planned: Callable[..., Plan], store: Store) -> None:
    with serve() as server:
        plan = planned(server.url, batch={}, price=PRICE)
        assert planned(server.url, price=PRICE).notes == ()
    (note,) = plan.notes
    assert note.startswith("answers and 1 more: calls are handed in as batches, each of which may take up to 24h")
    bound = server_bound(plan, store)
    assert bound is not None
    assert bound.in_batches == pytest.approx(bound.cost / 2) != 0
    assert f"cost at most {bound.cost:,.2f}, or {bound.in_batches:,.2f} in batches" in bound.in_words()
    assert not server.calls


def test_stages_that_ask_in_rounds_say_why(planned: Callable[..., Plan]) -> None:
    with serve() as server:
        answers = planned(server.url, batch={"window": "7d"}).tasks[2]
    for stage in (critique, grpo, prompts):
        task = type(answers)(stage.STAGE, "it", answers.config)
        (note,) = batch_notes([task])
        assert note.endswith(f"up to 7d; what depends on one waits for it; {stage.STAGE.rounds}")
        assert stage.STAGE.rounds
