"""What a reader sees of runs: the list, a run, two runs side by side; in a real browser, for keyboard and axe, too."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from playwright.sync_api import Page as Tab

from sinternal.report.diagnosis_page import QUESTION
from sinternal.settings.recipe import load_recipe
from sinternal.study.execute import WORKER_LOG, Event
from sinternal.study.live import diary
from sinternal.study.plan import make_plan
from sinternal.view.runs import Runs, newest_line
from sinternal.view.server import Served, View, listen
from tests.commands import HANGS
from tests.conftest import WatchedRun
from tests.report.browser import serious_faults, unseen_focus, windows

LOADING = "Loading checkpoint shards:   0%\rLoading checkpoint shards:  33%|###  | 1/3\x1b[A\r"


@dataclass
class Shown:
    """A folder of runs that is served, and a browser."""

    served: Served
    new: Any

    def open(self, wait_for: str = "#runs tbody tr", fragment: str = "", **how: Any) -> Tab:
        """The view in a new window, once a part of it is there."""
        tab: Tab = self.new(**({"viewport": {"width": 1200, "height": 800}} | how))
        tab.goto(self.served.address + fragment)
        tab.wait_for_selector(wait_for)
        return tab

    def id_of(self, name: str) -> str:
        """The id of a run in the list."""
        tab = self.open()
        link = tab.locator("#runs th a", has_text=name).first
        return str(link.get_attribute("id")).removeprefix("run-")


@pytest.fixture(scope="module")
def shown(watched_run: WatchedRun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A finished study, a copy of it, a diagnosis, and a run that is at work now: one stage counts rows, one loads."""
    root = tmp_path_factory.mktemp("runs")
    for name in ("first", "second"):
        shutil.copytree(watched_run.folder, root / name)
    (root / "audit").mkdir()
    (root / "audit" / "diagnosis.json").write_text("{}")
    (root / "audit" / "diagnosis.html").write_text("<title>x</title>")
    (root / "audit" / "diagnosis.md").write_text(f"# Diagnosis of m\n\n{QUESTION}\n\nOf its 3 answers 1 is unsafe.\n")
    plan, going = make_plan(load_recipe("quickstart")), root / "going"
    going.mkdir()
    store = going / "artifacts"
    target = next(task for task in plan.tasks if task.stage.name == "target")
    (store / "target").mkdir(parents=True)
    counting = next(task for task in plan.tasks if task.stage.name == "sample")
    server = listen(root, 0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    with diary(going, plan, store) as kept, FileLock(store / "target" / f"{target.key}.lock"):
        assert kept
        kept.note(Event(counting, 3, 10))
        (store / WORKER_LOG).write_text(f"an older line\n{LOADING}")
        with windows() as new:
            yield Shown(server, new)
    server.close()
    thread.join()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_focus_is_seen_in_list_run_and_comparison(shown: Shown, scheme: str) -> None:
    first, second, going = map(shown.id_of, ("first", "second", "going"))
    for wait_for, fragment in (
        ("#runs tbody tr", ""),
        ("#curves svg", f"&run={first}"),
        ("#going tbody tr", f"&run={going}"),
        ("#pairs table", f"&a={first}&b={second}"),
    ):
        tab = shown.open(wait_for, fragment, color_scheme=scheme)
        tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert serious_faults(tab) == [], wait_for
        assert unseen_focus(tab) == [], wait_for
        tab.close()


@pytest.mark.parametrize("width", [1280, 400, 320])
def test_nothing_is_wider_than_the_window_and_the_figures_of_a_comparison_are_seen(shown: Shown, width: int) -> None:
    first, second, going = map(shown.id_of, ("first", "second", "going"))
    for wait_for, fragment in (
        ("#runs tbody tr", ""),
        ("#going tbody tr", f"&run={going}"),
        ("#pairs table", f"&a={first}&b={second}"),
    ):
        tab = shown.open(wait_for, fragment, viewport={"width": width, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), wait_for
        if "#pairs" in wait_for:
            cell = tab.locator("#pairs td.number").first.bounding_box()
            assert cell
            assert cell["x"] + cell["width"] <= width, "the difference itself, without scrolling"
        tab.close()


def test_a_stage_that_counts_nothing_yet_has_the_newest_line_that_libraries_printed(shown: Shown) -> None:
    tab = shown.open("#going tbody tr", f"&run={shown.id_of('going')}")
    words = tab.locator("#going").inner_text()
    assert "at work; counts no rows yet" in words
    assert "Loading checkpoint shards: 33%|### | 1/3" in " ".join(words.split())
    assert "older line" not in words
    assert "0%|" not in words


def test_no_line_of_a_log_is_shown_where_texts_are_not_nor_one_from_before_the_stage_began(tmp_path: Path) -> None:
    plan = make_plan(load_recipe("quickstart"))
    target = next(task for task in plan.tasks if task.stage.name == "target")
    store = tmp_path / "run" / "artifacts"
    (store / "target").mkdir(parents=True)
    log = store / WORKER_LOG
    log.write_text("of an earlier run")
    with diary(tmp_path / "run", plan, store), FileLock(store / "target" / f"{target.key}.lock"):

        def last_words(**how: Any) -> Any:
            view = View(Runs(tmp_path), "t", **how)
            (run,) = view.runs.all()
            return json.loads(view.answer(f"/api/runs/{run.id}", "t").body)["last_words"]

        os.utime(log, (1, 1))
        assert last_words() is None
        log.write_text("Loading weights")
        os.utime(log, (time.time() + 9, time.time() + 9))
        assert last_words()["words"] == "Loading weights"
        assert last_words(texts=False) is None


def test_the_newest_line_of_a_file_is_the_last_that_says_anything(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert newest_line(log) is None
    for text, words in (("", None), ("\n\n", None), ("a\nb\n\n", "b"), ("a\rb\r", "b"), ("x" * 9000, "x" * 500)):
        log.write_text(text)
        line = newest_line(log)
        assert (line and line.words) == words


def test_a_diagnosis_shows_what_came_out_and_not_what_was_asked(shown: Shown) -> None:
    tab = shown.open()
    row = tab.locator("#runs tr", has_text="audit").inner_text()
    assert "Of its 3 answers 1 is unsafe." in row
    assert QUESTION not in tab.locator("#runs").inner_text()


def test_an_answer_that_comes_late_is_shown_on_no_other_page(shown: Shown) -> None:
    going = shown.id_of("going")
    tab = shown.open()
    tab.evaluate(
        """() => { const ask = window.fetch; window.asked = 0; window.fetch = async (...how) => {
          window.asked += 1; const list = String(how[0]) === '/api/runs'; const reply = await ask(...how);
          if (list) await new Promise((go) => setTimeout(go, 1500));
          return reply; }; }"""
    )
    end = time.monotonic() + HANGS
    while not tab.evaluate("window.asked"):  # the page's policy keeps Playwright's own way of waiting from asking
        assert time.monotonic() < end
        tab.wait_for_timeout(50)
    tab.evaluate("(id) => { location.hash = `${location.hash}&run=${id}`; }", going)
    tab.wait_for_selector("#going tbody tr")
    tab.wait_for_timeout(2500)
    assert tab.locator("#runs").count() == 0
    assert tab.locator("h1").inner_text() == "going"


def test_newest_texts_stand_beneath_what_they_are_of(shown: Shown) -> None:
    tab = shown.open("#texts details", f"&run={shown.id_of('first')}")
    headings = tab.locator("#texts h3").all_inner_texts()
    assert headings == list(dict.fromkeys(headings))
    summaries = tab.locator("#texts summary").all_inner_texts()
    assert summaries
    assert not [one for one in summaries if any(one.startswith(heading) for heading in headings)]
