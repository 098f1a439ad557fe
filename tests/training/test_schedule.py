"""Which prompts stand in which step."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinternal.errors import DataError
from sinternal.records import Prompt, Verdict
from sinternal.settings.training import ByKind
from sinternal.training.rewards import Kind
from sinternal.training.schedule import Stored, Turn, alternate, schedule, schedule_stored
from tests.conftest import plain_prompt


def prompts(harmful: int = 5, benign: int = 7, mathematics: int = 3) -> list[Prompt]:
    problem = json.dumps({"solution": "1"})
    return [
        *(plain_prompt(f"harmful {i}", harmful=True) for i in range(harmful)),
        *(plain_prompt(f"benign {i}") for i in range(benign)),
        *(replace(plain_prompt(f"problem {i}"), meta=problem) for i in range(mathematics)),
    ]


shares = st.floats(0, 10, allow_nan=False)


@given(
    st.builds(ByKind, harmful=st.floats(0.1, 10), benign=shares, mathematics=shares, verification=shares),
    st.integers(4, 64),
)
def test_every_step_holds_the_same_mixture_as_near_as_whole_prompts_allow(mixture: ByKind, per_step: int) -> None:
    turns = schedule(prompts(), mixture, per_step, 3, seed=0)
    steps = [Counter(turn.kind for turn in turns[i : i + per_step]) for i in range(0, len(turns), per_step)]
    assert len(turns) == 3 * per_step
    assert steps[0] == steps[1] == steps[2]
    asked = {kind: getattr(mixture, kind.value) for kind in Kind}
    assert set(steps[0]) == {kind for kind, share in asked.items() if share}
    kinds = len(steps[0])
    for kind, count in steps[0].items():
        exact = asked[kind] / sum(asked.values()) * per_step
        assert count == 1 or abs(count - exact) <= kinds


def test_no_prompt_comes_twice_before_all_have_come() -> None:
    turns = schedule(prompts(), ByKind(harmful=1), per_step=5, steps=4, seed=0)
    for i in range(0, 20, 5):
        assert len({turn.prompt.id for turn in turns[i : i + 5]}) == 5


def test_the_same_seed_gives_the_same_order_and_another_seed_another() -> None:
    mixture = ByKind(harmful=1, benign=1)
    assert schedule(prompts(), mixture, 4, 5, 0) == schedule(prompts(), mixture, 4, 5, 0)
    assert schedule(prompts(), mixture, 4, 5, 0) != schedule(prompts(), mixture, 4, 5, 1)


def test_a_verification_asks_about_harmful_and_benign_requests_only() -> None:
    turns = schedule(prompts(), ByKind(harmful=1, verification=3), per_step=4, steps=9, seed=0)
    asked = [turn.prompt.text for turn in turns if turn.kind is Kind.VERIFICATION]
    assert {text.split()[0] for text in asked} == {"harmful", "benign"}


@pytest.mark.parametrize(
    ("there", "mixture", "message"),
    [
        (prompts(benign=0), ByKind(harmful=1, benign=1), "no benign prompts .* the best policy refuses everything"),
        (prompts(harmful=0), ByKind(harmful=1), "no harmful prompts"),
        (prompts(mathematics=0), ByKind(harmful=1, mathematics=1), r"name a benchmark in rewards\.mathematics"),
    ],
)
def test_a_kind_without_prompts_is_an_error_that_says_what_to_add(
    there: list[Prompt], mixture: ByKind, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        schedule(there, mixture, 8, 1, 0)


def test_a_step_too_small_for_its_kinds_is_an_error() -> None:
    with pytest.raises(DataError, match=r"grpo\.prompts \(1\) leaves no room for 2 kinds"):
        schedule(prompts(), ByKind(harmful=1, benign=1), 1, 1, 0)


def stored(answers: int, label: Verdict) -> list[Turn]:
    return [
        Turn(plain_prompt(f"{label} {i}", harmful=True), Kind.VERIFICATION, Stored(f"{i}", label))
        for i in range(answers)
    ]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.integers(1, 5))
def test_every_step_has_its_share_of_each_kind_of_answers_and_none_comes_twice_before_all_have_come(
    unsafe: int, safe: int, size: int, steps: int
) -> None:
    pools = {"unsafe": stored(unsafe, Verdict.UNSAFE), "safe": stored(safe, Verdict.SAFE)}
    turns = schedule_stored(pools, {"unsafe": size, "safe": size}, steps, seed=0)
    assert len(turns) == 2 * size * steps
    for i in range(0, len(turns), 2 * size):
        labels = Counter(turn.stored.label for turn in turns[i : i + 2 * size] if turn.stored)
        assert labels == {Verdict.UNSAFE: size, Verdict.SAFE: size}
    for name, pool in pools.items():
        uses = Counter(turn.prompt.id for turn in turns if turn.stored and turn.stored.label == name)
        counts = [uses[turn.prompt.id] for turn in pool]
        assert max(counts) - min(counts) <= 1
    assert turns == schedule_stored(pools, {"unsafe": size, "safe": size}, steps, seed=0)


@pytest.mark.parametrize(("steps", "others"), [(3, 3), (3, 2), (1, 0)])
def test_steps_alternate_and_none_is_lost(steps: int, others: int) -> None:
    first, second = stored(2 * steps, Verdict.SAFE), stored(2 * others, Verdict.UNSAFE)
    turns = alternate(first, second, per_step=2)
    labels = [turn.stored.label for turn in turns if turn.stored]
    expected = [label for i in range(steps) for label in ["safe"] * 2 + ["unsafe"] * 2 * (i < others)]
    assert labels == expected
    assert Counter(turns) == Counter([*first, *second])
