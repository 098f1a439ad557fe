"""A study of models that only servers have: nothing is trained, and nothing of them is needed here."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

import sinternal
from sinternal.errors import RecipeError
from sinternal.settings.recipe import load_recipe
from sinternal.study.plan import make_plan
from sinternal.tools.check import check
from sinternal.tools.findings import Mark
from tests.servers import serve
from tests.study.served import says

ARMS = (
    "arms=[{name: base}, {name: tuned, start: my-tuned}]",
    "target={model: served}",
    "judges=[{name: refusal-strings}]",
)


def engine_at(url: str, **options: str) -> str:
    return "engine=" + json.dumps({"name": "openai", "options": {"base_url": url, **options}})


@pytest.fixture
def small(tmp_path: Path) -> list[str]:
    def source(name: str) -> str:
        rows = [json.dumps({"prompt": f"{name} {n} cats", "harmful": n % 2}) + "\n" for n in range(4)]
        (tmp_path / f"{name}.jsonl").write_text("".join(rows))
        options = {"path": str(tmp_path / f"{name}.jsonl"), "columns": {"harmful": "harmful"}}
        return json.dumps([{"benchmark": "file", "options": options}])

    return [
        *ARMS,
        *("seeds=[0]", "workers=1", "sampling.n=1", "evaluation.stress=null", "verification={name: specification}"),
        *(f"prompts.{side}={source(side)}" for side in ("train", "eval")),
        *("prompts.train_attacks=[plain]", "prompts.eval_attacks=[plain]"),
    ]


def test_arms_that_only_servers_have_are_measured_by_their_names(small: list[str], tmp_path: Path) -> None:
    with serve(says) as server:
        settings = [*small, engine_at(server.url)]
        run = sinternal.run("quickstart", overrides=settings, out=tmp_path / "run")
        found = list(check("quickstart", settings))
    assert {call["model"] for call in server.calls} == {"served", "my-tuned"}
    assert {score.arm for score in run.scores} == {"base", "tuned"}
    facts = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "the server's own" in json.dumps(facts)
    assert not any(finding.part == "target.model" for finding in found)
    wrong = [finding.words for finding in found if finding.mark is Mark.WRONG]
    assert all("my-tuned" in words for words in wrong), "this server lists `served` alone"


def test_a_study_without_training_needs_nothing_to_learn_from(small: list[str], tmp_path: Path) -> None:
    source = next(each.removeprefix("prompts.eval=") for each in small if each.startswith("prompts.eval="))
    recipe = {
        "name": "two-models",
        "seeds": [0],
        "target": {"model": "served"},
        "prompts": {"eval": json.loads(source)},
        "judges": [{"name": "refusal-strings"}],
        "verification": {"name": "specification"},
        "evaluation": {"sampling": {"max_tokens": 64}, "verification_sampling": {"max_tokens": 64}},
        "arms": [{"name": "old"}, {"name": "new", "start": "my-new"}],
    }
    with serve(says) as server:
        recipe["engine"] = {"name": "openai", "options": {"base_url": server.url}}
        (tmp_path / "two.yaml").write_text(json.dumps(recipe))
        run = sinternal.run(str(tmp_path / "two.yaml"), out=tmp_path / "run")
    page = (tmp_path / "run/report.html").read_text()
    assert "Nothing was trained. Answers were drawn once" in page
    assert "trained once" not in page
    assert {score.arm for score in run.scores} == {"old", "new"}
    made = [path.parent.parent.name for path in run.folder.glob("artifacts/*/*/manifest.json")]
    assert Counter(made) == {"prompts": 1, "target": 2, "sample": 2, "judge": 2, "self_verify": 2, "report": 1}


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (("sft",), "field 'sft' is missing, and arm 'deliberative' is trained"),
        (("examples", "expert", "sampling"), "fields 'sampling', 'expert', 'examples' are missing, and arm"),
    ],
)
def test_what_a_trained_arm_learns_from_is_asked_for_at_once(missing: tuple[str, ...], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_recipe("quickstart", [f"{field}=null" for field in missing])


def test_a_name_that_no_machine_here_knows_needs_a_server() -> None:
    with pytest.raises(RecipeError, match="start 'my-tuned' is neither a model nor an arm above it"):
        load_recipe("quickstart", [*ARMS])


def test_a_model_directory_here_is_still_looked_at(base_model: Path) -> None:
    attacks = "prompts.eval_attacks=[plain]"
    settings = [
        ARMS[0],
        f"target={{model: {base_model}}}",
        attacks,
        "evaluation.stress=null",
        engine_at("http://localhost:1/v1"),
    ]
    named = {
        task.config.model: task.config.served
        for task in make_plan(load_recipe("quickstart", settings)).tasks
        if task.stage.name == "target"
    }
    assert named == {str(base_model.resolve()): False, "my-tuned": True}


def test_one_name_for_all_arms_is_refused() -> None:
    with pytest.raises(RecipeError, match="its option `model` is asked for every arm, and 'tuned' starts from another"):
        load_recipe(
            "quickstart", [*ARMS, "prompts.eval_attacks=[plain]", engine_at("http://localhost:1/v1", model="one")]
        )
