"""An engine as a call or a command line names it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sinternal.errors import ModelError
from sinternal.settings.base import validate_settings
from sinternal.settings.plugins import EnginePlugin


def engine_of(
    name: str | None, base_url: str | None, options: Mapping[str, object] | None = None
) -> EnginePlugin | None:
    """An engine's name and options; None if nothing is said of it.

    Args:
        name: of the engine; with an address alone, `openai`.
        base_url: address of a server.
        options: others.

    Raises:
        RecipeError: there is no such engine, or it does not take the options.
    """
    if name is None and base_url is None and not options:
        return None
    address = {} if base_url is None else {"base_url": base_url}
    named = name or ("openai" if base_url else EnginePlugin().name)
    return validate_settings(EnginePlugin, {"name": named, "options": {**address, **(options or {})}}, "engine")


@contextmanager
def naming_servers(engine: EnginePlugin) -> Iterator[None]:
    """Where a model is not here, say how one is named that a server has.

    Args:
        engine: that opens the model.

    Raises:
        ModelError: what is raised inside, with the mend.
    """
    try:
        yield
    except ModelError as error:
        if not engine.plugin_class.asks_server:
            error.args = (f"{error}; if a server has it under this name, give the server's address: --base-url",)
        raise
