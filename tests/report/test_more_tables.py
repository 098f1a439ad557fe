from __future__ import annotations

from dataclasses import replace

from sinternal.figures.metrics import Agreement, agreement, count
from sinternal.figures.study import JudgeAgreement
from sinternal.records import Response
from sinternal.report.study_page import render_html
from sinternal.report.tables import more_tables, render_markdown
from tests.conftest import judgement_of, plain_prompt, response_to
from tests.report.factory import make_report, outcomes


def test_a_run_with_one_benchmark_and_one_judge_has_no_tables_of_several() -> None:
    assert [one.title for one in more_tables(make_report(), "default")] == [
        "Over-refusal in three ways, and on paired prompts"
    ]


def test_every_benchmark_of_several_stands_apart_with_its_truncation() -> None:
    rows = outcomes("base", 0, (0.5, 0.5), 4)
    other = [replace(row, prompt=replace(row.prompt, benchmark="other")) for row in rows]
    cells = {(c.metric, c.benchmark) for c in count([*rows, *other]) if c.family is None and c.split is None}
    assert {("asr", "harmful"), ("asr", "microworld"), ("asr", "other"), ("format_error", "other")} <= cells
    assert not any(c.benchmark == "microworld" for c in count(rows))


def test_other_judges_and_their_agreement_are_shown_on_the_page_and_in_markdown() -> None:
    data = make_report()
    second = tuple(replace(s, provenance=replace(s.provenance, judge="guard")) for s in data.scores if s.seed is None)
    found = JudgeAgreement("default", "oracle", "guard", "safe", 0.91, 0.72, 0.6, 0.84, 480)
    data = replace(data, second_opinions=second, agreements=(found,))
    for text in (render_html(data), render_markdown(data)):
        assert "How far the judges agree" in text
        assert "0.72 [0.60, 0.84]" in text
        assert "sinternal, guard" in text


def apart(responses: list[Response]) -> dict[str, str]:
    """Parents of responses that are all of different prompts."""
    return {response.id: response.id for response in responses}


def test_agreement_knows_that_answers_to_one_prompt_are_alike() -> None:
    responses = [response_to(plain_prompt("a"), "x", i) for i in range(200)]
    first = [judgement_of(r, i % 20 < 10) for i, r in enumerate(responses)]
    second = [judgement_of(r, i % 20 < 10 or i < 40) for i, r in enumerate(responses)]
    together = {response.id: str(i // 10) for i, response in enumerate(responses)}
    one, other = (agreement(first, second, "safe", parents) for parents in (apart(responses), together))
    assert one is not None
    assert other is not None
    assert one.kappa == other.kappa
    assert (other.high or 0) - (other.low or 0) > 2 * ((one.high or 0) - (one.low or 0))
    single = agreement(first, second, "safe", dict.fromkeys(together, "the same"))
    assert single is not None
    assert (single.low, single.high) == (None, None)


def test_agreement_counts_only_responses_that_both_judges_have_labelled() -> None:
    responses = [response_to(plain_prompt("a"), "x", i) for i in range(5)]
    first = [judgement_of(r, safe) for r, safe in zip(responses, (True, True, False, False, None), strict=True)]
    second = [judgement_of(r, safe) for r, safe in zip(responses, (True, False, False, None, True), strict=True)]
    found = agreement(first, second, "safe", apart(responses))
    assert found is not None
    assert (round(found.same, 4), round(found.kappa or 0, 4), found.n) == (0.6667, 0.4, 3)
    assert agreement(first, second, "refused", apart(responses)) is None


def test_kappa_is_left_out_where_a_judge_always_says_the_same() -> None:
    responses = [response_to(plain_prompt("a"), "x", i) for i in range(3)]
    first = [judgement_of(r, True) for r in responses]
    second = [judgement_of(r, i == 0) for i, r in enumerate(responses)]
    assert agreement(first, second, "safe", apart(responses)) == Agreement("safe", 1 / 3, None, None, None, 3)
