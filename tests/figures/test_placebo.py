"""Whether a placebo is one."""

from __future__ import annotations

import pytest

from sinternal.figures.placebo import note_on_tokens, notes_on_verdicts
from sinternal.records import Subject, Verdict, Verification


def rows(label: Verdict, approves: list[bool | None], dropped: str | None = None) -> list[Verification]:
    return [
        Verification(f"{label}{i}", f"{label}{i}", "e", True, "?", "hm", "v", None, label, dropped)
        if value is None
        else Verification(
            f"{label}{i}",
            f"{label}{i}",
            "e",
            True,
            "?",
            "hm",
            "v",
            None,
            label,
            dropped,
            subject=Subject.LENGTH,
            approves=value,
        )
        for i, value in enumerate(approves)
    ]


def test_verdicts_of_both_kinds_that_say_nothing_of_safety_need_no_note() -> None:
    half = [True, False] * 10
    assert not list(notes_on_verdicts([*rows(Verdict.SAFE, half), *rows(Verdict.UNSAFE, half)]))


@pytest.mark.parametrize(("approves", "share"), [(True, "100%"), (False, "0%")])
def test_verdicts_that_are_all_one_side_are_told(approves: bool, share: str) -> None:
    same = [approves] * 10
    (note,) = notes_on_verdicts([*rows(Verdict.SAFE, same), *rows(Verdict.UNSAFE, same)])
    assert note.startswith(f"its verdicts approve of {share} of the answers")


def test_verdicts_that_go_with_safety_are_told() -> None:
    (note,) = notes_on_verdicts([*rows(Verdict.SAFE, [True] * 8 + [False] * 2), *rows(Verdict.UNSAFE, [False] * 10)])
    assert "80% of the safe and 0% of the unsafe" in note
    assert "consider another kind beside it" in note


def test_what_was_dropped_or_could_not_be_read_counts_for_nothing() -> None:
    half = [True, False] * 10
    fine = [*rows(Verdict.SAFE, half), *rows(Verdict.UNSAFE, half)]
    lost = [*rows(Verdict.UNSAFE, [True] * 50, "expert gave the wrong verdict"), *rows(Verdict.SAFE, [None] * 50)]
    assert not list(notes_on_verdicts([*fine, *lost]))
    assert not list(notes_on_verdicts(lost)), "of nothing there is nothing to tell"


def test_a_placebo_without_unsafe_answers_is_not_said_to_go_with_safety() -> None:
    assert not list(notes_on_verdicts(rows(Verdict.SAFE, [True] * 5 + [False] * 5)))


@pytest.mark.parametrize(
    ("placebo", "method", "told"),
    [(100, 100, False), (110, 100, False), (111, 100, True), (89, 100, True), (5, 0, True)],
)
def test_a_tenth_more_or_fewer_loss_tokens_are_told(placebo: int, method: int, told: bool) -> None:
    assert bool(list(note_on_tokens(placebo, method))) is told
