"""The docstrings of fields, as text: what a schema, a reference and a new recipe say of each.

Pydantic can read them itself, but would do so whenever settings are imported, and leaves out inherited ones.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, cast


@cache
def field_words(kind: type) -> dict[str, str]:
    """The docstring of each field of a class, inherited ones among them."""
    return words_of(kind, lambda base: base.__module__.startswith("sinternal."))


def words_of(kind: type, described: Callable[[type], Any]) -> dict[str, str]:
    """The same, of those of its bases that are described."""
    docstrings: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if described(base):
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            for field, text in pairwise(cast(ast.ClassDef, definition).body):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    docstrings[ast.unparse(field.target)] = inspect.cleandoc(ast.literal_eval(text.value))
    return docstrings
