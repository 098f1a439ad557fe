"""What leaves a run: an adapter that PEFT loads, rows that TRL learns the same from, and a push that is private."""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from sinternal.cli.push import push as push_command
from sinternal.engines import TemplateOptions
from sinternal.errors import SInternalError
from sinternal.integrations.hub.cards import SAFETY
from sinternal.integrations.hub.data import Form, _rows, export_data
from sinternal.integrations.hub.models import _base_name, _leave_out_places, export_model, front_matter_field
from sinternal.integrations.hub.push import TOKENS, push
from sinternal.models.loading import open_tokenizer
from sinternal.records import Example
from sinternal.settings.recipe import load_recipe
from sinternal.settings.tracking import Tracker
from sinternal.settings.training import Method
from sinternal.stages.sft import SftConfig, sft
from sinternal.stages.target import model_path
from sinternal.study.named_arm import ArmOfRun
from sinternal.study.plan import make_plan
from sinternal.study.reach import find_reach
from sinternal.study.run import Run
from sinternal.training import tracking
from sinternal.world.source import shipped_base
from tests.chat_models import qwen, save_model

QUOTED = "<script>alert(1)</script> ![x](http://a) [link](http://b) | `"


@pytest.fixture(scope="module")
def adapted(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run, whose arm is trained once more: an adapter, and TensorBoard is told of it."""
    folder = tmp_path_factory.mktemp("hub") / "run"
    shutil.copytree(tiny_run, folder)
    run = Run.open(folder)
    whole = run.model_artifact("sinternal")
    config, keys = SftConfig.model_validate(whole.manifest["config"]), whole.manifest["inputs"]
    settings = config.settings.model_copy(update={"method": Method.LORA, "steps": 4})
    config = config.model_copy(update={"settings": settings})
    examples, model = run.store.find("examples", keys["examples"]), run.store.find("target", keys["model"])
    assert examples is not None
    assert model is not None
    run.store.discard("sft", whole.path.name)
    tracking.carry(tracking.Tracking((Tracker.TENSORBOARD,), "quickstart", folder / "tracking").of("sft, seed 0"))
    try:
        run.store.make(
            *("sft", whole.path.name, lambda draft: sft(draft, config, examples=examples, model=model)),
            stage_version=2,
            config=config.model_dump(mode="json"),
            inputs=keys,
            progress=lambda *_: None,
        )
    finally:
        for name in tracking.current().variables():
            os.environ.pop(name, None)
        tracking.carry(tracking.NOBODY)
    return folder


def test_an_adapter_stays_one_and_loads_in_transformers_and_peft(adapted: Path, tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    exported = export_model(ArmOfRun.open(adapted / "sinternal"), tmp_path / "out")
    assert exported.adapter
    assert "this machine alone" in exported.notes[0]
    card = (tmp_path / "out/README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "peft"
    assert front["license"] == "apache-2.0"
    assert card.count(SAFETY) == 1
    assert "- base: the model before training" in card
    assert "- ASR: " in card
    for words in ("## Results", ", n ", "oracle", "## Limits", "sinternal run recipe.yaml", "microworld"):
        assert words in card, words
    assert str(tmp_path) not in card + (tmp_path / "out/recipe.yaml").read_text()
    for file in (tmp_path / "out").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o644, file
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.chat_template
    asked = tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], return_tensors="pt", return_dict=True)
    loaded = [kind.from_pretrained(tmp_path / "out") for kind in (AutoPeftModelForCausalLM, AutoModelForCausalLM)]
    first, second = (model(input_ids=asked["input_ids"]).logits for model in loaded)
    assert first.equal(second)


def test_an_adapter_can_be_merged_and_its_base_be_named(adapted: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    arm = ArmOfRun.open(adapted / "sinternal" / "0")
    assert not export_model(arm, tmp_path / "merged", merge=True, licence="mit").adapter
    AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert yaml.safe_load((tmp_path / "merged/README.md").read_text().split("---")[1])["license"] == "mit"
    assert "eos_token_id" in json.loads((tmp_path / "merged/generation_config.json").read_text())
    (tmp_path / "named").mkdir()  # an empty folder is as good as none
    export_model(arm, tmp_path / "named", base="me/base")
    assert json.loads((tmp_path / "named/adapter_config.json").read_text())["base_model_name_or_path"] == "me/base"
    assert yaml.safe_load((tmp_path / "named/README.md").read_text().split("---")[1])["base_model"] == "me/base"


def test_no_place_of_this_machine_leaves_with_an_export(adapted: Path, tmp_path: Path) -> None:
    arm = ArmOfRun.open(adapted / "sinternal")
    export_model(arm, tmp_path / "merged", merge=True)
    export_model(arm, tmp_path / "named", base="me/base")
    export_data(arm, tmp_path / "data")
    places = [
        str(place).encode() for place in (tmp_path.parent, adapted.parent, shipped_base(), Path.home(), Path.cwd())
    ]
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 10
    for file in files:
        content = file.read_bytes()
        assert not [place for place in places if place in content and len(place) > 5], file
    settings = tmp_path / "named/tokenizer_config.json"
    settings.write_text(
        json.dumps({**json.loads(settings.read_text()), "name_or_path": str(shipped_base()), "x": "/y"})
    )
    _leave_out_places(tmp_path / "named")
    assert str(shipped_base()) not in settings.read_text()
    assert json.loads(settings.read_text())["x"] == "/y"


def test_a_base_in_the_hubs_cache_is_called_as_it_is_on_the_hub(adapted: Path, tmp_path: Path) -> None:
    for owner, name in (("Qwen", "Qwen3-0.6B"), ("deepseek-ai", "DeepSeek-R1")):
        snapshot = tmp_path / f"hub/models--{owner}--{name}/snapshots/{'a' * 40}"
        snapshot.mkdir(parents=True)
        assert _base_name(ArmOfRun.open(adapted / "sinternal"), str(snapshot)) == f"{owner}/{name}"


def test_mistakes_are_told_and_leave_nothing(adapted: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    for name, to, message in (
        (adapted / "base", "a", "is not trained"),
        (adapted / "sinternal", "full", "something is there already"),
    ):
        with pytest.raises(SInternalError, match=message):
            export_model(ArmOfRun.open(name), tmp_path / to)
    for name, message in (
        (adapted, "name one of its arms"),
        (adapted / "nosuch", "has no arm"),
        (adapted / "sinternal/7", "has no seed"),
        (tmp_path / "x/y", "is no RUN.ARM"),
    ):
        with pytest.raises(SInternalError, match=message):
            ArmOfRun.open(name)
    with pytest.raises(SInternalError, match="was not trained on a set of examples"):
        export_data(ArmOfRun.open(adapted / "base"), tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_trl_learns_the_same_from_the_exported_rows(adapted: Path, tmp_path: Path) -> None:
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer

    from sinternal.training.sft import form_of, to_dataset

    arm = ArmOfRun.open(adapted / "sinternal")
    exported = export_data(arm, tmp_path / "data")
    assert exported.form is Form.CONVERSATIONS
    card = (tmp_path / "data/README.md").read_text()
    assert "Contains harmful text" in card
    assert yaml.safe_load(card.split("---")[1])["license"] == "apache-2.0"  # that of the microworld's prompts
    assert "unknown" not in card
    rows = load_dataset(str(tmp_path / "data"), split="train", cache_dir=str(tmp_path / "cache"))
    base = model_path(Run.open(adapted).model_artifact("base"))
    arguments = SFTConfig(output_dir=str(tmp_path / "o"), max_length=None, use_cpu=True, bf16=False, report_to=[])
    theirs = SFTTrainer(str(base), args=arguments, train_dataset=rows).train_dataset
    keys = arm.run.arm_keys("sinternal")
    assert keys is not None
    assert keys.training is not None
    examples = arm.run.store.find("examples", str(keys.training.examples))
    assert examples is not None
    ours = to_dataset(examples.rows(Example), form_of(open_tokenizer(base)))
    assert theirs["input_ids"][:] == ours["input_ids"][:]
    assert theirs["labels"][:] == ours["labels"][:]


def test_rows_that_trl_would_read_otherwise_are_tokens(tmp_path: Path) -> None:
    save_model(qwen(), tmp_path / "model")  # its template writes a line break after the end of a turn
    example = Example("x", f"Is it safe? {QUOTED}", "Nice.", "Verdict: safe", "safe", "p", "r", quotes=True)
    form, rows, _ = _rows([example], TemplateOptions(), tmp_path / "model")
    assert form is Form.TOKENS
    assert len(rows[0]["input_ids"]) == len(rows[0]["labels"])
    assert _rows([example], TemplateOptions(), None)[0] is Form.UNCHECKED


def test_a_tracker_is_told_and_leaves_no_trace_in_the_artifact(adapted: Path) -> None:
    files = list((adapted / "tracking/tensorboard/sft-seed-0").iterdir())
    assert files
    assert files[0].stat().st_size > 500
    assert "trackers" not in yaml.safe_load((adapted / "recipe.yaml").read_text())
    tuned = next((adapted / "artifacts/sft").glob("*/manifest.json"))
    assert "tensorboard" not in tuned.read_text()
    plans = [make_plan(load_recipe("quickstart", changes)) for changes in ([], ["trackers=[wandb]"])]
    assert [task.key for task in plans[0].tasks] == [task.key for task in plans[1].tasks]
    assert "https://api.wandb.ai" in {server.address for server in find_reach(plans[1], None, [Tracker.WANDB]).servers}


@contextmanager
def hub(*, private: bool = True, status: int = 200) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """As much of the hub as a push asks, and what it was asked."""
    asked: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say({"id": "me/x", "private": private, "siblings": [], "sha": "a" * 40, "tags": []})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            asked.append((self.path, body))
            address = f"http://127.0.0.1:{server.server_port}/me/x"
            if "preupload" in self.path:
                files = [{"path": f["path"], "uploadMode": "regular"} for f in json.loads(body)["files"]]
                self._say({"files": [{**file, "shouldIgnore": False} for file in files]})
            elif "commit" in self.path:
                self._say({"commitOid": "b" * 40, "commitUrl": f"{address}/commit/{'b' * 40}", "success": True})
            else:
                self._say({"url": address, "id": "me/x"}, status)

        def _say(self, content: Any, status: int = 200) -> None:
            sent = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What `export data` leaves, in its smallest size."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: other\n---\n# Data\n")
    (folder / "train.jsonl").write_text('{"prompt": [], "completion": []}\n')
    return folder


def test_a_push_is_private_unless_said_otherwise(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for public, wanted in ((False, b"private"), (True, b"public")):
        with hub(private=not public) as (address, asked):
            _aim_at(address, monkeypatch)
            assert push(folder, "me/x", public=public).private is not public
        made = next(body for path, body in asked if path == "/api/repos/create")
        assert wanted in made
        assert b"dataset" in made
        assert any("/commit/main" in path and b"train.jsonl" in body for path, body in asked)


def test_what_is_public_already_gets_nothing_by_mistake(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(private=False) as (address, asked):
        _aim_at(address, monkeypatch)
        with pytest.raises(SInternalError, match="there already and public"):
            push(folder, "me/x")
    assert not any("commit" in path for path, _ in asked)


def test_a_refusal_and_a_hub_that_is_away_are_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(status=403) as (address, _):
        _aim_at(address, monkeypatch)
        with pytest.raises(SInternalError, match="the hub refuses"):
            push(folder, "me/x")
    with pytest.raises(SInternalError, match="cannot be reached"):
        push(folder, "me/x")
    for repo in ("x", "a/b/c", "../x", "a b/c"):
        with pytest.raises(SInternalError, match="owner/name"):
            push(folder, repo)
    with pytest.raises(SInternalError, match="no card"):
        push(folder.parent, "me/x")
    for base in (str(shipped_base()), "./model"):
        (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
        with pytest.raises(SInternalError, match="where nobody else finds it"):
            push(folder, "me/x")


def test_a_push_says_where_it_goes_and_with_which_token_before_anything_is_sent(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with hub() as (address, asked):
        _aim_at(address, monkeypatch)
        push_command(folder, "me/x")
        assert asked
    written = capsys.readouterr()
    assert f"pushing a dataset to {address}/datasets/me/x, with the token of HF_TOKEN" in written.err.replace("\n", "")
    assert "hf_" not in written.err + written.out
    with hub() as (address, asked):
        _aim_at(address, monkeypatch)
        for variable in TOKENS:
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(folder / "none"))
        with pytest.raises(SInternalError, match="there is none; nothing was sent"):
            push_command(folder, "me/x")
        with pytest.raises(SInternalError, match="there is none; nothing was sent"):
            push(folder, "me/x")
        assert not asked
        assert "with no token" in capsys.readouterr().err
        (folder.parent / "token").write_text("hf_" + "b" * 30)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(folder.parent / "token"))
        push_command(folder, "me/x")
        assert asked
        assert "that `hf auth login` has stored" in capsys.readouterr().err.replace("\n", " ")


def _aim_at(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the library of the hub, which reads its address as it is imported, ask another."""
    import huggingface_hub.constants
    import huggingface_hub.hf_api

    monkeypatch.setenv("HF_TOKEN", "hf_" + "a" * 30)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for module in (huggingface_hub.constants, huggingface_hub.hf_api):
        if hasattr(module, "ENDPOINT"):
            monkeypatch.setattr(module, "ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/{filename}")


def test_the_licence_is_that_of_the_bases_own_card() -> None:
    card = ["---", "language: en", "license: 'apache-2.0'", "---", "license: mine"]
    assert front_matter_field(card, "license") == "apache-2.0"
    assert front_matter_field(card[3:], "license") is None
    assert front_matter_field(["# No front matter", "license: x"], "license") is None
