"""What a look at a part of a recipe finds."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Mark(StrEnum):
    """What is thought of a part."""

    OK = "ok"
    """It can be used."""
    NOTE = "note"
    """It can be used; something is worth knowing, or could not be looked at."""
    WRONG = "wrong"
    """A run would stop there, or lose what it asks there."""


class Finding(NamedTuple):
    """What was found of one part."""

    mark: Mark
    """What is thought of it."""
    part: str
    """Which part, as the recipe calls it."""
    words: str
    """What was seen; of what is wrong, also how to mend it."""
