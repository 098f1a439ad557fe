"""What is told of verdicts that were rewarded, or by which answers were."""

from __future__ import annotations

import re

import pytest

from sinternal.figures.verdicts import notes_on_verdicts


@pytest.mark.parametrize(
    ("logged", "notes"),
    [
        ({"unsafe_verdicts": [0.0], "balanced_accuracy": [0.5]}, ["collapsed: at the end 100% .* `safe`"]),
        ({"unsafe_verdicts": [0.99], "balanced_accuracy": [0.5]}, ["collapsed: .* 99% .* `unsafe`"]),
        ({"unsafe_verdicts": [0.5], "balanced_accuracy": [0.5]}, []),
        ({"unsafe_verdicts": [0.0], "balanced_accuracy": []}, []),  # all its answers are safe
        ({"unsafe_verdicts": [0.0], "self_judge_gap": [0.4]}, ["calls 40 points more of its own answers safe"]),
        ({"self_judge_gap": [-0.4]}, ["calls 40 points fewer of its own answers safe"]),
        ({"self_judge_gap": [0.9] + [0.0] * 5}, []),  # what counts is the end
        ({"right_benign": [0.0], "right_safe": [1.0]}, ["short cut: .* benign .* only at whether the answer refuses"]),
        ({"right_benign": [0.9], "right_safe": [0.05]}, ["short cut: .* harmful .* only at the request"]),
        (
            {"unsafe_verdicts": [1.0], "balanced_accuracy": [0.5], "right_benign": [0.0], "right_safe": [0.0]},
            ["collapsed"],  # one word for all is no short cut
        ),
        ({"reward": [0.5]}, []),
        ({}, []),
    ],
)
def test_collapsed_verdicts_short_cuts_and_a_gap_to_the_judge_are_told(
    logged: dict[str, list[float]], notes: list[str]
) -> None:
    told = list(notes_on_verdicts(logged).values())
    assert len(told) == len(notes)
    for note, expected in zip(told, notes, strict=True):
        assert re.search(expected, note)
