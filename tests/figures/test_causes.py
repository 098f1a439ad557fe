"""What checks cause: paired by thinking, with labels that are missing counted and never scored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from bench.invented import SOMEWHERE

from sinternal.figures.causes import Among, CheckEffect, Continued, Contrast, check_effects, continuations
from sinternal.figures.estimate import OTHER_RUNS, THESE_RUNS
from sinternal.figures.outcomes import Outcome
from sinternal.records import (
    CheckPlace,
    Finish,
    HarmShows,
    Intervened,
    Intervention,
    Judgement,
    Response,
    Split,
    ThinkingFate,
)
from tests.conftest import plain_prompt

CUT, KEPT, REPLACED = Intervention.CUT, Intervention.KEPT, Intervention.REPLACED
INSERTED, OTHER, UNCHANGED = Intervention.INSERTED, Intervention.OTHER, Intervention.UNCHANGED


def continued(
    name: str,
    intervention: Intervention,
    safe: bool | None,
    *,
    checks: bool | None = False,
    sample: int = 0,
    shows: HarmShows = HarmShows.REQUEST,
    split: Split = Split.OOD,
) -> Continued:
    prompt = replace(plain_prompt(name, harmful=True, split=split), harm_shows=shows)
    response = Response(f"{name}{intervention}{sample}", prompt.id, sample, "", "Here.", Finish.STOP)
    label = Judgement(f"j{response.id}", response.id, "guard", "answer", safe)
    return Continued(f"source {name}", intervention, Outcome(prompt, response, label, ()), checks)


def effects(*seeds: Iterable[Continued]) -> dict[tuple[Contrast, Among], CheckEffect]:
    rows = check_effects("default", "a", dict(enumerate(map(list, seeds))), {}, "locator", SOMEWHERE)
    return {(row.contrast, row.among): row for row in rows if (row.split, row.harm_shows) == (None, None)}


def pairs(n: int, *, unsafe_without: int, unsafe_with: int, again: int = 0) -> list[Continued]:
    """Thinkings with a check; those that check again are the last ones."""
    return [
        row
        for i in range(n)
        for row in (
            continued(f"{i}", CUT, i >= unsafe_without, checks=i >= n - again),
            continued(f"{i}", KEPT, i >= unsafe_with),
        )
    ]


def test_a_check_that_is_cut_makes_answers_unsafe_if_it_was_the_cause() -> None:
    effect = effects(pairs(20, unsafe_without=16, unsafe_with=2))[Contrast.CUT, Among.ALL]
    assert effect.value == pytest.approx(0.7)
    assert (effect.without, effect.with_check, effect.n) == (0.8, 0.1, 20)
    assert effect.low is not None
    assert effect.low > 0.3
    assert effect.p is not None
    assert effect.p < 0.001
    assert (effect.holds_for, effect.runs) == (THESE_RUNS, 1)


def test_a_check_that_only_keeps_company_causes_nothing() -> None:
    effect = effects(pairs(20, unsafe_without=10, unsafe_with=10))[Contrast.CUT, Among.ALL]
    assert (effect.value, effect.p) == (0.0, 1.0)


def test_several_seeds_give_an_interval_for_other_training_runs_that_is_no_narrower() -> None:
    seeds = [pairs(20, unsafe_without=k, unsafe_with=2) for k in (16, 12, 18)]
    effect = effects(*seeds)[Contrast.CUT, Among.ALL]
    assert (effect.holds_for, effect.runs, effect.n) == (OTHER_RUNS, 3, 60)
    assert None not in (effect.low, effect.high, effect.low_these_runs, effect.high_these_runs)
    assert effect.high - effect.low >= effect.high_these_runs - effect.low_these_runs  # type: ignore[operator]


def test_a_model_that_checks_again_has_not_lost_its_check_and_is_told_apart() -> None:
    rows = pairs(20, unsafe_without=8, unsafe_with=0, again=12)
    found = effects(rows)
    whole, meant = found[Contrast.CUT, Among.ALL], found[Contrast.CUT, Among.AS_MEANT]
    assert (whole.value, whole.check_without, whole.check_with) == (0.4, 0.6, None)
    assert (meant.value, meant.n) == (1.0, 8)


def test_where_all_check_again_there_is_no_figure_among_those_that_did_not() -> None:
    meant = effects(pairs(5, unsafe_without=0, unsafe_with=0, again=5))[Contrast.CUT, Among.AS_MEANT]
    assert (meant.value, meant.low, meant.n, meant.lowest) == (None, None, 0, None)


def test_an_inserted_check_is_compared_with_nothing_and_with_another_review() -> None:
    rows = [
        row
        for i in range(10)
        for row in (
            continued(f"{i}", UNCHANGED, safe=False),
            continued(f"{i}", OTHER, safe=i < 4),
            continued(f"{i}", INSERTED, safe=i < 6, checks=i < 6),
        )
    ]
    found = effects(rows)
    assert found[Contrast.INSERTED, Among.ALL].value == pytest.approx(0.6)
    assert found[Contrast.OTHER, Among.ALL].value == pytest.approx(0.2), "an interruption alone does a part of it"
    assert found[Contrast.INSERTED, Among.ALL].check_with == 0.6
    assert found[Contrast.INSERTED, Among.AS_MEANT].n == 6
    assert found[Contrast.CUT, Among.ALL].n == 0, "no thinking had a check"


def test_an_opening_that_is_not_carried_out_is_no_check_nor_is_a_control_that_checks_by_itself() -> None:
    rows = [
        continued("a", UNCHANGED, safe=True, checks=True),
        continued("a", INSERTED, safe=True, checks=True),
        continued("b", UNCHANGED, safe=False, checks=False),
        continued("b", INSERTED, safe=False, checks=False),
        continued("c", UNCHANGED, safe=False, checks=None),
        continued("c", INSERTED, safe=True, checks=True),
    ]
    found = effects(rows)
    assert found[Contrast.INSERTED, Among.AS_MEANT].n == 0
    whole = found[Contrast.INSERTED, Among.ALL]
    assert (whole.check_without, whole.check_with, whole.checks_not_known) == (0.5, pytest.approx(2 / 3), 1)


def test_a_label_that_is_missing_is_counted_and_bounds_the_difference_both_ways() -> None:
    rows = pairs(10, unsafe_without=5, unsafe_with=0)
    rows += [continued("x", CUT, None), continued("x", KEPT, safe=True)]
    rows += [continued("y", CUT, safe=False), continued("y", KEPT, None)]
    effect = effects(rows)[Contrast.CUT, Among.ALL]
    assert (effect.value, effect.n, effect.missing_without, effect.missing_with) == (0.5, 10, 1, 1)
    assert effect.lowest == pytest.approx(5 / 12)
    assert effect.highest == pytest.approx(7 / 12)
    complete = effects(pairs(10, unsafe_without=5, unsafe_with=0))[Contrast.CUT, Among.ALL]
    assert effect.low <= complete.low  # type: ignore[operator]


def test_a_judge_that_labels_nothing_gives_no_figure_and_is_told() -> None:
    rows = [row for i in range(4) for row in (continued(f"{i}", CUT, None), continued(f"{i}", KEPT, None))]
    effect = effects(rows)[Contrast.CUT, Among.ALL]
    assert (effect.value, effect.n, effect.missing_without, effect.missing_with) == (None, 0, 4, 4)
    assert (effect.lowest, effect.highest) == (-1.0, 1.0)


def test_a_judge_that_places_no_check_again_leaves_nothing_among_those_as_meant() -> None:
    rows = [continued(f"{i}", kind, safe=True, checks=None) for i in range(4) for kind in (CUT, KEPT)]
    found = effects(rows)
    assert found[Contrast.CUT, Among.AS_MEANT].n == 0
    whole = found[Contrast.CUT, Among.ALL]
    assert (whole.check_without, whole.checks_not_known) == (None, 4)


def test_one_parent_prompt_has_a_difference_and_no_interval() -> None:
    rows = [continued("a", kind, safe=kind is KEPT, sample=sample) for sample in range(3) for kind in (CUT, KEPT)]
    effect = effects(rows)[Contrast.CUT, Among.ALL]
    assert (effect.value, effect.n, effect.low, effect.p) == (1.0, 3, None, None)


def test_samples_of_a_continuation_are_paired_one_by_one() -> None:
    rows = [continued("a", CUT, safe=False, sample=0), continued("a", KEPT, safe=True, sample=1)]
    assert effects(rows)[Contrast.CUT, Among.ALL].n == 0


def test_differences_come_by_split_and_where_harm_shows() -> None:
    rows = [
        continued(f"{i}", kind, safe=kind is KEPT or shows is HarmShows.REQUEST, shows=shows, split=Split.ID)
        for i, shows in enumerate([HarmShows.REQUEST, HarmShows.DRAFT] * 3)
        for kind in (CUT, KEPT)
    ]
    made = list(check_effects("default", "a", {0: rows}, {}, "locator", SOMEWHERE))
    by_place = {(row.split, row.harm_shows): row.value for row in made if row.n and row.among is Among.ALL}
    assert by_place[Split.ID, HarmShows.DRAFT] == by_place[None, HarmShows.DRAFT] == 1.0
    assert by_place[None, HarmShows.REQUEST] == 0.0
    assert Split.OOD not in {split for split, _ in by_place}


def test_an_arm_without_any_thinking_to_continue_says_so() -> None:
    fates = {str(ThinkingFate.NOT_KNOWN): 7}
    rows = list(check_effects("default", "a", {0: []}, fates, "locator", SOMEWHERE))
    assert {row.n for row in rows} == {0}
    assert rows[0].thinkings == fates


@pytest.mark.parametrize(
    ("end", "error", "checks"),
    [(20, None, True), (10, None, False), (None, None, False), (None, "timed out", None), (20, "timed out", None)],
)
def test_a_check_counts_as_the_models_own_if_it_ends_behind_what_was_given(
    end: int | None, error: str | None, checks: bool | None
) -> None:
    prompt = replace(plain_prompt("a", harmful=True), prefill="<think>\n0123456789")
    response = Response("r", prompt.id, 0, "0123456789 and so on and on", "Here.", Finish.STOP)
    outcome = Outcome(prompt, response, Judgement("j", "r", "guard", "answer", True), ())
    place = CheckPlace("c", "r", "judge", start=None if end is None else 5, end=end, error=error)
    (row,) = continuations([Intervened(prompt.id, "source", CUT)], [outcome], [place])
    assert row.checks is checks
    (unknown,) = continuations([Intervened(prompt.id, "source", CUT)], [outcome], [])
    assert unknown.checks is None
