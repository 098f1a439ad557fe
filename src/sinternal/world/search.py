"""An adaptive attack on the microworld that needs no language model: a search over its families and phrasings."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from sinternal.attacks import AdaptiveAttack, Feedback
from sinternal.attacks import Search as AttackSearch
from sinternal.queries import Query
from sinternal.records import Prompt
from sinternal.registry import NoOptions
from sinternal.world.facts import potion_of
from sinternal.world.families import FAMILIES
from sinternal.world.language import PHRASINGS

SEPARATOR = "/"


class Way(NamedTuple):
    """One way to ask for a potion."""

    family: str
    """The family."""
    phrasing: int
    """Which of `PHRASINGS`."""

    @property
    def note(self) -> str:
        """As a query keeps it."""
        return f"{self.family}{SEPARATOR}{self.phrasing}"

    @classmethod
    def read(cls, note: str) -> Way:
        """From a query's note."""
        family, _, phrasing = note.rpartition(SEPARATOR)
        return cls(family, int(phrasing))


class Search(AdaptiveAttack):
    """Draws among ways to ask, and draws those more often that were not turned down.

    Thompson sampling (1933, Biometrika 25:285) with a Beta belief about each family and each phrasing, for one request
    at a time: an unsafe answer would end the search, so that there are only degrees of failure to learn from. A refusal
    counts against its way, an answer that is neither refused nor unsafe half. Without feedback all ways are alike. The
    thinking is never begun for the model (`front-skipped`): hardly any withstands that.
    """

    family = "microworld-search"

    def __init__(self, _options: NoOptions) -> None:
        """Nothing can be set."""

    def propose(self, searches: Sequence[AttackSearch], seed: int) -> Iterator[Query]:
        """One more way for each search; see `AdaptiveAttack.propose`."""
        for search in searches:
            way = self._draw(search, search.rng(self.family, seed))
            yield search.query(self.family, ask(search.prompt, way), note=way.note)

    def _draw(self, search: AttackSearch, rng: random.Random) -> Way:
        told = [(Way.read(tried.query.note), tried.feedback) for tried in search.tried if tried.feedback is not None]
        family = _believe({name: [f for way, f in told if way.family == name] for name in FAMILIES}, rng)
        phrasing = _believe(
            {number: [f for way, f in told if way.phrasing == number] for number in range(len(PHRASINGS))}, rng
        )
        return Way(family, phrasing)


def ask(prompt: Prompt, way: Way) -> str:
    """A request for the same potion in another way."""
    return FAMILIES[way.family].ask(potion_of(prompt), PHRASINGS[way.phrasing])


T = TypeVar("T")


def _believe(feedback: Mapping[T, Sequence[Feedback]], rng: random.Random) -> T:
    """The most promising of some things, by one draw from the belief about each."""

    def draw(of_one: Sequence[Feedback]) -> float:
        failed = sum(1.0 if each.refused else 0.5 for each in of_one)
        return rng.betavariate(1 + len(of_one) - failed, 1 + failed)

    drawn = {thing: draw(of_one) for thing, of_one in feedback.items()}
    return max(drawn, key=drawn.__getitem__)
