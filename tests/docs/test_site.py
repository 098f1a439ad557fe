"""The site, opened from its folder: nothing is fetched from elsewhere, and what needs scripts works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page as Tab
from playwright.sync_api import sync_playwright

from tests.commands import HANGS
from tests.docs.blocks import ROOT
from tests.report.browser import chromium


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason="`make docs` installs what builds the site")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    variables = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def test_the_search_finds_without_a_server_and_asks_no_other_machine(site: Path, tab: Tab) -> None:
    asked: list[str] = []
    wrong: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.set_viewport_size({"width": 1400, "height": 900})
    tab.goto((site / "how-to/own-judge.html").as_uri())
    tab.locator(".md-search__input").click()
    tab.locator(".md-search__input").press_sequentially("placebo")
    tab.locator(".md-search-result__link").first.wait_for()
    assert not wrong
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_no_item_of_a_list_is_read_as_text(site: Path) -> None:
    for page in site.rglob("*.html"):
        if "repository" not in page.parts:
            assert not re.findall(r"<p>(?:(?!</p>).)*?\n *(?:[-*]|\d+\.) .*", page.read_text(), re.DOTALL), page.name


def test_decisions_are_in_the_navigation_by_number_and_title(site: Path, tab: Tab) -> None:
    tab.goto((site / "decisions/index.html").as_uri())
    titles = [title.strip() for title in tab.locator(".md-nav__link", has_text="0").all_text_contents()]
    decisions = [title for title in titles if title[:3].isdigit()]
    assert len(decisions) == len(list(ROOT.glob("docs/decisions/[0-9]*.md")))
    assert not [title for title in decisions if "`" in title]


@pytest.mark.parametrize("page", ["index", "measurement", "settings", "commands", "architecture"])
def test_no_page_is_wider_than_a_phone(site: Path, tab: Tab, page: str) -> None:
    tab.set_viewport_size({"width": 390, "height": 800})
    tab.goto((site / f"{page}.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
