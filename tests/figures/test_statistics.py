from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import NormalIndPower

from sinternal.figures.agreement import LabelColumn, judge_agreement
from sinternal.figures.statistics import (
    Accuracy,
    Interval,
    PairedDifference,
    calibrated_error,
    calibration,
    clustered_wilson,
    effective_size,
    holm,
    learning_area,
    mcnemar,
    over_seeds,
    paired_difference,
    rogan_gladen,
    sign_flip,
    smallest_difference,
    smooth,
    steps_to,
    table_interval,
    wilson,
)
from sinternal.figures.statistics.classification import balanced_accuracy, f1_unsafe
from sinternal.figures.statistics.numeric import numeric_difference


def test_wilson_matches_a_published_example() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, table I: 81 of 263 and 0 of 20, score method without correction.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 4)])
def test_wilson_refuses_what_is_no_proportion(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="not a proportion"):
        wilson(successes, n)


def test_balanced_accuracy_and_f1_by_hand() -> None:
    table = np.array([[6.0, 2.0, 4.0, 8.0]])  # tp fp fn tn
    assert balanced_accuracy(table)[0] == pytest.approx((0.6 + 0.8) / 2)
    assert f1_unsafe(table)[0] == pytest.approx(12 / 18)


def test_a_verifier_that_always_says_safe_is_at_chance() -> None:
    assert balanced_accuracy(np.array([[0.0, 0.0, 10.0, 90.0]]))[0] == 0.5


def test_the_interval_of_a_table_agrees_with_wilson_where_both_apply() -> None:
    tables = np.array([[1.0, 0.0]] * 60 + [[0.0, 1.0]] * 40)
    assert table_interval(tables, lambda t: t[:, 0] / t.sum(1)) == pytest.approx(wilson(60, 100), abs=0.015)


def test_a_single_cluster_has_no_interval() -> None:
    assert table_interval(np.array([[5.0, 5.0]]), lambda t: t[:, 0]) is None


def test_an_undefined_figure_is_refused() -> None:
    with pytest.raises(ValueError, match="undefined"):
        table_interval(np.ones((5, 2)), lambda t: np.full(len(t), np.nan))


def test_independent_rows_have_wilsons_interval() -> None:
    assert clustered_wilson([1] * 81 + [0] * 182, [1] * 263) == wilson(81, 263)


def test_a_single_prompt_is_a_single_observation_however_many_rows_it_has() -> None:
    assert clustered_wilson([200], [400]) == clustered_wilson([2], [4])
    low, high = clustered_wilson([400], [400])
    assert high - low > 0.7
    assert clustered_wilson([1], [1]) == wilson(1, 1)


def test_a_clustered_interval_by_hand() -> None:
    # Ten prompts of ten rewordings each, five of them always unsafe: clusters vary as single rows do,
    # so deff is 10 * 10 / 9, and the ten clusters have t quantile 2.2622 where 100 rows have 1.9842.
    found = clustered_wilson([10] * 5 + [0] * 5, [10] * 10)
    effective = 100 / (10 * 10 / 9) * (1.9842 / 2.2622) ** 2
    half = 1.96 * np.sqrt(0.25 / effective + 1.96**2 / (4 * effective**2)) / (1 + 1.96**2 / effective)
    assert found == pytest.approx((0.5 - half, 0.5 + half), abs=1e-3)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40))
def test_clusters_never_make_an_interval_narrower(cells: list[tuple[int, int]]) -> None:
    hits, sizes = [a for a, _ in cells], [a + b for a, b in cells]
    if sum(sizes):
        apart, together = wilson(sum(hits), sum(sizes)), clustered_wilson(hits, sizes)
        assert together.high - together.low >= apart.high - apart.low - 1e-12
        assert -1e-12 <= together.low <= sum(hits) / sum(sizes) <= together.high <= 1 + 1e-12


def test_a_clustered_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        rates = rng.beta(2, 3, size=40)  # the mean is 0.4
        low, high = clustered_wilson(rng.binomial(8, rates).tolist(), [8] * 40)
        covered += low <= 0.4 <= high
    assert 0.92 <= covered / 400 <= 0.98


def alike(share: float, correlation: float, prompts: int, rng: np.random.Generator) -> np.ndarray:
    """The rate of each prompt, so that its rows have this intra-class correlation."""
    size = 1 / correlation - 1
    return rng.beta(share * size, (1 - share) * size, prompts)


@pytest.mark.parametrize(("prompts", "rows"), [(20, 20), (40, 8)])
def test_a_clustered_interval_of_a_rare_event_covers_as_often_as_it_says(prompts: int, rows: int) -> None:
    rng, covered = np.random.default_rng(1), 0
    for _ in range(300):
        low, high = clustered_wilson(rng.binomial(rows, alike(0.02, 0.4, prompts, rng)).tolist(), [rows] * prompts)
        covered += low <= 0.02 <= high
    assert covered / 300 >= 0.93


@pytest.mark.parametrize(("large", "rows"), [(1, 100), (5, 40)])
def test_an_interval_covers_where_a_few_prompts_have_most_of_the_rows(large: int, rows: int) -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([rows] * large + [1] * (60 - large))
    covered = 0
    for _ in range(300):
        low, high = clustered_wilson(rng.binomial(sizes, rng.beta(0.45, 1.05, 60)), sizes)
        covered += low <= 0.3 <= high
    assert covered / 300 >= 0.91
    one = effective_size([0] * 100 + [900], [1] * 100 + [1000])
    assert 1 <= one < 2, "one prompt with nearly all rows is about one observation"


def test_where_nothing_happened_rows_of_one_prompt_count_as_about_one() -> None:
    assert 15 < effective_size([0] * 20, [20] * 20) < 25
    assert effective_size([0] * 20, [1] * 20) == 20
    assert effective_size([3], [7]) == 1
    with pytest.raises(ValueError, match="there are no rows"):
        effective_size([], [])


def test_labels_that_come_in_clusters_are_worth_less_to_a_correction() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        labels = [rng.binomial(10, alike(right, 0.4, 20, rng)) for right in (0.8, 0.9)]
        known = [Accuracy(int(one.sum()), 200, effective_size(one.tolist(), [10] * 20)) for one in labels]
        shown = int(rng.binomial(2000, 0.3 * 0.8 + 0.7 * 0.1))
        low, high = rogan_gladen(wilson(shown, 2000), shown / 2000, *known).interval
        covered += low <= 0.3 <= high
    assert covered / 200 >= 0.92


def test_rogan_gladen_by_hand() -> None:
    # Apparent prevalence 0.25, sensitivity 0.9, specificity 0.95: (0.25 + 0.95 - 1) / 0.85.
    found = rogan_gladen(wilson(250, 1000), 0.25, Accuracy(900, 1000), Accuracy(950, 1000))
    assert found.value == pytest.approx(0.2 / 0.85)
    # The delta method: variances of the three rates, each over 0.85 ** 2.
    value = found.value
    variance = (0.25 * 0.75 + value**2 * 0.9 * 0.1 + (1 - value) ** 2 * 0.95 * 0.05) / 1000 / 0.85**2
    half = 1.96 * np.sqrt(variance)
    assert found.interval == pytest.approx((value - half, value + half), abs=0.004)


def test_a_perfect_judge_needs_no_correction() -> None:
    found = rogan_gladen(wilson(30, 100), 0.3, Accuracy(10**6, 10**6), Accuracy(10**6, 10**6))
    assert found.value == pytest.approx(0.3)
    assert found.interval == pytest.approx(wilson(30, 100), abs=0.01)


def test_a_judge_that_is_no_better_than_chance_corrects_nothing() -> None:
    with pytest.raises(ValueError, match="no better than chance"):
        rogan_gladen(wilson(30, 100), 0.3, Accuracy(50, 100), Accuracy(50, 100))
    with pytest.raises(ValueError, match="no answers of one kind"):
        rogan_gladen(wilson(30, 100), 0.3, Accuracy(0, 0), Accuracy(9, 10))


def test_a_rate_that_the_judges_errors_could_not_show_is_not_corrected_to_nought() -> None:
    # Of 1,000 safe answers this judge calls 776 unsafe: it could not have shown a rate of 5 %.
    with pytest.raises(ValueError, match="could not show such a rate"):
        rogan_gladen(wilson(10, 200), 0.05, Accuracy(953, 1000), Accuracy(224, 1000))
    # At the edge, where chance alone would do, it is cut to 0 with an interval.
    found = rogan_gladen(wilson(150, 200), 0.75, Accuracy(953, 1000), Accuracy(224, 1000))
    assert found.value == 0
    assert found.interval.high > 0.05


def test_the_smallest_difference_is_that_of_a_second_library() -> None:
    # 400 independent pairs whose differences have standard deviation 0.5: statsmodels' z test, solved for its effect.
    half = stats.norm.ppf(0.975) * 0.5 / np.sqrt(400)
    effect = NormalIndPower(ddof=0).solve_power(nobs1=400, ratio=0, alpha=0.05, power=0.8) * 0.5
    assert smallest_difference(0.1 - half, 0.1 + half) == pytest.approx(effect, rel=1e-3)


def test_an_interval_knows_how_many_rows_it_is_worth() -> None:
    wide = rogan_gladen(Interval(0.1, 0.5), 0.3, Accuracy(99, 100), Accuracy(99, 100))
    narrow = rogan_gladen(Interval(0.28, 0.32), 0.3, Accuracy(99, 100), Accuracy(99, 100))
    assert wide.interval.high - wide.interval.low > 3 * (narrow.interval.high - narrow.interval.low)


def differ(a: list[bool], b: list[bool], parents: list[str], seeds: list[int] | None = None) -> PairedDifference:
    return paired_difference(a, b, parents, seeds or [0] * len(a))


def test_a_paired_difference_by_hand() -> None:
    a = [True] * 6 + [False] * 2
    b = [False] * 6 + [False, True]
    found = differ(a, b, [str(i) for i in range(8)])
    assert found.difference == pytest.approx(5 / 8)
    assert (found.n, found.only_a, found.only_b) == (8, 6, 1)
    # Seven discordant pairs, six of them one way: two-sided sign test, 2 * (7 + 1) / 2 ** 7.
    assert found.p == pytest.approx(0.125, abs=0.02)
    assert found.low < 5 / 8 < found.high


def test_where_nothing_differs_the_interval_is_still_as_wide_as_the_rows_are_few() -> None:
    # Bonett & Price 2012: of n pairs, none of them discordant, half the width is 1.96 sqrt(2 / (n + 2)) / sqrt(n + 2).
    for n in (10, 40):
        found = differ([True] * n, [True] * n, [str(i) for i in range(n)])
        half = 1.96 * np.sqrt(2 / (n + 2)) / np.sqrt(n + 2)
        assert (found.low, found.high) == pytest.approx((-half, half), rel=0.2)
        assert smallest_difference(found.low, found.high) > half


def test_an_interval_of_rare_differences_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        a, b = rng.random(40) < 0.05, rng.random(40) < 0.02
        found = differ(a.tolist(), b.tolist(), [str(i) for i in range(40)])
        covered += found.low <= 0.03 <= found.high
    assert covered / 200 >= 0.93


@pytest.mark.parametrize("prompts", [6, 20, 40])
def test_an_interval_of_a_difference_that_nearly_all_prompts_share_covers_as_often_as_it_says(prompts: int) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        a, b = rng.random(prompts) < 0.03, rng.random(prompts) < 0.97
        found = differ(a.tolist(), b.tolist(), [str(i) for i in range(prompts)])
        covered += found.low <= -0.94 <= found.high
    assert covered / 200 >= 0.93


def test_where_every_prompt_goes_from_100_to_0_percent_the_interval_has_a_width() -> None:
    widths = []
    for prompts in (5, 10, 100, 1001):
        names = [str(i) for i in range(prompts)]
        found = numeric_difference([0.0] * prompts, [1.0] * prompts, names, [0] * prompts)
        assert (found.difference, found.low) == (-1, -1)
        widths.append(found.high - found.low)
        assert smallest_difference(*found.these_runs) > 0
    assert widths == sorted(widths, reverse=True)
    half = differ([True, False] * 8, [False] * 16, [str(i // 2) for i in range(16)])  # of two rows, one, everywhere
    assert half.low < 0.5 < half.high


def test_a_figure_without_a_mistake_has_an_interval_with_a_width() -> None:
    tables = np.array([[1.0, 0, 0, 0]] * 10 + [[0, 0, 0, 1.0]] * 10)
    low, high = table_interval(smooth(tables), balanced_accuracy) or (0, 0)
    assert low < 0.9
    assert high == 1


def test_an_interval_of_balanced_accuracy_with_few_mistakes_covers_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        right = rng.random(20) < 0.95
        tables = np.zeros((20, 4))
        for i, correct in enumerate(right):
            tables[i, (0 if correct else 2) if i < 10 else (3 if correct else 1)] = 1
        low, high = table_interval(smooth(tables), balanced_accuracy) or (0, 0)
        covered += low <= 0.95 <= high
    assert covered / 200 >= 0.9


def test_what_many_prompts_hold_is_not_smoothed() -> None:
    tables = np.ones((12, 4))
    assert (smooth(tables) == tables).all()


def test_no_difference_has_p_one() -> None:
    found = differ([True, False, True], [True, False, True], ["a", "b", "c"])
    assert (found.difference, found.p) == (0, 1)
    assert found.low < 0 < found.high


def test_rows_of_one_parent_do_not_count_as_independent() -> None:
    a, b = [True] * 20, [False] * 20
    apart = differ(a, b, [str(i) for i in range(20)])
    together = differ(a, b, [str(i % 2) for i in range(20)])
    assert apart.p < 0.01
    assert together.p > 0.2


def test_one_parent_is_not_enough_to_compare() -> None:
    with pytest.raises(ValueError, match="at least two parent prompts"):
        differ([True, False], [False, False], ["same", "same"])


def drawn(seeds: int, parents: int, spread: float, rng: np.random.Generator) -> tuple[list[bool], ...]:
    """Pairs whose difference hangs on the seed: A is `spread` better in half of the seeds and worse in the others."""
    a, b, clusters, runs = [], [], [], []
    for seed in range(seeds):
        shift = spread * (1 if seed % 2 else -1)
        for parent in range(parents):
            a.append(bool(rng.random() < 0.5 + shift))
            b.append(bool(rng.random() < 0.5))
            clusters.append(str(parent))
            runs.append(seed)
    return a, b, clusters, runs


def test_with_one_seed_the_interval_is_that_of_scipys_bootstrap_of_whole_parents() -> None:
    rng = np.random.default_rng(1)
    a, b, clusters, runs = drawn(1, 60, 0.2, rng)
    found = paired_difference(a, b, clusters, runs)
    per_parent = np.array(a, dtype=float) - np.array(b, dtype=float)
    other = stats.bootstrap((per_parent,), np.mean, n_resamples=9999, method="percentile", rng=2).confidence_interval
    assert (found.low, found.high) == pytest.approx((other.low, other.high), abs=0.02)


def test_an_effect_that_hangs_on_the_training_run_widens_the_interval() -> None:
    a, b, clusters, runs = drawn(4, 200, 0.4, np.random.default_rng(3))
    by_run = paired_difference(a, b, clusters, runs)
    as_one = paired_difference(a, b, [f"{c}/{r}" for c, r in zip(clusters, runs, strict=True)], [0] * len(a))
    assert by_run.high - by_run.low > 3 * (as_one.high - as_one.low)


def test_swapping_the_arms_turns_the_sign() -> None:
    a, b, clusters, runs = drawn(3, 40, 0.3, np.random.default_rng(5))
    one, other = paired_difference(a, b, clusters, runs), paired_difference(b, a, clusters, runs)
    assert (one.difference, one.low, one.high) == pytest.approx((-other.difference, -other.high, -other.low))
    assert (one.only_a, one.only_b) == (other.only_b, other.only_a)


def test_more_parents_than_fit_into_one_table_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, clusters, runs = drawn(2, 30, 0.3, np.random.default_rng(5))
    whole = paired_difference(a, b, clusters, runs)
    monkeypatch.setattr("sinternal.figures.statistics.bootstrap.CELLS", 30_000)
    parts = paired_difference(a, b, clusters, runs)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.03)


@pytest.mark.parametrize("seeds", [2, 3])
def test_an_interval_for_other_training_runs_covers_as_often_as_it_says(seeds: int) -> None:
    rng, covered, these = np.random.default_rng(7), 0, 0
    for _ in range(200):
        a, b, clusters, runs = [], [], [], []
        for seed in range(seeds):
            shift = rng.uniform(-0.17, 0.17)
            a += (rng.random(60) < 0.5 + shift).tolist()
            b += (rng.random(60) < 0.5).tolist()
            clusters += [str(i) for i in range(60)]
            runs += [seed] * 60
        found = paired_difference(a, b, clusters, runs)
        covered += found.low <= 0 <= found.high
        these += found.these_runs.low <= 0 <= found.these_runs.high
    assert covered / 200 >= 0.92
    assert these < covered


def test_one_training_run_has_no_interval_for_others() -> None:
    a, b, clusters, runs = drawn(1, 30, 0.2, np.random.default_rng(1))
    found = paired_difference(a, b, clusters, runs)
    assert found.runs == 1
    assert (found.low, found.high) == found.these_runs


def test_runs_with_other_prompts_each_and_runs_that_all_agree_have_an_interval() -> None:
    a, b, clusters, runs = drawn(3, 20, 0.2, np.random.default_rng(1))
    apart = paired_difference(a, b, [f"{c} {r}" for c, r in zip(clusters, runs, strict=True)], runs)
    assert apart.low < apart.difference < apart.high
    agree = paired_difference([True] * 30, [False, True, True] * 10, [str(i % 10) for i in range(30)], [0, 1, 2] * 10)
    assert -1 <= agree.low <= agree.difference <= agree.high <= 1
    same = paired_difference([True, False] * 10, [False, False] * 10, [str(i // 2) for i in range(20)], [0, 1] * 10)
    assert -1 <= same.low <= same.high <= 1


def test_the_permutation_is_exact_and_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        ahead = rng.integers(-3, 4, size=11).astype(float)
        other = stats.permutation_test(
            (ahead, np.zeros(11)),
            lambda x, y, axis: (x - y).sum(axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=2**11,
        )
        assert sign_flip(ahead) == pytest.approx(other.pvalue)
    assert sign_flip(np.ones(40)) == pytest.approx(2.0**-39)
    assert 0 < sign_flip(np.full(5000, 7.0)) < 1e-12
    assert sign_flip(np.zeros(4)) == sign_flip(np.array([])) == 1


def test_kappa_of_answers_to_few_prompts_covers_as_often_as_it_says() -> None:
    rng, covered, rows = np.random.default_rng(0), 0, 12
    responses = np.arange(30 * rows)
    parents = responses // rows
    theirs = 0.5 * 0.8 + 0.5 * 0.2
    truth = (0.8 - theirs) / (1 - theirs)
    for _ in range(60):
        a = rng.random((30, rows)) < alike(0.5, 0.4, 30, rng)[:, None]
        b = a ^ (rng.random((30, rows)) < alike(0.2, 0.4, 30, rng)[:, None])
        first, second = (LabelColumn(responses, side.ravel().astype(np.int8)) for side in (a, b))
        found = judge_agreement("default", ("a", "b"), first, second, "safe", parents)
        assert found is not None
        covered += (found.kappa.low or 0) <= truth <= (found.kappa.high or 0)
    assert covered / 60 >= 0.87


def test_a_calibration_error_of_independent_rows_is_that_of_kumar_and_others_by_hand() -> None:
    # arXiv 1909.10155, definition 4.1: in each bin the squared gap less the variance of the share that happened.
    rng = np.random.default_rng(0)
    stated = (rng.integers(0, 10, size=300) + 0.5) / 10
    happened = rng.random(300) < stated**2
    square = 0.0
    for value in np.unique(stated):
        here = happened[stated == value]
        share = here.mean()
        square += len(here) / 300 * ((value - share) ** 2 - share * (1 - share) / (len(here) - 1))
    assert calibration(stated, happened, np.arange(300)).value == pytest.approx(np.sqrt(square))


@pytest.mark.parametrize("verdicts", [1, 4])
def test_the_interval_of_a_calibrated_verifier_begins_at_nought(verdicts: int) -> None:
    rng, covered, errors = np.random.default_rng(0), 0, []
    for _ in range(60):
        stated = np.repeat(rng.random(100), verdicts)
        happened = np.repeat(rng.random(100), verdicts) < stated
        error, (low, high) = calibration(stated, happened, np.repeat(np.arange(100), verdicts))
        assert low <= error <= high
        covered += low == 0
        errors.append(error)
    assert covered / 60 >= 0.95
    # What a calibrated verifier would show is told beside it: that is what these have shown.
    answers = np.repeat(np.arange(100), verdicts)
    assert calibrated_error(stated, answers, answers) == pytest.approx(np.mean(errors), abs=0.02)


def test_the_interval_of_an_overconfident_verifier_holds_its_error_and_not_nought() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(60):
        stated = np.where(rng.random(300) < 0.5, 0.15, 0.85)
        low, high = calibration(stated, rng.random(300) < 0.5, np.arange(300)).interval
        assert low > 0.2
        covered += low <= 0.35 <= high
    assert covered / 60 >= 0.87


def test_verdicts_that_no_other_prompt_shares_a_bin_with_tell_nothing_of_calibration() -> None:
    with pytest.raises(ValueError, match="no two prompts have verdicts with alike probabilities"):
        calibration(np.array([0.1, 0.5, 1.0]), np.array([True, True, False]), np.arange(3))
    with pytest.raises(ValueError, match="no two prompts"):
        calibration(np.array([0.1, 0.1]), np.array([True, True]), np.zeros(2, dtype=int))


def test_few_clusters_make_an_interval_wider_than_its_resamples() -> None:
    values = np.array([-2.0, -1, -0.5, 0.5, 1, 2])
    low, high = table_interval(np.stack([values, np.ones(6)], axis=1), lambda t: t[:, 0] / t[:, 1]) or (0, 0)
    half = stats.t.ppf(0.975, 5) * values.std(ddof=1) / np.sqrt(6)  # Student's interval of the mean
    assert (low, high) == pytest.approx((-half, half), rel=0.1)


def test_mcnemar_matches_a_published_example() -> None:
    # Agresti, Categorical Data Analysis, 2nd edition, table 10.1 (approval ratings): 150 and 86 discordant pairs; its
    # z squared is 17.36, p about 3e-5. The exact p is a binomial tail.
    assert mcnemar(150, 86) == pytest.approx(stats.binomtest(86, 236).pvalue)
    assert mcnemar(150, 86) == pytest.approx(3.7e-5, rel=0.1)
    # By hand: 1 of 7 discordant pairs, 2 * (1 + 7) / 2 ** 7.
    assert mcnemar(6, 1) == mcnemar(1, 6) == pytest.approx(0.125)
    assert mcnemar(0, 0) == 1


def test_holm_by_hand() -> None:
    # 0.01 * 4, 0.02 * 3, then 0.03 * 2 and 0.04 * 1 may not fall below what stands before them.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(after >= before - 1e-12 for before, after in zip(p_values, corrected, strict=True))
    ordered = [after for _, after in sorted(zip(p_values, corrected, strict=True))]
    assert all(x <= y + 1e-12 for x, y in pairwise(ordered))


def test_the_area_under_a_learning_curve_is_its_mean_over_the_budget() -> None:
    assert learning_area([0, 10, 20], [0.6, 0.2, 0.2]) == pytest.approx((0.4 * 10 + 0.2 * 10) / 20)
    assert learning_area([0, 60], [0.5, 0.5]) == 0.5
    with pytest.raises(ValueError, match="two points"):
        learning_area([0], [0.5])


def test_steps_to_a_rate_are_those_of_the_first_point_at_or_below_it() -> None:
    assert steps_to([0, 10, 20, 30], [0.5, 0.1, 0.2, 0.05], 0.1) == 10
    assert steps_to([0, 10], [0.05, 0.3], 0.1) == 0
    assert steps_to([0, 10], [0.5, 0.3], 0.1) is None


def test_a_difference_over_seeds_matches_students_sleep_data() -> None:
    # Student 1908, Biometrika 6:1, the ten patients: mean 1.58 hours, t = 4.0621, p = 0.002833.
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = over_seeds(second, first)
    assert found is not None
    assert found.difference == pytest.approx(1.58)
    assert (found.low, found.high) == pytest.approx((0.7001, 2.4599), abs=1e-4)
    assert found.p == pytest.approx(0.002833, abs=1e-6)


def test_nothing_is_said_of_a_spread_that_is_not_there() -> None:
    assert over_seeds([0.3], [0.2]) is None
    assert over_seeds([0.3, 0.4], [0.2, 0.3]) is None
