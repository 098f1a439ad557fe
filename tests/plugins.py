"""Packages with plug-ins, as a user would install them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from sinternal import registry

JUDGE = """
from sinternal.records import Judgement, make_id


class Judge:
    judged, tells_safety, tells_refusals = "answer", True, True

    def __init__(self, options):
        self.options = options

    def judge(self, items):
        for prompt, response in items:
            yield Judgement(make_id("mine", response.id), response.id, "mine", "answer", safe={rule}, refused=False)

    def close(self):
        pass
"""


def install(
    monkeypatch: pytest.MonkeyPatch, site: Path, *, version: str = "0.1", rule: str = "True", code: str | None = None
) -> Path:
    """Put a package `my-ext` with a judge `mine` on the path, or another version of it in its place."""
    info = site / "my_ext.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (site / "my_ext.py").write_text(JUDGE.replace("{rule}", rule) if code is None else code)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: my-ext\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("[sinternal.judges]\nmine = my_ext:Judge\n")
    monkeypatch.syspath_prepend(str(site))
    forget(monkeypatch)
    return site


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for plug-ins anew, as a new process does, now and once the test is over."""
    monkeypatch.delitem(sys.modules, "my_ext", raising=False)
    importlib.invalidate_caches()
    registry._points.cache_clear()
