"""The effect of a method is what it does beyond its placebo, seed by seed, and whatever labels are missing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from bench.invented import SOMEWHERE
from hypothesis import given, settings
from hypothesis import strategies as st

from sinternal.figures.columns import Names
from sinternal.figures.comparisons import Scope, Side, compare_sides, index_responses
from sinternal.figures.effect import Contrast, Effect
from sinternal.figures.effects import effects, smallest
from sinternal.figures.estimate import OTHER_RUNS, THESE_RUNS
from sinternal.figures.metric import Better
from sinternal.figures.statistics import BoundedDifference, bounded_difference
from sinternal.records import HarmShows, Measured, Split
from sinternal.settings.trials import Trial

Unsafe = Callable[[int, int], bool | None]
"""Whether the answer to a prompt is unsafe, by seed and number of the prompt; None without a label."""
ONE_PLACEBO = Trial("method", ("placebo",), "base")
TWO_PLACEBOS = Trial("method", ("recipe", "lists"), "base")


def responses(arm: str, unsafe: Unsafe, *, seeds: int = 3, prompts: int = 24) -> list[Measured]:
    """An answer to each of some harmful prompts, half of them in a family whose harm shows in the draft only."""
    return [
        Measured(
            id=f"{arm} {seed} {i}",
            variant="default",
            arm=arm,
            seed=seed,
            prompt_id=str(i),
            parent_id=str(i // 2),
            sample=0,
            benchmark="b",
            family="front-skipped" if i % 2 else "alias",
            split=Split.OOD,
            harmful=True,
            asr=unsafe(seed, i),
            over_refusal=None,
            helpful=None,
            proactive_verification=None,
            truncated=False,
            harm_shows=HarmShows.DRAFT if i % 2 else HarmShows.REQUEST,
        )
        for seed in range(seeds)
        for i in range(prompts)
    ]


def by_chance(rate: float, name: str) -> Unsafe:
    return lambda seed, i: random.Random(f"{name} {seed} {i}").random() < rate


def measure(arms: Mapping[str, Unsafe], trial: Trial = ONE_PLACEBO, *, seeds: int = 3) -> list[Effect]:
    names = Names()
    rows = {
        ("default", arm): index_responses(responses(arm, unsafe, seeds=seeds), names) for arm, unsafe in arms.items()
    }
    return list(effects(rows, {"default": [trial]}, lambda *_: SOMEWHERE))


def in_the_request(found: Iterable[Effect]) -> Effect:
    return next(row for row in found if (row.metric, row.harm_shows, row.family) == ("asr", HarmShows.REQUEST, None))


def test_a_method_that_is_a_copy_of_its_placebo_has_no_effect_however_far_both_are_from_the_base() -> None:
    tuned = by_chance(0.1, "tuned")
    found = measure({"base": lambda *_: True, "method": tuned, "placebo": tuned})
    for effect in (row for row in found if row.metric == "asr"):
        assert effect.headline is not None
        assert effect.headline.value == 0
        assert (effect.headline.low or 0) < 0 < (effect.headline.high or 0)
        assert effect.direction == 0
        assert effect.base is not None
        assert (effect.base.value or 0) < -0.5


def test_what_the_placebo_does_as_well_is_no_effect_though_the_base_is_far_off() -> None:
    """The method and its placebo each help the same share of prompts, but not the same prompts."""
    arms: dict[str, Unsafe] = {
        "base": lambda *_: True,
        "method": lambda _, i: i % 4 in (0, 1),
        "placebo": lambda _, i: i % 4 in (2, 3),
    }
    effect = in_the_request(measure(arms))
    assert effect.headline is not None
    assert effect.base is not None
    assert (effect.headline.value, effect.base.value) == (0.0, -0.5)
    assert effect.direction == 0
    assert effect.base.direction == -1


def pairs(a: Sequence[int], b: Sequence[int], parents: Sequence[int], seeds: Sequence[int]) -> BoundedDifference:
    first, second = (np.array(labels, dtype=np.int8) for labels in (a, b))
    return bounded_difference(first, second, np.array(parents), np.array(seeds))


def test_an_effect_and_the_comparison_of_the_same_arms_are_one_figure_however_unequal_the_seeds_are() -> None:
    """The label of the placebo is missing more often under one seed than under the other."""
    names, arms = Names(), {"method": by_chance(0.3, "method"), "placebo": by_chance(0.6, "placebo")}
    silent = by_chance(0.3, "silent")
    arms["placebo"] = lambda seed, i: None if seed == 1 and silent(seed, i) else by_chance(0.6, "placebo")(seed, i)
    rows = {arm: index_responses(responses(arm, unsafe, seeds=2), names) for arm, unsafe in arms.items()}
    measured = {("default", arm): own for arm, own in rows.items()}
    effect = next(effects(measured, {"default": [Trial("method", ("placebo",), None)]}, lambda *_: SOMEWHERE))
    sides = [Side(arm, own, lambda _: SOMEWHERE) for arm, own in rows.items()]
    compared = compare_sides(*sides, Scope("asr", "ood", harm_shows="request"))
    shown = effect.headline
    assert shown is not None
    assert compared is not None
    assert shown.by_seed[0] != shown.by_seed[1]
    assert (shown.value, shown.n) == (compared.difference, compared.n)
    assert (shown.low, shown.high, shown.lowest, shown.highest) == (
        compared.low,
        compared.high,
        compared.lowest,
        compared.highest,
    )
    assert (shown.low_these_runs, shown.high_these_runs) == (compared.low_these_runs, compared.high_these_runs)
    assert shown.holds_for == compared.holds_for == OTHER_RUNS


@given(
    st.lists(
        st.tuples(st.sampled_from((-1, 0, 1)), st.sampled_from((-1, 0, 1)), st.integers(0, 3), st.integers(0, 1)),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=40, deadline=None)
def test_a_difference_lies_within_its_bounds_and_these_in_its_interval(rows: list[tuple[int, int, int, int]]) -> None:
    found = pairs(*zip(*rows, strict=True))
    assert -1 <= found.lowest <= found.highest <= 1
    if found.value is not None:
        assert found.lowest <= found.value <= found.highest
    for interval in filter(None, (found.interval, found.these_runs)):
        assert interval.low <= found.lowest + 1e-9
        assert interval.high >= found.highest - 1e-9


def test_a_difference_of_the_pairs_with_both_labels_that_the_others_refute_is_not_told() -> None:
    """Ten pairs say +100 points, and ninety in which B has it happen and A no label leave at most +10."""
    found = pairs([1] * 10 + [-1] * 90, [0] * 10 + [1] * 90, list(range(100)), [0] * 100)
    assert (found.value, found.lowest, found.highest) == (0.1, -0.8, 0.1)
    assert found.interval is not None
    assert found.interval.low < -0.8


def test_seeds_that_agree_to_the_last_digit_do_not_make_an_interval_without_width() -> None:
    found = pairs([1, 0] * 6, [0] * 12, [i // 2 for i in range(12)], [0] * 6 + [1] * 6)
    assert found.value == 0.5
    assert found.interval is not None
    assert found.interval.low < 0.5 < found.interval.high


def test_all_prompts_from_100_to_0_percent_is_a_clear_effect_but_not_one_without_doubt() -> None:
    found = pairs([0] * 36, [1] * 36, [i % 12 for i in range(36)], [i // 12 for i in range(36)])
    assert found.value == -1
    assert found.interval is not None
    assert found.interval.low == -1
    assert -0.8 < found.interval.high < -0.4
    few = pairs([0] * 2, [1] * 2, [0, 1], [0, 0])
    assert few.interval is not None
    assert few.interval.high > 0


def test_a_single_prompt_tells_nothing_of_others_under_however_many_seeds() -> None:
    for labels, seeds in (([1, 1], [0, 0]), ([1, 0], [0, 1])):
        found = pairs(labels, [0, 0], [0, 0], seeds)
        assert (found.interval, found.these_runs) == (None, None)
    with pytest.raises(ValueError, match="no pairs"):
        pairs([], [], [], [])


def test_one_seed_says_that_it_holds_for_these_runs_only() -> None:
    arms: dict[str, Unsafe] = {"base": lambda *_: True, "method": lambda *_: False, "placebo": lambda *_: True}
    effect = in_the_request(measure(arms, seeds=1))
    assert effect.headline is not None
    assert (effect.headline.seeds, effect.headline.holds_for) == (1, THESE_RUNS)
    assert (effect.headline.low, effect.headline.high) == (
        effect.headline.low_these_runs,
        effect.headline.high_these_runs,
    )
    assert effect.direction == -1


def test_labels_that_are_missing_on_one_side_are_no_scores_and_can_take_an_effect_back() -> None:
    """A judge that is silent wherever the method's answers are unsafe."""
    same = by_chance(0.6, "same")
    arms: dict[str, Unsafe] = {
        "base": lambda *_: True,
        "method": lambda seed, i: None if same(seed, i) else False,
        "placebo": same,
    }
    effect = in_the_request(measure(arms))
    shown = effect.headline
    assert shown is not None
    labelled = sum(not same(seed, i) for seed in range(3) for i in range(0, 24, 2))
    assert (shown.n, shown.missing_method, shown.missing_other) == (labelled, 36 - labelled, 0)
    assert shown.value == 0
    assert shown.lowest == pytest.approx(-(36 - labelled) / 36)
    assert shown.highest == pytest.approx(0)
    assert (shown.low or 0) <= (shown.lowest or 0)
    assert (shown.high or 0) >= (shown.highest or 0)


def test_an_effect_that_rests_on_missing_labels_of_the_placebo_is_not_clear() -> None:
    arms: dict[str, Unsafe] = {
        "base": lambda *_: True,
        "method": lambda *_: False,
        "placebo": lambda _, i: True if i < 4 else None,
    }
    effect = in_the_request(measure(arms))
    shown = effect.headline
    assert shown is not None
    assert shown.value == -1
    assert shown.missing_other == 30
    assert shown.highest == pytest.approx(-1 / 6)
    assert effect.direction == 0


def test_where_no_pair_has_both_labels_there_is_no_effect_but_bounds() -> None:
    arms: dict[str, Unsafe] = {"base": lambda *_: True, "method": lambda *_: None, "placebo": lambda *_: True}
    effect = in_the_request(measure(arms))
    shown = effect.headline
    assert shown is not None
    assert (shown.value, shown.low, shown.high, shown.n, shown.seeds) == (None, None, None, 0, 0)
    assert (shown.lowest, shown.highest) == (-1.0, 0.0)
    assert (effect.direction, effect.placebo) == (0, None)


def test_of_several_placebos_the_headline_takes_the_one_that_leaves_the_smallest_effect() -> None:
    arms: dict[str, Unsafe] = {
        "base": lambda *_: True,
        "method": lambda *_: False,
        "recipe": lambda *_: True,
        "lists": lambda _, i: i < 20,
    }
    effect = in_the_request(measure(arms, TWO_PLACEBOS))
    assert [row.value for row in effect.placebos] == [-1.0, pytest.approx(-10 / 12)]
    assert effect.placebo == "lists"
    assert effect.direction == -1


def test_an_effect_that_one_of_the_placebos_shows_as_well_is_not_clear() -> None:
    arms: dict[str, Unsafe] = {
        "base": lambda *_: True,
        "method": lambda *_: False,
        "recipe": lambda *_: True,
        "lists": lambda *_: False,
    }
    effect = in_the_request(measure(arms, TWO_PLACEBOS))
    assert (effect.placebo, effect.direction) == ("lists", 0)
    assert effect.placebos[0].direction == -1


def contrast(other: str, value: float | None) -> Contrast:
    effect = in_the_request(measure({"base": lambda *_: True, "method": lambda *_: False}, Trial("method", (), "base")))
    assert effect.base is not None
    return replace(effect.base, other=other, value=value)


@pytest.mark.parametrize(
    ("better", "values", "chosen"),
    [
        (Better.LOWER, (-0.3, -0.1), "b"),
        (Better.LOWER, (0.3, 0.1), "b"),
        (Better.LOWER, (-0.2, 0.3), "b"),
        (Better.HIGHER, (-0.2, 0.3), "a"),
        (Better.NEITHER, (-0.2, 0.3), "a"),
        (Better.LOWER, (None, -0.3), "b"),
        (Better.LOWER, (None, None), None),
    ],
)
def test_where_placebos_disagree_the_one_that_speaks_least_for_the_method_is_taken(
    better: Better, values: tuple[float | None, float | None], chosen: str | None
) -> None:
    assert smallest([contrast(name, value) for name, value in zip("ab", values, strict=True)], better) == chosen


def test_without_a_placebo_the_base_stands_in_and_the_effect_is_called_not_separated() -> None:
    effect = in_the_request(measure({"base": lambda *_: True, "method": lambda *_: False}, Trial("method", (), "base")))
    assert not effect.separated
    assert effect.headline is effect.base
    assert effect.direction == -1


def test_places_are_apart_by_where_harm_shows_and_by_family() -> None:
    found = [
        row
        for row in measure({"base": lambda *_: True, "method": lambda _, i: i % 2 == 1, "placebo": lambda *_: True})
        if row.metric == "asr"
    ]
    values = {(row.harm_shows, row.family): row.headline.value for row in found if row.headline}
    assert values == {
        (HarmShows.REQUEST, None): -1.0,
        (HarmShows.DRAFT, None): 0.0,
        (HarmShows.REQUEST, "alias"): -1.0,
        (HarmShows.DRAFT, "front-skipped"): 0.0,
    }


def test_an_arm_that_was_not_measured_is_no_reference() -> None:
    found = measure({"method": lambda *_: False, "placebo": lambda *_: True}, TWO_PLACEBOS)
    assert all(row.headline is None and row.direction == 0 for row in found)
