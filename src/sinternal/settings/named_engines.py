"""Engines that plain settings name, at any depth, and what the servers are called that they ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sinternal.registry import Kind, load, names
from sinternal.settings.plugins import EnginePlugin


class NamedEngine(NamedTuple):
    """An engine that settings name."""

    name: str
    """Its registered name."""
    options: Mapping[str, Any]
    """Its options."""
    model: str | None
    """The model, where the settings beside it say so."""

    @property
    def asks_server(self) -> bool:
        """Whether it writes nothing itself."""
        asks: bool = load(Kind.ENGINE, self.name).asks_server
        return asks

    @property
    def has_a_price(self) -> bool:
        """Whether calls to its server cost anything that is known."""
        price = self.options.get("price")
        return isinstance(price, Mapping) and any(price.get(name) for name in ("read", "written"))

    @property
    def destination(self) -> Any:
        """Where its server is, an `engines.Destination`; None if it starts it itself, or asks none."""
        plugin = EnginePlugin(name=self.name, options=dict(self.options))
        return plugin.plugin_class.destination(plugin.validated_options)

    def server(self, model: str) -> str:
        """What a bill calls its server: `my-model at https://api.openai.com`.

        Args:
            model: what it is opened with.
        """
        at = self.destination.address if self.destination else self.name
        return f"{self.options.get('model') or model} at {at}"


def engines_in(settings: Any, *, inside: bool = False) -> Iterator[NamedEngine]:
    """Every engine that plain settings name; if `inside`, also those that work inside of another one, elsewhere."""
    if isinstance(settings, Mapping):
        if is_engine(settings):
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


def is_engine(settings: Mapping[str, Any]) -> bool:
    """Whether these are the settings of an engine, as `EnginePlugin` and `EngineWithModel` have them."""
    fields = {"options": {}, **settings}.keys()
    named = isinstance(settings.get("name"), str) and isinstance(settings.get("options", {}), Mapping)
    return named and fields <= {"name", "options", "model"} and settings["name"] in names(Kind.ENGINE)
