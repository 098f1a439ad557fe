"""How far two judges agree, and how far a judge agrees with people."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinternal.figures.agreement import JudgeAgreement, LabelColumn, Skipped, judge_agreement
from sinternal.figures.columns import MISSING, Numbers
from sinternal.figures.estimate import Estimate
from sinternal.figures.statistics import kappa


def labels_of(labels: Iterable[bool | None]) -> LabelColumn:
    """Labels of responses in turn."""
    coded = np.array([MISSING if label is None else label for label in labels], dtype=np.int8)
    return LabelColumn(np.arange(len(coded)), coded)


def apart(responses: int) -> Numbers:
    """Parents of responses that are all of different prompts."""
    return np.arange(responses)


def test_agreement_knows_that_answers_to_one_prompt_are_alike() -> None:
    first = labels_of(i % 20 < 10 for i in range(200))
    second = labels_of(i % 20 < 10 or i < 40 for i in range(200))
    together = np.arange(200) // 10
    one, other = (
        judge_agreement("default", ("a", "b"), first, second, "safe", parents) for parents in (apart(200), together)
    )
    assert one is not None
    assert other is not None
    assert one.kappa.value == other.kappa.value
    widths = [(kappa.high or 0) - (kappa.low or 0) for kappa in (one.kappa, other.kappa)]
    assert widths[1] > 2 * widths[0]
    single = judge_agreement("default", ("a", "b"), first, second, "safe", np.zeros(200, dtype=np.int64))
    assert single is not None
    assert (single.kappa.low, single.kappa.high) == (None, None)


def test_agreement_counts_only_responses_that_both_judges_have_labelled() -> None:
    first, second = labels_of((True, True, False, False, None)), labels_of((True, False, False, None, True))
    found = judge_agreement("default", ("a", "b"), first, second, "safe", apart(5))
    assert found is not None
    assert (round(found.same, 4), round(found.kappa.value or 0, 4), found.kappa.n) == (0.6667, 0.4, 3)
    nothing = labels_of([None] * 5)
    assert judge_agreement("default", ("a", "b"), nothing, nothing, "refused", apart(5)) is None


def test_a_text_that_two_arms_have_in_common_is_one_response_where_rows_without_a_label_are_told() -> None:
    first = LabelColumn(np.array([0, 1, 0, 2]), np.array([1, 0, MISSING, 1], dtype=np.int8))
    second = LabelColumn(np.array([0, 1, 2]), np.array([1, 0, MISSING], dtype=np.int8))
    sides = {"harmful": np.array([True, False, True]), "benign": np.array([False, True, False])}
    found = judge_agreement("default", ("a", "b"), first, second, "safe", apart(3), sides)
    assert found is not None
    assert found.kappa.n == 2
    assert found.not_counted == {"harmful": Skipped(1, 1, 2, 2), "benign": Skipped(0, 0, 0, 1)}


def test_kappa_is_left_out_where_a_judge_always_says_the_same() -> None:
    first, second = labels_of([True] * 3), labels_of([True, False, False])
    found = judge_agreement("default", ("a", "b"), first, second, "safe", apart(3))
    undefined = Estimate(value=None, low=None, high=None, n=3)
    assert found == JudgeAgreement("default", "a", "b", "safe", 1 / 3, undefined, same_lowest=1 / 3, same_highest=1 / 3)


@given(st.lists(st.tuples(*[st.sampled_from((0, 1, MISSING))] * 2), min_size=2, max_size=9))
@settings(max_examples=30, deadline=None)
def test_the_bounds_of_kappa_are_its_extremes_over_all_that_missing_labels_may_be(rows: list[tuple[int, int]]) -> None:
    columns = [LabelColumn(np.arange(len(rows)), np.array(side, dtype=np.int8)) for side in zip(*rows, strict=True)]
    found = judge_agreement("default", ("a", "b"), columns[0], columns[1], "safe", apart(len(rows)))
    told = [row for row in rows if row != (MISSING, MISSING)]
    if found is None:
        return
    figures, equal = [], []
    for labels in product(*[[label] if label != MISSING else [0, 1] for row in told for label in row]):
        pairs = list(zip(labels[::2], labels[1::2], strict=True))
        table = [pairs.count(kind) for kind in ((1, 1), (0, 1), (1, 0), (0, 0))]
        equal.append((table[0] + table[3]) / len(pairs))
        if len(set(labels[::2])) == len(set(labels[1::2])) == 2:
            figures.append(float(kappa(np.array([table], dtype=np.float64))[0]))
    assert (found.same_lowest, found.same_highest) == pytest.approx((min(equal), max(equal)))
    if found.kappa.value is not None and figures:
        ends = found.kappa.lowest, found.kappa.highest
        assert ends == pytest.approx((min(figures), max(figures)))
        assert min(figures) - 1e-9 <= found.kappa.value <= max(figures) + 1e-9
        assert found.kappa.low is not None
        assert found.kappa.low <= min(figures) + 1e-9
        assert (found.kappa.high or 0) >= max(figures) - 1e-9


def test_a_judge_that_is_silent_where_it_would_disagree_gains_nothing() -> None:
    truth = [i % 2 == 0 for i in range(40)]
    wrong, silent = ([label if i % 5 else other for i, label in enumerate(truth)] for other in (not truth[0], None))
    of_wrong, of_silent = (
        judge_agreement("default", ("a", "b"), labels_of(truth), labels_of(side), "safe", apart(40))
        for side in (wrong, silent)
    )
    assert of_wrong is not None
    assert of_silent is not None
    assert of_silent.kappa.value == 1
    assert (of_silent.kappa.lowest or 0) <= (of_wrong.kappa.value or 0)
    assert (of_silent.kappa.low or 0) <= (of_wrong.kappa.low or 0)
