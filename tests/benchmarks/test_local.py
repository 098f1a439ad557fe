from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sinternal import parquet
from sinternal.benchmarks.local import LocalFile
from sinternal.errors import DataError, RecipeError
from sinternal.records import Prompt, Split
from sinternal.settings.plugins import AttackPlugin
from sinternal.settings.recipe import load_recipe
from sinternal.stages.prompts import PromptsConfig, SourceConfig, prompts
from sinternal.store import Artifact, Draft
from sinternal.study.plan import make_plan
from tests.plugins import open_plugin

ROWS: list[dict[str, Any]] = [
    {"prompt": f"bake cake {i}", "bad": bool(i % 2), "kind": "cake", "fold": "train" if i < 6 else "eval"}
    for i in range(10)
]


def written(path: Path) -> Path:
    match path.suffix:
        case ".jsonl":
            path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
        case ".csv":
            lines = [",".join(ROWS[0])] + [",".join(map(str, row.values())) for row in ROWS]
            path.write_text("\n".join(lines))
        case _:
            pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


def opened(path: Path, **options: object) -> LocalFile:
    return open_plugin(LocalFile, {"path": str(path), **options})


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_all_three_formats_give_the_same_prompts(tmp_path: Path, suffix: str) -> None:
    columns = {"harmful": "bad", "category": "kind", "part": "fold"}
    prompts = opened(written(tmp_path / f"cakes{suffix}"), columns=columns).prompts("train")
    assert [(p.text, p.harmful, p.category) for p in prompts] == [
        (f"bake cake {i}", bool(i % 2), "cake") for i in range(6)
    ]
    assert {p.benchmark for p in prompts} == {"cakes"}
    assert all(p.parent_id == p.id and p.split == Split.TRAIN and p.family == "plain" for p in prompts)


def test_ids_depend_on_name_and_text_alone(tmp_path: Path) -> None:
    def by_text(path: Path, **options: object) -> dict[str, str]:
        return {p.text: p.id for p in opened(path, harmful=True, shares={"eval": 1}, **options).prompts("eval")}

    a, b = written(tmp_path / "cakes.jsonl"), written(tmp_path / "cakes.csv")
    assert by_text(a) == by_text(b)
    assert by_text(a) != by_text(a, name="other")


def test_parts_by_hash_are_disjoint_and_complete(tmp_path: Path) -> None:
    benchmark = opened(written(tmp_path / "a.jsonl"), harmful=False, shares={"train": 0.4, "dev": 0.3, "eval": 0.3})
    texts: list[str] = []
    for part in ("train", "dev", "eval"):
        texts += [prompt.text for prompt in benchmark.prompts(part)]
    assert sorted(texts) == sorted(row["prompt"] for row in ROWS)


def test_a_file_for_evaluation_only_is_all_evaluation(tmp_path: Path) -> None:
    benchmark = opened(written(tmp_path / "a.jsonl"), harmful=True, evaluation_only=True)
    assert benchmark.evaluation_only
    assert len(benchmark.prompts("eval")) == len(ROWS)
    with pytest.raises(DataError, match="no prompts in part 'train'"):
        benchmark.prompts("train")


def test_a_value_may_stand_for_harmful(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "x", "label": "unsafe"}\n{"prompt": "y", "label": "safe"}\n')
    options = {"columns": {"harmful": "label"}, "shares": {"eval": 1}}
    found: list[Prompt] = list(opened(path, harmful_if="unsafe", **options).prompts("eval"))
    assert [prompt.harmful for prompt in found] == [True, False]
    with pytest.raises(DataError, match=r"line 1: column 'label' says 'unsafe', which is neither yes nor no"):
        opened(path, **options).prompts("eval")


def test_a_column_may_say_which_requests_are_twins(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [("x", True, 7), ("y", False, 7), ("z", False, 8), ("alone", False, None)]
    path.write_text("\n".join(json.dumps({"prompt": text, "bad": bad, "twin": twin}) for text, bad, twin in lines))
    harmful, benign, other, alone = opened(
        path, columns={"harmful": "bad", "pair": "twin"}, shares={"eval": 1}
    ).prompts("eval")
    assert harmful.pair_id == benign.pair_id != ""
    assert other.pair_id not in ("", harmful.pair_id)
    assert alone.pair_id == ""


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"prompt": "x"}\n{"prompt": \n', r"a\.jsonl, line 2: not valid JSON"),
        ("a.jsonl", '{"prompt": "x"}\n["y"]\n', r"line 2: a JSON object is expected"),
        ("a.jsonl", '{"prompt": "x"}\n{"text": "y"}\n', r"line 2: there is no column 'prompt'; there are: text"),
        ("a.jsonl", '{"prompt": "x"}\n{"prompt": " "}\n', r"line 2: column 'prompt' is empty"),
        ("a.csv", "prompt,kind\nx,y\nx\n", r"line 3: it has 1 columns, the first line 2"),
        ("a.csv", "prompt,kind\nx,y,z\n", r"line 2: it has 3 columns, the first line 2"),
        ("a.parquet", "no parquet", "not a valid Parquet file"),
        ("a.jsonl", "", "has no prompts in part 'eval'"),
        ("a.txt", "x", "a benchmark file ends in"),
    ],
)
def test_a_broken_file_is_one_line_that_names_the_place(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        opened(path, harmful=True, shares={"eval": 1}).prompts("eval")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_found_when_the_benchmark_is_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        opened(tmp_path / "a.jsonl", harmful=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give either harmful"),
        ({"harmful": True, "columns": {"harmful": "bad"}}, "give either harmful"),
        ({"harmful": True, "shares": {"train": 0.5}}, "0.5 together; they must be 1"),
        ({"harmful": True, "colour": "red"}, "'colour'"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        opened(written(tmp_path / "a.jsonl"), **options)


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no part 'test'; it has train, dev, eval"):
        opened(written(tmp_path / "a.jsonl"), harmful=True).prompts("test")
    bad = {"columns": {"part": "kind"}, "harmful": True}
    with pytest.raises(DataError, match="line 1: 'cake' is not a part"):
        opened(tmp_path / "a.jsonl", **bad).prompts("train")


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("part", ["train", "dev", "eval"])
def test_a_file_without_parts_is_used_whole_by_whoever_names_it(tmp_path: Path, part: str) -> None:
    benchmark = opened(written(tmp_path / "a.jsonl"), harmful=True)
    assert len(benchmark.prompts(part)) == len(ROWS)
    assert benchmark.note(part) == f"{tmp_path / 'a.jsonl'}: 10 rows read, 10 used"


def test_rows_that_are_not_used_are_told(tmp_path: Path) -> None:
    rows = [{"prompt": text, "part": part} for text, part in (("x", "eval"), ("x", "eval"), ("y", "train"))]
    benchmark = opened(lines(tmp_path / "a.jsonl", rows), harmful=True, columns={"part": "part"})
    assert benchmark.note("eval").endswith("3 rows read, 1 used (1 are not in part eval, 1 are duplicates)")


def test_the_same_prompt_under_two_labels_is_refused(tmp_path: Path) -> None:
    rows = [{"prompt": "x", "bad": True}, {"prompt": "y", "bad": True}, {"prompt": " x", "bad": False}]
    with pytest.raises(DataError, match=r"line 3: the prompt 'x' is harmless here and harmful in .*line 1"):
        opened(lines(tmp_path / "a.jsonl", rows), columns={"harmful": "bad"}).prompts("eval")


def test_the_same_prompt_in_two_parts_is_refused(tmp_path: Path) -> None:
    rows = [{"prompt": "x", "part": "train"}, {"prompt": "x", "part": "eval"}]
    with pytest.raises(DataError, match=r"line 2: the prompt 'x' is in part eval here and in part train in .*line 1"):
        opened(lines(tmp_path / "a.jsonl", rows), harmful=True, columns={"part": "part"}).prompts("eval")


@pytest.mark.parametrize(
    ("label", "options", "message"),
    [
        ("Unsafe", {"harmful_if": "unsafe"}, "says 'Unsafe', which is neither 'unsafe' nor a known word for harmless"),
        ("borderline", {"harmful_if": "unsafe"}, "says 'borderline'"),
        (None, {"harmful_if": "unsafe"}, "is empty: a row without a label is not harmless"),
        ("", {}, "is empty"),
        ("safe", {"harmful_if": "unsafe", "harmless_if": "ok"}, "says 'safe'"),
        (0.5, {}, "says '0.5', which is neither yes nor no"),
        ([True], {}, "holds a list"),
    ],
)
def test_a_label_that_is_not_known_is_never_harmless(
    tmp_path: Path, label: object, options: dict[str, object], message: str
) -> None:
    path = lines(tmp_path / "a.jsonl", [{"prompt": "x", "label": label}])
    with pytest.raises(DataError) as told:
        opened(path, columns={"harmful": "label"}, **options).prompts("eval")
    assert f"line 1: column 'label' {message}" in str(told.value)


@pytest.mark.parametrize(
    ("label", "options", "harmful"),
    [
        ("Benign", {"harmful_if": "toxic"}, False),
        ("ok", {"harmful_if": "toxic", "harmless_if": "ok"}, False),
        (False, {"harmful_if": False}, True),
        (True, {"harmful_if": "false"}, False),
        (1.0, {}, True),
        ("No", {}, False),
    ],
)
def test_labels_may_come_in_words_of_their_own(
    tmp_path: Path, label: object, options: dict[str, object], harmful: bool
) -> None:
    path = lines(tmp_path / "a.jsonl", [{"prompt": "x", "label": label}])
    (prompt,) = opened(path, columns={"harmful": "label"}, **options).prompts("eval")
    assert prompt.harmful is harmful


def test_a_conversation_gives_its_system_message_too(tmp_path: Path) -> None:
    user = {"role": "user", "content": "x"}
    rows = [{"prompt": [{"role": "system", "content": "be kind"}, user]}, {"prompt": [user]}, {"prompt": "x"}]
    with_system, without = opened(lines(tmp_path / "a.jsonl", rows), harmful=True).prompts("eval")
    assert (with_system.text, with_system.system, without.text, without.system) == ("x", "be kind", "x", "")
    assert with_system.id != without.id
    assert with_system.parent_id == without.parent_id


def test_a_file_on_both_sides_must_say_how_it_is_divided(tmp_path: Path) -> None:
    path, copy = written(tmp_path / "a.jsonl"), written(tmp_path / "copy.jsonl")

    def plan(train: dict[str, object], evaluation: dict[str, object], *more: str) -> None:
        sides = (("train", train), ("eval", evaluation))
        sources = [
            f"prompts.{side}={json.dumps([{'benchmark': 'file', 'options': {'harmful': True, **options}}])}"
            for side, options in sides
        ]
        make_plan(load_recipe("microworld-rl", ["seeds=[0]", *sources, *more]))

    shares, no_rewards = {"shares": {"train": 0.5, "dev": 0.1, "eval": 0.4}}, "grpo=null"
    untrained = "arms=[{name: base}, {name: sinternal, train_on: verification}]"
    whole, again = {"path": str(path)}, {"path": str(copy)}
    for other in (whole, again):
        with pytest.raises(RecipeError, match=r"and nothing says which of its rows are for which.*options\.shares"):
            plan(whole, other, no_rewards, untrained)
    with pytest.raises(RecipeError, match="nothing says which"):
        plan({**whole, **shares}, {**whole, "shares": {"eval": 1}}, no_rewards, untrained)
    plan({**whole, **shares}, {**whole, **shares}, no_rewards, untrained)
    other = lines(tmp_path / "b.jsonl", [{"prompt": "z"}])
    plan(whole, {"path": str(other)}, no_rewards, untrained)
    with pytest.raises(RecipeError, match=r"prompts\.train and rewards\.held_out both name"):
        plan(whole, {"path": str(other)}, "grpo.held_out_every=2", "rewards.held_out=null")


def test_the_terminal_is_told_how_many_rows_are_used(
    tmp_path: Path, make: Callable[[str, Callable[[Draft], None]], Artifact]
) -> None:
    path = written(tmp_path / "a.jsonl")
    source = SourceConfig(
        benchmark="file",
        options={"path": str(path), "harmful": True},
        part="eval",
        attacks=(AttackPlugin(name="plain"), AttackPlugin(name="base64")),
    )
    config = PromptsConfig(sources=(source,), tuned_on=(), for_training=False, seed=0)
    artifact = make("prompts", lambda draft: prompts(draft, config))
    assert artifact.manifest["notes"] == [f"{path}: 10 rows read, 10 used"]
    assert artifact.counts["prompts"] == 20


@pytest.mark.parametrize("stored", [True, False])
def test_a_small_parquet_file_that_holds_a_flood_of_text_is_refused(
    stored: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "MOST_UNPACKED", 2**24)
    again = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), pa.array(["x" * 100_000]))
    pq.write_table(pa.table({"prompt": again}), tmp_path / "a.parquet", store_schema=stored)
    assert (tmp_path / "a.parquet").stat().st_size < 200_000
    with pytest.raises(DataError, match=r"a\.parquet: .* more than 16 MiB of memory once it is unpacked"):
        open_plugin(LocalFile, {"path": str(tmp_path / "a.parquet"), "harmful": True}).prompts("eval")
