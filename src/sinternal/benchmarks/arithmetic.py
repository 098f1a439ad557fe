"""Benchmark `arithmetic`: sums and products of whole numbers, drawn from a seed, for want of a network or a licence.

How hard it is, is set by how many numbers an expression has and how large they are. It serves to keep, and to see,
a model's ability to calculate while it is tuned on something else; it says little about mathematics.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from sinternal.benchmarks import Benchmark
from sinternal.benchmarks.mathematics import as_problem
from sinternal.benchmarks.parts import Request, Shares, check_part, to_prompts
from sinternal.errors import DataError
from sinternal.records import Prompt

NAME = "arithmetic"
_DRAWS_PER_EXPRESSION = 50


class ArithmeticOptions(BaseModel):
    """Which expressions, and how many."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    """Of the draw."""
    size: int = Field(default=4_000, ge=1)
    """Different expressions in all parts together; the default leaves about the method's 3,000 for training."""
    terms: int = Field(default=4, ge=2, le=50)
    """Numbers in an expression."""
    largest: int = Field(default=20, ge=1, le=1_000_000)
    """The numbers are drawn from 1 to this one."""
    shares: Shares = Shares(train=0.8, dev=0.1, eval=0.1)
    """How much goes to which part."""


class Arithmetic(Benchmark):
    """Expressions such as `3 * (17 - 4) + 8`, with their values as solutions."""

    evaluation_only = False
    Options = ArithmeticOptions

    def __init__(self, options: ArithmeticOptions) -> None:
        """Draw the expressions. Raises DataError if there are not as many different ones."""
        self.options = options
        self.expressions = _different(options)

    def prompts(self, part: str) -> Sequence[Prompt]:
        """The prompts of one part; see `Benchmark.prompts`."""
        check_part(NAME, part)
        requests = (
            as_problem(Request(f"What is {expression.text}?", harmful=False), str(expression.value))
            for expression in self.expressions
            if self.options.shares.part_of(expression.numbers) == part
        )
        return to_prompts(NAME, part, requests)


class _Binding(IntEnum):
    """How strongly an expression holds together; what binds less than its surroundings stands in parentheses."""

    SUM = 1
    """A sum or difference."""
    PRODUCT = 2
    """A product."""
    NUMBER = 3
    """A single number."""


class _Expression(NamedTuple):
    """An expression, written and worked out."""

    text: str
    """As Python would read it, without needless parentheses."""
    value: int
    """What it is."""
    binding: _Binding
    """How strongly it holds together."""

    @property
    def numbers(self) -> str:
        """Its numbers in ascending order. They decide the part, so that 3 + 4 never faces 4 + 3 or 3 * 4."""
        return " ".join(sorted(re.findall(r"\d+", self.text), key=int))

    def beside(self, surroundings: int) -> str:
        """Its text, in parentheses if it binds less strongly than what stands around it."""
        return self.text if self.binding >= surroundings else f"({self.text})"


def _different(options: ArithmeticOptions) -> list[_Expression]:
    """As many different expressions as are asked for; a larger `size` only adds some. Raises DataError if too many."""
    rng = random.Random(options.seed)
    found: dict[str, _Expression] = {}
    for _ in range(_DRAWS_PER_EXPRESSION * options.size):
        drawn = _draw(rng, options.terms, options.largest)
        found.setdefault(drawn.text, drawn)
        if len(found) == options.size:
            return list(found.values())
    raise DataError(
        f"benchmark {NAME!r}: {options.size} different expressions were asked for, but {options.terms} numbers from 1 "
        f"to {options.largest} gave only {len(found)}; raise the option terms or largest, or lower size"
    )


def _draw(rng: random.Random, terms: int, largest: int) -> _Expression:
    if terms == 1:
        number = rng.randint(1, largest)
        return _Expression(str(number), number, _Binding.NUMBER)
    on_the_left = rng.randint(1, terms - 1)
    left = _draw(rng, on_the_left, largest)
    right = _draw(rng, terms - on_the_left, largest)
    match rng.choice("+-*"):
        case "+":
            return _Expression(f"{left.text} + {right.text}", left.value + right.value, _Binding.SUM)
        case "-":
            return _Expression(
                f"{left.text} - {right.beside(_Binding.PRODUCT)}", left.value - right.value, _Binding.SUM
            )
        case _:
            text = f"{left.beside(_Binding.PRODUCT)} * {right.beside(_Binding.PRODUCT)}"
            return _Expression(text, left.value * right.value, _Binding.PRODUCT)
