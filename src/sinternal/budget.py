"""What calls to servers cost, and what a run may spend on them.

Worker processes share one purse: each pays into it after every call and looks into it before the next, so that a run
stops after the calls that are under way. Nothing is lost by that: what was answered is kept. What is handed in as a
whole, to be charged later, is set aside beforehand at the most that it can cost.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from multiprocessing.context import BaseContext

from sinternal.errors import BudgetError, RecipeError

CENT, LEAST = 0.01, 0.0001
"""Sums below the first are written with more decimals, and not below the second: what costs something is not 0.00."""


def money(amount: float) -> str:
    """A sum, in the currency of the prices: `1,234.50`, `0.0003`."""
    return f"{max(amount, LEAST):.4f}" if 0 < amount < CENT else f"{amount:,.2f}"


@dataclass(frozen=True)
class Spent:
    """What was spent on servers."""

    calls: int = 0
    """Calls that were answered, and those that were sent and brought nothing back: a text may have been written."""
    prompt_tokens: int = 0
    """Tokens that the servers read."""
    tokens: int = 0
    """Tokens that they wrote; where a server does not tell, the most that the call could have been."""
    cost: float = 0.0
    """By the prices that the engines were given, in their currency."""
    estimated: int = 0
    """Of the calls, those of which the server has told no tokens that can be believed, or nothing at all: they count at
    the most that they can have been."""

    def __add__(self, other: Spent) -> Spent:
        return Spent(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    def in_words(self) -> str:
        """`2,025 calls, 81,000 tokens read, 40,500 written, cost 3.20`."""
        cost = f", cost {money(self.cost)}" if self.cost else ""
        guess = (
            f" (at most: {self.estimated:,} of them came back without a count of tokens, or not at all)"
            if self.estimated
            else ""
        )
        calls = f"{self.calls:,} call{'' if self.calls == 1 else 's'}"
        return f"{calls}, {self.prompt_tokens:,} tokens read, {self.tokens:,} written{cost}{guess}"

    def __sub__(self, other: Spent) -> Spent:
        return Spent(**{name: value - getattr(other, name) for name, value in asdict(self).items()})


NOTHING = Spent()


@dataclass(frozen=True)
class Limits:
    """What a run may spend.

    Raises:
        RecipeError: a limit is no number that limits anything.
    """

    max_tokens: int | None = None
    """Tokens read and written, over all servers."""
    max_cost: float | None = None
    """Cost, over all servers that have a price."""

    def __post_init__(self) -> None:
        """Refuse what no sum can reach."""
        for name, limit in (("--max-tokens", self.max_tokens), ("--max-cost", self.max_cost)):
            if limit is not None and not (math.isfinite(limit) and limit >= 0):
                raise RecipeError(f"{name} {limit}: a limit is a number from 0 on")


class Purse:
    """What is left of a run's limits, shared by its processes."""

    def __init__(self, limits: Limits, context: BaseContext) -> None:
        """Open a full purse in the multiprocessing context of the workers."""
        self.limits = limits
        self.tokens = context.Value("q", 0)
        self.cost = context.Value("d", 0.0)
        self.tokens_aside = context.Value("q", 0)
        self.cost_aside = context.Value("d", 0.0)
        self.setting_aside = context.Lock()

    def pay(self, spent: Spent) -> None:
        """Take out what was spent."""
        with self.tokens.get_lock():
            self.tokens.value += spent.prompt_tokens + spent.tokens
        with self.cost.get_lock():
            self.cost.value += spent.cost

    def set_aside(self, most: Spent) -> None:
        """Keep back what a call costs at most. Raises BudgetError if what is left does not cover it."""
        with self.setting_aside:
            tokens = most.prompt_tokens + most.tokens
            tokens_left, cost_left = self._tokens_left(), self._cost_left()
            if tokens > tokens_left:
                raise BudgetError(
                    _short(f"{tokens:,} tokens", f"{tokens_left:,.0f}", f"--max-tokens {self.limits.max_tokens}")
                )
            if most.cost > cost_left:
                raise BudgetError(_short(f"{most.cost:.2f}", f"{cost_left:.2f}", f"--max-cost {self.limits.max_cost}"))
            self.tokens_aside.value += tokens
            self.cost_aside.value += most.cost

    def give_back(self, most: Spent) -> None:
        """Keep back no longer what was set aside."""
        with self.setting_aside:
            self.tokens_aside.value -= most.prompt_tokens + most.tokens
            self.cost_aside.value -= most.cost

    def _tokens_left(self) -> float:
        limit = math.inf if self.limits.max_tokens is None else self.limits.max_tokens
        return float(limit - self.tokens.value - self.tokens_aside.value)

    def _cost_left(self) -> float:
        limit = math.inf if self.limits.max_cost is None else self.limits.max_cost
        return float(limit - self.cost.value - self.cost_aside.value)

    def check(self) -> None:
        """Raises BudgetError if nothing is left."""
        tokens, cost = self.tokens.value + self.tokens_aside.value, self.cost.value + self.cost_aside.value
        if self.limits.max_tokens is not None and tokens >= self.limits.max_tokens:
            raise BudgetError(_stopped(f"{tokens:,} tokens", f"--max-tokens {self.limits.max_tokens}"))
        if self.limits.max_cost is not None and cost >= self.limits.max_cost:
            raise BudgetError(_stopped(f"{cost:.2f}", f"--max-cost {self.limits.max_cost}"))


_purse: Purse | None = None
"""The run's; None where nothing is limited."""
_spent = Spent()
"""By this process."""


def carry(purse: Purse | None) -> None:
    """Pay from this purse from now on, in this process."""
    global _purse
    _purse = purse


def pay(spent: Spent) -> None:
    """Record what a call cost."""
    global _spent
    _spent += spent
    if _purse is not None:
        _purse.pay(spent)


def check() -> None:
    """Ask for leave to make another call.

    Raises:
        BudgetError: the run has spent what it was allowed to.
    """
    if _purse is not None:
        _purse.check()


def set_aside(most: Spent) -> None:
    """Ask for leave to hand in a call that is charged later.

    Raises:
        BudgetError: what is left does not cover the most that it can cost.
    """
    if _purse is not None:
        _purse.set_aside(most)


def give_back(most: Spent) -> None:
    """A call that was set aside for is over: what it did cost is paid apart."""
    if _purse is not None:
        _purse.give_back(most)


def spent() -> Spent:
    """What this process has spent so far."""
    return _spent


def _stopped(amount: str, limit: str) -> str:
    return f"the budget is spent ({amount}, {limit}); what is done is kept, a run with a higher limit goes on from here"


def _short(amount: str, left: str, limit: str) -> str:
    return (
        f"the budget does not cover one more request at its most ({amount}; {left} of {limit} left); what is done is "
        "kept, a run with a higher limit goes on from here"
    )
