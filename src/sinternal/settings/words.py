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

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from sinternal.registry import Plugin, names

_NOT_DESCRIBED = {"builtins", "enum", "pydantic", "typing"}
"""Packages whose classes are no settings."""


@cache
def field_words(kind: type) -> dict[str, str]:
    """The docstring of each field of a model, or member of an enumeration, inherited ones among them."""
    return words_of(kind, lambda base: base.__module__.partition(".")[0] not in _NOT_DESCRIBED)


def words_of(kind: type, described: Callable[[type], Any]) -> dict[str, str]:
    """The same, of those of its bases that are described; nothing of a class whose source is not there."""
    docstrings: dict[str, str] = {}
    for base in filter(described, reversed(kind.__mro__)):
        for field, text in pairwise(_body(base)):
            if isinstance(field, ast.AnnAssign | ast.Assign) and isinstance(text, ast.Expr):
                target = field.target if isinstance(field, ast.AnnAssign) else field.targets[0]
                docstrings[ast.unparse(target)] = inspect.cleandoc(ast.literal_eval(text.value))
    return docstrings


def _body(kind: type) -> list[ast.stmt]:
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError, SyntaxError):  # made in a shell, by a function, or installed without its source
        return []
    return cast(ast.ClassDef, definition).body


class Described(GenerateJsonSchema):
    """A JSON schema in which each field has its words, for an editor to show; and each plug-in the names there are."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """The schema of a model."""
        described = super().model_schema(schema)
        fields = described.get("properties", {})
        for field, text in field_words(cast(type, schema["cls"])).items():
            if field in fields:
                fields[field].setdefault("description", " ".join(text.split()))
        if issubclass(schema["cls"], Plugin) and "name" in fields:
            fields["name"]["examples"] = names(schema["cls"].kind)
        return described

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        """The schema of an enumeration, and what each of its words means (as the YAML language server reads it)."""
        words = field_words(schema["cls"])
        meanings = [" ".join(words.get(each.name, "").split()) for each in schema["members"]]
        return super().enum_schema(schema) | ({"enumDescriptions": meanings} if words else {})
