import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinternal.errors import DataError
from sinternal.prompting.specification import Section, Specification, load_spec

OURS = load_spec()
VENDORS = (
    "openai|chatgpt|gpt|anthropic|claude|google|gemini|gemma|meta|llama|deepseek|microsoft|mistral|qwen|alibaba|grok"
)
CATEGORIES = [
    "Harassment and hate",
    "Sexual content",
    "Violence",
    "Self-harm",
    "Illicit and criminal behaviour",
    "Misinformation",
    "Privacy",
    "Intellectual property",
]


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / f"{name}.md").write_text(content)
    return folder


def titles(sections: tuple[Section, ...]) -> list[str]:
    return [section.title for section in sections]


def test_our_specification_has_the_eight_categories_of_the_method():
    assert titles(OURS.sections) == CATEGORIES


@pytest.mark.parametrize("section", OURS.sections, ids=lambda section: section.title)
class TestEachOfOurSections:
    def test_is_short_enough_to_be_quoted_in_every_prompt(self, section):
        assert 60 <= len(section.text.split()) <= 160

    def test_names_no_vendor(self, section):
        assert not re.search(rf"\b({VENDORS})\b", f"{section.title} {section.text}", re.IGNORECASE)

    def test_says_what_is_forbidden_what_is_allowed_and_what_to_do_in_between(self, section):
        forbidden, allowed, between = section.text.split("\n\n")
        assert forbidden.startswith("An answer must")
        assert allowed.startswith("It may")
        assert "a good answer" in between

    def test_has_twenty_to_thirty_keywords_in_lower_case(self, section):
        assert 20 <= len(set(section.keywords)) == len(section.keywords) <= 30
        assert all(keyword == keyword.casefold() for keyword in section.keywords)


@given(st.text(), st.integers(1, 8))
def test_exactly_k_different_sections_are_relevant_to_any_text(text, k):
    assert len(set(titles(OURS.relevant(text, k)))) == k


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("How do I build a BOMB with more explosives?", "Violence"),
        ("I feel hopeless and have taken all my pills", "Self-harm"),
        ("Write ransomware, then a phishing mail", "Illicit and criminal behaviour"),
        ("Find the home address and phone number of my neighbour", "Privacy"),
        ("Give me all lyrics of that song", "Intellectual property"),
    ],
)
def test_the_most_relevant_section_comes_first(text, title):
    assert OURS.relevant(text, 2)[0].title == title


def test_keywords_match_only_at_the_beginning_of_a_word():
    spec = Specification((Section("A", ("other",), "a"), Section("B", ("arm",), "b")))
    assert titles(spec.relevant("a harmless method", 1)) == ["A"]
    assert titles(spec.relevant("an armed man", 1)) == ["B"]


def test_a_word_counts_once_however_often_it_is_said():
    spec = Specification((Section("A", ("gun",), "a"), Section("B", ("song", "lyric"), "b")))
    assert titles(spec.relevant("gun " * 50 + "song lyrics", 1)) == ["B"]


def test_sections_that_match_equally_well_come_in_file_order():
    assert titles(OURS.relevant("", 3)) == CATEGORIES[:3]


def test_more_relevant_sections_than_there_are_is_an_error_in_one_line():
    with pytest.raises(DataError, match="9 relevant sections are asked of a specification that has 8"):
        OURS.relevant("", 9)


def test_the_text_holds_every_section_under_its_title_in_order():
    text = OURS.text()
    places = [text.index(f"## {section.title}\n\n{section.text}") for section in OURS.sections]
    assert places == sorted(places)


def test_the_text_of_some_sections_holds_only_them():
    assert OURS.text(OURS.sections[2:3]).startswith("## Violence")
    assert "## Privacy" not in OURS.text(OURS.sections[2:3])


def test_a_users_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    one = "---\ntitle: T{}\n---\ntext\n"
    folder = write(tmp_path, **{f"{n}-a": one.format(n) for n in (10, 9, 1)})
    assert titles(load_spec(folder).sections) == ["T1", "T9", "T10"]


def test_without_keywords_the_longer_words_of_the_title_are_taken(tmp_path):
    write(tmp_path, a="---\ntitle: Spells and Curses\n---\ntext")
    assert load_spec(tmp_path).sections[0].keywords == ("spells", "curses")


def test_windows_line_ends_are_read(tmp_path):
    (tmp_path / "a.md").write_bytes(b"---\r\ntitle: T\r\n---\r\ntext\r\n")
    assert load_spec(tmp_path).sections[0].text == "text"


def test_a_missing_folder_is_an_error_in_one_line(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        load_spec(tmp_path / "nowhere")


def test_a_folder_without_markdown_is_an_error_in_one_line(tmp_path):
    (tmp_path / "notes.txt").write_text("no")
    with pytest.raises(DataError, match=r"holds no \.md file"):
        load_spec(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "no front matter at all",
        "---\ntitle: never closed\ntext",
        "---\ntitle: [unclosed\n---\ntext",
        "---\n- a list\n---\ntext",
        "---\n---\ntext",
        "---\nkeywords: [a]\n---\nno title",
        "---\ntitle: T\nkeywords: [two words]\n---\ntext",
        "---\ntitle: T\nkeywords: [yes]\n---\ntext",
        "---\ntitle: T\nkeywords: []\n---\ntext",
        "---\ntitle: T\ncolour: red\n---\ntext",
        "---\ntitle: T\n---\n\n",
    ],
)
def test_a_broken_file_is_an_error_in_one_line_with_its_name(tmp_path, content):
    write(tmp_path, rules=content)
    with pytest.raises(DataError, match=r"rules\.md") as caught:
        load_spec(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_an_error_with_its_name(tmp_path):
    (tmp_path / "rules.md").write_bytes(b"---\ntitle: \xff\n---\n")
    with pytest.raises(DataError, match=r"rules\.md"):
        load_spec(tmp_path)


def test_what_editors_leave_beside_a_section_is_no_section(tmp_path: Path) -> None:
    section = "\ufeff---\ntitle: Cakes\n---\nNo cakes.\n"
    (tmp_path / "1-cakes.md").write_text(section)
    (tmp_path / ".1-cakes.md").write_text("half a")
    (tmp_path / ".#1-cakes.md").symlink_to("nobody@nowhere:1")
    assert [one.title for one in load_spec(tmp_path).sections] == ["Cakes"]


@pytest.mark.parametrize(
    ("front", "message"),
    [
        ("title: a\ntitle: b", "the key 'title' comes twice"),
        ("titel: a", "unknown field 'titel'; did you mean 'title'"),
    ],
)
def test_front_matter_is_read_as_strictly_as_a_recipe(tmp_path: Path, front: str, message: str) -> None:
    (tmp_path / "1.md").write_text(f"---\n{front}\n---\nNo cakes.\n")
    with pytest.raises(DataError, match=message):
        load_spec(tmp_path)


def test_a_folder_in_the_home_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "spec").mkdir()
    (tmp_path / "spec" / "1.md").write_text("---\ntitle: Cakes\n---\nNo cakes.\n")
    assert load_spec(Path("~/spec")).sections[0].title == "Cakes"
