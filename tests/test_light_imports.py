"""What is only looked at loads nothing heavy: every case in a fresh process, by what it has in `sys.modules`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bench.invented import make_report

from sinternal.report.results import to_json
from sinternal.settings.recipe import load_recipe
from sinternal.store import Draft, Store
from sinternal.study.plan import make_plan
from sinternal.study.run import FILES
from tests.commands import HANGS

HEAVY = {
    "torch",
    "transformers",
    "tokenizers",
    "trl",
    "peft",
    "datasets",
    "scipy",
    "pandas",
    "pyarrow",
    "openai",
    "ray",
}
LOOK = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
COMMAND = (
    "import atexit, sys; from sinternal.cli.main import main; atexit.register(lambda: exec(sys.argv.pop())); main({})"
)


def loaded(code: str, cwd: Path) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, LOOK], cwd=cwd, capture_output=True, text=True, timeout=HANGS, check=True
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "module",
    [
        "sinternal",
        "sinternal.settings.recipe",
        "sinternal.registry",
        "sinternal.prompting.chat",
        "sinternal.prompting.encoding",
        "sinternal.study.execute",
        "sinternal.tools.verifier",
        "sinternal.tools.agreement",
        "sinternal.study.forecast",
        "sinternal.integrations.verl.export",
    ],
)
def test_an_import_loads_nothing_heavy(module: str, tmp_path: Path) -> None:
    modules = loaded(f"import sys, {module}; exec(sys.argv.pop())", tmp_path)
    assert module.partition(".")[0] in modules
    assert not modules & HEAVY


def test_the_bare_package_loads_none_of_its_dependencies(tmp_path: Path) -> None:
    assert not loaded("import sys, sinternal; exec(sys.argv.pop())", tmp_path) & {*HEAVY, "numpy", "pydantic", "yaml"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["list"],
        ["list", "recipes"],
        ["list", "attacks"],
        ["plan", "quickstart", "--hardware", "8xH100"],
        ["fetch"],
    ],
)
def test_a_command_that_only_looks_loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    modules = loaded(COMMAND.format(arguments), tmp_path)
    assert "sinternal" in modules
    assert not modules & HEAVY


def test_a_run_that_has_nothing_left_to_do_loads_nothing_heavy(tmp_path: Path) -> None:
    def build(draft: Draft) -> None:
        for name in FILES:
            (draft.path / name).touch()
        draft.write_json("results", to_json(make_report()))

    last, store = make_plan(load_recipe("quickstart")).report, tmp_path / "store"
    made = {"stage_version": last.stage.version, "config": {}, "inputs": {}}
    Store(store).make("report", last.key, build, **made, progress=lambda _done, _total: None)  # type: ignore[arg-type]
    modules = loaded(COMMAND.format(["run", "quickstart", "--out", "out", "--store", str(store)]), tmp_path)
    assert (tmp_path / "out" / "results.json").is_file()
    assert not modules & HEAVY
