"""Writes docs/commands.md from the command line itself: `python docs/generate_commands.py`.

With `--check` it writes nothing and fails if the file is not what it would write.
"""

from __future__ import annotations

import inspect
import textwrap
from typing import Any

import typer
from written import cell, write

from sinternal.cli.examples import EXAMPLES
from sinternal.cli.main import app

COMMAND = "python docs/generate_commands.py"


def _section(command: Any, path: str, level: int) -> list[str]:
    lines = ["", f"{'#' * level} {path}", "", inspect.cleandoc(command.help or "").replace("\b\n", "")]
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            lines += _section(inner, f"{path} {name}", level + 1)
        return lines
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    usage = " ".join([path, *map(_metavar, arguments), "[OPTIONS]"])
    lines += ["", "```text", usage, "```"]
    if command.params:
        lines += ["", "| argument or option | value | meaning |", "|---|---|---|"]
    for each in command.params:
        lines.append(f"| {_names(each)} | {_kind(each)} | {cell(each.help or '')} |")
    if examples := EXAMPLES.get(path.removeprefix("sinternal ")):
        lines += ["", "```sh", *map(_broken, examples), "```"]
    return lines


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_metavar(parameter)}`"
    names = [*parameter.opts, *parameter.secondary_opts]
    return ", ".join(f"`{name}`" for name in names)


def _metavar(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _kind(parameter: Any) -> str:
    words = []
    if not getattr(parameter, "is_flag", False) and parameter.param_type_name == "option":
        words.append(f"`{parameter.metavar or _type(parameter)}`".replace("|", "\\|"))
    if parameter.required:
        words.append("required")
    elif parameter.default is True:
        words.append("on by default")
    elif parameter.default not in (None, False, [], ()) and not callable(parameter.default):
        words.append(f"by default `{parameter.default}`".replace("|", "\\|"))
    if getattr(parameter, "multiple", False):
        words.append("repeatable")
    return ", ".join(words)


def _broken(example: str) -> str:
    """A command over as many lines as it takes, as a shell reads it."""
    lines = textwrap.wrap(example, 100, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False)
    return " \\\n".join(lines)


def _type(option: Any) -> str:
    return str(option.display_type(None)).strip("<>").upper().removesuffix(" RANGE")


def page() -> str:
    """The whole of docs/commands.md."""
    lines = [
        "# Commands",
        "",
        f"Written by `{COMMAND}` from the command line; do not edit it. Every command takes `--help`,",
        "`--quiet` (results and errors alone) and `--debug`, which shows the traceback of an error. What exit codes",
        "mean is in [terminal](terminal.md).",
    ]
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        lines += _section(command, f"sinternal {name}", 2)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write("commands.md", page(), COMMAND)
