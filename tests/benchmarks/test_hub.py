from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
import yaml
from datasets.exceptions import DatasetNotFoundError

from sinternal.benchmarks import catalog, hub, problems
from sinternal.benchmarks.hub import HubBenchmark, Rows, When, explain_failure, read_rows
from sinternal.benchmarks.listing import rows
from sinternal.benchmarks.local import LocalFile
from sinternal.benchmarks.packaged import advbench_pyrit, everyday
from sinternal.benchmarks.parts import to_prompts
from sinternal.errors import DataError, RecipeError
from sinternal.records import Split
from sinternal.world.benchmark import Microworld
from tests.plugins import open_plugin

ROWS = catalog.xstest.parts["eval"][0]


@pytest.fixture(autouse=True)
def out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No network, no token, an empty cache: as if the hub could not be reached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    hub.hub_in_reach.cache_clear()
    yield
    hub.hub_in_reach.cache_clear()


def on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: list[dict[str, object]], rows: Rows
) -> HubBenchmark:
    """An entry whose dataset is a folder, which `load_dataset` reads as it reads the hub."""
    folder = tmp_path / "set"
    folder.mkdir()
    datasets.Dataset.from_list(table).to_parquet(folder / "train.parquet")
    monkeypatch.setattr(hub, "is_cached", lambda _dataset: True)
    return replace(catalog.xstest, name="set", dataset=str(folder), revision="main", parts={"eval": (rows,)})


def test_rows_become_prompts_with_label_category_goal_and_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table: list[dict[str, object]] = [
        {"ask": ["mild request"], "label": "unsafe", "kind": ["a", "b"], "plain": "goal", "rubric": [1], "use": True},
        {"ask": ["mild request"], "label": "unsafe", "kind": ["a", "b"], "plain": "goal", "rubric": [1], "use": True},
        {"ask": ["other request"], "label": "safe", "kind": [], "plain": None, "rubric": [], "use": True},
        {"ask": ["left out"], "label": "safe", "kind": [], "plain": None, "rubric": [], "use": False},
        {"ask": [], "label": "safe", "kind": [], "plain": None, "rubric": [], "use": True},
    ]
    read = Rows(
        "train",
        "ask",
        harmful=When("label", "unsafe"),
        category="kind",
        goal="plain",
        only=When("use", True),
        family="fiction",
        facts=("rubric",),
    )
    first, second = open_plugin(on_disk(tmp_path, monkeypatch, table, read)).prompts("eval")
    assert (first.text, first.harmful, first.category, first.goal) == ("mild request", True, "a, b", "goal")
    assert (first.family, first.split, first.facts) == ("fiction", Split.ID, {"rubric": [1]})
    assert first.parent_id != first.id, "disguises of one goal have one parent"
    assert second.parent_id == second.id
    assert (second.text, second.harmful, second.category, second.goal) == ("other request", False, "", "")


@pytest.mark.parametrize("entry", [catalog.jailbreakbench, catalog.fortress])
def test_the_twins_of_a_row_share_a_pair_and_other_rows_have_another(entry: HubBenchmark) -> None:
    columns = set.union(*(rows.columns for rows in entry.parts["eval"]))
    table = [{column: f"{column} {i}" for column in columns} | {"Index": i} for i in range(3)]
    requests = [
        request._replace(text=f"{request.text} {request.harmful}")
        for part in entry.parts["eval"]
        for request in read_rows(part, table)
    ]
    pairs: dict[str, list[bool]] = {}
    for prompt in to_prompts(entry.name, "eval", requests):
        pairs.setdefault(prompt.pair_id, []).append(prompt.harmful)
    assert list(pairs.values()) == [[True, False]] * 3
    assert "" not in pairs


def test_changed_columns_are_named_with_those_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = on_disk(tmp_path, monkeypatch, [{"question": "x", "label": "safe"}], ROWS)
    with pytest.raises(
        DataError, match=r"no column 'prompt', 'type' any more; it has: question, label\. Set the option"
    ):
        open_plugin(entry, {}).prompts("eval")


def test_an_empty_dataset_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = on_disk(tmp_path, monkeypatch, [{"prompt": "", "label": "safe", "type": "x"}], ROWS)
    with pytest.raises(DataError, match="has no prompts in part 'eval'"):
        open_plugin(entry, {}).prompts("eval")


def test_a_split_that_is_gone_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Rows("validation", "prompt", harmful=True)
    entry = on_disk(tmp_path, monkeypatch, [{"prompt": "x"}], gone)
    with pytest.raises(DataError, match=r"cannot load .* \(validation\): Unknown split") as caught:
        open_plugin(entry, {}).prompts("eval")
    assert "\n" not in str(caught.value)


def test_without_network_the_offline_benchmarks_are_named() -> None:
    with pytest.raises(DataError, match=r"hub is out of reach; connect, or take .*advbench-pyrit.*`file`"):
        open_plugin(catalog.xstest, {}).prompts("eval")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            DatasetNotFoundError("Dataset 'x' is a gated dataset on the Hub. You must be authenticated to access it."),
            r"gated: accept its terms at https://huggingface\.co/datasets/Paul/XSTest and set HF_TOKEN",
        ),
        (
            DatasetNotFoundError("Dataset 'x' doesn't exist on the Hub or cannot be accessed."),
            "no dataset 'Paul/XSTest'",
        ),
        (DatasetNotFoundError("Revision 'abc' doesn't exist for dataset 'x' on the Hub."), "has no revision 'abc'"),
        (ConnectionError("Couldn't reach 'x' on the Hub (LocalEntryNotFoundError)"), "out of reach; connect"),
        (ValueError("BuilderConfig 'a' not found.\nAvailable: b"), r"cannot load Paul/XSTest \(train\): BuilderConfig"),
    ],
)
def test_every_failure_is_one_line_with_its_mend(error: Exception, message: str) -> None:
    found = explain_failure(error, catalog.xstest, ROWS, "abc")
    assert "\n" not in str(found)
    with pytest.raises(DataError, match=message):
        raise found


def test_with_a_token_only_the_terms_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    error = explain_failure(DatasetNotFoundError("is a gated dataset"), catalog.harmbench, ROWS, "main")
    assert "HF_TOKEN" not in str(error)


def test_the_revision_can_be_chosen_but_a_token_cannot() -> None:
    assert open_plugin(catalog.xstest, {"revision": "abc"}).revision == "abc"
    assert open_plugin(catalog.fortress, {}).revision == catalog.fortress.revision
    with pytest.raises(RecipeError, match="'token'"):
        open_plugin(catalog.xstest, {"token": "hf_x"})


def test_an_unknown_part_names_those_there_are() -> None:
    with pytest.raises(DataError, match="no part 'train'; it has eval"):
        open_plugin(catalog.fortress, {}).prompts("train")


def test_only_training_sources_have_a_training_part() -> None:
    for entry in catalog.ENTRIES:
        assert entry.evaluation_only == ("train" not in entry.parts), entry.name


def test_names_are_unique_and_revisions_are_commits_or_main() -> None:
    assert len({entry.name for entry in catalog.ENTRIES}) == len(catalog.ENTRIES)
    for entry in catalog.ENTRIES:
        assert entry.revision == "main" or len(entry.revision) == 40, entry.name


def test_the_listing_says_what_loads_here_and_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINTERNAL_CACHE", str(tmp_path / "empty"))
    (tmp_path / "JailbreakBench___jbb-behaviors").mkdir()
    plugins = {
        "advbench-pyrit": advbench_pyrit,
        "everyday": everyday,
        "file": LocalFile,
        "harmbench": catalog.harmbench,
        "jailbreakbench": catalog.jailbreakbench,
        "microworld": Microworld,
        "oktest": catalog.oktest,
    }
    found = {row.name: row for row in rows(plugins)}
    assert list(found) == sorted(plugins)
    assert found["advbench-pyrit"].ready.endswith("run: sinternal fetch pyrit")
    assert found["everyday"].ready == "yes (offline)"
    assert found["harmbench"].ready.startswith("no: gated; accept the terms at")
    assert found["jailbreakbench"].ready == "yes (cached)"
    assert found["oktest"].ready == "no: the hub is out of reach"
    assert "dataset id" in found["oktest"].unconfirmed
    assert found["microworld"].purpose == "training, too"
    assert found["file"].purpose == ""
    assert found["harmbench"].lines()[:2] == [
        "walledai/HarmBench @ main · n 200 · MIT · gated · for evaluation only",
        "eval: column 'prompt' of standard/train",
    ]


def test_problems_of_dapo_come_without_its_frame_and_with_their_solution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rows,) = problems.dapo_math_17k.parts["train"]
    before, after = rows.around

    def row(text: str, solution: str) -> dict[str, object]:
        return {
            "data_source": "math_dapo",
            "prompt": [{"role": "user", "content": text}],
            "ability": "MATH",
            "reward_model": {"ground_truth": solution, "style": "rule-lighteval/MATH_v2"},
            "extra_info": {"index": "0"},
        }

    table = [row(f"{before}What is 6 times 7?{after}", "42")] * 3
    table += [row("What is 1 plus 1?", "2"), row(f"{before}Lost{after}", "")]
    entry = on_disk(tmp_path, monkeypatch, table, rows)
    found = open_plugin(replace(entry, parts={"train": (rows,)})).prompts("train")
    asked = [(prompt.text.split("\n")[0], prompt.facts["solution"], prompt.harmful) for prompt in found]
    assert asked == [("What is 6 times 7?", "42", False), ("What is 1 plus 1?", "2", False)], "each problem once"
    assert all(r"\boxed{}" in prompt.text for prompt in found)
    assert not any("Answer" in prompt.text for prompt in found)


def test_star_1_holds_the_answers_that_an_arm_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (rows,) = catalog.star_1.parts["train"]
    known = {"id": "1", "category": ["a"], "source": "s", "score": {"safety": 10}}
    table: list[dict[str, object]] = [
        {**known, "question": "A mild request", "response": "<think>\nHm.\n</think>\n\nNo."},
        {**known, "question": "Another", "response": None},
    ]
    entry = replace(on_disk(tmp_path, monkeypatch, table, rows), parts={"train": (rows,)})
    opened = open_plugin(entry, {})
    assert opened.holds_answers
    first, second = opened.prompts("train")
    assert opened.answers("train") == {first.id: "<think>\nHm.\n</think>\n\nNo.", second.id: ""}
    assert not open_plugin(catalog.xstest, {}).holds_answers


@pytest.mark.parametrize("entry", [catalog.jailbreak_r1, catalog.wildjailbreak_250])
def test_a_file_in_a_repository_is_read_at_its_commit(
    entry: HubBenchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.jsonl"
    rows = [{"prompt": [{"content": f"Pretend that {i} is a cake", "role": "user"}], "label": "unsafe"} for i in "ab"]
    copy.write_text("".join(json.dumps(row) + "\n" for row in rows))
    load, asked = datasets.load_dataset, []

    def fetch(kind: str, *, data_files: str, split: str) -> object:
        asked.append(data_files)
        return load(kind, data_files=str(copy), split=split, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", fetch)
    prompts = open_plugin(entry, {}).prompts("eval")
    (rows_of,) = entry.parts["eval"]
    assert asked == [f"https://raw.githubusercontent.com/Ing1024/Self-ReSET/{entry.revision}/{rows_of.file}"]
    assert [(row.text, row.harmful, row.family) for row in prompts] == [
        (f"Pretend that {i} is a cake", True, rows_of.family) for i in "ab"
    ]


def test_what_fails_on_github_names_the_file_and_what_works_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError("Couldn't reach it\nand more")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(
        DataError, match=r"cannot read data/evaluation/safety/srj_jr\.jsonl of https://github\.com/.*"
    ) as e:
        open_plugin(catalog.jailbreak_r1, {}).prompts("eval")
    assert "strongreject-superred" in str(e.value)
    assert "\n" not in str(e.value)


def test_a_set_that_nobody_posts_says_how_its_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nobody posts mousetrap: make it with the attack's code") as error:
        open_plugin(catalog.mousetrap, {}).prompts("eval")
    (source,) = yaml.safe_load("[" + str(error.value).partition("the file: ")[2] + "]")
    path = tmp_path / "TrotterStrong.json"
    path.write_text(json.dumps([{"question": "How late is it?", "instruction": "Decode: ti si etal woH"}]))
    (prompt,) = open_plugin(LocalFile, {**source["options"], "path": str(path)}).prompts("eval")
    assert (prompt.text, prompt.goal, prompt.family) == ("Decode: ti si etal woH", "How late is it?", "mousetrap")
    (row,) = rows({"mousetrap": catalog.mousetrap})
    assert row.data == "nowhere to be had"
    assert row.ready.startswith("no: nobody posts it")


def test_both_papers_of_aime_2025_are_problems_with_a_solution() -> None:
    first, second = problems.aime_2025.parts["eval"]
    assert (first.config, second.config) == ("AIME2025-I", "AIME2025-II")
    (request,) = read_rows(first, [{"question": "What is 2 plus 2?", "answer": "4"}])
    assert (request.facts["solution"], request.harmful) == ("4", False)


def test_dapo_math_is_dapo_math_17k_with_each_problem_once() -> None:
    (once,), (raw,) = problems.dapo_math.parts["train"], problems.dapo_math_17k.parts["train"]
    framed = f"{raw.around[0]}What is 6 times 7?{raw.around[1]}"
    (ours,) = read_rows(once, [{"prompt": framed, "solution": "42"}])
    message = [{"role": "user", "content": framed}]
    (theirs,) = read_rows(raw, [{"prompt": message, "reward_model": {"ground_truth": "42"}}])
    assert ours == theirs


def test_no_penalty_is_meant_for_any_benchmark() -> None:
    assert {str(entry.decoding) for entry in catalog.ENTRIES} == {"greedy, 8000 tokens"}
