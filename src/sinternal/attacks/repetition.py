"""The control of every adaptive attack: the plain request, again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sinternal.attacks import AdaptiveAttack, Search
from sinternal.queries import Query
from sinternal.registry import NoOptions


class Repetition(AdaptiveAttack):
    """Sends the request as it is: what it gains by a larger budget is chance, as answers are drawn anew each time."""

    family = "repetition"
    learns = False

    def __init__(self, _options: NoOptions) -> None:
        """Nothing can be set."""

    def propose(self, searches: Sequence[Search], _seed: int) -> Iterator[Query]:
        """The plain request of each search; see `AdaptiveAttack.propose`."""
        for search in searches:
            yield search.query(self.family, search.prompt.text)
