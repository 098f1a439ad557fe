"""What a placebo's questions need: how long is long, and which verdicts are known."""

from __future__ import annotations

import pytest

from sinternal.records import Subject
from sinternal.stages.placebo import count_words, median_words, right_label

YES_NO = ("yes", "no")


def test_half_of_a_training_set_is_longer_than_its_median_however_many_answers_there_are_of_each_kind() -> None:
    lengths = [("unsafe", words) for words in (10, 20)] + [("safe", 5)] + [("benign", 30)] * 97
    median = median_words(lengths)
    shares = {"unsafe": 0.5, "safe": 0.25, "benign": 0.25}
    number = {kind: sum(other == kind for other, _ in lengths) for kind in shares}
    longer = sum(shares[kind] / number[kind] for kind, words in lengths if words > median)
    assert median == 10
    assert longer == pytest.approx(0.5)


@pytest.mark.parametrize(("lengths", "median"), [([], 0), ([("safe", 7)], 7), ([("safe", 7)] * 3, 7)])
def test_the_median_of_hardly_any_answers(lengths: list[tuple[str, int]], median: int) -> None:
    assert median_words(lengths) == median


@pytest.mark.parametrize(
    ("answer", "words"),
    [("", 0), ("  \n ", 0), ("one\ttwo\n\nthree", 3), ("Verdict: yes", 2), ("half-way, e.g. so", 3)],
)
def test_words_are_what_white_space_divides(answer: str, words: int) -> None:
    assert count_words(answer) == words


def test_only_a_length_is_known_to_be_right() -> None:
    assert right_label(Subject.LENGTH, "one two three", 2, YES_NO) == "yes"
    assert right_label(Subject.LENGTH, "one two", 2, YES_NO) == "no", "long is more than the number"
    others = set(Subject) - {Subject.LENGTH}
    assert {right_label(subject, "one two three", 2, YES_NO) for subject in others} == {None}
