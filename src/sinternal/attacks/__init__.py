"""How a prompt is disguised: jailbreak families, each tagged as fit for tuning or held out."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel

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


def disguise(prompt: Prompt, family: str, text: str, **changes: Any) -> Prompt:
    """A prompt with another text, and an id of its own; the plain request stays on record in `goal`."""
    return replace(
        prompt, id=make_id(prompt.id, family), text=text, family=family, goal=prompt.plain_request, **changes
    )
