"""The part of a stage's settings that an artifact depends on.

How a server is reached (its address, a timeout, a price) changes no text: such options are left out of keys, at any
depth, so that a new port does not make anything run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sinternal.registry import Kind, load
from sinternal.settings.named_engines import is_engine


def identity(settings: Any) -> Any:
    """Plain settings without what only says how a server is reached."""
    if isinstance(settings, Mapping):
        left_out = _reach(str(settings["name"])) if is_engine(settings) else frozenset()
        return {
            name: identity({key: option for key, option in value.items() if key not in left_out})
            if name == "options" and isinstance(value, Mapping)
            else identity(value)
            for name, value in settings.items()
        }
    if isinstance(settings, list | tuple):
        return [identity(value) for value in settings]
    return settings


def _reach(engine: str) -> frozenset[str]:
    reach: frozenset[str] = load(Kind.ENGINE, engine).REACH
    return reach
