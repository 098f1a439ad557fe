"""The part of a stage's settings that an artifact depends on.

How a server is reached (its address, a timeout, a price) changes no text: such options are left out of keys, at any
depth, so that a new port does not make anything run again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sinternal.registry import Kind, load, names


class NamedEngine(NamedTuple):
    """An engine that settings name."""

    name: str
    """Its registered name."""
    options: Mapping[str, Any]
    """Its options."""
    model: str | None
    """The model, where the settings beside it say so."""


def identity(settings: Any) -> Any:
    """Plain settings without what only says how a server is reached."""
    if isinstance(settings, Mapping):
        left_out = _reach(str(settings["name"])) if _is_engine(settings) else frozenset()
        return {
            name: identity({key: option for key, option in value.items() if key not in left_out})
            if name == "options" and isinstance(value, Mapping)
            else identity(value)
            for name, value in settings.items()
        }
    if isinstance(settings, list | tuple):
        return [identity(value) for value in settings]
    return settings


def engines_in(settings: Any, *, inside: bool = False) -> Iterator[NamedEngine]:
    """Every engine that plain settings name; if `inside`, also those that work inside of another one, elsewhere."""
    if isinstance(settings, Mapping):
        if _is_engine(settings):
            model = settings.get("model")
            yield NamedEngine(
                str(settings["name"]), settings.get("options", {}), model if isinstance(model, str) else None
            )
            if not inside:
                return
        for value in settings.values():
            yield from engines_in(value, inside=inside)
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from engines_in(value, inside=inside)


def _is_engine(settings: Mapping[str, Any]) -> bool:
    """Whether these are the settings of an engine, as `EnginePlugin` and `EngineWithModel` have them."""
    fields = {"options": {}, **settings}.keys()
    named = isinstance(settings.get("name"), str) and isinstance(settings.get("options", {}), Mapping)
    return named and fields <= {"name", "options", "model"} and settings["name"] in names(Kind.ENGINE)


def _reach(engine: str) -> frozenset[str]:
    reach: frozenset[str] = load(Kind.ENGINE, engine).REACH
    return reach
