"""Writes docs/api.md from the docstrings of the public names: `python docs/generate_api.py`.

With `--check` it writes nothing and fails if the file is not what it would write.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path

import sinternal
from sinternal import errors

FILE = Path(__file__).parent / "api.md"
COMMAND = "python docs/generate_api.py"
WIDTH = 100
"""Characters beyond which a signature has a line for each argument."""
KINDS = {
    "Functions": "What the command line does, as functions.",
    "Classes": "What functions take and give.",
    "Records": "Rows of tables, and the words in their columns.",
    "Contracts": "What a plug-in of your own has to be; an entry point of your package registers it.",
    "Errors": "What can go wrong, named by what has to be mended. Messages are one line.",
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def page() -> str:
    """The whole of docs/api.md."""
    entries: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for name in sorted(sinternal._HOMES, key=str.lower):
        item = getattr(sinternal, name)
        entries[_kind(item)].append(_entry(name, item))
    children = [one for one in vars(errors).values() if isinstance(one, type) and one.__module__ == errors.__name__]
    rows = [f"- `sinternal.errors.{one.__name__}`: {inspect.getdoc(one)}" for one in children[1:]]
    entries["Errors"].append("\n".join(rows))
    lines = [
        "# API",
        "",
        f"Written by `{COMMAND}` from the docstrings; do not edit it. Everything is in `sinternal` itself,",
        "is loaded when it is first used, and has its types; `sinternal.__version__` is the installed version.",
    ]
    for kind, about in KINDS.items():
        lines += ["", f"## {kind}", "", about, "", "\n\n".join(entries[kind])]
    return "\n".join(lines) + "\n"


def _kind(item: object) -> str:
    if not isinstance(item, type):
        return "Functions"
    if issubclass(item, Exception):
        return "Errors"
    if getattr(item, "_is_protocol", False):
        return "Contracts"
    return "Records" if item.__module__ == "sinternal.records" else "Classes"


def _entry(name: str, item: object) -> str:
    tree = ast.parse(textwrap.dedent(inspect.getsource(item))).body[0]
    if isinstance(tree, Function):
        return "\n".join([f"### {name}", "", *_code(tree), "", *_prose(ast.get_docstring(tree))])
    assert isinstance(tree, ast.ClassDef)
    opening = next((one for one in tree.body if isinstance(one, Function) and one.name == "__init__"), None)
    lines = [f"### {name}", ""]
    if opening is not None:
        lines += [*_code(opening, name), ""]
    lines += _prose(ast.get_docstring(tree))
    if opening is not None and (told := ast.get_docstring(opening)):
        lines += ["", *_prose(told)]
    if fields := list(_fields(tree, is_enum=isinstance(item, type) and issubclass(item, Enum))):
        lines += ["", *fields]
    for method in tree.body:
        if isinstance(method, Function) and not method.name.startswith("_"):
            lines += ["", *_code(method), "", *_prose(ast.get_docstring(method))]
    return "\n".join(lines)


def _fields(tree: ast.ClassDef, *, is_enum: bool) -> Iterator[str]:
    """The fields of a class that have a docstring beneath them."""
    for statement, after in zip(tree.body, tree.body[1:], strict=False):
        if not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)):
            continue
        about = " ".join(str(after.value.value).split())
        if isinstance(statement, ast.AnnAssign):
            default = "" if statement.value is None else f" = {ast.unparse(statement.value)}"
            yield f"- `{ast.unparse(statement.target)}: {ast.unparse(statement.annotation)}{default}`: {about}"
        elif isinstance(statement, ast.Assign) and is_enum:
            yield f"- `{ast.unparse(statement)}`: {about}"


def _code(function: Function, name: str | None = None) -> list[str]:
    """A signature as a block of code; of a class, without its `self`."""
    marks = [f"@{ast.unparse(mark)}" for mark in function.decorator_list]
    arguments = _arguments(function.args)
    if name is not None:
        arguments = arguments[1:]
    head = f"def {function.name}(" if name is None else f"{name}("
    tail = f") -> {ast.unparse(function.returns)}" if function.returns and name is None else ")"
    line = head + ", ".join(arguments) + tail
    long = len(line) > WIDTH
    body = [head, *(f"    {argument}," for argument in arguments), tail] if long else [line]
    return ["```python", *marks, *body, "```"]


def _arguments(arguments: ast.arguments) -> list[str]:
    """Each argument as it is written, with the bare `*` before those that are named."""
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults: Sequence[ast.expr | None] = [*[None] * (len(plain) - len(arguments.defaults)), *arguments.defaults]
    written = [_argument(one, default) for one, default in zip(plain, defaults, strict=True)]
    if arguments.vararg:
        written.append(f"*{_argument(arguments.vararg, None)}")
    elif arguments.kwonlyargs:
        written.append("*")
    written += [
        _argument(one, default) for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return [*written, f"**{_argument(arguments.kwarg, None)}"] if arguments.kwarg else written


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(argument) + ("" if default is None else f" = {ast.unparse(default)}")


def _prose(docstring: str | None) -> list[str]:
    """A docstring in Google's style as Markdown: its sections are lists."""
    lines: list[str] = []
    section = False
    for line in inspect.cleandoc(docstring or "").splitlines():
        if line in ("Args:", "Returns:", "Yields:", "Raises:"):
            lines += [f"*{line.removesuffix(':')}*", ""]
            section = True
        elif section and line.startswith("        "):
            lines[-1] += f" {line.strip()}"
        elif section and line.startswith("    "):
            name, colon, about = line.strip().partition(": ")
            lines.append(f"- `{name}`: {about}" if colon and " " not in name else f"- {line.strip()}")
        else:
            section = section and not line
            lines.append(line)
    return lines


def main() -> None:
    """Write the page, or compare it."""
    text = page()
    if "--check" not in sys.argv:
        FILE.write_text(text)
    elif not FILE.exists() or FILE.read_text() != text:
        sys.exit(f"docs/api.md is not what the docstrings say; run: {COMMAND}")


if __name__ == "__main__":
    main()
