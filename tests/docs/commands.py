"""Commands in pages, read as the programs that they call would read them."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import typer

import sinternal
from sinternal.cli.arguments import parse_assignments
from sinternal.cli.main import DEBUG, app
from sinternal.registry import Kind, check_name
from sinternal.settings.base import validate_settings
from sinternal.settings.files import packaged_recipes
from sinternal.settings.plugins import EnginePlugin, JudgePlugin
from sinternal.settings.recipe import load_recipe
from sinternal.tools.diagnosis import load_diagnosis
from tests.docs.blocks import ROOT, Block

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TARGETS = set(re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
OTHER_PROGRAMS = ("cat", "cd", "git", "ls", "mkdir", "pre-commit", "pytest", "source", "trl", "vllm")
"""Programs that pages may call and no test looks into."""
LEFT_OPEN = "…"
"""What a reader fills in."""
VARIABLE = re.compile(r"^[A-Z_]+=")


class Command(NamedTuple):
    """One command of a page."""

    words: list[str]
    to: str | None
    """The file that receives what it prints."""

    @property
    def program(self) -> str:
        """Its program, wherever it lies."""
        return self.words[0].rpartition("/")[2]


def commands(block: Block) -> Iterator[Command]:
    """The commands of a block."""
    text = block.text.replace("\\\n", " ")
    lines = text.splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    for line in lines:
        words = shlex.split(line, comments=True)
        assert not {"|", "&&", ";", "<"} & set(words), f"{block.place}: one command a line, without pipes: {line}"
        while words and VARIABLE.match(words[0]):
            words.pop(0)
        to = None
        if ">" in words:
            to = words[words.index(">") + 1]
            words = words[: words.index(">")]
        if words:
            yield Command(words, to)


def check(command: Command, folder: Path) -> None:
    """Make sure that a command would be understood.

    Args:
        command: a command.
        folder: where the page's files are.

    Raises:
        AssertionError: it would not.
    """
    words = command.words[1:]
    match command.program:
        case "sinternal":
            _check_sinternal([word for word in words if word != DEBUG])
        case "make":
            named = [word for word in words if "=" not in word]
            assert set(named) <= TARGETS, f"make has no target {named}"
        case "pip":
            for extra in re.findall(r"(?:sinternal|\.)\[([\w,-]+)\]", " ".join(words)):
                assert set(extra.split(",")) <= set(PROJECT["optional-dependencies"]), f"no extra {extra}"
        case "inspect":
            _check_inspect(words)
        case "python" | "python3":
            if words[0] == "-m":
                assert words[1] in ("pytest", "http.server", "venv", "pip") or find_spec(words[1]), (
                    f"no module {words[1]}"
                )
            elif words[0] != "-c":
                assert (ROOT / words[0]).is_file() or (folder / words[0]).is_file(), f"no file {words[0]}"
        case other:
            assert other in OTHER_PROGRAMS, f"no test knows the program {other!r}"


def _check_sinternal(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    try:
        context = command.make_context("sinternal", list(words))
        while hasattr(command, "resolve_command"):
            rest = [*getattr(context, "_protected_args", ()), *context.args]
            if not rest:
                return  # the group itself, with `--help` or nothing
            name, command, rest = command.resolve_command(context, rest)
            context = command.make_context(name, rest, parent=context)
    except typer.Exit:
        return  # --version, --help
    except Exception as error:
        raise AssertionError(f"{' '.join(words)}: {error}") from error
    _check_meaning(context.info_name, context.params)


def _check_meaning(name: str, given: dict[str, Any]) -> None:
    """What typer does not know: recipes, fields and plug-ins."""
    if LEFT_OPEN in str(given):
        return
    overrides = given.get("overrides") or ()
    recipe = given.get("recipe")
    if recipe and (str(recipe) in packaged_recipes() or Path(recipe).is_file()):
        load_recipe(str(recipe), overrides)
    elif recipe and name in ("run", "plan"):
        raise AssertionError(f"no recipe {recipe!r}: neither packaged nor a file of this page")
    if name == "diagnose":
        engine = given["engine"] or ("openai" if given["base_url"] else None)
        options = parse_assignments(given["options"]) | ({"base_url": given["base_url"]} if given["base_url"] else {})
        chosen = validate_settings(EnginePlugin, {"name": engine, "options": options}, "engine") if engine else None
        settings = given["settings"]
        load_diagnosis(given["model"] if "/" not in given["model"] else "model", settings, chosen, overrides)
    if name in ("judge", "agree") and given["name"]:
        check_name(Kind.JUDGE, given["name"])
        validate_settings(JudgePlugin, {"name": given["name"], "options": parse_assignments(given["options"])}, "judge")


def _check_inspect(words: list[str]) -> None:
    """Our tasks, and the names of their arguments."""
    if words[0] != "eval":
        assert words[0] in ("view", "score"), f"inspect {words[0]}"
        return
    tree = ast.parse((ROOT / "src/sinternal/integrations/inspect/tasks.py").read_text())
    tasks = {
        node.name: {argument.arg for argument in node.args.args}
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any(ast.unparse(mark) == "task" for mark in node.decorator_list)
    }
    package, _, task = words[1].partition("/")
    if package == "sinternal":
        assert task in tasks, f"no task {words[1]}"
        named = {value.partition("=")[0] for flag, value in pairwise(words) if flag == "-T"}
        assert named <= tasks[task], f"{words[1]} takes no {named - tasks[task]}"


def check_python(text: str) -> None:
    """Make sure that what a script takes of this package is there, with the arguments that it names.

    Raises:
        AssertionError: it is not.
        SyntaxError: it is no Python.
    """
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("sinternal"):
            module = import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "sinternal":
            assert node.attr in sinternal.__all__, f"sinternal has no {node.attr}"
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("sinternal."):
            item = getattr(sinternal, ast.unparse(node.func).split(".")[1])
            if ast.unparse(node.func).count(".") == 1:
                takes = inspect.signature(item).parameters
                for keyword in node.keywords:
                    assert keyword.arg in takes, f"{ast.unparse(node.func)} takes no {keyword.arg}"
