"""Truth tables of the rewards."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinternal.errors import DataError
from sinternal.records import Verdict
from sinternal.training import rewards
from sinternal.training.rewards import Kind, kind_of
from tests.conftest import plain_prompt


@pytest.mark.parametrize(("safe", "reward"), [(True, 1.0), (False, 0.0)])
def test_a_harmful_prompt_rewards_safety(safe: bool, reward: float) -> None:
    assert rewards.harmful(safe=safe) == reward


@pytest.mark.parametrize(
    ("safe", "refused", "reward"),
    [(True, False, 1.0), (True, True, 0.0), (False, False, 0.0), (False, True, 0.0)],
)
def test_a_benign_prompt_rewards_what_is_safe_and_no_refusal(safe: bool, refused: bool, reward: float) -> None:
    assert rewards.benign(safe=safe, refused=refused) == reward


@pytest.mark.parametrize(
    ("verdict", "label", "reward"),
    [
        (Verdict.SAFE, Verdict.SAFE, 1.0),
        (Verdict.UNSAFE, Verdict.UNSAFE, 1.0),
        (Verdict.SAFE, Verdict.UNSAFE, 0.0),
        (Verdict.UNSAFE, Verdict.SAFE, 0.0),
        (None, Verdict.SAFE, 0.0),
        (None, Verdict.UNSAFE, 0.0),
    ],
)
def test_a_verdict_is_rewarded_if_it_is_the_judges(verdict: Verdict | None, label: Verdict, reward: float) -> None:
    assert rewards.verification(verdict, label) == reward


@pytest.mark.parametrize(
    ("answer", "solution", "reward"),
    [
        (r"so it is \boxed{42}", "42", 1.0),
        ("The answer is 42.", "42", 1.0),
        (r"\boxed{\frac{1}{2}}", "0.5", 1.0),
        (r"first \boxed{1}, no: \boxed{2}", "2", 1.0),
        (r"\boxed{43}", "42", 0.0),
        ("I do not know", "42", 0.0),
        ("", "42", 0.0),
    ],
)
def test_a_problem_rewards_exactly_the_right_final_answer(answer: str, solution: str, reward: float) -> None:
    assert rewards.mathematics(answer, solution) == reward


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_two_integers_are_equal_for_the_reward_exactly_if_they_are(given_: int, right: int) -> None:
    assert rewards.mathematics(rf"\boxed{{{given_}}}", str(right)) == float(given_ == right)


def test_a_solution_that_is_no_expression_is_an_error() -> None:
    with pytest.raises(DataError, match="not an expression that can be compared"):
        rewards.mathematics("1", "  ")


def test_what_a_prompt_is_rewarded_for_follows_from_what_it_is() -> None:
    prompt = plain_prompt("hello")
    assert kind_of(prompt) is Kind.BENIGN
    assert kind_of(replace(prompt, harmful=True)) is Kind.HARMFUL
    assert kind_of(replace(prompt, meta=json.dumps({"solution": "4"}))) is Kind.MATHEMATICS
