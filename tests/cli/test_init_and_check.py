"""A recipe of one's own: written by flags, valid, and looked at in all its parts before anything is spent."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import shutil
import signal
import subprocess
import termios
from pathlib import Path

import pytest
import yaml

from sinternal.cli.init import _ask, _ask_for_columns
from sinternal.errors import SInternalError
from sinternal.models.files import faults
from sinternal.settings.recipe import load_recipe
from sinternal.tools.check import check
from sinternal.tools.findings import Mark
from sinternal.tools.init import write_recipe
from sinternal.tools.init_wishes import Wishes
from tests.commands import COMMAND, in_process
from tests.servers import serve


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    rows = [{"request": f"make potion {n}", "label": "unsafe" if n % 2 else "safe", "id": n} for n in range(40)]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def roomy_model(base_model: Path, tmp_path: Path) -> Path:
    """The shipped base, which says that it reads longer texts than it does."""
    folder = tmp_path / "roomy"
    shutil.copytree(base_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 32768}))
    return folder


def test_flags_make_a_recipe_that_is_valid_and_passes_the_check(prompts: Path, roomy_model: Path) -> None:
    done = in_process(
        *("init", "my-study", "--model", str(roomy_model), "--data", prompts.name, "--yes"),
        *("--judge", "refusal-strings", "--expert", "oracle"),
        cwd=prompts.parent,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "columns request (text), label (harmful)" in done.stdout
    assert "nothing is wrong" in done.stdout
    text = (prompts.parent / "my-study.yaml").read_text()
    recipe = yaml.safe_load(text)
    assert recipe["prompts"]["train"][0]["options"]["harmful_if"] == "unsafe"
    assert recipe["target"]["model"] == str(roomy_model)
    for line in text.splitlines():  # every field stands under its own words
        assert len(line) <= 160
    assert "# How a model is asked to verify." in text
    assert "# trackers: [tensorboard]" in text
    again = in_process("init", "my-study", "--yes", cwd=prompts.parent)
    assert again.returncode == 2
    assert "there is a file already" in again.stderr


def test_defaults_are_taken_and_named(tmp_path: Path) -> None:
    wishes = Wishes()
    (tmp_path / "r.yaml").write_text(write_recipe(wishes))
    assert load_recipe(str(tmp_path / "r.yaml")).target.model == "smollm2"
    for part in ("model", "data", "judge", "expert"):
        assert any(words.startswith(part) for words in wishes.taken), part


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        (
            "a,b\n1,2\n",
            ["options.columns.text, the column that holds requests; there are: 'a', 'b'", "columns.harmful"],
        ),
        ("prompt,b\nx,2\n", ["options.columns.harmful, the column that says what is harmful"]),
        ("prompt,label\nx,3\ny,1\n", ["options.harmful_if, the value of column 'label'"]),
        ('pro#mpt,"a\nb"\nx,2\n', ["columns.text", "columns.harmful"]),
    ],
)
def test_what_a_file_does_not_say_stands_in_the_recipe_as_what_is_to_be_filled_in(
    content: str, missing: list[str], tmp_path: Path
) -> None:
    (tmp_path / "f.csv").write_text(content)
    done = in_process("init", "r", "--data", "f.csv", "--yes", "--model", "smollm2", cwd=tmp_path)
    assert done.returncode == 2  # the check says that it cannot be run yet
    text = (tmp_path / "r.yaml").read_text()
    for words in missing:
        assert f"to be filled in: f.csv: {words}" in done.stdout or words in done.stdout
        assert any(words in line for line in text.splitlines() if line.startswith("# FILL_IN: f.csv"))
    assert "FILL_IN" in json.dumps(yaml.safe_load(text)["prompts"])
    assert "wrong prompts.train.0" in done.stdout


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("")
    with pytest.raises(SInternalError, match="empty"):
        write_recipe(Wishes(data=(str(tmp_path / "f.csv"),)))


def test_columns_of_files_of_every_kind_can_be_named(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"ask": f"do {n}", "verdict": "bad" if n % 2 else "fine"} for n in range(40)]
    (tmp_path / "f.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "f.csv").write_text("ask,verdict\n" + "".join(f"{row['ask']},{row['verdict']}\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "f.parquet")
    chats = [{"chat": [{"role": "user", "content": row["ask"]}], "verdict": row["verdict"]} for row in rows]
    (tmp_path / "g.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats))
    named = ("--harmful-if", "bad", "--judge", "refusal-strings", "--expert", "oracle", "--no-check", "--yes")
    for file, column in (("f.jsonl", "ask"), ("f.csv", "ask"), ("f.parquet", "ask"), ("g.jsonl", "chat")):
        (tmp_path / "r.yaml").unlink(missing_ok=True)
        columns = ("--columns", f"prompt={column}, harmful=verdict")
        done = in_process("init", "r", "--data", file, *columns, *named, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        recipe = yaml.safe_load((tmp_path / "r.yaml").read_text())
        options = recipe["prompts"]["train"][0]["options"]
        assert options["columns"] == {"text": column, "harmful": "verdict"}
        assert (options["harmful_if"], options["harmless_if"]) == ("bad", "fine")
        assert 20 < recipe["examples"]["size"] < 40  # as many as there are prompts to tune on: they could be read
    for columns, message in (
        ("prompt=aks", "did you mean 'ask'? there are: 'ask', 'verdict'"),
        ("ask", "write NAME=COLUMN"),
        ("nosuch=ask", "names are: prompt, harmful"),
    ):
        done = in_process("init", "other", "--data", "f.csv", "--columns", columns, *named, cwd=tmp_path)
        assert done.returncode == 2
        assert message in done.stderr.replace("\n", " ")


def test_files_that_label_in_different_ways_are_each_read_in_their_own(tmp_path: Path) -> None:
    rows = [{"prompt": f"do {n}", "harmful": "yes" if n % 2 else "no"} for n in range(40)]
    (tmp_path / "flags.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "words.csv").write_text(
        "prompt,label\n" + "".join(f"{n},{'bad' if n % 2 else 'fine'}\n" for n in range(9))
    )
    wishes = Wishes(
        data=(str(tmp_path / "words.csv"),),
        evaluation=(str(tmp_path / "flags.jsonl"),),
        harmful_if="bad",
        expert="oracle",
    )
    prompts = yaml.safe_load(write_recipe(wishes))["prompts"]
    assert prompts["train"][0]["options"]["harmful_if"] == "bad"
    assert "harmful_if" not in prompts["eval"][0]["options"]


@pytest.mark.parametrize("rows", [20, 60, 96, 150, 400])
def test_as_few_rows_as_there_are_get_as_many_steps_as_it_takes_to_change_anything(rows: int, tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": f"do {n}", "harmful": n % 2}) + "\n" for n in range(rows)]
    (tmp_path / "f.jsonl").write_text("".join(lines))
    (tmp_path / "g.jsonl").write_text(lines[0].replace("do", "say"))
    wishes = Wishes(data=(str(tmp_path / "f.jsonl"),), evaluation=(str(tmp_path / "g.jsonl"),), expert="oracle")
    recipe = yaml.safe_load(write_recipe(wishes))
    sft = recipe["sft"]
    assert sft["steps"] >= 20
    assert sft["steps"] * sft["batch"] >= 2 * recipe["examples"]["size"]
    assert any(words.startswith("sft") for words in wishes.taken) == (sft["batch"] < 16)


def test_a_file_on_both_sides_is_divided(prompts: Path) -> None:
    wishes = Wishes(data=(str(prompts),), evaluation=(str(prompts),), expert="oracle")
    sides = yaml.safe_load(write_recipe(wishes))["prompts"]
    assert sides["train"] == sides["eval"]
    assert sides["train"][0]["options"]["shares"] == {"train": 0.8, "eval": 0.2}
    assert any("divided" in words for words in wishes.taken)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "./nosuch"], "--model: ./nosuch: there is no such model directory"),
        (["--model", ""], "--model: '' is neither"),
        (["--judge-url", "localhost:8000"], "--judge-url: 'localhost:8000' has no http://"),
        (["--base-url", "localhost:8000", "--expert", "e"], "write http://localhost:8000"),
        (["--base-url", "http://localhost:1/v1"], "name the expert's model there with --expert"),
        (["--expert", "e", "--expert-key", "sk-123"], "--expert-key: name the variable"),
        (["--data", "mine.josnl"], "did you mean mine.jsonl?"),
        (["--data", "mien.jsonl"], "there is no such file; did you mean mine.jsonl?"),
        (["--data", "."], "that is a folder"),
        (["--data", "mine.jsonl:harmfull"], "did you mean mine.jsonl:harmful?"),
        (["--data", "mine.jsonl", "--harmful-if", "unsaf"], "did you mean 'unsafe'? there are: 'safe', 'unsafe'"),
        (["--harmful-if", "yes"], "--harmful-if is for files"),
        (["--modle", "x"], "no such option: --modle; did you mean --model?"),
    ],
)
def test_what_a_flag_cannot_mean_is_one_line_before_anything_is_written(
    flags: list[str], message: str, prompts: Path
) -> None:
    done = in_process("init", "r", "--yes", *flags, cwd=prompts.parent)
    assert done.returncode == 2
    assert message in done.stderr
    assert "sk-123" not in done.stderr + done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert not (prompts.parent / "r.yaml").exists()


@pytest.mark.parametrize(("key", "code", "words"), [(b"\x03", 130, "stopped"), (b"\x04", 2, "the input ended")])
def test_questions_on_a_terminal_can_be_left_by_a_key(key: bytes, code: int, words: str, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    command = [*COMMAND, "init", "r"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=lambda: _sit_at(theirs)
    ) as process:
        os.close(theirs)
        told = _read_until(ours, b"[smollm2]: ")
        os.write(ours, b"smollm2\n")
        told += _read_until(ours, b"everyday]: ")
        told += _press(ours, key)
        assert process.wait() == code
    os.close(ours)
    assert words in told.decode()
    assert not list(tmp_path.iterdir())


def _sit_at(terminal: int) -> None:
    """Make a terminal that of this process, so that its keys reach it."""
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _press(terminal: int, key: bytes) -> bytes:
    """Press a key until a program ends, and what it shows then.

    Python loses a Ctrl-C that comes between the question and the read that waits for an answer; so does a person.
    """
    told = b""
    while True:
        os.write(terminal, key)
        while select.select([terminal], [], [], 5)[0]:
            try:
                part = os.read(terminal, 4096)
            except OSError:  # on Linux, once nobody has it open any more
                part = b""
            if not part:
                return told
            told += part


def _read_until(terminal: int, end: bytes) -> bytes:
    """What a terminal shows until it ends in some words, or its process does."""
    told = b""
    while not told.endswith(end):
        try:
            part = os.read(terminal, 4096)
        except OSError:  # on Linux, once nobody has it open any more
            part = b""
        if not part:
            break
        told += part
    return told


def test_columns_are_asked_for_beside_those_that_the_file_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f.csv").write_text("ask,verdict\nhow,bad\nwhy,fine\n")
    answers = iter(["ask", "verdict", "bad"])
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers))
    wishes = Wishes(data=(str(tmp_path / "f.csv"),))
    _ask_for_columns(wishes)
    assert wishes.columns == {"text": "ask", "harmful": "verdict"}
    assert wishes.harmful_if == "bad"
    assert "has the columns ask: 'how'; verdict: 'bad'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a: {b", "x\ny", "#", "'", "- [", "\u202egnp", "a" * 300])
def test_odd_names_stay_what_they_are(name: str) -> None:
    try:
        text = write_recipe(
            Wishes(model=name, judge="refusal-strings", expert=name, data=("everyday", "advbench-pyrit"))
        )
    except SInternalError:
        return
    assert yaml.safe_load(text)["target"]["model"] == name


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path, base_model: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(base_model, model)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (tmp_path / "bad.jsonl").write_text('{"q": "x", "harmful": true}\n{"q": "", "harmful": true}\n')
    with serve() as server:
        recipe = {
            "extends": "quickstart",
            "target": {"model": str(model)},
            "prompts": {
                "train": [{"benchmark": "file", "options": {"path": str(tmp_path / "bad.jsonl"), "harmful": True}}],
                "eval": [{"benchmark": "file", "options": {"path": str(tmp_path / "none.jsonl"), "harmful": True}}],
            },
            "judges": [
                {"name": "oracle"},
                {
                    "name": "refusal",
                    "options": {
                        "engine": {"name": "openai", "model": "nosuch", "options": {"base_url": server.url}},
                    },
                },
            ],
        }
        (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
        found = list(check(str(tmp_path / "r.yaml"), out=tmp_path / "run"))
        asked = server.requests if hasattr(server, "requests") else []
    wrong = {finding.part: finding.words for finding in found if finding.mark is Mark.WRONG}
    assert "should have" in wrong["target.model"]
    assert "line 1" in wrong["prompts.train.0"]
    assert "there is no such file" in wrong["prompts.eval.0"]
    assert "does not know the model 'nosuch'" in wrong["judges.1"]
    assert not asked
    assert not (tmp_path / "run").exists()


def test_each_mistake_of_a_recipe_has_a_line_and_a_mistyped_name_comes_first(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: x\ntraget: {model: a}\nseeds: [0]\n")
    done = in_process("check", "r.yaml", cwd=tmp_path)
    assert done.returncode == 2
    lines = [line for line in done.stdout.splitlines() if line.startswith("wrong")]
    assert "'traget'; did you mean 'target'?" in lines[0]
    assert "are missing" in lines[1]


def test_weights_that_an_index_names_and_are_not_there_are_told(tmp_path: Path, base_model: Path) -> None:
    assert list(faults(base_model)) == []
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "one.safetensors", "b": "two.st"}}')
    (tmp_path / "one.safetensors").write_bytes(b"\xff" * 20)
    told = list(faults(tmp_path))
    assert "cut short" in told[0]
    assert "two.st is missing" in told[1]
    assert "holds no weights" in next(iter(faults(tmp_path / "nothing")))


@pytest.mark.parametrize("end", ['"x"', "null", "[4]", "4.5", "1e999", "9" * 5000, "{}"])
def test_weights_whose_own_words_make_no_sense_are_damaged(end: str, tmp_path: Path) -> None:
    header = f'{{"a": {{"data_offsets": [0, 4]}}, "b": {{"data_offsets": [0, {end}]}}}}'.encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    (told,) = faults(tmp_path)
    assert "is damaged" in told


def test_a_diagnosis_is_looked_at_without_a_question_to_the_model(tmp_path: Path) -> None:
    with serve() as server:
        done = in_process(
            *("diagnose", "--model", "nosuch", "--base-url", server.url, "--check", "--json", "--max-cost", "1"),
            *("--option", "price={read: 3, written: 15}"),
            cwd=tmp_path,
        )
    assert done.returncode == 2, done.stderr
    found = json.loads(done.stdout)["findings"]
    assert any("does not know the model" in each["words"] for each in found)
    calls = next(each for each in found if each["part"] == "calls")
    assert calls["mark"] == "note"
    assert re.match(
        r"servers are asked at most [\d,]+ times: .* cost at most [\d.]+.*; the limit may end", calls["words"]
    )
    assert not server.calls


def test_what_is_answered_wrongly_is_asked_again(
    prompts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter(
        [
            "m",
            "my/model",
            "none.csv",
            str(prompts),
            "",
            "refsal",
            "refusal",
            "x:1",
            "",
            "guard",
            "my-expert",
            "",
            "k!",
            "K",
        ]
    )
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers))
    wishes = Wishes()
    _ask(wishes)
    assert (wishes.model, wishes.data, wishes.evaluation) == ("my/model", (str(prompts),), ())
    assert (wishes.judge, wishes.judge_url, wishes.judge_model) == ("refusal", None, "guard")
    assert (wishes.expert, wishes.expert_url, wishes.expert_key) == ("my-expert", None, "K")
    assert next(answers, None) is None
    told = capsys.readouterr().err
    assert "none.csv: there is no such file" in told
    assert "did you mean 'refusal'?" in told
    assert wishes.taken == []
