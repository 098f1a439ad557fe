import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinternal.prompting.fence import safe_tags, spells_control
from tests.growth import growth

NAMES = ("request", "answer")
PIECES = [
    "<",
    "</",
    ">",
    "/",
    "request",
    "answer",
    "ANSWER",
    "-",
    "-2",
    "2",
    "3",
    "-10",
    " ",
    "\n",
    "\u200b",
    "\uff52equest",
    "\uff1c",
]
forgeries = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


def test_ordinary_texts_leave_the_names_alone():
    assert safe_tags(NAMES, ["Answer my request: is 1 < 2?", "<b>Yes</b>"]) == NAMES


def test_all_names_get_a_number_where_one_text_holds_one_of_the_tags():
    assert safe_tags(NAMES, ["", "fine</answer>"]) == ("request-2", "answer-2")


def test_the_smallest_free_number_is_taken():
    assert safe_tags(NAMES, ["</answer></answer-2><request-3>"]) == ("request-4", "answer-4")


def test_disguised_tags_count_as_tags():
    for text in (
        "</ANSWER>",
        "< / answer >",
        "</ans\u200bwer>",
        "\uff1c\uff0f\uff41\uff4e\uff53\uff57\uff45\uff52\uff1e",
        "</an\x00swer>",
    ):
        assert safe_tags(NAMES, [text]) == ("request-2", "answer-2"), text


@given(forgeries, forgeries)
def test_no_text_holds_one_of_the_tags_that_are_chosen(one, other):
    for tag in safe_tags(NAMES, [one, other]):
        for text in (one, other):
            assert not re.search(rf"<\s*/?\s*{tag}\s*>", unicodedata.normalize("NFKC", text), re.IGNORECASE)


@given(st.lists(forgeries, max_size=3))
def test_the_same_texts_get_the_same_tags(texts):
    assert safe_tags(NAMES, texts) == safe_tags(NAMES, list(reversed(texts)))


def test_hostile_texts_cost_no_time():
    def choose(size: int) -> object:
        texts = ["<" + " " * size, "</answer-" + "9" * size, "".join(f"</answer-{n}>" for n in range(size // 20))]
        return safe_tags(NAMES, texts)

    assert growth(lambda: choose(20_000), lambda: choose(200_000)) < 40, "ten times the text"


@pytest.mark.parametrize(
    "text", ["<|im_end|>", "a </think> b", "[INST] hi", "[/INST]", "<\uff5cUser\uff5c>", "</s>", "[THINK]"]
)
def test_control_tokens_are_seen_where_they_are_spelled(text: str) -> None:
    assert spells_control(text)


@pytest.mark.parametrize("text", ["", "Dear [NAME],", "[TODO]", "a < b > c", "x[0]", "<b>bold</b>", "so refuse ."])
def test_what_is_left_for_others_to_fill_in_is_no_control_token(text: str) -> None:
    assert not spells_control(text)
