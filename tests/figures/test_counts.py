"""Counts add up field by field, and say what a figure is over."""

from __future__ import annotations

import pytest

from sinternal.figures.counts import NOTHING, Counts, count_other_side, count_row, pool, tables, total
from sinternal.figures.estimate import Difference, Estimate


def test_a_row_is_a_hit_a_miss_or_missing_for_a_reason() -> None:
    assert count_row(True, truncated=True) == Counts(hits=1, truncated=1)
    assert count_row(False, no_answer=True, filtered=True) == Counts(misses=1), "reasons are of missing rows alone"
    missing = count_row(None, no_answer=True, filtered=True, missing_hit=True)
    assert missing == Counts(missing=1, missing_positive=1, no_answer=1, filtered=1)
    assert (missing.n, missing.rows) == (0, 1)


def test_rows_of_the_other_side_are_none_that_a_figure_is_about() -> None:
    other = count_other_side(missing=True)
    assert (other.n, other.rows, other.other_side, other.other_side_missing) == (0, 0, 1, 1)


def test_seeds_are_pooled_by_parent_prompt() -> None:
    first, second = {"a": count_row(True), "b": count_row(False)}, {"a": count_row(None)}
    pooled = pool([first, second])
    assert pooled == {"a": Counts(hits=1, missing=1), "b": Counts(misses=1)}
    assert first["a"] == Counts(hits=1), "what is pooled stays as it was"
    assert total(pooled.values()) == Counts(hits=1, misses=1, missing=1)
    assert total([]) == NOTHING


def test_verdicts_are_stacked_as_tables_with_unsafe_as_the_positive_class() -> None:
    counts = Counts(unsafe_called_unsafe=1, safe_called_unsafe=2, unsafe_called_safe=3, safe_called_safe=4)
    assert counts.table == (1, 2, 3, 4)
    assert counts.n == 10
    assert tables([counts, NOTHING]).tolist() == [[1, 2, 3, 4], [0, 0, 0, 0]]
    assert tables([]).shape == (0, 4)


def test_an_estimate_is_a_number_or_none() -> None:
    with pytest.raises(ValueError, match="high is inf, which is not a figure"):
        Estimate(value=0.5, low=0.1, high=float("inf"), n=3)
    with pytest.raises(ValueError, match="no difference"):
        _ = Difference(value=None, low=None, high=None, n=0).difference
