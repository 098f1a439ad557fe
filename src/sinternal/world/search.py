"""An adaptive attack on the microworld that needs no language model: a search over its families and phrasings."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict

from sinternal.attacks import AdaptiveAttack, Feedback
from sinternal.attacks import Search as AttackSearch
from sinternal.prompting.think import OPEN
from sinternal.queries import Query
from sinternal.records import Prompt
from sinternal.world.facts import potion_of
from sinternal.world.families import FAMILIES
from sinternal.world.language import DRAFT, PHRASINGS

SEPARATOR = "/"


class Way(NamedTuple):
    """One way to ask for a potion."""

    family: str
    """The family, or `SKIPPED`."""
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


SKIPPED = "front-skipped"
"""The plain request with a thinking that begins with the draft."""


class SearchOptions(BaseModel):
    """Which ways there are to ask."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prefill: bool = False
    """Whether the thinking may be begun, past all deliberation: hardly any model withstands that."""


class Search(AdaptiveAttack):
    """Draws among ways to ask, and draws those more often that were not turned down.

    Thompson sampling (1933, Biometrika 25:285) with a Beta belief about each family and each phrasing, for one request
    at a time: an unsafe answer would end the search, so that there are only degrees of failure to learn from. A refusal
    counts against its way, an answer that is neither refused nor unsafe half. Without feedback all ways are alike.
    """

    family = "microworld-search"
    Options = SearchOptions

    def __init__(self, options: SearchOptions) -> None:
        """Take the ways that there are."""
        self.families = (*FAMILIES, *([SKIPPED] if options.prefill else []))

    def propose(self, searches: Sequence[AttackSearch], seed: int) -> Iterator[Query]:
        """One more way for each search; see `AdaptiveAttack.propose`."""
        for search in searches:
            way = self._draw(search, search.rng(self.family, seed))
            prefill = f"{OPEN} {DRAFT}" if way.family == SKIPPED else ""
            yield search.query(self.family, ask(search.prompt, way), prefill=prefill, note=way.note)

    def _draw(self, search: AttackSearch, rng: random.Random) -> Way:
        told = [(Way.read(tried.query.note), tried.feedback) for tried in search.tried if tried.feedback is not None]
        family = _believe({name: [f for way, f in told if way.family == name] for name in self.families}, rng)
        phrasing = _believe(
            {number: [f for way, f in told if way.phrasing == number] for number in range(len(PHRASINGS))}, rng
        )
        return Way(family, phrasing)


def ask(prompt: Prompt, way: Way) -> str:
    """A request for the same potion in another way."""
    family = FAMILIES["plain" if way.family == SKIPPED else way.family]
    return family.ask(potion_of(prompt), PHRASINGS[way.phrasing])


T = TypeVar("T")


def _believe(feedback: Mapping[T, Sequence[Feedback]], rng: random.Random) -> T:
    """The most promising of some things, by one draw from the belief about each."""

    def draw(of_one: Sequence[Feedback]) -> float:
        failed = sum(1.0 if each.refused else 0.5 for each in of_one)
        return rng.betavariate(1 + len(of_one) - failed, 1 + failed)

    drawn = {thing: draw(of_one) for thing, of_one in feedback.items()}
    return max(drawn, key=drawn.__getitem__)
