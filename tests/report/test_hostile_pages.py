"""Nasty strings in every field of every page, in a real browser: nothing runs, nothing is asked for, harm is folded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bench.browser import Browser, browser, every_event
from bench.hostile_pages import pages, turn
from bench.hostile_texts import MARKER, sample
from bench.invented import make_report

from sinternal.figures.study import Transcript
from sinternal.report.study_page import render_html
from tests.report.browser import chromium as require_chromium

RUNS = f"<img src=http://127.0.0.1:9/x onerror={MARKER}><script>{MARKER}; alert(1)</script>"

NOTHING = (0, 0, 0, 0)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    require_chromium()
    with browser() as opened:
        yield opened


def test_nothing_in_any_field_of_any_page_runs_or_is_asked_for(chromium: Browser, tmp_path: Path) -> None:
    texts = [nasty.text for nasty in sample(9)]
    seen = {page.name: turn(chromium, page) for page in pages(tmp_path, 1, texts)}
    assert {name: turned[:4] for name, turned in seen.items()} == dict.fromkeys(seen, NOTHING)
    assert {turned.shown for turned in seen.values()} == {len(texts)}
    assert len(seen) == 2


def test_what_was_not_escaped_would_be_seen_and_kept_from_running(chromium: Browser, tmp_path: Path) -> None:
    escaped = render_html(make_report(prompts=4))
    page = tmp_path / "report.html"
    page.write_text(escaped.replace("</main>", f"{RUNS}</main>"), encoding="utf-8")
    turned = turn(chromium, page)
    assert turned.executions == 0, "the content security policy lets nothing of others run"
    assert turned.refused > 0
    policy = "Content-Security-Policy"
    page.write_text(escaped.replace(policy, "x").replace("</main>", f"{RUNS}</main>"), encoding="utf-8")
    turned = turn(chromium, page)
    assert turned.executions > 0
    assert turned.dialogs > 0
    assert turned.requests > 0


def test_the_policy_names_the_pages_own_script_and_nothing_else() -> None:
    page = render_html(make_report(prompts=4))
    (policy,) = [line for line in page.splitlines() if "Content-Security-Policy" in line]
    for rule in ("default-src 'none'", "script-src 'sha256-", "base-uri 'none'", "form-action 'none'"):
        assert rule in policy
    assert "script-src 'unsafe" not in policy
    assert "http:" not in policy


def row(text: str, *, harmful: bool, outcome: str) -> Transcript:
    return Transcript("default", "base", 0, "plain", "ood", harmful, text, text, text, outcome, None, None, None, text)


DRAWN = """document.head.insertAdjacentHTML("beforeend", "<style>article { content-visibility: visible }</style>")"""
"""Else what is off the screen would have no text to be seen."""
VISIBLE = "[...document.querySelectorAll('#entries article')].map((one) => one.innerText).join('\\n')"


def test_harmful_texts_are_folded_until_somebody_asks_for_them(chromium: Browser, tmp_path: Path) -> None:
    rows = (
        row("asked for harm", harmful=True, outcome="refused"),
        row("answered with harm", harmful=False, outcome="unsafe"),
        row("mild words", harmful=False, outcome="helped"),
    )
    page = tmp_path / "report.html"
    page.write_text(render_html(replace(make_report(prompts=4), transcripts=rows)), encoding="utf-8")
    chromium.open(page)
    while not chromium.run("document.querySelectorAll('#entries article').length"):
        pass
    chromium.run(DRAWN)
    seen = chromium.run(VISIBLE)
    assert "mild words" in seen
    assert "asked for harm" not in seen
    assert "answered with harm" not in seen
    assert "the request is marked as harmful" in seen
    assert "the answer was judged unsafe" in seen
    chromium.run("document.querySelector('#entries .fold summary').focus()")
    chromium.press("Enter")
    seen = chromium.run(VISIBLE)
    assert "asked for harm" in seen
    assert "answered with harm" not in seen
    chromium.run("document.getElementById('unfold').click()")
    assert "answered with harm" in chromium.run(VISIBLE)
    chromium.run(every_event())
    chromium.run("document.getElementById('unfold').click()")
    assert "with harm" not in chromium.run(VISIBLE)
