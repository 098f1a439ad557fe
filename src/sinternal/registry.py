"""Plug-ins by name: everything that a user's package can add is an entry point.

A package adds, say, a judge of its own by an entry in its pyproject.toml, and recipes name it from then on:

    [project.entry-points."sinternal.judges"]
    my-guard = "my_package.guards:MyGuard"
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sinternal.errors import RecipeError, RegistryError

Options = TypeVar("Options", bound=BaseModel)


class Kind(StrEnum):
    """What can be plugged in; the value is the name of the entry-point group."""

    MODEL = "sinternal.models"
    """Where a named model comes from: `ModelSource`."""
    ENGINE = "sinternal.engines"
    """Who writes text: `EngineFactory`."""
    BENCHMARK = "sinternal.benchmarks"
    """Where prompts come from: `Benchmark`."""
    ATTACK = "sinternal.attacks"
    """How prompts are wrapped: `Attack`."""
    JUDGE = "sinternal.judges"
    """Who labels responses: `Judge`."""
    EXPERT = "sinternal.experts"
    """Who writes critiques and demonstrations: `Expert`."""
    VERIFICATION = "sinternal.verifications"
    """How a model is asked to verify: `VerificationTask`."""


def names(kind: Kind) -> list[str]:
    """The names of all plug-ins of a kind."""
    return sorted(_points(kind))


def check_name(kind: Kind, name: str) -> None:
    """Make sure that there is a plug-in with this name, without loading it.

    Raises:
        RegistryError: there is none; the message names the nearest one.
    """
    points = _points(kind)
    if name not in points:
        noun = kind.name.lower()
        close = difflib.get_close_matches(name, points, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(points)) or 'none'}"
        raise RegistryError(f"no {noun} is called {name!r}; {hint}")


def load(kind: Kind, name: str) -> Any:
    """The plug-in with this name.

    Raises:
        RegistryError: there is none; the message names the nearest one.
    """
    check_name(kind, name)
    return _points(kind)[name].load()


def read_options(model: type[Options], options: Mapping[str, object], owner: str) -> Options:
    """A plug-in's options, validated.

    Args:
        model: what the options may be.
        options: what the recipe says.
        owner: the plug-in, to be named in the message.

    Raises:
        RecipeError: an option is unknown or of the wrong type.
    """
    if (path := not_finite(options)) is not None:
        raise RecipeError(f"options of {owner}: {path!r}: write a number that is neither infinite nor NaN")
    try:
        return model.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        name = f"{'.'.join(map(str, first['loc']))!r}: " if first["loc"] else ""
        known = ", ".join(model.model_fields) or "none"
        message = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"options of {owner}: {name}{message}; its options are: {known}") from error


def not_finite(node: Any) -> str | None:
    """The dotted path of a number that is infinite or NaN."""
    if isinstance(node, float):
        return None if math.isfinite(node) else ""
    inner = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ()
    found = ((name, not_finite(value)) for name, value in inner)
    return next((f"{name}.{path}".removesuffix(".") for name, path in found if path is not None), None)


@cache
def _points(kind: Kind) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=kind.value)}
