"""The page of a diagnosis in a real browser: its tables fit, axe finds nothing serious, the keyboard reaches all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page as Tab

from sinternal.records import Verdict
from sinternal.report.diagnosis_page import render_html
from sinternal.report.diagnosis_words import in_words
from tests.tools.test_diagnosis import found_of, outcome

from .browser import serious_faults, unseen_focus, windows

SAFE, UNSAFE = (Verdict.SAFE, 0.1), (Verdict.UNSAFE, 0.9)


@pytest.fixture(scope="module")
def new() -> Iterator[Callable[..., Tab]]:
    with windows() as new:
        yield new


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a model whose answers to harmful requests often have no label."""
    labels = (True, False, None, False)
    rows = [outcome(i, harmful=True, safe=labels[i % 4], verdicts=[SAFE if i % 3 else UNSAFE]) for i in range(60)]
    rows += [outcome(i, harmful=False, safe=True, verdicts=[SAFE]) for i in range(60, 100)]
    path = tmp_path_factory.mktemp("page") / "diagnosis.html"
    path.write_text(render_html(found_of(rows)), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_focus_is_seen(new: Callable[..., Tab], page: Path, scheme: str) -> None:
    tab = new(viewport={"width": 1200, "height": 800}, color_scheme=scheme)
    tab.goto(page.as_uri())
    tab.wait_for_selector("#entries article")
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert serious_faults(tab) == []
    assert unseen_focus(tab) == []


def test_no_table_is_cut_and_contents_lead_to_every_part(new: Callable[..., Tab], page: Path) -> None:
    tab = new(viewport={"width": 1200, "height": 800})
    tab.goto(page.as_uri())
    tab.wait_for_selector("#entries article")
    wider = "(one) => one.scrollWidth > one.clientWidth + 1"
    assert tab.evaluate(f"[...document.querySelectorAll('.scroll')].filter({wider}).length") == 0
    parts = tab.evaluate("[...document.querySelectorAll('main > section')].map((one) => '#' + one.id)")
    links = tab.locator("nav a").evaluate_all("(all) => all.map((one) => one.getAttribute('href'))")
    assert links == parts
    for width in (400, 320):
        tab.set_viewport_size({"width": width, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_pictures_say_what_the_tables_say_and_a_cell_without_a_figure_why_in_a_few_words(
    new: Callable[..., Tab], page: Path
) -> None:
    tab = new(viewport={"width": 1200, "height": 800})
    tab.goto(page.as_uri())
    titles = tab.locator("header figure figcaption").all_inner_texts()
    assert titles == ["Its verdicts on its own answers to harmful requests", "Its answers, by attack family"]
    read_out = " ".join(tab.locator("header .in-a-row svg desc").all_text_contents())
    assert "guessing gives 50.0 % no spec" in read_out
    cell = tab.locator("#figures-1 tbody tr").last.locator("td").first.inner_text().split("\n")
    assert cell == ["50.0 to 75.0", "15 of 60 without a label"]
    assert "all between 50 and 75 %: 15 have no label" in read_out


def test_the_words_are_those_of_a_single_model(new: Callable[..., Tab], page: Path) -> None:
    tab = new()
    tab.goto(page.as_uri())
    words = tab.locator("#terms dt").all_inner_texts()
    assert {"Judge", "Balanced accuracy", "Own verdict", "False safe"} <= set(words)
    assert not {"Arm", "Placebo", "Holm", "Seed", "Variant", "Detectable"} & set(words)
    tab.wait_for_selector("#entries article")
    assert "seed" not in tab.locator("#entries .badges").first.inner_text()


def test_what_is_the_same_of_both_ways_to_ask_is_said_once() -> None:
    rows = [outcome(i, harmful=True, safe=None if i < 20 else i % 2 == 0, verdicts=[SAFE]) for i in range(80)]
    sentences = " ".join(in_words(found_of(rows)))
    assert sentences.count("may be unlike") <= 1
