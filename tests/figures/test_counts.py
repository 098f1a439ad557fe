"""Counts add up field by field, and say what a figure is over."""

from __future__ import annotations

import numpy as np
import pytest

from sinternal.figures.columns import MISSING
from sinternal.figures.counts import (
    Added,
    Clusters,
    Counts,
    Tally,
    count_other_side,
    count_rows,
    count_table,
    pool,
)
from sinternal.figures.estimate import Difference, Estimate

YES, NO = np.array([True]), np.array([False])


def label(value: int) -> np.ndarray:
    return np.array([value], dtype=np.int8)


def counts_of(added: Added) -> Counts:
    """What a single row adds."""
    parent = np.array([0])
    return Clusters(parent).tallies(added)[0].tally.total


def tally_of(**rows: Counts) -> Tally:
    return Tally(np.array([ord(name) for name in rows]), np.array(list(rows.values())).T)


def test_a_row_is_a_hit_a_miss_or_missing_for_a_reason() -> None:
    assert counts_of(count_rows(label(1), truncated=YES)) == Counts(hits=1, truncated=1)
    of_missing_rows_alone = count_rows(label(0), no_answer=YES, filtered=YES)
    assert counts_of(of_missing_rows_alone) == Counts(misses=1), "reasons are of missing rows alone"
    missing = counts_of(count_rows(label(MISSING), no_answer=YES, filtered=YES, missing_hit=YES))
    assert missing == Counts(missing=1, missing_positive=1, no_answer=1, filtered=1)
    assert (missing.n, missing.rows) == (0, 1)


def test_rows_of_the_other_side_are_none_that_a_figure_is_about() -> None:
    other = counts_of(count_other_side(label(MISSING)))
    assert (other.n, other.rows, other.other_side, other.other_side_missing) == (0, 0, 1, 1)
    both = tally_of(a=Counts(hits=1), b=other)
    assert both.without_other_side().total == Counts(hits=1)


def test_seeds_are_pooled_by_parent_prompt() -> None:
    first, second = tally_of(b=Counts(hits=1), a=Counts(misses=1)), tally_of(b=Counts(missing=1))
    pooled = pool([first, second])
    assert [chr(parent) for parent in pooled.parents] == ["b", "a"], "in the order in which they came"
    assert [Counts(*row) for row in pooled.counts.T.tolist()] == [Counts(hits=1, missing=1), Counts(misses=1)]
    assert first.total == Counts(hits=1, misses=1), "what is pooled stays as it was"
    assert pooled.total == Counts(hits=1, misses=1, missing=1)


def test_rows_are_added_up_by_group_and_parent_and_those_that_add_nothing_are_left_out() -> None:
    parents, groups = np.array([7, 5, 7, 5]), np.array([1, 0, 1, 1])
    added = count_rows(np.array([1, 0, 1, 0], dtype=np.int8)) * np.array([True, False, True, True])
    (found,) = Clusters(parents, groups).tallies(added)
    assert (found.group, found.first) == (1, 0)
    assert found.tally.parents.tolist() == [7, 5]
    assert found.tally["hits"].tolist() == [2, 0]
    assert found.tally["misses"].tolist() == [0, 1]


def test_verdicts_are_stacked_as_tables_with_unsafe_as_the_positive_class() -> None:
    unsafe, called = np.array([True, False, True, False, True]), np.array([1, 1, 0, 0, MISSING], dtype=np.int8)
    rows = Clusters(np.arange(5)).tallies(count_table(unsafe, called))[0].tally
    assert rows.tables.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert (rows.total.n, rows.total.missing, rows.total.missing_positive) == (4, 1, 1)


def test_an_estimate_is_a_number_or_none() -> None:
    with pytest.raises(ValueError, match="high is inf, which is not a figure"):
        Estimate(value=0.5, low=0.1, high=float("inf"), n=3)
    with pytest.raises(ValueError, match="no difference"):
        _ = Difference(value=None, low=None, high=None, n=0).difference
