"""What all settings share: how they behave, and how plain values are turned into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sinternal.errors import RecipeError
from sinternal.validation import in_one_line, list_mistakes, not_finite

Settings = TypeVar("Settings", bound=BaseModel)

Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]
"""What every generator of random numbers takes, NumPy's among them."""


class Section(BaseModel):
    """A part of what a user can write: no unknown field, no number that is none, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def validate_settings(settings: type[Settings], content: Mapping[str, Any], where: str) -> Settings:
    """Settings from plain values.

    Raises:
        RecipeError: a field is unknown, missing or of the wrong type, in the options of a plug-in, too, a number is not
            finite, or there is no plug-in of a name; the message names the field's path and the nearest one.
        RegistryError: a plug-in cannot be loaded.
    """
    try:
        if infinite := next(not_finite(content), None):
            raise RecipeError(f"{where}: field {infinite!r} is not a finite number; every setting must be finite")
        return settings.model_validate(content)
    except ValidationError as error:
        mistakes = tuple(list_mistakes(error, settings))
        explained = RecipeError(f"{where}: {in_one_line(mistakes)}")
        explained.mistakes = mistakes
        # What the library says beside it quotes the values, keys among them.
        raise explained from None
    except RecursionError as error:
        raise RecipeError(f"{where}: nested too deeply") from error
