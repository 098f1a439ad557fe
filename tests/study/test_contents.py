"""What a user edits is seen: keys hold contents, not paths and names."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sinternal import registry
from sinternal.errors import DataError, RegistryError, StoreError
from sinternal.figures.provenance import judge_revision, plugin_of
from sinternal.fingerprints import fingerprint
from sinternal.records import Prompt, Response
from sinternal.settings.plugins import JudgePlugin
from sinternal.settings.recipe import load_recipe
from sinternal.stages import judge
from sinternal.store import Artifact, Draft, Store
from sinternal.study import execute
from sinternal.study.contents import check_unchanged, contents
from sinternal.study.plan import make_plan
from sinternal.study.task import Task
from sinternal.tools.diagnosis import load_diagnosis, plan_diagnosis
from tests.chat_models import chatml, save_model
from tests.conftest import Build, plain_prompt, response_to
from tests.plugins import install

Keys = dict[str, str]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SINTERNAL_CACHE", str(tmp_path / "cache"))
    yield
    registry._points.cache_clear()


def keys(*overrides: str) -> Keys:
    return {task.label: task.key for task in make_plan(load_recipe("quickstart", ["seeds=[0]", *overrides])).tasks}


def changed(before: Keys, after: Keys) -> set[str]:
    return {label.split(",")[0] for label in before if before[label] != after[label]}


def prompts_of(path: str) -> str:
    return f"prompts.eval=[{{benchmark: file, options: {{path: {path}, harmful: true}}}}]"


def specification(folder: str) -> str:
    return f"verification={{name: specification, options: {{folder: {folder}}}}}"


def own_specification(folder: Path) -> Path:
    folder.mkdir()
    (folder / "1-cakes.md").write_text("---\ntitle: Cakes\n---\nNo cakes.\n")
    return folder


def write_prompts(path: Path, word: str = "bicycle") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"prompt": f"mend {word} {i}"}) + "\n" for i in range(4)))
    return path


@pytest.mark.parametrize("path", ["eval.jsonl", "./eval.jsonl", "~/eval.jsonl"])
def test_an_edited_prompt_file_is_seen_however_its_path_is_spelled(tmp_path: Path, path: str) -> None:
    write_prompts(tmp_path / "eval.jsonl")
    before = keys(prompts_of(path))
    write_prompts(tmp_path / "eval.jsonl", "car")
    assert "evaluation prompts" in changed(before, keys(prompts_of(path)))


def test_the_same_file_elsewhere_is_the_same_input_of_everything_but_the_report(tmp_path: Path) -> None:
    write_prompts(tmp_path / "eval.jsonl")
    write_prompts(tmp_path / "deep/er/eval.jsonl")
    before = keys(prompts_of("eval.jsonl"))
    assert changed(before, keys(prompts_of("./eval.jsonl"))) == {"report"}
    assert changed(before, keys(prompts_of("deep/er/eval.jsonl"))) == {"report"}


def test_a_file_of_another_name_is_another_benchmark(tmp_path: Path) -> None:
    write_prompts(tmp_path / "eval.jsonl")
    write_prompts(tmp_path / "other.jsonl")
    assert "evaluation prompts" in changed(keys(prompts_of("eval.jsonl")), keys(prompts_of("other.jsonl")))


def test_an_edited_specification_is_seen_by_what_quotes_it_and_a_renamed_one_is_the_same(tmp_path: Path) -> None:
    folder = own_specification(tmp_path / "my-spec")
    before = keys(specification("my-spec"))
    (folder / "1-cakes.md").write_text("---\ntitle: Cakes\n---\nNo cakes, no buns.\n")
    after = keys(specification("my-spec"))
    assert {"self-verify base", "critique sinternal"} <= changed(before, after)
    assert "respond base" not in changed(before, after)
    folder.rename(tmp_path / "spec")
    assert changed(after, keys(specification("spec"))) == {"report"}


def test_a_diagnosis_sees_an_edited_file_too(tmp_path: Path) -> None:
    write_prompts(tmp_path / "eval.jsonl")
    sources = "prompts.sources=[{benchmark: file, options: {path: eval.jsonl, harmful: true}}]"
    settings = ["prompts.attacks=[plain]", sources]
    before = [task.key for task in plan_diagnosis(load_diagnosis("microworld", overrides=settings)).tasks]
    write_prompts(tmp_path / "eval.jsonl", "car")
    after = [task.key for task in plan_diagnosis(load_diagnosis("microworld", overrides=settings)).tasks]
    assert sum(a != b for a, b in zip(before, after, strict=True)) == len(before) - 1, "all but the model"


@pytest.mark.parametrize(
    "options",
    [
        {"train_file": "a.txt"},
        {"deep": {"er": [{"x": "./a.txt"}]}},
        {"all": ["b", "a.txt"]},
        {"path": Path("a.txt")},
        {"mixture": {"a.txt": 0.5}},
        {"folder": "data"},
        {"folder": "data/"},
        {"engine": {"name": "transformers", "model": "data", "options": {}}},
        {"home": "~/a.txt"},
    ],
)
def test_every_file_that_options_name_counts_by_its_contents(tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "data").mkdir()
    found = []
    for text in ("a", "b", "a"):
        (tmp_path / "a.txt").write_text(text)
        (tmp_path / "data" / "a.txt").write_text(text)
        plain = json.loads(json.dumps(options, default=str))
        found.append(contents({"name": "oracle", "options": plain}).settings)
    assert found[0] == found[2] != found[1]


def test_what_is_no_path_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "openai").mkdir()
    (tmp_path / "options").mkdir()
    options = {
        "engine": {"name": "openai", "model": "m", "options": {"base_url": "http://x/v1"}},
        "text": "~nobody/\0",
        "long": "x" * 10_000,
        "n": 3,
        "none": None,
    }
    settings = {"name": "refusal", "options": options}
    assert contents(settings).settings == settings


def test_the_working_directory_counts_without_what_the_run_writes_below_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    before = contents({"options": {"folder": "."}}).settings
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "log.txt").write_text("a")
    assert contents({"options": {"folder": "."}}).settings == before
    (tmp_path / "a.txt").write_text("b")
    assert contents({"options": {"folder": "."}}).settings != before


def test_a_model_is_the_same_wherever_its_folder_lies(tmp_path: Path) -> None:
    save_model(chatml(), tmp_path / "model")
    shutil.copytree(tmp_path / "model", tmp_path / "copy")
    before = keys("target.model=./model")
    assert changed(before, keys(f"target.model={tmp_path}/model")) == {"report"}
    assert changed(before, keys("target.model=copy")) == {"report", "target"}
    with (tmp_path / "model" / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, os.SEEK_END)
        weights.write(b"\x7f")
    assert "respond base" in changed(before, keys("target.model=./model"))


def test_an_adapter_counts_with_the_model_that_it_belongs_to(tmp_path: Path) -> None:
    save_model(chatml(), tmp_path / "model")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "model"}')
    before = keys("target.model=./adapter")
    (tmp_path / "model" / "generation_config.json").write_text("{ }")
    assert "respond base" in changed(before, keys("target.model=./adapter"))


def test_a_plugin_counts_by_its_version_and_code_and_a_built_in_one_by_its_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = "judges=[{name: mine}]"
    install(monkeypatch, tmp_path / "site")
    before, built_in = keys(mine), keys()
    install(monkeypatch, tmp_path / "site", version="0.2")
    newer = keys(mine)
    assert "judge base" in {label.split(" by ")[0] for label in changed(before, newer)}
    install(monkeypatch, tmp_path / "site", version="0.2", rule="False")
    assert "judge base" in {label.split(" by ")[0] for label in changed(newer, keys(mine))}
    assert "respond base" not in changed(before, newer)
    monkeypatch.setattr("sinternal.registry.version", lambda _name: "99")
    assert keys() == built_in


def test_the_labels_of_a_plugin_carry_its_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store, make: Callable[[str, Build], Artifact]
) -> None:
    install(monkeypatch, tmp_path / "site")
    prompt = plain_prompt("how to brew p5 ?")
    inputs = {
        "prompts": make("prompts", lambda draft: draft.write([prompt], Prompt)),
        "responses": make("responses", lambda draft: draft.write([response_to(prompt, "ok")], Response)),
    }
    task = Task(judge.STAGE, "labels", JudgePlugin(name="mine"))
    labels = execute._make(store.root, judge.STAGE, task.config, inputs, task.key, task.contents, {}, task.label)
    revision = judge_revision(JudgePlugin(name="mine"), "0.1.0", plugin_of(labels, "mine"))
    assert re.fullmatch(r"my-ext 0\.1 \(source [0-9a-f]{8}\)", revision)
    assert judge_revision(JudgePlugin(name="oracle"), "0.1.0", plugin_of(labels, "oracle")) == "sinternal 0.1.0"


def test_an_artifact_whose_input_changes_as_it_is_made_is_not_kept(tmp_path: Path, store: Store) -> None:
    write_prompts(tmp_path / "eval.jsonl")
    plan = plan_diagnosis(
        load_diagnosis(
            "microworld",
            overrides=[
                "prompts.attacks=[plain]",
                "prompts.sources=[{benchmark: file, options: {path: eval.jsonl, harmful: true}}]",
            ],
        )
    )
    (task,) = (task for task in plan.tasks if task.stage.name == "prompts")
    stage = task.stage

    def edits(draft: Draft, config: Any) -> None:
        stage.function(draft, config)
        write_prompts(tmp_path / "eval.jsonl", "car")

    with pytest.raises(DataError, match=r"eval\.jsonl has changed since this run was planned"):
        execute._make(
            store.root, replace(stage, function=edits), task.config, {}, task.key, task.contents, {}, task.label
        )
    assert store.find("prompts", task.key) is None
    assert not list((store.root / "prompts").glob("*.partial"))


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_nothing_is_made_from_a_model_that_has_changed_since_its_key_was_made(
    tmp_path: Path, store: Store, when: str
) -> None:
    """Artifacts only link to a folder of the user's: what was made of other weights would stay in the store."""
    folder = save_model(chatml(), tmp_path / "mine")
    (task,) = (
        task
        for task in make_plan(load_recipe("quickstart", ["seeds=[0]", f"target={{model: {folder}}}"])).tasks
        if task.label.startswith("respond base")
    )
    assert list(task.models) == [str(folder)]

    def tunes() -> None:
        save_model(chatml(), folder, torch.bfloat16)

    def edits(draft: Draft, _config: Any) -> None:
        draft.write([plain_prompt("how to brew p5 ?")], Prompt)
        tunes()

    if when == "before":
        tunes()
    stage = replace(task.stage, function=edits)
    with pytest.raises(DataError, match=r"mine has changed since this run was planned"):
        execute._make(store.root, stage, task.config, {}, task.key, task.contents, task.models, task.label)
    assert store.find("sample", task.key) is None
    assert not list((store.root / "sample").glob("*.partial")) or when == "before"


def test_how_often_a_training_writes_checkpoints_makes_nothing_run_again() -> None:
    arms = "arms=[{name: base}, {name: sinternal, train_on: verification}, {name: base+grpo, train_on: rewards}]"
    how = (arms, "grpo={steps: 2}")
    before = keys(*how)
    assert changed(before, keys(*how, "sft.save_steps=3", "grpo.save_steps=3")) == {"report"}
    served = keys(*how, "grpo.rollouts.engine=vllm-server")
    elsewhere = keys(*how, "grpo.rollouts={engine: vllm-server, vllm_server: 'http://localhost:8001'}")
    assert changed(served, elsewhere) == {"report"}, "nor where the server is that writes the rollouts"
    assert "sft sinternal" in changed(before, keys(*how, "sft.learning_rate=3e-4"))
    assert "grpo base+grpo" in changed(before, keys(*how, "grpo.steps=3"))


def test_a_plugin_that_cannot_be_imported_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path / "site", code="import nowhere\n")
    with pytest.raises(RegistryError, match=r"judge 'mine' of package 'my-ext' cannot be imported .*No module named"):
        make_plan(load_recipe("quickstart", ["judges=[{name: mine}]"]))


def test_what_changes_while_a_run_is_under_way_is_told(tmp_path: Path) -> None:
    settings = {"name": "oracle", "options": {"policy": "a.txt"}}
    (tmp_path / "a.txt").write_text("a")
    planned = contents(settings)
    check_unchanged(planned, settings)
    (tmp_path / "a.txt").write_text("b")
    with pytest.raises(DataError, match=r"a\.txt has changed since this run was planned; run again"):
        check_unchanged(planned, settings)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(DataError, match=r"a\.txt has changed since this run was planned"):
        check_unchanged(planned, settings)


def big(path: Path, megabytes: int = 65) -> Path:
    with path.open("wb") as file:
        for number in range(megabytes):
            file.write(bytes([number % 251]) * (1 << 20))
    os.utime(path, (time.time() - 60, time.time() - 60))
    return path


def flip(path: Path, keep_times: bool = True) -> None:
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(32 << 20)
        file.write(b"changed")
    if keep_times:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_change_in_the_middle_of_a_large_file_is_seen_even_if_its_times_are_put_back(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    big(folder / "weights")
    before = fingerprint(folder)
    assert fingerprint(folder) == before
    flip(folder / "weights")
    assert fingerprint(folder) != before


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files that were written a moment ago count as settled."""
    monkeypatch.setattr("sinternal.fingerprints.SETTLED_NS", -60_000_000_000)


def no_reading(_path: Path) -> str:
    raise AssertionError("the file is read again")


def test_the_hash_of_a_large_file_is_remembered_by_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = big(tmp_path / "weights", 2)
    settle(monkeypatch)
    before = fingerprint(path)
    monkeypatch.setattr("sinternal.fingerprints._known", {})
    monkeypatch.setattr("sinternal.fingerprints._hash", no_reading)
    assert fingerprint(path) == before


def test_a_file_that_was_written_a_moment_ago_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = big(tmp_path / "weights", 2)  # its contents are old by their time, but that time was set just now
    fingerprint(path)
    monkeypatch.setattr("sinternal.fingerprints._hash", no_reading)
    with pytest.raises(AssertionError, match="read again"):
        fingerprint(path)


def broken(note: Path) -> None:
    note.write_text('{"file": [1')


def a_folder(note: Path) -> None:
    note.unlink()
    note.mkdir()


def of_another_kind(note: Path) -> None:
    note.write_text("[1]")


@pytest.mark.parametrize("damage", [broken, a_folder, of_another_kind])
def test_a_broken_note_of_a_hash_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    path = big(tmp_path / "weights", 2)
    settle(monkeypatch)
    before = fingerprint(path)
    (note,) = (tmp_path / "cache" / "hashes").iterdir()
    damage(note)
    monkeypatch.setattr("sinternal.fingerprints._known", {})
    assert fingerprint(path) == before


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SINTERNAL_CACHE", str(tmp_path / "file"))
    settle(monkeypatch)
    assert len(fingerprint(big(tmp_path / "weights", 2))) == 16


def test_names_places_and_links_of_a_folder_count(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "x").write_text("1")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "y").write_text("1")
    first = fingerprint(folder)
    (folder / "deep" / "x").rename(folder / "x")
    second = fingerprint(folder)
    (folder / "link").symlink_to(tmp_path / "other")
    third = fingerprint(folder)
    (tmp_path / "other" / "y").write_text("2")
    assert len({first, second, third, fingerprint(folder)}) == 4
    (folder / "round").symlink_to(folder)
    assert fingerprint(folder)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"gone: cannot be read \(No such file"):
        fingerprint(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="neither a file nor a folder"):
        fingerprint(tmp_path / "pipe")


def test_a_folder_of_everything_is_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinternal.fingerprints.MOST_FILES", 3)
    for number in range(2):
        (tmp_path / f"{number}" / "inside").mkdir(parents=True)
    with pytest.raises(StoreError, match="no input has more than 3 files"):
        fingerprint(tmp_path)
