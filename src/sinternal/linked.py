"""What hangs together: things that are linked with each other, directly or through others."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

H = TypeVar("H", bound=Hashable)


def first_linked(links: Iterable[tuple[H, H]]) -> dict[H, H]:
    """For each thing, the first that came of all that it hangs together with.

    Args:
        links: pairs of things that belong together.
    """
    above: dict[H, H] = {}
    place: dict[H, int] = {}

    def top(thing: H) -> H:
        while above[thing] != thing:
            above[thing] = thing = above[above[thing]]
        return thing

    for pair in links:
        for thing in pair:
            above.setdefault(thing, thing)
            place.setdefault(thing, len(place))
        first, second = sorted(map(top, pair), key=place.__getitem__)
        above[second] = first
    return {thing: top(thing) for thing in above}
