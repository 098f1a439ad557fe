from __future__ import annotations

from dataclasses import replace

from sinternal.report.data import ReportData
from sinternal.report.figures import MINUS
from sinternal.report.finding import Finding, finding

from .factory import ATTACK_SUCCESS, make_report


def found(data: ReportData) -> Finding:
    return finding(data, "default")


def with_success(rate: float) -> ReportData:
    others = dict.fromkeys(ATTACK_SUCCESS, (0.4, 0.5))
    return make_report({**others, "sinternal": (rate, rate)}, prompts=40)


def forced(low: float, high: float) -> ReportData:
    data = make_report()
    rows = tuple(replace(row, difference=(low + high) / 2, low=low, high=high) for row in data.comparisons)
    return replace(data, comparisons=rows)


def test_it_says_so_when_sinternal_is_safer() -> None:
    assert "are safer than those of every other arm" in found(with_success(0.05)).lead


def test_it_says_so_when_sinternal_is_less_safe() -> None:
    lead = found(with_success(0.95)).lead
    assert "are less safe than those of every other arm" in lead
    assert "are safer" not in lead


def test_it_claims_nothing_when_the_interval_spans_zero() -> None:
    lead = found(forced(-0.1, 0.05)).lead
    assert "show no clear difference from those of any other arm (the interval spans 0)" in lead
    assert "safer" not in lead
    assert "less safe" not in lead


def test_it_names_the_arms_when_they_come_out_differently() -> None:
    ends = {"base": (-0.3, -0.1), "refusal": (0.1, 0.3), "deliberative": (-0.1, 0.1)}
    data = make_report()
    rows = tuple(replace(row, low=ends[row.b][0], high=ends[row.b][1]) for row in data.comparisons)
    assert found(replace(data, comparisons=rows)).lead == (
        "Under attacks of unseen families, the answers of sinternal are safer than those of base, and are less safe "
        "than those of refusal, and show no clear difference from those of deliberative (the interval spans 0)."
    )


def test_a_comparison_is_turned_round_when_sinternal_is_its_second_arm() -> None:
    data = forced(0.1, 0.3)
    turned = tuple(replace(row, a=row.b, b=row.a) for row in data.comparisons)
    text = found(replace(data, comparisons=turned))
    assert "are safer than those of every other arm" in text.lead
    assert f"(difference {MINUS}20.0 points [{MINUS}30.0, {MINUS}10.0])" in text.safety


def test_it_gives_the_rates_of_all_arms() -> None:
    text = found(make_report())
    assert all(f"for {arm}" in text.safety for arm in ATTACK_SUCCESS if arm != "sinternal")
    assert "Of benign requests in the same families sinternal answers exactly what was asked for" in text.price


def test_it_cannot_tell_without_an_arm_trained_on_verification() -> None:
    data = make_report()
    text = found(replace(data, arms=data.arms[:3]))
    assert "no arm that was trained on verification only" in text.lead
    assert not text.safety


def test_it_cannot_tell_without_comparisons_or_scores() -> None:
    data = make_report()
    assert "cannot be told" in found(replace(data, comparisons=())).lead
    assert "stays open" in found(replace(data, scores=())).lead


def test_it_stands_when_sinternal_is_the_only_arm() -> None:
    data = make_report()
    text = found(replace(data, arms=data.arms[3:], comparisons=()))
    assert "nothing to compare with" in text.safety
    assert not text.price
