from __future__ import annotations

import numpy as np
import pytest

from sinternal.metrics import balanced_accuracy, f1_unsafe
from sinternal.statistics import confusion_interval, paired_difference, wilson


def test_wilson_matches_a_published_example() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, table I: 81 of 263 and 0 of 20, score method without correction.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 4)])
def test_wilson_refuses_what_is_no_proportion(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson(successes, n)


def test_balanced_accuracy_and_f1_by_hand() -> None:
    table = np.array([[6.0, 2.0, 4.0, 8.0]])  # tp fp fn tn
    assert balanced_accuracy(table)[0] == pytest.approx((0.6 + 0.8) / 2)
    assert f1_unsafe(table)[0] == pytest.approx(12 / 18)


def test_a_verifier_that_always_says_safe_is_at_chance() -> None:
    assert balanced_accuracy(np.array([[0.0, 0.0, 10.0, 90.0]]))[0] == 0.5


def test_the_confusion_interval_agrees_with_wilson_where_both_apply() -> None:
    low, high = confusion_interval([60, 40, 0, 0], lambda t: t[:, 0] / t.sum(1))
    assert (low, high) == pytest.approx(wilson(60, 100), abs=0.015)


def test_an_undefined_figure_is_refused() -> None:
    with pytest.raises(ValueError, match="undefined"):
        confusion_interval([5, 5, 0, 0], lambda t: np.full(len(t), np.nan))


def test_a_paired_difference_by_hand() -> None:
    a = [True] * 6 + [False] * 2
    b = [False] * 6 + [False, True]
    found = paired_difference(a, b, [str(i) for i in range(8)])
    assert found.difference == pytest.approx(5 / 8)
    assert found.n == 8
    # Seven discordant pairs, six of them one way: two-sided sign test, 2 * (7 + 1) / 2 ** 7.
    assert found.p == pytest.approx(0.125, abs=0.02)
    assert found.low < 5 / 8 < found.high


def test_no_difference_has_p_one() -> None:
    found = paired_difference([True, False, True], [True, False, True], ["a", "b", "c"])
    assert (found.difference, found.p) == (0, 1)


def test_rows_of_one_parent_do_not_count_as_independent() -> None:
    a, b = [True] * 20, [False] * 20
    apart = paired_difference(a, b, [str(i) for i in range(20)])
    together = paired_difference(a, b, [str(i % 2) for i in range(20)])
    assert apart.p < 0.01
    assert together.p > 0.2


def test_one_parent_is_not_enough_to_compare() -> None:
    with pytest.raises(ValueError, match="at least two parent prompts"):
        paired_difference([True, False], [False, False], ["same", "same"])
