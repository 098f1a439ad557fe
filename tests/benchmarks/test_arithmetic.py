from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinternal.benchmarks.arithmetic import Arithmetic
from sinternal.benchmarks.listing import rows
from sinternal.errors import DataError
from sinternal.records import Prompt, Split
from sinternal.registry import Kind, load
from sinternal.training import rewards
from tests.plugins import mistake_in, open_plugin

PARTS = ("train", "dev", "eval")
HARDNESS = {"seed": st.integers(0, 10**6), "terms": st.integers(2, 9), "largest": st.integers(20, 1_000)}


def drawn(**options: object) -> dict[str, list[Prompt]]:
    """All prompts by part; parts without any are left out."""
    benchmark = open_plugin(Arithmetic, {"size": 40, "shares": {"train": 0.4, "dev": 0.3, "eval": 0.3}, **options})
    found = {}
    for part in PARTS:
        try:
            found[part] = list(benchmark.prompts(part))
        except DataError:
            continue
    return found


def together(parts: dict[str, list[Prompt]]) -> list[Prompt]:
    return [prompt for prompts in parts.values() for prompt in prompts]


def expression(prompt: Prompt) -> str:
    found = re.fullmatch(r"What is ([-+*() \d]+)\?\n\nPut the final answer in \\boxed\{\}\.", prompt.text)
    assert found, prompt.text
    return found[1]


@given(**HARDNESS)
def test_every_solution_is_what_python_makes_of_the_expression(seed: int, terms: int, largest: int) -> None:
    for prompt in together(drawn(seed=seed, terms=terms, largest=largest)):
        assert prompt.facts == {"solution": str(eval(expression(prompt)))}


@given(**HARDNESS)
def test_every_expression_is_as_long_and_its_numbers_as_large_as_asked(seed: int, terms: int, largest: int) -> None:
    for prompt in together(drawn(seed=seed, terms=terms, largest=largest)):
        numbers = [int(number) for number in re.findall(r"\d+", expression(prompt))]
        assert len(numbers) == terms
        assert 1 <= min(numbers) <= max(numbers) <= largest


@given(**HARDNESS)
def test_no_parentheses_are_needless(seed: int, terms: int, largest: int) -> None:
    for prompt in together(drawn(seed=seed, terms=terms, largest=largest)):
        text = expression(prompt)
        for inner in re.findall(r"\(([^()]*)\)", text):
            assert " + " in inner or " - " in inner
            assert re.search(
                rf"(\* |- )\({re.escape(inner)}\)|\({re.escape(inner)}\) \*|\({re.escape(inner)}\)\)", text
            )


@given(seed=st.integers(0, 10**6), other=st.integers(0, 10**6))
def test_parts_are_disjoint_whatever_the_seeds_and_the_order_of_the_numbers(seed: int, other: int) -> None:
    def numbers(prompts: list[Prompt]) -> set[tuple[str, ...]]:
        return {tuple(sorted(re.findall(r"\d+", expression(prompt)))) for prompt in prompts}

    mine, theirs = drawn(seed=seed, terms=2, largest=9), drawn(seed=other, terms=2, largest=9)
    for part in mine:
        for foreign in theirs.keys() - {part}:
            assert numbers(mine[part]).isdisjoint(numbers(theirs[foreign]))


@given(seed=st.integers(0, 10**6))
def test_the_same_seed_gives_the_same_prompts_and_a_larger_size_only_adds_some(seed: int) -> None:
    assert drawn(seed=seed) == drawn(seed=seed)
    more = {prompt.id for prompt in together(drawn(seed=seed, size=60))}
    assert more > {prompt.id for prompt in together(drawn(seed=seed))}


def test_another_seed_gives_other_prompts() -> None:
    assert drawn(seed=0) != drawn(seed=1)


def test_the_parts_hold_as_many_prompts_as_asked_for_about_as_shared() -> None:
    benchmark = open_plugin(Arithmetic, {})
    counts = [len(benchmark.prompts(part)) for part in PARTS]
    assert sum(counts) == benchmark.options.size
    assert abs(counts[0] / sum(counts) - 0.8) < 0.03


def test_prompts_are_harmless_and_plain_and_rewarded_as_mathematics() -> None:
    parts = drawn()
    for prompt in together(parts):
        assert (prompt.harmful, prompt.family, prompt.benchmark) == (False, "plain", "arithmetic")
        assert rewards.kind_of(prompt) is rewards.Kind.MATHEMATICS
        solution = prompt.facts["solution"]
        assert rewards.mathematics(rf"It is \boxed{{{solution}}}.", solution) == 1
        assert rewards.mathematics(rf"It is \boxed{{{int(solution) + 1}}}.", solution) == 0
    assert {prompt.split for prompt in parts["train"]} == {Split.TRAIN}
    assert {prompt.split for prompt in parts["eval"]} == {Split.ID}


def test_too_few_different_expressions_is_one_line_that_says_what_to_change() -> None:
    with pytest.raises(
        DataError,
        match=r"100 different .* 2 numbers from 1 to 3 gave only 27; raise .* terms or largest, or lower size",
    ) as caught:
        open_plugin(Arithmetic, {"terms": 2, "largest": 3, "size": 100})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"terms": 1}, {"largest": 0}, {"size": 0}, {"shares": {"train": 0.5}}, {"hard": 1}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    assert f"field 'options.{next(iter(options))}': " in mistake_in(Kind.BENCHMARK, "arithmetic", options)


def test_an_unknown_part_names_those_there_are() -> None:
    with pytest.raises(DataError, match="no part 'test'; it has train, dev, eval"):
        open_plugin(Arithmetic, {}).prompts("test")


def test_it_is_registered_and_listed_as_ready() -> None:
    (row,) = rows({"arithmetic": load(Kind.BENCHMARK, "arithmetic")})
    assert (row.name, row.ready, row.purpose) == ("arithmetic", "yes", "training, too")
