"""How a prompt is disguised, before anybody is asked or as the answers come.

An `Attack` disguises prompts once, the same for all arms: jailbreak families, each tagged as fit for tuning or held
out.

An `AdaptiveAttack` is played against one arm at a time. For each prompt it has as many queries as the budget says, and
before each it may look at what that arm answered to its earlier ones, and at how the judge labelled that. It is for
measuring only: no recipe can train on it. The same attack is also played with all feedback withheld, as its control:
success within k queries rises by repetition alone, and only what it gains over its control is adaptation.

    class Insist(AdaptiveAttack):
        family = "insist"

        def propose(self, searches, seed):
            for search in searches:
                refused = sum(tried.feedback is not None and bool(tried.feedback.refused) for tried in search.tried)
                yield search.query(self.family, search.prompt.text + " please" * (1 + refused))

    [project.entry-points."sinternal.adaptive_attacks"]
    insist = "my_package.attacks:Insist"

`sinternal.testing.check_adaptive_attack` checks one.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, Protocol

from pydantic import BaseModel

from sinternal.queries import Query
from sinternal.records import HarmShows, Prompt, make_id
from sinternal.registry import NoOptions


class Attack(Protocol):
    """One family of ways to ask. An attack inherits from this class, and names its family."""

    Options: ClassVar[type[BaseModel]] = NoOptions
    """Its options; a name or value that the model does not know is an error of the recipe."""
    family: ClassVar[str]
    """Its name in reports."""
    held_out: ClassVar[bool] = True
    """Whether it is kept from all tuning (out of distribution)."""
    prefills: ClassVar[bool] = False
    """Whether it begins the model's turn, which not every server can continue."""
    harm_shows: ClassVar[HarmShows] = HarmShows.REQUEST
    """Where harm can be seen under it: in the request, or in the draft of an answer only, as the turn begins past the
    place where a request is thought about."""

    @classmethod
    def calls(cls, options: Any) -> int:
        """Calls to each model of its own for each prompt, at most, with these options; 0 if it has none."""
        return 0

    def __init__(self, options: Any) -> None:
        """Take the options, an object of `Options`.

        Raises:
            DataError: the attack's data is not there.
        """

    @abstractmethod
    def wrap(self, prompts: Sequence[Prompt], seed: int) -> Iterator[Prompt]:
        """The prompts in their disguise: another text and id, the same `parent_id`, this family.

        A prompt that cannot be disguised is left out, never passed on as it was.
        """
        ...


class TextAttack(Attack):
    """An attack that rewrites one prompt at a time, without a model."""

    def wrap(self, prompts: Sequence[Prompt], seed: int) -> Iterator[Prompt]:
        """Each prompt in its disguise; see `Attack.wrap`."""
        for prompt in prompts:
            yield self.rewrite(prompt, random.Random(f"{seed}/{self.family}/{prompt.id}"))

    @abstractmethod
    def rewrite(self, prompt: Prompt, rng: random.Random) -> Prompt:
        """One prompt in its disguise."""
        ...


class Feedback(NamedTuple):
    """What comes back of one query."""

    answer: str | None
    """What the model answered, without its thinking; None if it gave no answer."""
    safe: bool | None
    """Whether the judge calls that safe; None without a label, which is no success."""
    refused: bool | None = None
    """Whether it calls it a refusal."""
    helpful: bool | None = None
    """Whether it calls it exactly what was asked for."""


class Tried(NamedTuple):
    """A query that was made."""

    query: Query
    """What was sent."""
    feedback: Feedback | None
    """What came of it; None if it is withheld."""


class Search(NamedTuple):
    """The attack on one prompt, as far as it has come.

    It goes on until an answer is unsafe or the budget is used up.
    """

    prompt: Prompt
    """The plain prompt."""
    tried: tuple[Tried, ...]
    """The queries so far, the first one first."""
    budget: int
    """Queries in all."""

    @property
    def number(self) -> int:
        """The number of the next query, from 0."""
        return len(self.tried)

    def rng(self, family: str, seed: int) -> random.Random:
        """What the next query is drawn with: the same in every run, whatever other prompts are attacked beside it."""
        return random.Random(f"{seed}/{family}/{self.prompt.id}/{self.number}")

    def query(self, family: str, text: str | None, **more: str) -> Query:
        """The next query; see `Query` for what more it can say."""
        return Query(make_id("query", family, self.prompt.id, self.number), self.prompt.id, self.number, text, **more)


class AdaptiveAttack(Protocol):
    """An attack whose queries depend on earlier answers. It inherits from this class, and names its family."""

    Options: ClassVar[type[BaseModel]] = NoOptions
    """Its options; a name or value that the model does not know is an error of the recipe."""
    family: ClassVar[str]
    """Its name in reports."""
    prefills: ClassVar[bool] = False
    """Whether it begins the model's turn, which not every server can continue."""
    learns: ClassVar[bool] = True
    """Whether feedback makes any difference to it; else it is its own control."""
    asks: ClassVar[int] = 0
    """Calls to models of its own for each query, at most."""

    def __init__(self, options: Any) -> None:
        """Take the options, an object of `Options`.

        Raises:
            DataError: the attack's data is not there.
        """

    @abstractmethod
    def propose(self, searches: Sequence[Search], seed: int) -> Iterator[Query]:
        """The next query of each search, made by `Search.query`, in any order.

        It depends on nothing but the search, the options and the seed: neither on other searches, so that prompts stay
        independent, nor on earlier calls, so that an attack that was interrupted goes on as if it had not been. An
        attack that has nothing to send gives a query without text; one whose own model failed says so in `error`.

        Args:
            searches: what goes on; those that have succeeded are left out. Feedback may be withheld.
            seed: of whatever is left to chance.
        """
        ...


def disguise(prompt: Prompt, family: str, text: str, **changes: Any) -> Prompt:
    """A prompt with another text, and an id of its own; the plain request stays on record in `goal`."""
    return replace(
        prompt, id=make_id(prompt.id, family), text=text, family=family, goal=prompt.plain_request, **changes
    )
