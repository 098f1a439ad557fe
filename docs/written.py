"""What the generators of pages share: texts in tables, and writing a page or comparing it."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

DOCS = Path(__file__).parent


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
