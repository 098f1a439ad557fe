"""Writes docs/settings.md from the models of settings: `python docs/generate_settings.py`.

With `--check` it writes nothing and fails if the file is not what it would write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from written import cell, summary, write

from sinternal.registry import Kind, Plugin, load, names
from sinternal.settings.diagnosis import Diagnosis
from sinternal.settings.recipe import Recipe
from sinternal.settings.words import field_words

COMMAND = "python docs/generate_settings.py"
KINDS = {
    Kind.ENGINE: (
        "Engines",
        "Who writes text: `engine: {name: …, options: {…}}`, and wherever a judge or an expert has an `engine`.",
    ),
    Kind.JUDGE: ("Judges", "Who labels responses: `judges: [{name: …, options: {…}}]`."),
    Kind.EXPERT: ("Experts", "Who writes what is trained on: `expert: {name: …, options: {…}}`."),
    Kind.ATTACK: ("Attacks", "How prompts are disguised: `prompts.eval_attacks: [{name: …, options: {…}}]`."),
    Kind.ADAPTIVE_ATTACK: ("Adaptive attacks", "Who attacks an arm with what it has learnt from its last answers."),
    Kind.BENCHMARK: ("Benchmarks", "Where prompts come from: `prompts.train: [{benchmark: …, options: {…}}]`."),
    Kind.VERIFICATION: ("Verifications", "How a model is asked to verify: `verification: {name: …, options: {…}}`."),
    Kind.MODEL: ("Models", "Where named models come from: `target: {model: …}`."),
}
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥", "max_length": "length ≤"}


class Page:
    """The page as it grows; each model is on it once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.seen: dict[type, str] = {}

    def section(self, model: type[BaseModel], title: str, level: int, about: str = "") -> None:
        """A model's fields, then the models and words that they hold."""
        self.seen[model] = title
        self.lines += ["", f"{'#' * level} {title}", "", about or summary(model)]
        self.table(model)
        for inner in _inner(model):
            if inner not in self.seen:
                if issubclass(inner, Enum):
                    self.words(inner, level + 1)
                else:
                    self.section(inner, inner.__name__, min(level + 1, 4))

    def table(self, model: type[BaseModel]) -> None:
        """The fields of a model."""
        if not model.model_fields:
            return
        docs = field_words(model)
        self.lines += ["", "| field | type | default | meaning |", "|---|---|---|---|"]
        for name, field in model.model_fields.items():
            titles = [*map(_title, _of(field.annotation)), *_sections(field.annotation)]
            links = [f"[{title}](#{_anchor(title)})" for title in titles]
            more = f" See {', '.join(links)}." if links else ""
            kind = f"`{_type(field.annotation)}`{_bounds(field.metadata)}"
            meaning = re.sub(r"\bNone\b", "null", cell(docs.get(name, "") + more))
            self.lines.append(f"| `{name}` | {kind} | {_default(field)} | {meaning} |")

    def words(self, enum: type[Enum], level: int) -> None:
        """The words of an enumeration."""
        self.seen[enum] = _title(enum)
        docs = field_words(enum)
        self.lines += ["", f"{'#' * min(level, 4)} {_title(enum)}", "", summary(enum), ""]
        self.lines += [f"- `{member.value}`: {' '.join(docs.get(member.name, '').split())}" for member in enum]


def _title(inner: type) -> str:
    return inner.__name__


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _of(annotation: Any) -> Iterator[type]:
    """The models and enumerations within a type, plug-ins left out: they are sections of their own."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel | Enum) and not _is_plugin(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from _of(part)


def _sections(annotation: Any) -> Iterator[str]:
    """The sections of the plug-ins within a type."""
    if isinstance(annotation, type) and issubclass(annotation, Plugin) and _is_plugin(annotation):
        yield KINDS[annotation.kind][0]
    for part in get_args(annotation):
        yield from _sections(part)


def _is_plugin(annotation: type) -> bool:
    return issubclass(annotation, Plugin) and annotation.model_fields.keys() <= {"name", "options", "model"}


def _inner(model: type[BaseModel]) -> list[type]:
    return list(dict.fromkeys(inner for field in model.model_fields.values() for inner in _of(field.annotation)))


def _type(annotation: Any) -> str:
    """A type in the words of YAML."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(parts[0])
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin in (Union, UnionType):
        return " or ".join(map(_type, parts))
    if origin is tuple and parts[-1] is not Ellipsis:
        return f"list of {len(parts)} {_type(parts[0])}"
    if origin in (tuple, list):
        return f"list of {_type(parts[0])}"
    if origin in (dict, Mapping):
        return f"mapping of {_type(parts[1])}"
    if issubclass(annotation, Plugin) and _is_plugin(annotation):
        return f"{annotation.kind.noun} ({', '.join(annotation.model_fields)})"
    words = {type(None): "null", Any: "any value", object: "any value", dict: "mapping", Path: "path"}
    return words.get(annotation, annotation.__name__)


def _bounds(metadata: list[Any]) -> str:
    said = [
        f"{sign} {getattr(rule, name)}" for rule in metadata for name, sign in BOUNDS.items() if hasattr(rule, name)
    ]
    return f" {', '.join(said)}" if said else ""


def _default(field: Any) -> str:
    if field.default_factory is not None:
        return "its defaults"
    if field.default is PydanticUndefined:
        return "**required**"
    return _value(field.default)


def _value(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "its defaults" if not isinstance(value, Plugin) else f"`{value.name}`"
    if value is None:
        return "`null`"
    if isinstance(value, Enum):
        return f"`{value.value}`"
    if isinstance(value, tuple | list):
        return f"`[{', '.join(_value(each).strip('`') for each in value)}]`"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return "`{}`" if text == "{}" else f"`{cell(' '.join(text.split()))}`" if text else "empty"


def page() -> str:
    """The whole of docs/settings.md."""
    made = Page()
    made.lines += [
        "# Settings",
        "",
        f"Written by `{COMMAND}` from the models that validate them; do not edit it. A field that is not here is",
        "an error, and so is a value of another type. `--set a.b=c` changes one field, with `c` in YAML;",
        "`sinternal schema recipe` prints the same for editors.",
    ]
    made.section(
        Recipe, "Recipe", 2, "A study: one YAML file. `extends: NAME` takes over all fields of another recipe."
    )
    made.section(
        Diagnosis, "Diagnosis", 2, "What `sinternal diagnose` takes by `--settings`, or field by field by `--set`."
    )
    for kind, (title, about) in KINDS.items():
        made.lines += ["", f"## {title}", "", about]
        same: dict[str, list[str]] = {}
        for name in names(kind):
            plugin = load(kind, name)
            if not plugin.Options.model_fields:
                same.setdefault("", []).append(f"`{name}`")
            elif plugin.Options in made.seen:
                same.setdefault(made.seen[plugin.Options], []).append(f"`{name}`")
            else:
                made.section(
                    plugin.Options, f"{kind.noun} {name}", 3, summary(plugin) if isinstance(plugin, type) else ""
                )
        for title, of in sorted(same.items()):
            options = f"With the options of [{title}](#{_anchor(title)})" if title else "Without options"
            made.lines += ["", f"{options}: {', '.join(of)}."]
    return "\n".join(made.lines) + "\n"


if __name__ == "__main__":
    write("settings.md", page(), COMMAND)
