"""Plug-ins by name: everything that a user's package can add is an entry point.

A package adds, say, a judge of its own by an entry in its pyproject.toml, and recipes name it from then on:

    [project.entry-points."sinternal.judges"]
    my-guard = "my_package.guards:MyGuard"

A plug-in is a class (or an object that is called like one) with a pydantic model `Options` of what it can be told, and
is opened with a validated object of that model. `Plugin` is the field of settings that names one.
"""

from __future__ import annotations

import importlib.util
from abc import ABCMeta
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points, version
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from sinternal.errors import RegistryError
from sinternal.extras import explained
from sinternal.fingerprints import fingerprint
from sinternal.redaction import remember, secrets_in
from sinternal.validation import nearest, not_finite, option_errors, validation_error

OURS = "sinternal"
"""The distribution whose plug-ins are built in."""


class Kind(StrEnum):
    """What can be plugged in; the value is the name of the entry-point group."""

    MODEL = "sinternal.models"
    """Where a named model comes from: `ModelSource`."""
    ENGINE = "sinternal.engines"
    """Who writes text: `Engine`."""
    BENCHMARK = "sinternal.benchmarks"
    """Where prompts come from: `Benchmark`."""
    ATTACK = "sinternal.attacks"
    """How prompts are wrapped: `Attack`."""
    ADAPTIVE_ATTACK = "sinternal.adaptive_attacks"
    """Who attacks a model with what it has learnt from its last answers: `AdaptiveAttack`."""
    JUDGE = "sinternal.judges"
    """Who labels responses: `Judge`."""
    EXPERT = "sinternal.experts"
    """Who writes critiques and demonstrations: `Expert`."""
    VERIFICATION = "sinternal.verifications"
    """How a model is asked to verify: `VerificationTask`."""

    @property
    def noun(self) -> str:
        """What one of them is called."""
        return self.name.lower().replace("_", " ")

    @property
    def contract(self) -> Any:
        """The protocol that every plug-in of the kind fulfils, with the defaults of what it need not say."""
        module, _, name = _CONTRACTS[self].rpartition(".")
        return getattr(importlib.import_module(module), name)


_CONTRACTS: Mapping[Kind, str] = {
    Kind.MODEL: "sinternal.models.resolve.ModelSource",
    Kind.ENGINE: "sinternal.engines.Engine",
    Kind.BENCHMARK: "sinternal.benchmarks.Benchmark",
    Kind.ATTACK: "sinternal.attacks.Attack",
    Kind.ADAPTIVE_ATTACK: "sinternal.attacks.AdaptiveAttack",
    Kind.JUDGE: "sinternal.judges.Judge",
    Kind.EXPERT: "sinternal.experts.Expert",
    Kind.VERIFICATION: "sinternal.prompting.question.VerificationTask",
}
"""Where the protocols are. They are imported late, by name, because their modules import this one."""


class NoOptions(BaseModel):
    """For plug-ins without options."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
        close = nearest(name, points)
        hint = f"did you mean {close!r}?" if close else f"there are: {', '.join(sorted(points)) or 'none'}"
        if other := next((other for other in Kind if name in _points(other)), None):
            hint = f"that is the name of another kind of plug-in ({other.noun}); {hint}"
        raise RegistryError(f"no {kind.noun} is called {name!r}; {hint}")


def load(kind: Kind, name: str) -> Any:
    """The plug-in with this name: a class, or an object that is called like one.

    Raises:
        RegistryError: there is none, and the message names the nearest one; its package cannot be imported; or it lacks
            an attribute that the contract of its kind asks for.
    """
    check_name(kind, name)
    point = _points(kind)[name]
    try:
        plugin = point.load()
    except Exception as error:  # the code of others may fail in any way as it is imported
        if _is_ours(point):
            if isinstance(error, ModuleNotFoundError):
                raise explained(error, f"{kind.name.lower()} {name!r}") from error
            raise
        raise RegistryError(
            f"{kind.noun} {name!r} of package {_owner(point)!r} cannot be imported from {point.value} "
            f"({type(error).__name__}: {' '.join(str(error).split())}); fix the package, or install it again"
        ) from error
    for attribute in missing_attributes(kind, plugin):
        contract = kind.contract
        has_default = hasattr(contract, attribute) and attribute not in contract.__abstractmethods__
        raise RegistryError(
            f"{kind.noun} {name!r} of package {_owner(point)!r} has no {attribute!r}: let {point.value} inherit from "
            f"{contract.__module__}.{contract.__name__}{', which has a default' if has_default else ', and define it'}"
        )
    return plugin


def missing_attributes(kind: Kind, plugin: object) -> Iterator[str]:
    """What the contract of a kind asks for and a plug-in lacks.

    Of an object that makes what the contract describes, only the attributes are asked for, not the methods.
    """
    contract = kind.contract
    required = [name for name in contract.__annotations__ if not name.startswith("_")]
    if isinstance(plugin, type):
        required += [name for name, value in vars(contract).items() if callable(value) and not name.startswith("_")]
    undefined = plugin.__abstractmethods__ if isinstance(plugin, ABCMeta) else frozenset()
    yield from (name for name in dict.fromkeys(required) if not hasattr(plugin, name) or name in undefined)


class Plugin(BaseModel):
    """A plug-in as settings name it: looked up, and its options validated, as soon as they are read.

    The options stay as they were given; what they were validated to is kept beside them, and is what the plug-in gets.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ClassVar[Kind]
    """What is named."""

    name: str
    """Its registered name."""
    options: dict[str, Any] = Field(default={}, validate_default=True)
    """Its options."""
    _validated: BaseModel | None = PrivateAttr(None)

    @field_validator("name")
    @classmethod
    def _is_registered(cls, name: str) -> str:
        return registered(cls.kind, name)

    @field_validator("options")
    @classmethod
    def _are_its_options(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "name" in info.data:  # else there is nothing to validate them against, and an error already
            validate_options(cls.kind, info.data["name"], options)
        return options

    @property
    def plugin_class(self) -> Any:
        """The class, with all that its contract says of it."""
        return load(self.kind, self.name)

    @property
    def validated_options(self) -> BaseModel:
        """The options as the plug-in gets them."""
        if self._validated is None:
            self._validated = validate_options(self.kind, self.name, self.options)
        return self._validated

    def open(self, *arguments: Any) -> Any:
        """The plug-in itself.

        Args:
            arguments: what it takes before its options: of an engine, the model.

        Raises:
            MissingExtraError: it needs packages that are not installed.
        """
        try:
            return self.plugin_class(*arguments, self.validated_options)
        except ModuleNotFoundError as error:
            raise explained(error, f"{self.kind.noun} {self.name!r}") from error


def registered(kind: Kind, name: str) -> str:
    """A name, for the validators of settings that name a plug-in.

    Raises:
        ValueError: there is no such plug-in; the message names the nearest one.
        RegistryError: there is, but it cannot be loaded.
    """
    try:
        check_name(kind, name)
    except RegistryError as error:
        raise ValueError(str(error)) from error
    load(kind, name)
    return name


def validate_options(kind: Kind, name: str, options: Mapping[str, Any]) -> BaseModel:
    """A plug-in's options, validated.

    Raises:
        ValidationError: an option is unknown, missing or wrong, or a number is not finite; raised in a validator, its
            mistakes are reported at their own places below the field.
    """
    model: type[BaseModel] = load(kind, name).Options
    remember(secrets_in(options))
    if infinite := next(not_finite(options), None):
        problem = PydanticCustomError("not_finite", "it must be a finite number")
        raise validation_error(model.__name__, [(tuple(infinite.split(".")), problem, None)])
    try:
        return model.model_validate(options)
    except ValidationError as error:
        raise option_errors(error, model, f"{kind.noun} {name!r}") from error


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
    points = ((kind, _points(kind).get(name)) for kind in Kind)
    return {kind.name.lower(): _origin(point) for kind, point in points if point and not _is_ours(point)}


def revision(kind: Kind, name: str) -> str:
    """The version of a plug-in's code: its package's, or this one's."""
    origin = origins(name).get(kind.name.lower())
    return origin.revision if origin else f"{OURS} {version(OURS)}"


def _owner(point: EntryPoint) -> str:
    return _distribution_name(point.dist) if point.dist else point.module


@cache  # all of its metadata are parsed for it
def _distribution_name(distribution: Distribution) -> str:
    return distribution.name


def _is_ours(point: EntryPoint) -> bool:
    return _distribution_name(point.dist) == OURS if point.dist else point.module.partition(".")[0] == OURS


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
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    locations = list(spec.submodule_search_locations or ()) or [spec.origin or ""]
    return [fingerprint(Path(location), _is_source) for location in locations if Path(location).exists()]


def _is_source(file: Path) -> bool:
    generated = any(part.startswith(".") or part == "__pycache__" for part in file.parts)
    return not generated and file.suffix not in (".pyc", ".pyo")


@cache
def _points(kind: Kind) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=kind.value)}
