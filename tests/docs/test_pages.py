"""Every command and example of every page is run in a small way, or read as the program that it calls would read it."""

from __future__ import annotations

import importlib
import json
import os
import runpy
import shutil
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import chdir
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import yaml

import sinternal
from sinternal import registry
from sinternal.errors import SInternalError
from sinternal.settings.recipe import load_recipe
from sinternal.study import execute
from sinternal.study import run as running
from sinternal.tools.diagnosis import load_diagnosis
from tests.commands import in_process
from tests.conftest import TINY
from tests.docs.blocks import ROOT, Block, Way, blocks, mistake, pages
from tests.docs.commands import LEFT_OPEN, Command, check, check_python, commands
from tests.servers import Body, Raw, serve

ALL = os.environ.get("SINTERNAL_DOCS") == "all"
"""Whether what takes long is run, too: by `make docs-test`."""
ADDRESS = "http://localhost:8000/v1"
"""Of the server of which pages speak."""
RUN_FOLDERS = ("mine", "a", "b")
SMALL = {
    "run": [f"--set={field}" for field in TINY],
    "diagnose": ["--set=prompts.limit=4", "--set=verification_sampling.n=2"],
}
"""What makes a command quick."""
FILES = {
    "my-recipe.yaml": "extends: r1-distill-qwen-7b\n",
    "my-diagnosis.yaml": (ROOT / "src/sinternal/settings/diagnoses/default.yaml").read_text(),
}
"""Files of which pages speak without showing them."""


def says(body: Body) -> Body:
    """The words of the server of which pages speak."""
    asked = str(body["messages"][-1]["content"])
    if body["model"] == "guard":
        return {"role": "assistant", "content": "Safety: Safe\nCategories: None\nRefusal: No"}
    if "Reasoning:" in asked:
        return {"role": "assistant", "content": "Reasoning: It is mild.\nAnswer: Gladly."}
    return {"role": "assistant", "content": "It is fine.\nVerdict: safe" if "Verdict" in asked else "Here you are."}


def lists(method: str, *_more: object) -> Raw | None:
    """The models that pages name."""
    return (
        Raw(200, {"data": [{"id": name} for name in ("my-model", "my-new-model", "guard")]})
        if method == "GET"
        else None
    )


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serve(reply=says, elsewhere=lists) as server:
        yield server.url


class InThisProcess:
    """Stands for the pool of workers: quicker by all that a new process imports."""

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        pass

    def __enter__(self) -> InThisProcess:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Do it at once."""
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:  # it is told when the result is asked for
            future.set_exception(error)
        return future

    def shutdown(self, **_options: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def _no_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "ProcessPoolExecutor", InThisProcess)


@pytest.fixture(autouse=True)
def _plugins_anew() -> Iterator[None]:
    """Forget the plug-ins of a page once its test is over."""
    yield
    registry._points.cache_clear()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `sinternal.run` in a page be the tiny run."""
    at_full_size = running.run

    @wraps(at_full_size)
    def run(recipe: Any, *, overrides: Sequence[str] = (), **options: Any) -> sinternal.Run:
        more = TINY if isinstance(recipe, str) and not _trains_nothing(Path(recipe)) else ()
        return at_full_size(recipe, overrides=[*overrides, *more], **options)

    monkeypatch.setattr(running, "run", run)


def test_every_block_says_in_which_language_it_is_and_how_it_is_tested() -> None:
    assert [words for page in pages() for block in blocks(page) if (words := mistake(block))] == []


def test_a_command_that_is_only_indented_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# Title\n\n    .venv/bin/sinternal list\n")
    with pytest.raises(AssertionError, match="a command is in a fenced block"):
        list(blocks(tmp_path / "page.md"))


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
@pytest.mark.usefixtures("small")
def test_the_examples_of(
    page: Path,
    tiny_run: Path,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    counts: Counter[str] = Counter()
    names: dict[str, Any] = {"__name__": "__main__"}
    of_page = list(blocks(page))
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    if any(block.way in (Way.RUN, Way.FAILS) or (ALL and block.way is Way.SLOW) for block in of_page):
        _lay_runs(tiny_run, tmp_path / "runs")
    for block in of_page:
        with chdir(tmp_path):
            try:
                counts[_test(block, tmp_path, address, names, monkeypatch)] += 1
            except (Exception, SystemExit) as error:
                pytest.fail(
                    f"{block.place}: {type(error).__name__}: {error}",
                    pytrace=not isinstance(error, AssertionError | SInternalError),
                )
    record_property("blocks", dict(counts))


def _lay_runs(tiny_run: Path, runs: Path) -> None:
    runs.mkdir()
    shutil.copytree(tiny_run, runs / "quickstart")
    for name in RUN_FOLDERS:
        (runs / name).symlink_to("quickstart")


def _test(block: Block, folder: Path, address: str, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """Test one block; returns how."""
    if block.way is None or block.way is Way.OTHER:
        _read(block)
        return "shown" if block.way is None else "of other programs"
    if block.way is Way.FILE:
        _write(block, folder, block.text.replace(ADDRESS, address))
        return "files"
    if block.way in (Way.PART, Way.RECIPE, Way.DIAGNOSIS):
        _validate(block)
        return "validated"
    runs = block.way is not Way.PARSE and (ALL or block.way is not Way.SLOW)
    if block.language == "python":
        check_python(block.text)
        if runs:
            exec(compile(block.text.replace(ADDRESS, address), block.place, "exec"), names)
    else:
        for command in commands(block):
            if runs and command.program == "sinternal":
                _run(Command([word.replace(ADDRESS, address) for word in command.words], command.to), block, folder)
            elif runs and command.program == "pip":
                _install(folder / command.words[-1], monkeypatch)
            elif runs and command.program == "pytest":
                _call_tests(folder / command.words[-1])
            else:
                check(command, folder)
    return "run" if runs else "parsed"


def _write(block: Block, folder: Path, text: str) -> None:
    file = folder / block.words
    assert file.resolve().is_relative_to(folder.resolve())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    if block.language == "python":
        compile(text, block.words, "exec")


def _validate(block: Block) -> None:
    """Make sure that settings are, over those that they change."""
    if block.way is Way.DIAGNOSIS:
        base = yaml.safe_load((ROOT / "src/sinternal/settings/diagnoses/default.yaml").read_text())
        Path("part.yaml").write_text(yaml.safe_dump({**base, **yaml.safe_load(block.text)}))
        load_diagnosis("model", "part.yaml")
        return
    Path("part.yaml").write_text(block.text if block.way is Way.RECIPE else f"extends: {block.words}\n{block.text}")
    load_recipe("part.yaml")


def _smaller(words: Sequence[str], folder: Path) -> Sequence[str]:
    """What makes a command short: a recipe without training has no settings of it."""
    if words[0] == "run" and len(words) > 1 and _trains_nothing(folder / words[1]):
        return ["--set=prompts.eval_limit=8"]
    return SMALL.get(words[0], ())


def _trains_nothing(recipe: Path) -> bool:
    return recipe.is_file() and not any(word in recipe.read_text() for word in ("train_on", "extends"))


def _run(command: Command, block: Block, folder: Path) -> None:
    arguments = [*command.words[1:], *_smaller(command.words[1:], folder)]
    done = in_process(*arguments, cwd=folder)
    failed = done.returncode != 0
    assert failed == (block.way is Way.FAILS), f"{' '.join(arguments)}: exit code {done.returncode}: {done.stderr}"
    if command.to:
        (folder / command.to).write_text(done.stdout)


def _install(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a page's package on the path, with what an installed one says of itself, as pip would for an editable one."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    info = package / f"{project['name'].replace('-', '_')}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [line for group, points in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in points.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(package))
    for file in package.glob("*.py"):
        monkeypatch.delitem(sys.modules, file.stem, raising=False)
    importlib.invalidate_caches()
    registry._points.cache_clear()


def _call_tests(package: Path) -> None:
    """Call a page's own tests."""
    called = 0
    for file in package.glob("test_*.py"):
        for name, test in runpy.run_path(str(file)).items():
            if name.startswith("test_"):
                test()
                called += 1
    assert called, f"{package.name} has no tests"


def _read(block: Block) -> None:
    """Make sure that what is data can be read as such."""
    if LEFT_OPEN in block.text and block.language != "yaml":
        return
    if block.language == "json":
        json.loads(block.text)
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif block.language == "yaml":
        list(yaml.safe_load_all(block.text))
