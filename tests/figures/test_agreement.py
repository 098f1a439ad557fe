"""How far two judges agree, and how far a judge agrees with people."""

from __future__ import annotations

from sinternal.figures.agreement import JudgeAgreement, judge_agreement
from sinternal.figures.estimate import Estimate
from sinternal.records import Response
from tests.conftest import judgement_of, plain_prompt, response_to


def apart(responses: list[Response]) -> dict[str, str]:
    """Parents of responses that are all of different prompts."""
    return {response.id: response.id for response in responses}


def test_agreement_knows_that_answers_to_one_prompt_are_alike() -> None:
    responses = [response_to(plain_prompt("a"), "x", i) for i in range(200)]
    first = [judgement_of(r, i % 20 < 10) for i, r in enumerate(responses)]
    second = [judgement_of(r, i % 20 < 10 or i < 40) for i, r in enumerate(responses)]
    together = {response.id: str(i // 10) for i, response in enumerate(responses)}
    one, other = (
        judge_agreement("default", ("a", "b"), first, second, "safe", parents)
        for parents in (apart(responses), together)
    )
    assert one is not None
    assert other is not None
    assert one.kappa.value == other.kappa.value
    widths = [(kappa.high or 0) - (kappa.low or 0) for kappa in (one.kappa, other.kappa)]
    assert widths[1] > 2 * widths[0]
    single = judge_agreement("default", ("a", "b"), first, second, "safe", dict.fromkeys(together, "the same"))
    assert single is not None
    assert (single.kappa.low, single.kappa.high) == (None, None)


def test_agreement_counts_only_responses_that_both_judges_have_labelled() -> None:
    responses = [response_to(plain_prompt("a"), "x", i) for i in range(5)]
    first = [judgement_of(r, safe) for r, safe in zip(responses, (True, True, False, False, None), strict=True)]
    second = [judgement_of(r, safe) for r, safe in zip(responses, (True, False, False, None, True), strict=True)]
    found = judge_agreement("default", ("a", "b"), first, second, "safe", apart(responses))
    assert found is not None
    assert (round(found.same, 4), round(found.kappa.value or 0, 4), found.kappa.n) == (0.6667, 0.4, 3)
    assert judge_agreement("default", ("a", "b"), first, second, "refused", apart(responses)) is None


def test_kappa_is_left_out_where_a_judge_always_says_the_same() -> None:
    responses = [response_to(plain_prompt("a"), "x", i) for i in range(3)]
    first = [judgement_of(r, True) for r in responses]
    second = [judgement_of(r, i == 0) for i, r in enumerate(responses)]
    found = judge_agreement("default", ("a", "b"), first, second, "safe", apart(responses))
    undefined = Estimate(value=None, low=None, high=None, n=3)
    assert found == JudgeAgreement("default", "a", "b", "safe", 1 / 3, undefined)
