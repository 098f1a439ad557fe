"""Paired scores that are any number: the figures of what happens or not where they are 0 or 1, and true to nothing."""

from __future__ import annotations

import numpy as np
import pytest

from sinternal.figures.statistics import numeric, paired_difference
from sinternal.figures.statistics.numeric import numeric_difference, swap_test


@pytest.mark.parametrize("runs", [1, 3])
def test_of_zeros_and_ones_it_is_the_paired_difference(runs: int) -> None:
    random = np.random.default_rng(runs)
    a, b = random.random((2, 240)) < [[0.6], [0.45]]
    clusters, seeds = np.arange(240) // 6, np.arange(240) % runs
    ours, theirs = numeric_difference(a, b, clusters, seeds), paired_difference(a, b, clusters, seeds)
    assert ours.difference == pytest.approx(theirs.difference)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert ours.these_runs == pytest.approx(theirs.these_runs)
    assert (ours.p, ours.n, ours.higher_a, ours.higher_b) == (theirs.p, theirs.n, theirs.only_a, theirs.only_b)
    assert ours.exact


def test_another_unit_changes_the_unit_alone() -> None:
    a, b = np.random.default_rng(0).integers(0, 11, (2, 60)) / 10
    clusters, seeds = np.arange(60) // 2, np.zeros(60)
    one, many = (numeric_difference(a * unit, b * unit, clusters, seeds) for unit in (1, 100))
    assert (many.difference, many.low, many.high) == pytest.approx(
        (100 * one.difference, 100 * one.low, 100 * one.high)
    )
    assert one.p == pytest.approx(many.p)
    assert one.exact
    assert many.exact


def test_swaps_that_are_drawn_come_near_the_exact_test() -> None:
    differences = np.random.default_rng(1).integers(-4, 6, 30).astype(float)
    exact, is_exact = swap_test(differences)
    drawn, was_exact = swap_test(differences * np.pi)
    assert (is_exact, was_exact) == (True, False)
    assert drawn == pytest.approx(exact, abs=0.02)
    assert swap_test(np.zeros(9)) == (1.0, True)
    few, _ = swap_test(np.full(40, 1.234567))
    assert few == pytest.approx(1 / (numeric.DRAWS + 1))


def test_many_clusters_are_normal_and_few_are_refused() -> None:
    random = np.random.default_rng(2)
    a, b = random.normal(0.1, 1, (2, 2400))
    clusters, runs = np.arange(2400) // 2, np.zeros(2400)
    row = numeric_difference(a, b, clusters, runs)
    half = 1.96 * (a - b).reshape(-1, 2).mean(1).std(ddof=1) / np.sqrt(1200)
    assert (row.low, row.high) == pytest.approx((row.difference - half, row.difference + half), abs=2e-4)
    with pytest.raises(ValueError, match="two clusters"):
        numeric_difference(a, b, runs, runs)


def test_where_nothing_differs_one_in_twenty_looks_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numeric, "FEW_DRAWS", 999)
    monkeypatch.setattr(numeric, "DRAWS", 999)
    random = np.random.default_rng(3)
    clusters, runs = np.arange(60) // 3, np.zeros(60)
    held = small = 0
    for _ in range(200):
        own = np.repeat(random.normal(0, 0.4, 20), 3)
        row = numeric_difference(own + random.normal(0, 1, 60), random.normal(0, 1, 60), clusters, runs)
        held += row.low <= 0 <= row.high
        small += row.p < 0.05
    assert 0.89 <= held / 200 <= 0.985
    assert small / 200 <= 0.10
