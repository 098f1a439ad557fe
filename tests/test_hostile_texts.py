"""A thousand nasty strings through everything that reads, asks, keeps or prints text of others: short forms."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from bench import hostile_readers as readers
from bench.hostile_texts import (
    CONTROLS,
    EVERY_CONTROL,
    HONEST,
    INVISIBLE,
    KINDS,
    UNKNOWN,
    corpus,
    large,
    quoted,
    sample,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from sinternal.judges.reading import plain_lines
from sinternal.prompting.fence import break_up, safe_tags
from sinternal.prompting.think import read_label, split_thinking, strip_decoration
from sinternal.report.markdown import plain
from tests.growth import growth

TEXTS = [nasty.text for nasty in corpus()]
PIECES = [text for text in TEXTS if 0 < len(text) < 30]
nasty = st.lists(st.one_of(st.sampled_from(PIECES), st.text(st.characters(), max_size=5)), max_size=8).map("".join)


def test_there_are_enough_strings_of_enough_kinds() -> None:
    assert len(TEXTS) >= 900
    assert len(KINDS) >= 10
    assert len(CONTROLS) >= 20
    assert any("\u017f" in text for text in TEXTS)


def test_no_reader_fails_at_a_nasty_string(tmp_path: Path) -> None:
    for nasty in sample(25):
        readers.read_everything(nasty.text, tmp_path)


@settings(max_examples=30)
@given(nasty)
def test_no_reader_fails_at_any_composition_of_them(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    readers.read_everything(text, tmp_path_factory.mktemp("rows", numbered=True))


def test_no_reader_takes_a_label_from_what_is_quoted() -> None:
    assert not [(text, label) for text in quoted() for label in readers.labels(text)]


def test_what_is_in_a_fence_is_quoted_also_if_it_never_closes() -> None:
    words = ("safe", "unsafe")
    assert read_label("```\nVerdict: safe", words) is None
    assert read_label("~~~\nx\nVerdict: safe", words) is None
    assert read_label("```\nx\n```\nVerdict: safe", words) == "safe"
    assert read_label("```json\n{}\n```\n~~~\n~~~\nVerdict: unsafe", words) == "unsafe"


def test_the_store_keeps_every_string_and_replaces_halves_of_characters(tmp_path: Path) -> None:
    assert readers.lost_in_the_store(TEXTS, tmp_path) == []
    assert readers.lost_in_the_store(["half \ud83d", "whole", "\udfff\ud800"], tmp_path) == []


def test_no_string_breaks_a_table_or_a_paragraph_of_markdown() -> None:
    assert readers.broken_in_markdown(TEXTS) == []


@settings(max_examples=100)
@given(nasty)
def test_no_composition_breaks_one(text: str) -> None:
    assert readers.broken_in_markdown([text]) == []


@pytest.mark.parametrize(
    "text", ["**3 of 4** [1.0, 2.0] a_b *c*", "1.5 points", "-3.1", "x < 5 and y > 2", "20 % [1, 2]"]
)
def test_ordinary_words_stay_as_they_are_in_markdown(text: str) -> None:
    assert plain(text) == text


def test_for_servers_every_familys_tokens_are_broken_up_and_honest_text_stays() -> None:
    assert [token for token in (*EVERY_CONTROL, *UNKNOWN) if token in break_up(f"a {token} b")[0]] == []
    assert [text for text in HONEST if break_up(text) != (text, 0)] == []


@given(st.sampled_from(["request", "answer", "thinking", "response"]), st.data())
def test_a_tag_is_seen_behind_whatever_shows_nothing(name: str, data: st.DataObject) -> None:
    odd = st.text(st.sampled_from(INVISIBLE + " \n\t\x00\x85"), max_size=3)
    spelled = "".join(data.draw(odd) + char for char in f"</{name}") + ">"
    assert safe_tags((name,), (f"a <{spelled[1:]}",)) == (f"{name}-2",)


@pytest.mark.parametrize(
    "tag", ["<//answer>", "<\u2044answer>", "</\u0430nswer>", "\u2039/answer\u203a", "</answe\u0433>"]
)
def test_a_tag_is_seen_in_letters_that_look_the_same(tag: str) -> None:
    assert safe_tags(("answer",), (tag,)) == ("answer-2",)


def test_decoration_is_taken_off_in_time() -> None:
    def strip(size: int) -> None:
        for text in ("*" * size + "Verdict: safe" + "*" * size, "_" + "a_" * size, "`a" * size, '"' * 2 * size):
            strip_decoration(text)

    assert growth(lambda: strip(10_000), lambda: strip(100_000)) < 40
    assert strip_decoration("**_`Verdict: safe`_**.") == "Verdict: safe"


def test_ten_times_the_text_takes_about_ten_times_as_long() -> None:
    for short, long in zip(large(30_000), large(300_000), strict=True):
        for read in (lambda text: safe_tags(("request", "answer"), (text,)), break_up, plain_lines, plain, split):
            assert growth(partial(read, short.text), partial(read, long.text)) < 40, (short.kind, read)


def split(text: str) -> object:
    return split_thinking(text, opened=True)
