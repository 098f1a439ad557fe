"""What a reader does with a page: looks, filters, searches, compares, links, copies, saves; in a real browser."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from bench.invented import ATTACK_SUCCESS, make_report
from playwright.sync_api import Page as Tab

from sinternal.figures.metric import Over
from sinternal.figures.score import Key
from sinternal.figures.study import ReportData, Transcript
from sinternal.figures.transcripts import CRITIQUE
from sinternal.records import Split
from sinternal.report.study_page import render
from tests.commands import HANGS

from .browser import serious_faults, unseen_focus, windows

ATTACK = "<script>document.title = 'owned'</script><img src=http://127.0.0.1:9/x onerror=\"document.title = 'owned'\">"
CHECKED = "First I plan. Is this harmful? It is: so I refuse."
COUNT = "document.getElementById('count').textContent"
KINDS = ("one-file", "folder")
SAFE = ("refused", "helped", "not helpful", "safe")


SETTLED = "!document.querySelector('#transcripts [aria-busy]')"
"""All that is chosen and sought is on the screen, with its texts."""


def until(tab: Tab, condition: str) -> None:
    """Wait for something on a page, whose policy keeps Playwright's own way of waiting from asking twice."""
    end = time.monotonic() + HANGS
    while not tab.evaluate(condition):
        assert time.monotonic() < end, condition
        tab.wait_for_timeout(20)


def report() -> ReportData:
    """A study with a placebo and a family of another kind, whose first transcripts are odd."""
    data = make_report(
        {name: (*rates, 0.3) for name, rates in ATTACK_SUCCESS.items()} | {"placebo-lists": (0.4, 0.5, 0.5)}, prompts=4
    )
    benign, harmful, *others = sorted(data.transcripts, key=lambda row: row.harmful)[:1] + list(data.transcripts)
    odd = replace(
        benign, prompt="=HYPERLINK(1)", thinking=CHECKED, answer="安全 über alles", checked=True, check=(14, 30)
    )
    rest = [row for row in others if row is not benign]
    attacked = replace(harmful, answer=ATTACK, critique=ATTACK, critique_with_spec=f"withspecword {ATTACK}")
    trained = replace(benign, kind=CRITIQUE, outcome="kept: safe", prompt_id="", critique=None)
    return replace(data, transcripts=(odd, attacked, *rest, trained))


@dataclass
class Shown:
    """Two ways in which one report lies on the disk, and a browser."""

    data: ReportData
    folder: Path
    new: Callable[..., Any]
    said: list[str]
    tabs: list[Tab]

    @cached_property
    def at_rest(self) -> Tab:
        """A page that is opened once, for tests that only look: none changes it."""
        tab = self.open()
        self.tabs.remove(tab)
        return tab

    def open(self, kind: str = "one-file", fragment: str = "", **how: Any) -> Tab:
        """A page in a new window, once its transcripts are there."""
        tab: Tab = self.new(**({"viewport": {"width": 1200, "height": 800}} | how))
        self.tabs.append(tab)
        tab.on("console", lambda message: self.said.append(message.text))
        tab.on("request", lambda request: self.said.append(request.url) if request.url.startswith("http") else None)
        tab.goto((self.folder / kind / "report.html").as_uri() + fragment)
        until(tab, f"/ (of|pairs)/.test({COUNT}) && {SETTLED}")
        return tab


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    data, folder = report(), tmp_path_factory.mktemp("pages")
    for kind, most in zip(KINDS, (1e9, 0), strict=True):
        (folder / kind).mkdir()
        render(data, most=most).write(folder / kind / "report.html")
    with windows() as new:
        yield Shown(data, folder, new, [], [])


@pytest.fixture(autouse=True)
def _closed(shown: Shown) -> Iterator[None]:
    """Close what a test has opened: pages that stay open take time from those that come after."""
    yield
    while shown.tabs:
        shown.tabs.pop().close()


def search(tab: Tab, text: str) -> str:
    tab.fill("[name=text]", text)
    until(tab, SETTLED)
    return str(tab.evaluate(COUNT))


def texts(row: Transcript) -> str:
    return " \n ".join(filter(None, (row.prompt, row.thinking, row.answer, row.critique))).lower()


@pytest.mark.parametrize(("width", "height"), [(1200, 800), (400, 800)])
def test_the_first_screen_is_a_sentence_a_picture_and_the_arms_that_are_alike(
    shown: Shown, width: int, height: int
) -> None:
    tab = shown.open(viewport={"width": width, "height": height})
    end = 0.0
    for part in (".lead", ".glance svg:visible", ".told"):
        box = tab.locator(f".first {part}").last.bounding_box()
        assert box
        assert end <= box["y"], "the sentence, the picture, the arms: in this order"
        end = box["y"] + box["height"]
        assert end <= height, part
    for part in (".first .how", ".first .sure", "header .question"):
        box = tab.locator(part).first.bounding_box()
        assert box
        assert box["height"] > 0
        assert end <= box["y"] <= end + 32, f"{part}: text follows at once, and nothing is left blank"
        end = box["y"] + box["height"]


def test_the_picture_of_the_first_screen_is_as_wide_as_the_window_of_a_telephone(shown: Shown) -> None:
    tab = shown.open(viewport={"width": 400, "height": 800})
    widths = (
        "[...document.querySelectorAll('.glance svg')].map((one) => one.getBoundingClientRect().width).filter(Boolean)"
    )
    assert max(tab.evaluate(widths)) >= 330, "its longest row of panels"
    over = (
        "[...document.querySelectorAll('.plots svg')].filter((one) => one.getBoundingClientRect().width > 384).length"
    )
    assert tab.evaluate(over) == 0, "plots are whole, too"


def test_a_figure_in_bold_below_what_is_detectable_leaves_no_question(shown: Shown) -> None:
    tab = shown.at_rest
    assert "A smaller one can come out clear, too" in tab.locator(".glance .how").first.inner_text()
    key = tab.locator("#terms").inner_text()
    assert "nearer to 0 than the figure says" in key
    assert "docs/" not in key, "who was mailed the page has no other"


def test_intervals_of_the_headline_stand_in_one_line(shown: Shown) -> None:
    tab = shown.at_rest
    broken = (
        "[...document.querySelectorAll('small.ends')].filter((one) => one.checkVisibility() && one.offsetHeight > 22)"
    )
    assert tab.evaluate(f"{broken}.map((one) => one.textContent)") == []


def test_paper_is_light_whatever_the_screen_is(shown: Shown) -> None:
    tab = shown.open(color_scheme="dark")
    painted = "getComputedStyle(document.documentElement).getPropertyValue"
    names = ("--warn", "--tint", "--rule", "--heat-0", "--bad", "--arm-1")
    dark = [tab.evaluate(f"{painted}('{name}')") for name in names]
    tab.emulate_media(media="print", color_scheme="dark")
    on_paper = [tab.evaluate(f"{painted}('{name}')") for name in names]
    tab.emulate_media(media="print", color_scheme="light")
    assert on_paper == [tab.evaluate(f"{painted}('{name}')") for name in names]
    assert not set(on_paper) & set(dark)
    tall = (
        "[...document.querySelectorAll('.plot svg')].filter((one) => one.getBoundingClientRect().height > 600).length"
    )
    assert tab.evaluate(tall) == 0, "a picture fits on a page"


def test_the_first_screen_says_of_how_many_answers_it_is_and_what_so_many_and_so_few_runs_can_show(
    shown: Shown,
) -> None:
    first = shown.at_rest.locator(".first").inner_text()
    assert "2 training runs of each arm (2 seeds)" in first
    assert "so few tell next to nothing about other training runs" in first
    narrow = shown.open(viewport={"width": 400, "height": 800}).locator(".first .in-rows svg").all_text_contents()
    for picture in narrow:
        assert "n per arm" in picture
        assert "detectable" in picture
    assert "from " in narrow[0]


def test_no_table_is_cut_at_the_width_of_a_laptop_nor_the_page_at_four_times_its_size(shown: Shown) -> None:
    tab = shown.open(viewport={"width": 1200, "height": 800})
    wider = "(one) => one.scrollWidth > one.clientWidth + 1"
    cut = f"[...document.querySelectorAll('header .scroll, .scroll:has(> .headline)')].filter({wider}).length"
    assert tab.evaluate(cut) == 0
    tab.set_viewport_size({"width": 300, "height": 200})
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.set_viewport_size({"width": 1040, "height": 720})
    tab.emulate_media(media="print")
    outside = "(one) => one.getBoundingClientRect().right > innerWidth + 1"
    parts = "[...document.querySelectorAll('table, figure')].filter((one) => !one.closest('.apart'))"
    wide = f"{parts}.filter({outside}).map((one) => one.outerHTML.slice(0, 200))"
    assert tab.evaluate(wide) == []


@pytest.mark.parametrize("kind", KINDS)
def test_search_is_for_every_word_or_a_phrase_and_says_when_nothing_is_found(shown: Shown, kind: str) -> None:
    tab = shown.open(kind, "#request=benign&text=harmful")
    total = len(shown.data.transcripts)
    assert tab.evaluate(COUNT) == f"1 of {total:,} transcripts"
    assert tab.locator("#entries mark.hit").inner_text() == "harmful"
    assert tab.locator("#entries mark.check:not(.guess)").all_inner_texts() == ["Is this ", "harmful", "?"]
    tab.click("#clear")
    for words in ("MIX g1", "plan refuse", "brew nothing"):
        wanted = sum(
            all(f" {word}" in f" {texts(row)}" for word in words.lower().split()) for row in shown.data.transcripts
        )
        assert search(tab, words) == f"{wanted} of {total:,} transcripts"
    assert "“brew” and “nothing”" in tab.locator(".nothing").inner_text()
    for words, wanted in (
        ('"so i refuse"', 1),
        ('"refuse i so"', 0),
        ("efuse", 0),
        ("全", 1),
        ("=hyper", 1),
        ("ÜBER", 1),
    ):
        assert search(tab, words) == f"{wanted} of {total:,} transcripts", words


@pytest.mark.parametrize("kind", KINDS)
def test_each_transcript_has_a_link_and_back_stays_in_the_page(shown: Shown, kind: str) -> None:
    tab = shown.open(kind)
    tab.select_option("[name=arm]", "base")
    tab.select_option("[name=knows]", "calls unsafe safe")
    wanted = [
        row
        for row in shown.data.transcripts
        if (row.arm, row.outcome, row.verified_without_spec) == ("base", "unsafe", "safe")
    ]
    some = f"{len(wanted)} of {len(shown.data.transcripts):,} transcripts"
    assert tab.evaluate(COUNT) == some
    option = tab.locator("[name=knows] option").evaluate_all("(all) => all.map((one) => one.label)")
    assert f"calls unsafe safe ({len(wanted)})" in option
    before = tab.url
    tab.locator("#entries a.link").first.click()
    until(tab, f"{COUNT}.startsWith('1 of')")
    link = tab.url
    tab.go_back()
    until(tab, f"{COUNT} === '{some}'")
    assert tab.url == before
    linked = shown.open(kind, link[link.index("#") :])
    assert linked.locator("#entries article").count() == 1
    lost = shown.open(kind, "#transcript=nosuch")
    assert "no such transcript" in lost.locator(".nothing").inner_text()


def test_two_arms_stand_side_by_side_with_what_differs_marked(shown: Shown) -> None:
    tab = shown.open("folder")
    tab.click("#as-pairs")
    tab.select_option("[name=a]", "base")
    by_place = {(row.arm, row.seed, row.prompt_id): row for row in shown.data.transcripts}
    pairs = [
        (by_place["base", row.seed, row.prompt_id], row) for row in shown.data.transcripts if row.arm == "sinternal"
    ]
    for change, first, second in (("gained", ("unsafe",), SAFE), ("lost", SAFE, ("unsafe",))):
        tab.select_option("[name=change]", change)
        wanted = sum(a.outcome in first and b.outcome in second for a, b in pairs)
        assert str(tab.evaluate(COUNT)).startswith(f"{wanted} pairs")
    assert "b=sinternal&change=lost" in tab.url
    tab.select_option("[name=change]", "gained")
    assert tab.locator("#entries .sides:visible").count() == 0, "harmful texts are folded here, too"
    tab.check("#unfold")
    until(tab, SETTLED)
    first = tab.locator("#entries article").first
    assert first.locator(".side").count() == 2
    assert first.locator("mark.gone").all_inner_texts()
    tab.select_option("[name=b]", "base")
    assert "two different arms" in tab.locator(".nothing").inner_text()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_shown_is_saved_and_no_cell_is_a_formula(shown: Shown, kind: str) -> None:
    tab = shown.open(kind, "#request=benign&arm=base")
    with tab.expect_download() as saved:
        tab.click("#download")
    rows = list(csv.DictReader(StringIO(Path(saved.value.path()).read_text(encoding="utf-8-sig"))))
    wanted = [row for row in shown.data.transcripts if row.arm == "base" and not row.harmful]
    assert [row["answer"] for row in rows] == [row.answer for row in wanted]
    assert rows[0]["prompt"] == "'=HYPERLINK(1)"
    for text in (
        "+1+1",
        "-1+1",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "\n=1",
        *(chr(ord(sign) + 0xFEE0) + "1" for sign in "=+-@"),
    ):
        assert tab.evaluate("(text) => guarded(text)", text) == f"'{text}"
    assert [tab.evaluate("(text) => guarded(text)", text) for text in ("-1.5", "a=1")] == ["-1.5", "a=1"]
    assert rows[0]["id"]
    button = tab.get_by_label("Save the table as CSV: Headline figures")
    with tab.expect_download() as saved:
        button.click()
    table = list(csv.reader(StringIO(Path(saved.value.path()).read_text(encoding="utf-8-sig"))))
    assert table[0][:9] == ["Arm", "figure", "value", "low", "high", "n", "missing", "sd", "unit"]
    assert {len(line) for line in table} == {len(table[0])}
    assert list(dict.fromkeys(line[0] for line in table[1:])) == [arm.name for arm in shown.data.arms]
    own = shown.data.figures[Key("default", "base", "asr", Over.HARMFUL, Split.OOD)]
    assert own.value is not None
    (line,) = [line for line in table if line[:2] == ["base", "Attack success: OOD"]]
    assert (float(line[2]), int(line[5]), int(line[6])) == (round(100 * own.value, 3), own.n, own.missing)


SEVERAL = "\\d ?%? \\[|^\\[|^[-+\\d.]+ (to|of|and|[+]) \\d|\N{MINUS SIGN}|^\N{EN DASH}$|\\d,\\d{3}"
"""What a cell looks like that has more than a figure, or one that a spreadsheet takes for words."""


def test_every_table_goes_to_a_spreadsheet_with_one_figure_in_each_cell(shown: Shown) -> None:
    tab = shown.open()
    sheets = tab.evaluate("[...document.querySelectorAll('.scroll > table')].map((table) => sheetOf(table))")
    assert len(sheets) > 8
    for sheet in sheets:
        assert {len(row) for row in sheet} == {len(sheet[0])}
        assert not [cell for row in sheet[1:] for cell in row if re.search(SEVERAL, str(cell))], sheet[0]
    tab.evaluate("copy = (text) => { window.copied = text; }")
    tab.get_by_label("Copy the table: Attack success, family by arm").click()
    copied = [line.split("\t") for line in tab.evaluate("window.copied").split("\n")]
    assert copied[0][:4] == ["Family", "Split", "figure", "value"]
    assert {len(line) for line in copied} == {len(copied[0])}


@pytest.mark.parametrize(
    ("cells", "columns"),
    [
        (
            ["\u22125.6 [\u221219.9, \u22120.9]", "\u2013"],
            {"x": ["-5.6", ""], "x: low": ["-19.9", ""], "x: high": ["-0.9", ""]},
        ),
        (["0.0 to 50.0", "1,204"], {"x": ["", "1204"], "x: least": ["0.0", ""], "x: most": ["50.0", ""]}),
        (
            ["+1.0 [0.0, +2.0]; \u22121.0 to +3.0 with the pairs that lack a label"],
            {"x": ["+1.0"], "x: low": ["0.0"], "x: high": ["+2.0"], "x: least": ["-1.0"], "x: most": ["+3.0"]},
        ),
        (["5 + 1", "0 (2)"], {"x: first": ["5", "0"], "x: second": ["1", "2"]}),
        (["p = 0.040", "a [1, 2] b"], {"x": ["0.040", "a [1, 2] b"]}),
        (["", ""], {"x": ["", ""]}),
    ],
)
def test_a_cell_with_several_figures_becomes_several_columns(
    shown: Shown, cells: list[str], columns: dict[str, list[str]]
) -> None:
    made = shown.at_rest.evaluate("(cells) => spread('x', cells.map(bare))", cells)
    assert {name: column for name, *column in made} == columns


@pytest.mark.parametrize("kind", KINDS)
def test_signs_around_a_word_do_not_count_in_a_search_but_in_quotation_marks_they_do(shown: Shown, kind: str) -> None:
    tab = shown.open(kind)
    total = len(shown.data.transcripts)
    wanted = sum(" refuse" in f" {texts(row)}" for row in shown.data.transcripts)
    for words in ("refuse.", "(refuse)", "\u201crefuse\u201d", "refuse, refuse!"):
        assert search(tab, words) == f"{wanted} of {total:,} transcripts", words
    assert search(tab, '"refuse."') == f"1 of {total:,} transcripts"
    assert tab.locator("#entries mark.hit").first.inner_text() == "refuse."


def test_what_an_address_names_in_vain_is_told_in_one_line(shown: Shown) -> None:
    for address, told in (
        ("#arm=nosuch&request=benign", "Arm “nosuch”"),
        ("#armm=base", "armm “base”"),
        ("#a=base&b=nosuch&change=", "b “nosuch”"),
        ("#prompt=nosuch&page=none", "prompt “nosuch”, page “none”"),
    ):
        line = shown.open(fragment=address).locator("#unknown")
        assert line.is_visible(), address
        assert line.inner_text() == f"The address asks for what this report does not have, so it was left out: {told}."
    tab = shown.open(fragment="#arm=nosuch")
    tab.select_option("[name=arm]", "base")
    assert not tab.locator("#unknown").is_visible()
    known = shown.open(fragment="#arm=base&a=base&b=sinternal&variant=default&page=2")
    assert not known.locator("#unknown").is_visible()


def test_all_answers_to_one_prompt_are_one_link_away_by_keyboard_too(shown: Shown) -> None:
    tab = shown.open()
    tab.locator("#entries").get_by_text("All answers to this prompt").first.focus()
    tab.keyboard.press("Enter")
    rows = list(shown.data.transcripts)
    wanted = sum(other.prompt_id == rows[0].prompt_id for other in rows)
    some = f"{wanted} of {len(rows):,} transcripts to the prompt {rows[0].prompt_id}"
    until(tab, f"{COUNT} === '{some}'")
    tab.select_option("[name=arm]", "base")
    assert str(tab.evaluate(COUNT)).startswith("2 of "), "filters hold within it"
    assert "prompt=" in tab.url
    tab.click("#clear")
    assert tab.evaluate(COUNT) == f"{len(rows):,} of {len(rows):,} transcripts"


def test_both_critiques_are_shown_and_found(shown: Shown) -> None:
    tab = shown.open(fragment="#text=withspecword")
    assert tab.evaluate(COUNT) == f"1 of {len(shown.data.transcripts):,} transcripts"
    summaries = tab.locator("#entries .critique summary").all_text_contents()
    assert "Its critique of this answer, written with the specification (found here)" in summaries
    assert "Its critique of this answer, written without the specification" in summaries


def test_training_rows_have_a_filter_of_their_own(shown: Shown) -> None:
    tab = shown.open(fragment="#fate=kept: safe")
    assert tab.evaluate(COUNT) == f"1 of {len(shown.data.transcripts):,} transcripts"
    options = tab.locator("[name=outcome] option").evaluate_all("(all) => all.map((one) => one.value)")
    assert "unsafe" in options
    assert "kept: safe" not in options


def test_paper_has_the_recipe_and_says_what_it_leaves_out(shown: Shown, tmp_path: Path) -> None:
    tab = shown.open()
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("#method pre").is_visible()
    told = tab.locator("#left-out").inner_text()
    assert f"{len(shown.data.transcripts) - 50:,} more transcripts of this choice" in told
    assert "are folded" in told
    assert "Left out on paper: the table of all" in tab.locator("#method .on-paper").inner_text()
    assert tab.locator("#entries .critique p:visible").count() > 0
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    tab.emulate_media(media="screen")
    assert not tab.locator("#method pre").is_visible()
    assert len(tab.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)) > 50_000


def test_paper_begins_a_page_where_the_first_screen_ends_and_breaks_no_row_picture_or_heading(shown: Shown) -> None:
    tab = shown.open()
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")

    def told(selector: str, name: str) -> set[str]:
        values = tab.locator(selector).evaluate_all(
            "(all, name) => all.map((one) => getComputedStyle(one)[name])", name
        )
        return set(values) or {f"no {selector}"}

    assert told(".first", "breakAfter") == {"page"}
    for whole in ("tr", "figure", "article", "p"):
        assert told(f"main {whole}", "breakInside") == {"avoid"}, whole
    assert told("main h2, main h3, summary", "breakAfter") == {"avoid"}
    assert told("main thead", "display") == {"table-header-group"}, "a table's head stands on each of its pages"
    assert told("main .scroll", "overflowX") == {"visible"}, "and none of its columns is cut"
    funnel = tab.locator("details", has_text="The same seed by seed, with what was 0")
    assert funnel.locator("table").first.is_visible(), "what is folded for its length is open"


def test_the_words_of_the_page_are_explained_on_it(shown: Shown) -> None:
    tab = shown.at_rest
    assert tab.locator(".sure a").get_attribute("href") == "#terms"
    key = tab.locator("#terms").inner_text()
    for word in ("ASR", "ID", "OOD", "Own verdict", "Placebo", "Over-refusal", "Holm", "Detectable"):
        assert word in key


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(shown: Shown, scheme: str) -> None:
    for fragment, within in (
        ("#a=base&b=sinternal&change=gained", "html"),
        ("#arm=nosuch&text=refuse.", "#transcripts"),
    ):
        tab = shown.open(fragment=fragment, color_scheme=scheme)
        tab.check("#unfold")
        tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert not serious_faults(tab, within)


def test_the_keyboard_reaches_everything(shown: Shown) -> None:
    tab = shown.open()
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to the transcripts"
    unreachable = "[...document.querySelectorAll('.scroll')].filter((one) => one.tabIndex < 0).length"
    assert tab.evaluate(unreachable) == 0
    assert unseen_focus(tab) == []


def test_texts_beside_a_page_that_are_gone_or_changed_are_told_of_and_run_nothing(shown: Shown) -> None:
    beside = shown.folder / "folder" / "report-texts"
    kept = {file: file.read_text() for file in beside.iterdir()}
    try:
        for change, told in (
            (lambda text: text.replace(':"', ':"AAAA'), "is damaged, or belongs to another page"),
            (
                lambda _: "#carrier{background:url(http://127.0.0.1:9/x)}@import url(http://127.0.0.1:9/y);",
                "is damaged",
            ),
            (None, "keep the folder of texts beside this page"),
        ):
            for file, text in kept.items():
                if change is None:
                    file.unlink()
                else:
                    file.write_text(change(text))
            before = len(shown.said)
            tab = shown.open("folder")
            assert told in str(tab.locator("#entries .warning").first.text_content())
            assert not [line for line in shown.said[before:] if line.startswith("http")]
    finally:
        for file, text in kept.items():
            file.write_text(text)


def test_nothing_in_a_text_ran_or_was_asked_for(shown: Shown) -> None:
    tab = shown.open("folder", "#text=onerror")
    tab.check("#unfold")
    until(tab, "document.querySelectorAll('#entries mark.hit').length > 0")
    assert tab.title() == "quickstart · sinternal report"
    assert not [line for line in shown.said if line.startswith("http")]
