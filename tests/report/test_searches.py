"""Adaptive attacks can be read on the page: every query, its answer and label, and at which one they broke."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bench.browser import Browser, browser
from bench.invented import make_report

from sinternal.figures.searches import AttackQuery, AttackSearch
from sinternal.figures.study import ReportData, Transcript, Turn
from sinternal.figures.transcripts import of_search
from sinternal.figures.without_texts import Hider, study_without_texts
from sinternal.layout import ArmPlace
from sinternal.queries import Query
from sinternal.records import Finish, Judgement, Response
from sinternal.report.study_page import render
from tests.commands import HANGS
from tests.conftest import judgement_of, plain_prompt
from tests.report.browser import chromium as require_chromium
from tests.report.test_study_page import unpacked

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">\x1b[31m half \ud83d {{ 7 * 7 }}"
PROMPT = plain_prompt("brew the forbidden one ?", harmful=True)
PLACE = ArmPlace("default", "base", 0)


def asked(number: int, safe: bool | None = True, **how: str | None) -> AttackQuery:
    """A query that got an answer, with this label; it may say otherwise."""
    text = how.pop("text", f"disguise number {number}")
    query = Query(f"q{number}", PROMPT.id, number, text, **{name: word for name, word in how.items() if word})
    if text is None:
        return AttackQuery("pair adaptive", query, None, None)
    finish = Finish.ERROR if how.get("note") == "fails" else Finish.STOP
    answer = None if finish is Finish.ERROR else f"answer number {number}"
    response = Response(f"r{number}", query.id, 0, f"thinking number {number}", answer, finish)
    label: Judgement = judgement_of(response, safe, refused=safe, helpful=False)
    return AttackQuery("pair adaptive", query, response, label)


def search(*queries: AttackQuery, budget: int = 5) -> Transcript:
    return of_search(PLACE, AttackSearch("pair adaptive", PROMPT, queries, budget))


def test_what_became_of_a_request_is_told_as_the_figures_count_it() -> None:
    broken = search(asked(0), asked(1), asked(2, safe=False))
    assert (broken.outcome, broken.broken) == ("unsafe", "at query 3")
    assert [turn.outcome for turn in broken.turns] == ["refused", "refused", "unsafe"]
    assert (broken.prompt, broken.prompt_id, broken.harmful) == (PROMPT.text, PROMPT.id, True)
    withstood = search(asked(0), asked(1, text=None), budget=2)
    assert (withstood.outcome, withstood.broken) == ("safe", "not within 2 queries")
    assert [turn.outcome for turn in withstood.turns] == ["refused", "nothing sent"]
    silent = search(asked(0), asked(1, safe=None, note="fails"), asked(2, text=None, error="attacker away"))
    assert (silent.outcome, silent.broken) == ("no label", "not known")
    assert [turn.outcome for turn in silent.turns] == ["refused", "failed", "attacker failed"]
    mute = search(asked(0, text=None), budget=1)
    assert (mute.outcome, mute.broken) == ("nothing sent", "not within 1 query")


def hostile() -> Transcript:
    row = search(
        asked(0, note="scored 3 of 10"), asked(1, safe=None), asked(2, safe=False, system="be rude", prefill="Sure")
    )
    nasty = replace(row.turns[1], query=HOSTILE, system=HOSTILE, thinking=HOSTILE, answer=HOSTILE, note=HOSTILE)
    return replace(row, turns=(row.turns[0], nasty, row.turns[2]))


def report(*rows: Transcript) -> ReportData:
    data = make_report(prompts=4)
    return replace(data, transcripts=(*rows, *data.transcripts))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    require_chromium()
    with browser() as opened:
        yield opened


OPENED = """(async () => {
  while (!/ of .* transcripts/.test(document.getElementById("count").textContent)
         || document.querySelector("#entries [aria-busy]")) await new Promise((done) => setTimeout(done, 10));
  document.head.insertAdjacentHTML("beforeend", "<style>article { content-visibility: visible }</style>");
  return document.getElementById("count").textContent;
})()"""


def until(chromium: Browser, condition: str) -> None:
    """Wait for something on a page."""
    end = time.monotonic() + HANGS
    while not chromium.run(condition):
        assert time.monotonic() < end, condition


@pytest.mark.parametrize("most", [0, 1e9], ids=["texts beside the page", "texts in it"])
def test_a_reader_finds_the_query_that_broke_a_request_and_all_before_it(
    chromium: Browser, tmp_path: Path, most: float
) -> None:
    page = tmp_path / "report.html"
    render(report(hostile(), search(asked(0), budget=1)), most=most).write(page)
    chromium.open(page)
    chromium.run(OPENED)
    assert chromium.run("[...document.querySelector('[name=broken]').options].map((one) => one.value)") == [
        "",
        "at query 3",
        "not within 1 query",
    ]
    chromium.run("location.hash = '#broken=at+query+3'")
    one = f"1 of {len(make_report(prompts=4).transcripts) + 2:,} transcripts"
    until(chromium, f"document.getElementById('count').textContent === {json.dumps(one)}")
    chromium.run(OPENED)
    seen = "document.querySelector('#entries').innerText"
    assert "disguise number 2" not in chromium.run(seen), "harm is folded"
    assert "the request is marked as harmful, and the answer was judged unsafe" in chromium.run(seen)
    chromium.run("document.getElementById('unfold').click()")
    shown = chromium.run(seen)
    assert "broken: at query 3" in shown
    assert "disguise number 2" in shown
    for hidden in ("disguise number 0", "scored 3 of 10"):
        assert hidden not in shown, "only the query that broke it is open"
    for part in ("be rude", "Sure", "thinking number 2", "answer number 2", "Query 2", "no label", PROMPT.text):
        assert part in shown
    assert "In no rate of attack success over the whole budget" in shown
    chromium.run("for (const one of document.querySelectorAll('details.turn')) one.open = true")
    opened = chromium.run(seen)
    assert "scored 3 of 10" in opened
    assert opened.count(HOSTILE.replace("\ud83d", "?").replace("\x1b", "")[:9]) == 5
    assert chromium.run("[document.title.includes('owned'), document.querySelectorAll('#entries img').length]") == [
        False,
        0,
    ]
    chromium.run("location.hash = '#text=scored'")
    until(chromium, "/found here/.test(document.querySelector('details.turn summary')?.textContent)")
    assert chromium.run(OPENED) == one


def test_a_page_without_attacks_says_nothing_of_them() -> None:
    page = render(make_report(prompts=4)).html
    assert "every query of adaptive attacks" not in page
    assert '<select name="broken"' not in page
    assert "turns" not in unpacked(page)


def test_a_copy_without_texts_keeps_labels_and_no_word_of_any_query() -> None:
    shared = study_without_texts(report(hostile()), [], Hider(b"k" * 32))
    first: Transcript = next(iter(shared.transcripts))
    assert [turn.outcome for turn in first.turns] == ["refused", "no label", "unsafe"]
    assert first.broken == "at query 3"
    assert first.turns[0].system == "", "that there is none is no text"
    told = json.dumps([vars(turn) for turn in first.turns]) + json.dumps(unpacked(render(shared).html))
    words = ("disguise", "thinking number", "answer number", "scored", "be rude", "Sure", "owned")
    assert not [word for word in words if word in told]
    assert "text left out" in told


def test_turns_have_the_same_fields_in_both_places_that_pack_and_unpack_them() -> None:
    from sinternal.report.texts import TURN_TEXTS

    assert {*TURN_TEXTS, "outcome"} == set(Turn.__dataclass_fields__)
