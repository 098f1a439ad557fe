"""The package without any extra, in an environment of its own: small, without torch, and whole as far as servers go."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import HANGS, sinternal
from tests.servers import Body, serve

SERVED = "the address of a server that is there"

ROOT = Path(__file__).parent.parent
MEGABYTES = 300
"""Largest size of the environment, pip included; 204 as this is written."""
DEPENDENCIES = 12
"""Most packages that the core asks for by name."""
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the core alone, built from a copy: a build leaves files beside its sources."""
    source, place = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("core") / "venv"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    venv.create(place, with_pip=True)
    pip = [str(place / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "--constraint", str(ROOT / "constraints.txt"), str(source)],
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def command(core: Path, tmp_path: Path) -> Command:
    """`sinternal` of the core, called in the test's folder."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(core / "bin" / "sinternal"), *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=HANGS,
            check=False,
        )

    return call


def reply(body: Body) -> Body:
    """A model that helps, calls everything safe, and as a judge sees no refusal."""
    asked = body["messages"][-1]["content"]
    if "Refusal:" in asked:
        return {"role": "assistant", "content": "Refusal: no"}
    return {"role": "assistant", "content": "It is fine.\nVerdict: safe" if "Verdict" in asked else "Here you are."}


def test_the_core_is_small_and_has_no_torch(core: Path) -> None:
    megabytes = sum(file.lstat().st_blocks for file in core.rglob("*")) * 512 / 2**20  # as du -sm counts
    assert megabytes < MEGABYTES, "see docs/decisions/026-core-and-extras.md"
    look = (
        "from importlib.util import find_spec; print([m for m in ('torch', 'transformers', 'scipy') if find_spec(m)])"
    )
    done = subprocess.run([core / "bin" / "python", "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_core_asks_for_few_packages(core: Path) -> None:
    look = (
        "from importlib.metadata import requires; import json; "
        "print(json.dumps([one for one in requires('sinternal') if 'extra ==' not in one]))"
    )
    done = subprocess.run([core / "bin" / "python", "-c", look], capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)) <= DEPENDENCIES


def test_every_command_of_the_core_has_its_help(command: Command) -> None:
    names = (
        "run",
        "diagnose",
        "judge",
        "verify",
        "agree",
        "compare",
        "fetch",
        "plan",
        "report",
        "list",
        "export",
        "view",
    )
    for name in names:
        done = command(name, "--help")
        assert (done.returncode, done.stderr) == (0, ""), name


def test_the_core_diagnoses_verifies_and_holds_against_people_through_a_server(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps({"q": f"Draw {i} cats"}) + "\n" for i in range(6)))
    source = "{benchmark: file, options: {path: mine.jsonl, harmful: true, columns: {text: q}}}"
    with serve(reply=reply) as server:
        served = ("--base-url", server.url)
        done = command(
            *("diagnose", "--model", "served", *served, "--out", "diagnosis", f"--set=prompts.sources=[{source}]"),
            *("--set=prompts.attacks=[plain]", "--set=verification_sampling.n=2"),
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "diagnosis" / "diagnosis.html").read_text().startswith("<!DOCTYPE html>")
        done = command("verify", "--model", "served", *served, "--prompt", "how?", "--answer", "so")
        assert json.loads(done.stdout)["verdict"] == "safe", done.stderr
        done = command("fetch", "pyrit")
        assert done.returncode == 0, done.stderr
        done = command("agree", "--verifier", "served", *served, "--sets", "harm", "--limit", "20", "--out", "agreed")
        assert done.returncode == 0, done.stderr
        assert json.loads((tmp_path / "agreed" / "agreement.json").read_text())


def test_the_core_judges_and_compares_what_was_trained_elsewhere(command: Command, tmp_path: Path) -> None:
    tiny = ("seeds=[0]", "workers=1", "prompts.train_limit=8", "prompts.eval_limit=8", "evaluation.stress=null")
    made = sinternal(
        *("run", "quickstart", "--out", "tiny", "--set=arms=[{name: base}]", *(f"--set={one}" for one in tiny)),
        cwd=tmp_path,
    )
    assert made.returncode == 0, made.stderr
    with serve(reply=reply) as server:
        engine = ("engine.name=openai", "engine.model=served", f"engine.options.base_url={server.url}")
        done = command("judge", "tiny", "--with", "refusal", *(f"--option={one}" for one in engine))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "tiny" / "results.json").read_text())["judges"] == ["oracle", "refusal"]
    compare, plan = ("compare", "tiny", "tiny", "--json"), ("plan", "quickstart")
    for arguments in (("report", "tiny"), compare, plan, (*plan, "--hardware", "1xL4", "--explain")):
        done = command(*arguments)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "quickstart"), "target.model 'microworld' needs torch, {}[train]'"),
        (
            ("verify", "--model", "microworld", "--prompt", "a", "--answer", "b"),
            "engine 'transformers' needs torch, {}[train]'",
        ),
        (("world", "build"), "building a base needs torch, {}[train]'"),
        (
            (
                *("diagnose", "--model", "m", "--base-url", SERVED),
                "--set=prompts.sources=[{benchmark: xstest}]",
            ),
            "prompts: benchmark xstest needs datasets, {}[hub]'",
        ),
    ],
)
def test_what_an_extra_brings_is_asked_for_in_one_line(
    command: Command, arguments: tuple[str, ...], message: str
) -> None:
    with serve() as server:
        done = command(*(server.url if argument == SERVED else argument for argument in arguments))
    assert done.returncode == 2
    error = message.format("which is not installed: pip install 'sinternal")
    assert done.stderr.splitlines() == [f"error: {error}"]


def test_the_environment_of_the_tests_is_another_one(core: Path) -> None:
    assert not Path(sys.prefix).samefile(core)
