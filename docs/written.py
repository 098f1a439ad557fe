"""What the generators of pages share: docstrings beneath fields, and writing a page or comparing it."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from functools import cache
from pathlib import Path

DOCS = Path(__file__).parent


@cache
def field_docs(model: type) -> dict[str, str]:
    """What stands beneath each field of a class, in those that it inherits from, too."""
    docs: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if not each.__module__.startswith("sinternal"):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
        assert isinstance(tree, ast.ClassDef)
        for statement, after in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                target = statement.target if isinstance(statement, ast.AnnAssign) else None
                if isinstance(statement, ast.Assign):
                    target = statement.targets[0]  # type: ignore[assignment]
                if target is not None:
                    docs[ast.unparse(target)] = " ".join(str(after.value.value).split())
    return docs


def summary(item: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(item) or "").split("\n\n")[0].split())


def cell(text: str) -> str:
    """A text as a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;") if "`" not in text else _outside_code(text)


def _outside_code(text: str) -> str:
    parts = text.split("`")
    return "`".join(
        part.replace("|", "\\|") if i % 2 else part.replace("|", "\\|").replace("<", "&lt;")
        for i, part in enumerate(parts)
    ).replace("\n", " ")


def write(name: str, text: str, command: str) -> None:
    """Write a page, or with `--check` compare it, and fail if it is another."""
    file = DOCS / name
    if "--check" not in sys.argv:
        file.write_text(text)
    elif not file.exists() or file.read_text() != text:
        sys.exit(f"docs/{name} is not what the code says; run: {command}")
