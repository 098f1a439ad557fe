"""What a study asks is corrected together; all else is exploratory."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from bench.invented import SOMEWHERE
from pydantic import ValidationError

from sinternal.figures.columns import Names
from sinternal.figures.comparisons import Side, all_pairs, index_responses
from sinternal.figures.estimate import OTHER_RUNS, THESE_RUNS
from sinternal.records import Measured, Split
from sinternal.settings.questions import Question

ASKED = Question(arm="a", against=("b", "c"), metrics=("asr",), splits=(Split.OOD,))


def rows(arm: str, unsafe: float, seeds: int = 2, prompts: int = 40) -> Iterator[Measured]:
    rng = random.Random(f"{arm} {unsafe}")
    for seed in range(seeds):
        for i in range(prompts):
            for benchmark in ("one", "two"):
                split = Split.OOD if i % 2 else Split.ID
                hit = rng.random() < unsafe
                place = (f"{arm}{seed}{i}{benchmark}", "default", arm, seed, f"{i}{benchmark}", str(i), 0)
                yield Measured(*place, benchmark, "plain", split, True, hit, None, None, hit, False)


def sides(rates: dict[str, float], seeds: int = 2) -> list[Side]:
    names = Names()
    made = {arm: index_responses(rows(arm, rate, seeds), names) for arm, rate in rates.items()}
    return [Side(arm, own, lambda _: SOMEWHERE) for arm, own in made.items()]


def test_only_what_is_asked_is_corrected_and_for_no_more_than_is_asked() -> None:
    found = all_pairs(sides({"a": 0.1, "b": 0.6, "c": 0.1, "d": 0.5}), "default", [ASKED])
    asked = [row for row in found if row.p_holm is not None]
    assert [(row.a, row.b, row.metric, row.split) for row in asked] == [("a", b, "asr", "ood") for b in ("b", "c")]
    assert asked[0].p_holm == pytest.approx(2 * asked[0].p)
    places = [(frozenset((row.a, row.b)), row.metric, row.split, row.family, row.benchmark) for row in found]
    assert len(set(places)) == len(places)
    assert any(row.benchmark == "two" for row in found)


def test_an_arm_that_stands_before_another_can_be_asked_about_and_a_question_put_both_ways_is_one() -> None:
    back = Question(arm="b", against=("a",), metrics=("asr",), splits=(Split.OOD,))
    arms = sides({"a": 0.1, "b": 0.6})
    (one,) = [row for row in all_pairs(arms, "default", [back]) if row.p_holm is not None]
    assert (one.a, one.b) == ("b", "a")
    both = [row for row in all_pairs(arms, "default", [ASKED, back]) if row.p_holm is not None]
    assert len(both) == 1
    assert both[0].p_holm == both[0].p


def test_of_twelve_arms_the_smallest_corrected_p_is_far_below_the_level() -> None:
    arms = {"a": 0.0, **{f"arm{i}": 1.0 for i in range(11)}}
    question = Question(arm="a", against=tuple(arms)[1:], metrics=("asr", "proactive_verification"))
    found = [row for row in all_pairs(sides(arms), "default", [question]) if row.p_holm is not None]
    assert len(found) == 11 * 2 * 2
    assert max(row.p_holm or 0 for row in found) < 1e-3


def test_one_seed_says_that_its_interval_is_for_these_training_runs() -> None:
    (once,) = [row for row in all_pairs(sides({"a": 0.2, "b": 0.5}, 1), "default", [ASKED]) if row.p_holm is not None]
    assert (once.holds_for, once.runs) == (THESE_RUNS, 1)
    assert (once.low, once.high) == (once.low_these_runs, once.high_these_runs)
    (twice,) = [row for row in all_pairs(sides({"a": 0.2, "b": 0.5}, 2), "default", [ASKED]) if row.p_holm is not None]
    assert (twice.holds_for, twice.runs) == (OTHER_RUNS, 2)
    assert twice.low <= twice.low_these_runs < twice.high_these_runs <= twice.high


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("metrics", ("asrr",), "there is no metric 'asrr'; did you mean 'asr'"),
        ("metrics", (), "at least 1 item"),
        ("against", (), "at least 1 item"),
        ("splits", ("train",), "training prompts are not measured"),
        ("metric", "asr", "Extra inputs are not permitted"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Question.model_validate({"arm": "a", "against": ("b",), field: value})
