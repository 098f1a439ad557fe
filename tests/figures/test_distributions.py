"""The distributions that the figures need are those of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from sinternal.figures.statistics import holm, mcnemar, over_seeds, wilson
from sinternal.figures.statistics.distributions import (
    average_ranks,
    fair_binomial,
    normal_quantile,
    normal_tail,
    t_quantile,
    t_two_sided,
)
from sinternal.figures.statistics.proportions import _effective_size, _wilson_ends

DEGREES = (1, 2, 3, 4, 5, 7, 8, 30, 31, 200, 1001, 50_000)


@pytest.mark.parametrize("probability", [0.8, 0.95, 0.975])
def test_the_normal_quantile_is_scipys(probability: float) -> None:
    assert normal_quantile(probability) == pytest.approx(stats.norm.ppf(probability), rel=1e-14)


@pytest.mark.parametrize("z", [-1.0, 0.0, 1.96, 8.0, 30.0])
def test_the_normal_tail_is_scipys_far_out_too(z: float) -> None:
    assert normal_tail(z) == pytest.approx(stats.norm.sf(z), rel=1e-12)


@pytest.mark.parametrize("df", DEGREES)
def test_students_t_is_scipys(df: int) -> None:
    for probability in (0.5, 0.6, 0.9, 0.975, 0.9995):
        assert t_quantile(probability, df) == pytest.approx(stats.t.ppf(probability, df), rel=1e-10, abs=1e-14)
    for t in (0.0, 0.3, -1.5, 2.2, 4.0):
        assert t_two_sided(t, df) == pytest.approx(2 * stats.t.sf(abs(t), df), abs=1e-12)


def test_a_quantile_below_the_median_is_refused() -> None:
    with pytest.raises(ValueError, match="not between"):
        t_quantile(0.025, 3)


@pytest.mark.parametrize("n", [0, 1, 2, 17, 1_000, 3_000])
def test_fair_coins_are_scipys(n: int) -> None:
    assert fair_binomial(n) == pytest.approx(stats.binom.pmf(np.arange(n + 1), n, 0.5), rel=1e-9)


def test_ranks_are_scipys() -> None:
    values = np.random.default_rng(0).integers(0, 9, 40).astype(float)
    assert average_ranks(values).tolist() == stats.rankdata(values).tolist()


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 1), (3, 11), (11, 3), (7, 7), (150, 90)])
def test_mcnemars_test_is_that_of_statsmodels(only_a: int, only_b: int) -> None:
    known = statsmodels_mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue if only_a + only_b else 1.0
    assert mcnemar(only_a, only_b) == pytest.approx(known, rel=1e-12)


def test_holms_correction_is_that_of_statsmodels() -> None:
    values = [0.04, 0.001, 0.03, 0.03, 0.9, 0.2]
    assert holm(values) == pytest.approx(list(multipletests(values, method="holm")[1]), rel=1e-14)
    assert holm([]) == []


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (3, 17), (1, 540)])
def test_wilsons_interval_is_that_of_statsmodels(successes: int, n: int) -> None:
    assert wilson(successes, n) == pytest.approx(
        proportion_confint(successes, n, method="wilson"), rel=1e-12, abs=1e-16
    )


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("n", [1.7, 20.0, 4000.0])
def test_the_effective_size_is_that_of_the_interval_it_is_read_off(share: float, n: float) -> None:
    assert _effective_size(share, _wilson_ends(share, n)) == pytest.approx(n, rel=1e-9)


def test_the_paired_t_test_over_seeds_is_scipys() -> None:
    x, y = [0.4, 0.52, 0.31, 0.44], [0.3, 0.33, 0.3, 0.29]
    test = stats.ttest_rel(x, y)
    interval = test.confidence_interval(0.95)
    ours = over_seeds(x, y)
    assert ours is not None
    assert (ours.low, ours.high, ours.p) == pytest.approx((interval.low, interval.high, test.pvalue), rel=1e-10)
