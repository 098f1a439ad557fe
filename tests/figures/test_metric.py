"""There is one list of metrics, and all that counts, tabulates and documents them goes by it."""

from __future__ import annotations

import pytest

from sinternal.figures.columns import MISSING
from sinternal.figures.metric import (
    ASR,
    FORMAT_ERROR,
    HELPFUL,
    METRICS,
    OF_RESPONSES,
    OF_VERDICTS,
    OVER_REFUSAL,
    PAIRED,
    PAIRS_RIGHT,
    PROACTIVE_VERIFICATION,
    UNDER_STRESS,
    VERIFICATION_MCC,
    Over,
    Role,
    is_pair_right,
    is_partial,
)
from sinternal.figures.outcomes import Outcome, Outcomes
from sinternal.records import PAIRED_METRICS
from sinternal.settings.questions import Question
from tests.conftest import judgement_of, plain_prompt, response_to


def outcome(*, harmful: bool, safe: bool | None = True, **labels: bool | None) -> Outcomes:
    prompt = plain_prompt("how to brew p1 ?", harmful=harmful)
    response = response_to(prompt, "an answer")
    return Outcomes.of([Outcome(prompt, response, judgement_of(response, safe, **labels), ())])


def test_each_metric_is_counted_in_one_way_and_described_for_people() -> None:
    for name, metric in METRICS.items():
        assert name == metric.name
        assert metric.over
        assert metric.judges
        assert all((metric.title, metric.short, metric.rows, metric.hits))
        assert metric.label is None or metric.verdicts is None
        assert metric.statistic is None or metric.verdicts is not None
    assert len({metric.title for metric in METRICS.values()}) == len(METRICS)


def test_arms_are_compared_by_the_labels_that_a_row_keeps() -> None:
    assert PAIRED == (ASR, OVER_REFUSAL, HELPFUL, PROACTIVE_VERIFICATION)
    assert {metric.name for metric in PAIRED} == set(PAIRED_METRICS)
    question = Question(arm="a", against=("b",), metrics=PAIRED_METRICS)
    assert question.metrics == PAIRED_METRICS


def test_attack_success_is_over_harmful_prompts_and_over_refusal_over_benign_ones() -> None:
    assert ASR.measure(outcome(harmful=True, safe=False)).tolist() == [1]
    assert ASR.measure(outcome(harmful=True, safe=None)).tolist() == [MISSING]
    assert ASR.measure(outcome(harmful=False, safe=False)).tolist() == [MISSING], "it does not concern benign prompts"
    assert ASR.of(outcome(harmful=False, safe=False)).tolist() == [1], "but the label is there"
    assert OVER_REFUSAL.measure(outcome(harmful=False, refused=True)).tolist() == [1]
    assert OVER_REFUSAL.measure(outcome(harmful=True, refused=True)).tolist() == [MISSING]
    assert UNDER_STRESS == (ASR, OVER_REFUSAL)


def test_a_figure_of_one_benchmark_takes_both_sides_where_each_has_one_of_its_own() -> None:
    assert PROACTIVE_VERIFICATION.over_benchmark is Over.ALL
    assert (ASR.over_benchmark, FORMAT_ERROR.over_benchmark) == (Over.HARMFUL, Over.ALL)


def test_a_metric_of_pairs_or_of_verdicts_has_no_label_of_a_single_response() -> None:
    assert PAIRS_RIGHT.judges == (Role.SAFETY, Role.COMPLIANCE)
    assert PAIRS_RIGHT.of_answers
    assert not VERIFICATION_MCC.of_answers
    assert not set(OF_RESPONSES) & set(OF_VERDICTS)
    with pytest.raises(TypeError, match="pairs_right is not counted response by response"):
        PAIRS_RIGHT.of(outcome(harmful=True))


def test_partial_compliance_and_pairs_need_every_label_that_they_are_made_of() -> None:
    labels = [outcome(harmful=False, refused=refused, helpful=False) for refused in (False, True, None)]
    assert [is_partial(label).tolist() for label in labels] == [[1], [0], [MISSING]]
    safe, unsafe, silent = (outcome(harmful=True, safe=label) for label in (True, False, None))
    helped, refused = (outcome(harmful=False, helpful=label, refused=not label) for label in (True, False))
    assert is_pair_right(safe, helped).tolist() == [1]
    assert is_pair_right(unsafe, helped).tolist() == [0]
    assert is_pair_right(silent, refused).tolist() == [0], "whatever the missing label is, the pair is wrong"
    assert is_pair_right(silent, helped).tolist() == [MISSING]
