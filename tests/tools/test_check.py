"""What is looked at before anything is spent: lengths against contexts, addresses, keys, steps, and the bill."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sinternal.pending import heard_by
from sinternal.settings.recipe import load_recipe
from sinternal.store import Store
from sinternal.study.cost import FEW_STEPS, estimate, lessons
from sinternal.study.plan import make_plan
from sinternal.tools.check import check
from sinternal.tools.findings import Finding, Mark
from tests.chat_models import qwen, save_model
from tests.commands import in_process
from tests.servers import Raw, Server, serve

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a recipe of one short and one long prompt."""

    def written(long: int, **changes: Any) -> str:
        sources = {}
        for part in ("train", "eval"):
            file = tmp_path / f"{part}.jsonl"
            rows = [{"prompt": part, "harmful": True}, {"prompt": f"{part} " * long, "harmful": False}]
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
            columns = {"text": "prompt", "harmful": "harmful"}
            sources[part] = [{"benchmark": "file", "options": {"path": str(file), "columns": columns}}]
        recipe: dict[str, Any] = {
            "extends": "quickstart",
            "prompts": {**sources, "train_attacks": ["plain"], "eval_attacks": ["plain"]},
            "verification": {"name": "specification"},
            "judges": [{"name": "refusal-strings"}],
            "arms": [{"name": "base"}],
            **changes,
        }
        (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
        return str(tmp_path / "r.yaml")

    return written


@pytest.fixture(scope="module")
def short_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads 2,000 tokens."""
    folder = tmp_path_factory.mktemp("model") / "short"
    save_model(qwen(), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 2000}))
    return folder


SERVED = "org/served"


def listing(**more: Any) -> Callable[..., Raw | None]:
    """Answers whoever asks a server for its models."""
    return lambda method, *_: Raw(200, {"data": [{"id": SERVED, **more}]}) if method == "GET" else None


def marked(mark: Mark, findings: Iterator[Finding]) -> dict[str, str]:
    return {finding.part: finding.words for finding in findings if finding.mark is mark}


def test_a_prompt_that_is_longer_than_the_models_context_is_wrong(write: Write, short_model: Path) -> None:
    recipe = write(2500, target={"model": str(short_model)})
    wrong = marked(Mark.WRONG, check(recipe))
    assert "1 of 2 evaluation prompts do not fit" in wrong["prompts.eval"]
    assert "reads 2,000" in wrong["prompts.eval"]
    assert "questions whether an answer is safe do not fit" in wrong["verification"]


def test_a_prompt_that_fits_and_whose_answer_is_cut_is_told(write: Write, short_model: Path) -> None:
    recipe = write(4, target={"model": str(short_model)})
    notes = marked(Mark.NOTE, check(recipe, ["evaluation.sampling.max_tokens=1995"]))
    assert "evaluation.sampling.max_tokens asks for 1,995: what is written is cut there" in notes["prompts.eval"]


def test_what_fits_with_everything_that_is_to_be_written_is_not_mentioned(write: Write, base_model: Path) -> None:
    changes = ["verification.name=microworld", "evaluation.sampling.max_tokens=8"]
    findings = list(check(write(1, target={"model": str(base_model)}), changes))
    assert not any(
        "tokens" in finding.words for finding in findings if finding.part in ("prompts.eval", "verification")
    )


@pytest.mark.parametrize(("long", "mark"), [(2500, Mark.WRONG), (20, Mark.OK)])
def test_a_context_that_a_server_tells_is_kept_to(write: Write, long: int, mark: Mark) -> None:
    with serve(elsewhere=listing(max_model_len=3000)) as server:
        engine = {"name": "openai", "options": {"base_url": server.url}}
        recipe = write(long, target={"model": SERVED}, engine=engine)
        findings = list(check(recipe, ["evaluation.sampling.max_tokens=64"]))
    told = [finding for finding in findings if finding.part in ("prompts.eval", "verification")]
    assert any(finding.mark is mark for finding in told)
    assert (mark is Mark.WRONG) == any("refuse" in f.words or "do not fit" in f.words for f in told)
    if mark is Mark.WRONG:
        assert any("estimated" in finding.words for finding in told)


def test_a_question_that_is_longer_than_a_row_may_be_is_wrong_before_it_is_trained_on(
    write: Write, short_model: Path
) -> None:
    arms = [{"name": "base"}, {"name": "sinternal", "train_on": "verification"}]
    wrong = marked(Mark.WRONG, check(write(4, target={"model": str(short_model)}, arms=arms), ["sft.max_length=100"]))
    assert "2 of 2 training prompts make a row of more than sft.max_length (100)" in wrong["arm sinternal"]


@pytest.fixture
def below_v1() -> Iterator[Server]:
    """A server that has nothing but what is below /v1."""

    def elsewhere(_method: str, path: str, *_: Any) -> Raw | None:
        return None if path in ("/v1/models", "/v1/chat/completions") else Raw(404, {"error": "Not Found"})

    with serve(elsewhere=elsewhere) as server:
        yield server


@pytest.mark.parametrize("ending", ["", "/", "/v1/chat/completions", "/api"])
def test_an_address_that_lacks_v1_is_wrong_without_a_call(write: Write, below_v1: Server, ending: str) -> None:
    address = below_v1.url.removesuffix("/v1") + ending
    engine = {"name": "openai", "options": {"base_url": address}}
    findings = list(check(write(1, target={"model": SERVED}, engine=engine)))
    if ending == "/api":  # nothing is nearby: it may be a server without such a list
        assert "base_url usually ends in /v1" in marked(Mark.NOTE, iter(findings))["engine"]
    else:
        assert f"write base_url: {below_v1.url}" in marked(Mark.WRONG, iter(findings))["engine"]
    assert not below_v1.calls


def test_a_key_that_is_named_and_not_set_is_told(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with serve(elsewhere=listing()) as server:
        engine = {"name": "openai", "options": {"base_url": server.url, "api_key_env": "MY_KEY"}}
        recipe = write(1, target={"model": SERVED}, engine=engine)
        assert "MY_KEY, which api_key_env names, is not set" in marked(Mark.NOTE, check(recipe))["engine"]
        monkeypatch.setenv("MY_KEY", "k" * 20)
        assert "engine" not in marked(Mark.NOTE, check(recipe))


def test_what_asking_took_is_told(write: Write, tmp_path: Path) -> None:
    with serve(elsewhere=listing()) as server:
        recipe = write(1, target={"model": SERVED}, engine={"name": "openai", "options": {"base_url": server.url}})
        free, paid = (in_process("check", recipe, *more, cwd=tmp_path).stdout for more in ([], ["--ask"]))
        content = json.loads(in_process("check", recipe, "--ask", "--json", cwd=tmp_path).stdout)
    assert "nothing was spent" in free
    assert "nothing was spent" not in paid
    assert "asking took 1 call, 10 tokens read, 5 written" in paid
    assert content["spent"]["calls"] == 1


def test_the_steps_of_each_training_are_told_and_few_are_a_note(tmp_path: Path) -> None:
    def learnt(*changes: str) -> list[Any]:
        return lessons(estimate(make_plan(load_recipe("quickstart", changes)), Store(tmp_path / "store")))

    (usual,) = learnt()
    assert usual.trainings == ("deliberative", "sinternal", "placebo")
    assert usual.in_words().endswith("150 optimiser steps of 32 rows each, 13.3 passes over at most 360")
    assert usual.caution is None
    few = {f"{FEW_STEPS - 1}": True, f"{FEW_STEPS}": False}
    for steps, told in few.items():
        (training,) = learnt(f"sft.steps={steps}")
        assert (training.caution is not None) == told
    apart = learnt(
        "arms=[{name: base}, {name: a, train_on: verification}, {name: b, train_on: verification, sft: {steps: 2}}]"
    )
    assert [each.steps for each in apart] == [150, 2]
    planned = in_process("plan", "quickstart", "--set", "sft.steps=2", cwd=tmp_path).stdout
    assert "training of deliberative, sinternal and placebo: 2 optimiser steps" in planned
    assert "next to nothing" in planned
    assert "next to nothing" in marked(Mark.NOTE, check("quickstart", ["sft.steps=2"]))["training"]


def test_what_is_here_is_looked_at_before_a_server_is_tried_and_nobody_is_asked_to_disguise_prompts(
    write: Write,
) -> None:
    with serve(elsewhere=listing()) as server:
        engine = {"name": "openai", "options": {"base_url": server.url}}
        rewriter = {"name": "past-tense", "options": {"engine": {**engine, "model": SERVED}}}
        recipe = write(1, target={"model": SERVED}, engine=engine)
        parts = [finding.part for finding in check(recipe, [f"prompts.eval_attacks={json.dumps(['plain', rewriter])}"])]
        assert parts.index("packages") < parts.index("engine")
        assert not server.calls


def test_a_file_of_many_long_rows_is_told_as_it_is_read_and_only_the_longest_prompts_are_counted(
    write: Write, short_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write(1, target={"model": str(short_model)})
    rows = [{"prompt": f"number {i} " + "word " * (i % 7), "harmful": i % 2} for i in range(900)]
    file = Path(recipe).parent / "eval.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"prompt": "a " * 2500, "harmful": 0}]))
    monkeypatch.setattr("sinternal.benchmarks.local.LARGE", 10_000)
    told: list[str] = []
    with heard_by(told.append):
        wrong = marked(Mark.WRONG, check(recipe))
    assert "1 of 901 evaluation prompts do not fit" in wrong["prompts.eval"]
    assert told
    assert all(line.startswith(f"reading {file} (") for line in told)


def test_a_judge_that_is_opened_here_and_is_not_to_be_had_is_wrong(
    write: Write, base_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    judge = {"name": "qwen3guard", "options": {"engine": {"name": "transformers", "model": "org/guard"}}}
    wrong = marked(Mark.WRONG, check(write(1, target={"model": str(base_model)}, judges=[judge])))
    assert "org/guard is not in the cache and the hub cannot be reached" in wrong["judges.0"]
