"""What the benchmark puts on record about a prompt, for the world's own attacks, judge and expert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from sinternal.errors import DataError
from sinternal.records import Prompt
from sinternal.validation import preview
from sinternal.world.language import Potion

OTHER = "other"
"""Name of the second potion that a request offers."""


def read_potion(facts: Mapping[str, Any]) -> Potion:
    """A potion as it was put on record."""
    values = {field.name: facts[field.name] for field in fields(Potion)}
    return Potion(**{**values, "ingredients": tuple(values["ingredients"])})


def potion_of(prompt: Prompt) -> Potion:
    """The potion that a prompt asks for; of a choice, the first one on record."""
    return read_potion(prompt.facts)


def options_of(prompt: Prompt) -> tuple[Potion, ...]:
    """The potions that a prompt leaves the answer to choose from: one, or two.

    Raises:
        DataError: the prompt is none of the microworld's.
    """
    facts = prompt.facts
    if not all(field.name in facts for field in fields(Potion)):
        raise DataError(
            f"prompt {preview(prompt.text)} is none of the microworld's, and its judge and expert `oracle` know no "
            "others; name another judge (sinternal list judges) or expert"
        )
    return (read_potion(facts), *([read_potion(facts[OTHER])] if OTHER in facts else []))


def chosen(options: Sequence[Potion], ingredients: Sequence[str]) -> Potion | None:
    """The potion whose recipe an answer attempts.

    The only one that was asked for, right or wrong; of two, the one with which it has at least two ingredients in
    common, and None if that is neither or both.
    """
    if len(options) == 1:
        return options[0]
    close = [potion for potion in options if len(set(potion.ingredients) & set(ingredients)) >= 2]
    return close[0] if len(close) == 1 else None
