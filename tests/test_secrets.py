"""No key, password or token stands in anything that a command prints or leaves behind, whatever a server does with it.

Canaries are put wherever a secret can be given. Every command that asks a server is then called, with a server that
works, one that sends back whatever it was sent, one that hangs up and one that is not there; all that was printed and
every file is searched for each canary, also in Base64 and as addresses spell it.
"""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import yaml

from sinternal.figures.human_agreement import HumanAgreements, Rater
from sinternal.parquet import read_batches
from sinternal.redaction import conceal
from sinternal.report.agreement_page import write
from tests.commands import in_process, sinternal
from tests.servers import Body, Fault, Raw, Server, serve

KEY, PASSWORD, QUERY, HEADER, TOKEN, BODY, PROXY, NETRC = CANARIES = (
    "sk-canaryKEY/0123+456789",
    "canary:PASS@word/1",
    "canaryQUERY+value/1",
    "canaryHEADERvalue~1",
    "canaryTOKENvalue/1",
    "canaryBODYvalue/+1",
    "canaryPROXYpass1",
    "canaryNETRCpass1",
)
CANARY = "c4n4ry-0f-4-key-th4t-must-n0t-sh0w"
DEAD = "http://127.0.0.1:1/v1"


def spellings(secret: str) -> set[bytes]:
    """A secret as it may stand in a file: as it is, as an address has it, in JSON, in Base64 at any offset, in part."""
    texts = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    coded = [base64.b64encode(b"x" * shift + secret.encode())[4 if shift else 0 : -4] for shift in range(3)]
    return {*(text.encode() for text in texts), secret[:12].encode(), secret[-12:].encode(), *coded}


def contents(file: Path) -> Iterator[bytes]:
    """Everything in a file, what is packed as well."""
    content = file.read_bytes()
    yield content
    if file.suffix == ".parquet":
        yield json.dumps([batch.to_struct_array().to_pylist() for batch in read_batches(file)], default=str).encode()
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def leaks(content: bytes) -> list[str]:
    return [canary for canary in CANARIES if any(spelling in content for spelling in spellings(canary))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands are called, with secrets all around them."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text(f"machine 127.0.0.1 login somebody password {NETRC}\n")
    for name, value in {
        "HOME": str(home),
        "OPENAI_API_KEY": KEY,
        "GATEWAY_TOKEN": TOKEN,
        "HTTPS_PROXY": f"http://somebody:{PROXY}@127.0.0.1:9",
        "OPENAI_LOG": "debug",
        "SINTERNAL_CACHE": str(tmp_path / "work" / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    work = tmp_path / "work"
    work.mkdir()
    (work / "mine.jsonl").write_text("".join(json.dumps({"q": f"Draw {i} cats"}) + "\n" for i in range(4)))
    return work


def options(url: str, **others: Any) -> dict[str, Any]:
    """An engine's, with a secret in every place that takes one."""
    scheme, _, rest = url.partition("://")
    return {
        "base_url": f"{scheme}://me:{quote(PASSWORD, safe='')}@{rest}?key={quote(QUERY, safe='')}",
        "headers": {"X-Api-Key": HEADER, "X-Gateway-Token": "$GATEWAY_TOKEN"},
        "extra_body": {"api_key": BODY},
        "max_retries": 0,
        "patience": 0,
        **others,
    }


def says(body: Body) -> Body:
    asked = body["messages"][-1]["content"]
    if body["model"] == "guard":
        return {"role": "assistant", "content": "Safety: Safe\nCategories: None\nRefusal: No"}
    if "Refusal:" in asked:
        return {"role": "assistant", "content": "Refusal: no"}
    return {"role": "assistant", "content": "Fine.\nVerdict: safe" if "Verdict" in asked else "Here you are."}


def search(folder: Path, *printed: str) -> dict[str, list[str]]:
    """Where canaries stand, by file; the recipe that they were written into is not searched."""
    found = {f"printed {i}": leaks(text.encode()) for i, text in enumerate(printed)}
    for file in folder.rglob("*"):
        if file.is_file() and file.name != "given.yaml":
            found[str(file.relative_to(folder))] = [canary for part in contents(file) for canary in leaks(part)]
    return {where: canaries for where, canaries in found.items() if canaries}


def echo(server: list[Server], status: int) -> Any:
    """A server's reply that holds all that it was sent but the prompt."""

    def reply(body: Body) -> Body | Raw:
        sent = {name: value for name, value in body.items() if name not in ("messages", "prompt")}
        words = f"called {server[0].paths[-1]} with {json.dumps(server[0].headers[-1])} and {json.dumps(sent)}"
        if status == 200:
            return {"role": "assistant", "content": f"{words}\nVerdict: safe"}
        return Raw(status, {"error": {"message": words}})

    return reply


MODES = ("works", "echo 400", "echo 401", "echo 200", "hangs up", "is not there")


@contextmanager
def serving(mode: str) -> Iterator[str]:
    """A server that behaves in one way; its address."""
    servers: list[Server] = []
    reply = echo(servers, int(mode.removeprefix("echo "))) if mode.startswith("echo") else says
    fault = Fault.RESETS if mode == "hangs up" else Fault.NONE
    with serve(reply=reply, fault=lambda _body, _before: fault) as server:
        servers.append(server)
        yield DEAD if mode == "is not there" else server.url


def flags(url: str) -> list[str]:
    return ["--engine", "openai", *(f"--option={name}={json.dumps(value)}" for name, value in options(url).items())]


SOURCE = "{benchmark: file, options: {path: mine.jsonl, harmful: true, columns: {text: q}, shares: {eval: 1.0}}}"
DIAGNOSE = (
    *("diagnose", "--model", "served", f"--set=prompts.sources=[{SOURCE}]"),
    *("--set=prompts.attacks=[plain]", "--set=verification_sampling.n=1"),
)


@pytest.mark.parametrize("mode", MODES)
def test_verifying_shows_no_secret(mode: str, folder: Path) -> None:
    asked = ("verify", "--model", "served", "--prompt", "how?", "--answer", "so", "--debug")
    with serving(mode) as url:
        done = sinternal(*asked, *flags(url), cwd=folder)
    assert (done.returncode == 0) is (mode in ("works", "echo 200")), done.stderr
    assert search(folder, done.stdout, done.stderr) == {}


@pytest.mark.parametrize("mode", ["echo 400", "echo 401", "echo 200"])
def test_a_diagnosis_leaves_no_secret_behind(mode: str, folder: Path) -> None:
    with serving(mode) as url:
        done = sinternal(*DIAGNOSE, *flags(url), "--debug", cwd=folder)
    assert (done.returncode == 0) is (mode == "echo 200"), done.stderr
    assert len(list(folder.rglob("manifest.json"))) >= (mode != "echo 401")
    assert search(folder, done.stdout, done.stderr) == {}


def recipe(url: str) -> dict[str, Any]:
    engine = {"name": "openai", "options": options(url)}
    return {
        "extends": "quickstart",
        "seeds": [0],
        "workers": 1,
        "judges": [{"name": "qwen3guard", "options": {"engine": {**engine, "model": "guard"}}}],
        "rewards": {"judge": {"name": "oracle"}},
        "expert": {"name": "chat", "options": {"engine": {**engine, "model": "expert"}}},
        "verification": {"name": "specification"},
        "prompts": {"train_limit": 4, "eval_limit": 4},
        "evaluation": {"stress": None},
        "arms": [{"name": "base"}],
    }


def test_a_run_and_all_that_is_done_with_it_leave_no_secret_behind(folder: Path) -> None:
    printed = []
    with serving("works") as url:
        (folder / "given.yaml").write_text(yaml.safe_dump(recipe(url)))
        engine = json.dumps({"name": "openai", "model": "judge", "options": options(url)})
        for command in (
            ("plan", "given.yaml", "--json"),
            ("run", "given.yaml", "--out", "run"),
            ("judge", "run", "--with", "refusal", f"--option=engine={engine}"),
            ("report", "run"),
            ("compare", "run", "run", "--json"),
            ("export", "verl", "given.yaml", "--out", "verl"),
            ("check", "given.yaml", "--ask", "--json"),
        ):
            done = sinternal(*command, "--debug", cwd=folder)
            printed += [done.stdout, done.stderr]
            assert done.returncode == 0 or command[0] in ("export", "check"), f"{command}: {done.stderr}"
    assert (folder / "run" / "report.html").is_file()
    assert search(folder, *printed) == {}


def test_what_agreement_with_people_is_written_down_with_holds_no_secret(folder: Path) -> None:
    judge = Rater("guard", {"engine": {"name": "openai", "model": "guard", "options": options(DEAD)}}, "guard")
    write(HumanAgreements(judge, "none", "2026-01-01", ()), folder / "agreement")
    assert (folder / "agreement" / "agreement.json").is_file()
    assert search(folder) == {}


def test_a_folder_in_a_variable_is_no_key_and_a_key_that_looks_like_a_path_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a-folder-with-a-long-name"
    folder.mkdir()
    key = folder / "key.json"
    key.touch()
    monkeypatch.setenv("PWD", str(folder))
    monkeypatch.setenv("OLDPWD", "/gone/since/then/for/good")
    monkeypatch.setenv("DESKTOP_SESSION", "gnome-session-on-wayland")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    monkeypatch.setenv("MY_KEY", f"/{CANARY}")
    monkeypatch.setenv("OTHER_SECRET", f"{folder}/{CANARY}x")
    monkeypatch.setenv("LONG_TOKEN", "/" + "k" * 5000)
    for kept in (f"{folder}/r.yaml", "/gone/since/then/for/good", "gnome-session-on-wayland", str(key)):
        assert conceal(f"see {kept}!") == f"see {kept}!"
    for hidden in (f"/{CANARY}", f"{folder}/{CANARY}x", "/" + "k" * 5000):
        assert hidden not in conceal(f"see {hidden}!")
    done = in_process("check", "nosuch.yaml", "--json", cwd=folder)
    assert "***" not in done.stdout + done.stderr
