"""Mathematics prompts of the hub and of files, on local files of their layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from sinternal.benchmarks import hub, mathematics
from sinternal.benchmarks.hub import HubBenchmark
from sinternal.benchmarks.listing import rows
from sinternal.benchmarks.local import LocalFile
from sinternal.benchmarks.parts import Shares
from sinternal.benchmarks.problems import aime_2024, deepscaler, gsm8k, math_500
from sinternal.errors import DataError, RecipeError
from sinternal.records import Split
from sinternal.registry import Kind, load
from sinternal.training import rewards
from tests.plugins import open_plugin

ASKED = "\n\nPut the final answer in \\boxed{}."
ENTRIES = (gsm8k, deepscaler, math_500, aime_2024)
Table = list[dict[str, Any]]

GSM8K: Table = [
    {"question": "Ann has 3 bags of 4 pears. How many?", "answer": "3*4=<<3*4=12>>12\n#### 12"},
    {"question": "A house costs 1000 and 450. How much?", "answer": "1000+450=<<1450>>1,450 #### no\n#### 1,450"},
    {"question": "Left out: no final answer.", "answer": "I stop here"},
]
COMPETITION: Table = [
    {
        "problem": "Halve one.",
        "solution": r"It is \boxed{\frac{1}{2}}.",
        "answer": r"\frac{1}{2}",
        "subject": "Algebra",
    },
    {"problem": "Add 11 to 22.", "solution": "", "answer": "033", "subject": "Geometry"},
    {"problem": "Left out: no final answer.", "solution": "Sic.", "answer": "", "subject": "Geometry"},
]


def on_disk(entry: HubBenchmark, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubBenchmark:
    """An entry whose dataset is a folder of its layout, each configuration a folder with a file a split."""
    root = tmp_path / "set"
    root.mkdir()
    configs: dict[str, list[str]] = {}
    for read in (read for kinds in entry.parts.values() for read in kinds):
        config = read.config or "default"
        (root / config).mkdir(exist_ok=True)
        datasets.Dataset.from_list(table).to_parquet(root / config / f"{read.split}.parquet")
        configs.setdefault(config, []).append(read.split)
    card = ["---", "configs:"]
    for config, splits in configs.items():
        card += [f"- config_name: {config}", "  data_files:"]
        card += [line for split in splits for line in (f"  - split: {split}", f"    path: {config}/{split}.parquet")]
    (root / "README.md").write_text("\n".join([*card, "---", ""]))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(hub, "is_cached", lambda _dataset: True)
    return replace(entry, dataset=str(root), revision="main")


@pytest.mark.parametrize("part", ["train", "eval"])
def test_gsm8k_takes_what_follows_the_hashes(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = open_plugin(on_disk(gsm8k, GSM8K, tmp_path, monkeypatch)).prompts(part)
    assert [prompt.text for prompt in prompts] == [row["question"] + ASKED for row in GSM8K[:2]]
    assert [prompt.facts for prompt in prompts] == [{"solution": "12"}, {"solution": "1,450"}]
    assert {prompt.split for prompt in prompts} == {Split.TRAIN if part == "train" else Split.ID}
    assert rewards.mathematics(r"\boxed{1450}", "1,450") == 1


@pytest.mark.parametrize("entry", [deepscaler, math_500, aime_2024], ids=lambda e: str(e.name))
def test_competition_sets_take_the_column_of_final_answers(
    entry: HubBenchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (part,) = entry.parts
    prompts = open_plugin(on_disk(entry, COMPETITION, tmp_path, monkeypatch)).prompts(part)
    assert [prompt.text for prompt in prompts] == ["Halve one." + ASKED, "Add 11 to 22." + ASKED]
    assert [prompt.facts for prompt in prompts] == [{"solution": r"\frac{1}{2}"}, {"solution": "033"}]
    assert {(prompt.harmful, prompt.family) for prompt in prompts} == {(False, "plain")}
    assert {rewards.kind_of(prompt) for prompt in prompts} == {rewards.Kind.MATHEMATICS}
    assert rewards.mathematics(r"\boxed{33}", "033") == 1
    assert prompts[0].category == ("Algebra" if entry is math_500 else "")


def test_a_solution_column_that_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = on_disk(aime_2024, [{"problem": "Add.", "Answer": "1"}], tmp_path, monkeypatch)
    with pytest.raises(DataError, match="no column 'answer' any more; it has: problem, Answer"):
        open_plugin(entry, {}).prompts("eval")


def test_all_four_are_registered_and_listed_without_a_safety_judge() -> None:
    for row in rows({entry.name: load(Kind.BENCHMARK, entry.name) for entry in ENTRIES}):
        assert row.judge == "none: the final answer is compared with the solution"
    assert {entry.name for entry in ENTRIES if entry.evaluation_only} == {"math-500", "aime-2024"}
    (row,) = rows({"gsm8k": gsm8k})
    assert row.columns.startswith("train: columns 'question' and 'answer' of main/train; eval: ")


def test_the_fact_that_holds_a_solution_has_the_name_that_rewards_look_for() -> None:
    assert mathematics.SOLUTION == rewards.SOLUTION


def problems(path: Path, *lines: str) -> dict[str, Any]:
    path.write_text("\n".join(lines))
    return {"path": str(path), "columns": {"text": "q", "solution": "a"}, "shares": {"eval": 1}}


def test_a_file_of_problems_needs_no_word_on_harm(tmp_path: Path) -> None:
    options = problems(tmp_path / "a.jsonl", '{"q": "6 * 7?", "a": 42}', r'{"q": "1 / 2?", "a": "\\frac{1}{2}"}')
    prompts = open_plugin(LocalFile, options).prompts("eval")
    assert [prompt.text for prompt in prompts] == ["6 * 7?" + ASKED, "1 / 2?" + ASKED]
    assert [prompt.facts for prompt in prompts] == [{"solution": "42"}, {"solution": r"\frac{1}{2}"}]
    assert {(prompt.harmful, prompt.family) for prompt in prompts} == {(False, "plain")}
    assert open_plugin(LocalFile, {**options, "harmful": False}).prompts("eval") == prompts


def test_the_part_of_a_problem_depends_on_its_own_words_alone(tmp_path: Path) -> None:
    lines = [f'{{"q": "{i} + 1?", "a": {i + 1}}}' for i in range(40)]
    halves = Shares(train=0.5, eval=0.5)
    options = {**problems(tmp_path / "a.jsonl", *lines), "shares": halves.model_dump()}
    for prompt in open_plugin(LocalFile, options).prompts("train"):
        assert halves.part_of(prompt.text.removesuffix(ASKED)) == "train"


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        (
            "a.jsonl",
            ['{"q": "x", "a": 1}', '{"q": "y", "a": " "}'],
            r"a\.jsonl, line 2: column 'a' is empty: write the",
        ),
        ("a.jsonl", ['{"q": "x", "a": null}'], r"line 1: column 'a' is empty: .*, or delete the row"),
        ("a.csv", ["q,a", "x,1", "y,"], r"a\.csv, line 3: column 'a' is empty"),
        ("a.jsonl", ['{"q": "x"}'], r"line 1: there is no column 'a'; there are: q"),
    ],
)
def test_a_row_without_a_solution_is_one_line_that_names_the_place(
    name: str, lines: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        open_plugin(LocalFile, problems(tmp_path / name, *lines)).prompts("eval")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"harmful": True}, {"family": "fiction"}, {"columns": {"solution": "a", "harmful": "b"}}]
)
def test_problems_are_neither_harmful_nor_disguised(wrong: dict[str, object], tmp_path: Path) -> None:
    options = problems(tmp_path / "a.jsonl", '{"q": "x", "a": 1}')
    with pytest.raises(RecipeError, match=r"columns\.solution marks mathematics problems, .* leave out harmful"):
        open_plugin(LocalFile, {**options, **wrong})
