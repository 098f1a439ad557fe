"""A real browser for the tests: Debian's chromium, without a window and without network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from bench.browser import find
from playwright.sync_api import Page as Tab
from playwright.sync_api import sync_playwright

from tests.commands import HANGS

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


def chromium() -> str:
    """Where it is; the test is skipped where there is none, and fails where all tests have to run."""
    if (program := find()) is None:
        reason = "no chromium found: pages are untested; install it (apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return program


@contextmanager
def windows() -> Iterator[Callable[..., Tab]]:
    """What opens windows of a browser, as long as the `with` lasts. Playwright's own patience is for idle machines."""
    program, milliseconds = chromium(), HANGS * 1000
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox"], timeout=milliseconds)

        def new(**how: Any) -> Tab:
            tab = opened.new_page(**how)
            tab.set_default_timeout(milliseconds)
            return tab

        yield new
        opened.close()


def serious_faults(tab: Tab, within: str = "html") -> list[tuple[str, str]]:
    """What axe-core finds on a page that keeps somebody out: its rules, each with the first element.

    Of the rows of a long table some are looked at: the others are like them, and all together take most of the time.
    """
    tab.evaluate(
        "for (const body of document.querySelectorAll('tbody')) [...body.rows].slice(40).map((row) => row.remove())"
    )
    tab.evaluate(AXE)
    found = tab.evaluate("(part) => axe.run(part, {resultTypes: ['violations']})", within)["violations"]
    return [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]


def unseen_focus(tab: Tab) -> list[str]:
    """What the tabulator key reaches whose focus cannot be seen: no outline, or none of a size."""
    return list(
        tab.evaluate(
            """() => [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
            .filter((one) => one.checkVisibility() && !one.disabled)
            .filter((one) => {
              one.focus({ focusVisible: true });
              const { outlineStyle, outlineWidth } = getComputedStyle(one);
              return document.activeElement !== one || outlineStyle === 'none' || parseFloat(outlineWidth) < 1;
            }).map((one) => one.outerHTML.slice(0, 200))"""
        )
    )
