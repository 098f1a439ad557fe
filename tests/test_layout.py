"""The map of a run: what the planner puts in, the report gets out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinternal.layout import (
    Answers,
    ArmPlace,
    ArmRun,
    Checked,
    Others,
    Place,
    Published,
    RunMap,
    SeedRun,
    Stressed,
    Training,
)
from sinternal.settings.recipe import load_recipe
from sinternal.study.plan import make_plan
from sinternal.study.task import Task

names = st.text(min_size=1, max_size=12)
leaves = st.integers()
answers = st.builds(Answers[int], leaves, leaves, leaves)
maybe = st.none() | leaves
trainings = st.builds(
    Training[int],
    leaves,
    others=st.none() | st.builds(Others[int], leaves, answers),
    published=st.none() | st.builds(Published[int], leaves, leaves),
    critiques=maybe,
    examples=maybe,
    sft=maybe,
    grpo=maybe,
)
arms = st.builds(
    ArmRun[int],
    leaves,
    leaves,
    st.dictionaries(names, leaves, min_size=1, max_size=3),
    leaves,
    training=st.none() | trainings,
    rewarding=maybe,
    capability=maybe,
    stress=st.dictionaries(names, st.builds(Stressed[int], leaves, leaves, leaves), max_size=2),
    checks=st.none() | st.builds(Checked[int], leaves, leaves, leaves, leaves, leaves),
)
runs = st.dictionaries(
    st.builds(Place, names, st.integers(0, 2**32 - 1)),
    st.builds(
        SeedRun[int],
        leaves,
        leaves,
        maybe,
        st.none() | answers,
        arms=st.dictionaries(names, arms, min_size=1, max_size=3),
    ),
    max_size=3,
).map(RunMap[int])


@given(runs)
def test_a_run_that_was_made_flat_is_found_again_whatever_its_names_hold(run: RunMap[int]) -> None:
    flat = run.flat()
    assert len(flat) == len(run.leaves())
    assert dict(RunMap[int].from_flat(flat)) == dict(run)


def test_a_name_with_a_slash_leads_to_no_other_place() -> None:
    arm = ArmRun(1, 2, {"judge/of 1": 3, "judge": 4}, 5)
    run = RunMap({Place("a/0", 0): SeedRun(6, 7, 8, Answers(9, 10, 11), arms={"b": arm})})
    again = RunMap[int].from_flat(run.flat())
    assert again[Place("a/0", 0)].arms["b"].judgements == {"judge/of 1": 3, "judge": 4}


def test_an_arm_is_found_by_variant_name_and_seed() -> None:
    runs = {
        Place(variant, seed): SeedRun(0, 0, 0, Answers(0, 0, 0), arms={"x": ArmRun(seed, 0, {"j": 0}, 0)})
        for variant in ("one", "two")
        for seed in (3, 1)
    }
    run = RunMap(runs)
    assert run.arms() == [ArmPlace(v, "x", s) for v in ("one", "two") for s in (3, 1)]
    assert run.arm(ArmPlace("two", "x", 1)).model == 1
    assert list(run.of_arm("one", "x")) == [3, 1]


@pytest.mark.parametrize("recipe", ["quickstart", "microworld-rl", "microworld-arms", "r1-distill-qwen-7b-arms"])
def test_a_plans_report_is_made_from_everything_in_the_map(recipe: str) -> None:
    plan = make_plan(load_recipe(recipe))
    run = RunMap[Task].from_flat(plan.report.inputs)
    assert run.flat() == dict(plan.report.inputs)
    for place in run.arms():
        arm = run.arm(place)
        assert {task.stage.name for task in arm.judgements.values()} == {"judge"}
        assert arm.verifications.stage.name == "self_verify"
        assert arm.model.stage.name in ("target", "sft", "grpo")
        assert (arm.training is None) == (arm.model.stage.name == "target")
