"""What calls took is told server by server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.invented import make_report

from sinternal import budget
from sinternal.budget import Spent
from sinternal.figures.bills import bills
from sinternal.layout import RunMap
from sinternal.records import make_id
from sinternal.report.markdown import render_markdown
from sinternal.report.study_page import render_html
from sinternal.store import Artifact, Draft, Store

TARGET = {"model": "my-model", "options": {}, "served": True}
PRICE = {"read": 3.0, "written": 15.0}


def engine(address: str, **options: Any) -> dict[str, Any]:
    return {"name": "openai", "options": {"base_url": f"http://{address}/v1", **options}}


def judge(address: str) -> dict[str, Any]:
    return {"name": "qwen3guard", "options": {"engine": {**engine(address), "model": "guard"}}}


def made(store: Store, stage: str, config: dict[str, Any], calls: int) -> Artifact:
    def build(draft: Draft) -> None:
        draft.write_json("x", 1)
        if calls:
            budget.pay(Spent(calls, 10 * calls, 2 * calls, 0.5))

    return store.make(
        stage, make_id(stage, config), build, stage_version=1, config=config, inputs={}, progress=lambda *_: None
    )


def run_of(store: Store) -> RunMap[Artifact]:
    """A base that a server runs, whose answers another server labels."""
    target = made(store, "target", TARGET, 0)
    answers = made(store, "sample", {"engine": engine("127.0.0.1:1", price=PRICE), "sampling": {}}, 7)
    labels = made(store, "judge", judge("127.0.0.1:2"), 5)
    leaves = {
        "target": target,
        "evaluation_prompts": made(store, "prompts", {}, 0),
        "training_prompts": made(store, "prompts", {"part": "train"}, 0),
        "answers/responses": answers,
        "answers/judgements": labels,
        "answers/contrast": made(store, "contrast", {}, 0),
        "arms/base/model": target,
        "arms/base/responses": answers,
        "arms/base/judgements/qwen3guard": labels,
        "arms/base/verifications": made(store, "self_verify", {"engine": engine("127.0.0.1:1"), "n": 4}, 3),
    }
    return RunMap[Artifact].from_flat({f"default/0/{name}": leaf for name, leaf in leaves.items()})


def test_each_server_has_what_its_calls_took_and_each_artifact_counts_once(store: Store) -> None:
    first, second = bills(run_of(store))
    assert (first.server, first.spent, first.priced) == (
        "my-model at http://127.0.0.1:1",
        Spent(10, 100, 20, 1.0),
        True,
    )
    assert (second.server, second.spent.calls, second.priced) == ("guard at http://127.0.0.1:2", 5, False)


def test_a_page_has_a_row_for_each_of_several_servers(store: Store) -> None:
    data = replace(make_report(), bills=bills(run_of(store)))
    for text in (render_html(data), render_markdown(data)):
        assert "Calls by server" in text
        assert "guard at http://127.0.0.1:2" in text
        assert "no price given" in text
    alone = replace(data, bills=data.bills[:1])
    assert "Calls by server" not in render_html(alone)
