"""Writes docs/commands.md from the command line itself: `python docs/generate_commands.py`.

With `--check` it writes nothing and fails if the file is not what it would write.
"""

from __future__ import annotations

import inspect
from typing import Any

import typer
from written import cell, write

from sinternal.cli.main import app

COMMAND = "python docs/generate_commands.py"


def _section(command: Any, path: str, level: int) -> list[str]:
    lines = ["", f"{'#' * level} {path}", "", inspect.cleandoc(command.help or "").replace("\b\n", "")]
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            lines += _section(inner, f"{path} {name}", level + 1)
        return lines
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    usage = " ".join([path, *(each.metavar or each.name.upper() for each in arguments), "[OPTIONS]"])
    lines += ["", "```text", usage, "```"]
    if command.params:
        lines += ["", "| argument or option | value | meaning |", "|---|---|---|"]
    for each in command.params:
        lines.append(f"| {_names(each)} | {_kind(each)} | {cell(each.help or '')} |")
    if command.epilog:
        lines += ["", inspect.cleandoc(command.epilog)]
    return lines


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    names = [*parameter.opts, *parameter.secondary_opts]
    return ", ".join(f"`{name}`" for name in names)


def _kind(parameter: Any) -> str:
    words = []
    if not getattr(parameter, "is_flag", False) and parameter.param_type_name == "option":
        words.append(f"`{parameter.metavar or parameter.display_type(None).strip('<>').upper()}`".replace("|", "\\|"))
    if parameter.required:
        words.append("required")
    elif parameter.default not in (None, False, [], ()) and not callable(parameter.default):
        words.append(f"by default `{parameter.default}`".replace("|", "\\|"))
    if getattr(parameter, "multiple", False):
        words.append("repeatable")
    return ", ".join(words)


def page() -> str:
    """The whole of docs/commands.md."""
    lines = [
        "# Commands",
        "",
        f"Written by `{COMMAND}` from the command line; do not edit it. Every command takes `--help`, and",
        "`--debug`, which shows the traceback of an error. What exit codes mean is in [terminal](terminal.md).",
    ]
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        lines += _section(command, f"sinternal {name}", 2)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write("commands.md", page(), COMMAND)
