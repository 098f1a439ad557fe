"""Plug-ins by name: everything that a user's package can add is an entry point.

A package adds, say, a judge of its own by an entry in its pyproject.toml, and recipes name it from then on:

    [project.entry-points."sinternal.judges"]
    my-guard = "my_package.guards:MyGuard"
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from sinternal.errors import RecipeError, RegistryError
from sinternal.extras import explained
from sinternal.fingerprints import fingerprint
from sinternal.validation import explain_options, nearest, not_finite

OURS = "sinternal"
"""The distribution whose plug-ins are built in."""
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
        close = nearest(name, points)
        hint = f"did you mean {close!r}?" if close else f"there are: {', '.join(sorted(points)) or 'none'}"
        raise RegistryError(f"no {noun} is called {name!r}; {hint}")


def load(kind: Kind, name: str) -> Any:
    """The plug-in with this name.

    Raises:
        RegistryError: there is none, and the message names the nearest one; or its package cannot be imported.
    """
    check_name(kind, name)
    point = _points(kind)[name]
    try:
        return point.load()
    except Exception as error:  # the code of others may fail in any way as it is imported
        if _is_ours(point):
            if isinstance(error, ModuleNotFoundError):
                raise explained(error, f"{kind.name.lower()} {name!r}") from error
            raise
        owner = point.dist.name if point.dist else point.module
        raise RegistryError(
            f"{kind.name.lower()} {name!r} of package {owner!r} cannot be imported from {point.value} "
            f"({type(error).__name__}: {' '.join(str(error).split())}); mend the package, or install it again"
        ) from error


class Origin(NamedTuple):
    """Where a plug-in comes from that is not built in."""

    distribution: str
    """The package as it was installed."""
    version: str
    """Its version."""
    source: str
    """Hash of its code and data; empty if they are not on this disk as files."""
    released: bool
    """Whether it came from an index, where a version is never changed."""

    @property
    def revision(self) -> str:
        """What a figure is marked with; the version says little of a package that is being worked on."""
        named = f"{self.distribution} {self.version}"
        return named if self.released or not self.source else f"{named} (source {self.source[:8]})"


def origins(name: str) -> dict[str, Origin]:
    """Where the plug-ins with this name come from, by kind; those that are built in are left out."""
    found = ((kind, _points(kind).get(name)) for kind in Kind)
    return {kind.name.lower(): _origin(point) for kind, point in found if point and not _is_ours(point)}


def revision(kind: Kind, name: str) -> str:
    """Which version of a plug-in's code is at work: its package's, or that of this one."""
    origin = origins(name).get(kind.name.lower())
    return origin.revision if origin else f"{OURS} {version(OURS)}"


def _is_ours(point: EntryPoint) -> bool:
    return point.dist.name == OURS if point.dist else point.module.partition(".")[0] == OURS


def _origin(point: EntryPoint) -> Origin:
    top = point.module.partition(".")[0]
    named = (point.dist.read_text("top_level.txt") or "").split() if point.dist else []
    sources = [hash_ for module in sorted({top, *named}) for hash_ in _sources(module)]
    if point.dist is None:
        return Origin(top, "", "-".join(sources), released=False)
    # Written by installers (PEP 610) for what came from a folder, a repository or an address.
    direct = point.dist.read_text("direct_url.json") is not None or point.dist.read_text("RECORD") is None
    return Origin(point.dist.name, point.dist.version, "-".join(sources), released=not direct)


def _sources(module: str) -> list[str]:
    """A hash for each place that a module's files lie in, without importing it."""
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return []
    if found is None:
        return []
    places = list(found.submodule_search_locations or ()) or [found.origin or ""]
    return [fingerprint(Path(place), _is_source) for place in places if Path(place).exists()]


def _is_source(file: Path) -> bool:
    made = any(part.startswith(".") or part == "__pycache__" for part in file.parts)
    return not made and file.suffix not in (".pyc", ".pyo")


def read_options(model: type[Options], options: Mapping[str, object], owner: str) -> Options:
    """A plug-in's options, validated.

    Args:
        model: what the options may be.
        options: what the recipe says.
        owner: the plug-in, to be named in the message.

    Raises:
        RecipeError: an option is unknown or of the wrong type.
    """
    if infinite := next(not_finite(options), None):
        raise RecipeError(f"options of {owner}: {infinite!r} is no finite number, which every setting must be")
    try:
        return model.model_validate(options)
    except ValidationError as error:
        known = ", ".join(model.model_fields) or "none"
        raise RecipeError(f"options of {owner}: {explain_options(error, model)}; its options are: {known}") from error


@cache
def _points(kind: Kind) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=kind.value)}
