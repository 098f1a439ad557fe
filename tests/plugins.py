"""Plug-ins in tests: opened with options, registered for one test, or in a package as a user would install it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from sinternal import registry
from sinternal.engines import Engine
from sinternal.errors import RecipeError
from sinternal.registry import Kind, Plugin
from sinternal.settings.base import validate_settings

JUDGE = """
from sinternal.judges import Judge
from sinternal.records import Judgement, make_id


class Mine(Judge):
    tells_refusals = True

    def judge(self, items):
        for prompt, response in items:
            yield Judgement(make_id("mine", response.id), response.id, "mine", "answer", safe={rule}, refused=False)
"""


class AnyOptions(BaseModel):
    """Whatever a test wants to say to a plug-in of its own."""

    model_config = ConfigDict(extra="allow", frozen=True)


@dataclass(frozen=True)
class Entry:
    """An entry point of this package, as long as a test runs."""

    plugin: Any
    module: str = "sinternal.tests"
    value: str = "sinternal.tests:plugin"
    dist: None = None

    def load(self) -> Any:
        return self.plugin


Register = Callable[[Kind, str, Any], None]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Register:
    """Register a plug-in under a kind and name until the test is over."""

    def add(kind: Kind, name: str, plugin: Any) -> None:
        monkeypatch.setitem(registry._points(kind), name, Entry(plugin))

    return add


def opening(make: Callable[[str], Any]) -> type[Engine]:
    """An engine plug-in that opens whatever `make` gives for a model."""

    class Opening(Engine):
        Options = AnyOptions

        def __new__(cls, model: str, _options: AnyOptions) -> Any:
            return make(model)

        def generate(self, requests: Any, sampling: Any, seed: int) -> Any:
            raise NotImplementedError

    return Opening


def open_plugin(plugin: Any, *arguments: Any) -> Any:
    """A plug-in opened as settings do it: the last argument holds its options as a recipe would say them."""
    *before, options = arguments or ({},)
    return plugin(*before, validate_settings(plugin.Options, options, "options"))


def mistake_in(kind: Kind, name: str, options: dict[str, Any]) -> str:
    """What a user is told who gives a plug-in these options."""
    named = next(plugin for plugin in Plugin.__subclasses__() if plugin.kind is kind)
    with pytest.raises(RecipeError) as told:
        validate_settings(named, {"name": name, "options": options}, "recipe")
    assert "\n" not in str(told.value)
    return str(told.value)


def install(
    monkeypatch: pytest.MonkeyPatch, site: Path, *, version: str = "0.1", rule: str = "True", code: str | None = None
) -> Path:
    """Put a package `my-ext` with a judge `mine` on the path, or another version of it in its place."""
    info = site / "my_ext.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (site / "my_ext.py").write_text(JUDGE.replace("{rule}", rule) if code is None else code)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: my-ext\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("[sinternal.judges]\nmine = my_ext:Mine\n")
    monkeypatch.syspath_prepend(str(site))
    forget(monkeypatch)
    return site


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for plug-ins anew, as a new process does, now and once the test is over."""
    monkeypatch.delitem(sys.modules, "my_ext", raising=False)
    importlib.invalidate_caches()
    registry._points.cache_clear()
