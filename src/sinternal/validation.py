"""Everything that is wrong with settings, in the terms of the file they are written in, most telling first."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from sinternal.redaction import NOT_KEPT, is_sent, redacted

LONGEST_VALUE = 60
"""Characters of a wrong value that are shown."""
MOST_MISTAKES = 50
"""Mistakes of a file that are told: it takes time to find for each what may have been meant."""


def explain(error: ValidationError, settings: type[BaseModel]) -> str:
    """Every mistake in the fields of a file, in one line; for the arguments, see `list_mistakes`."""
    return in_one_line(list_mistakes(error, settings))


def list_mistakes(error: ValidationError, settings: type[BaseModel]) -> Iterator[str]:
    """Every mistake in the fields of a file: unknown names first, which often are what is missing.

    Args:
        error: what pydantic found.
        settings: what was to be read.
    """
    relevant = _relevant(error)
    errors = relevant[:MOST_MISTAKES]
    valid = list(paths(settings))
    unknown = [
        f"unknown field {_path(mistake)!r}{_hint(mistake, valid)}" for mistake in errors if mistake["type"] == UNKNOWN
    ]
    unknown += [_wrong(mistake) for mistake in errors if mistake["type"] == UNKNOWN_OPTION]
    wrong = [_wrong(mistake) for mistake in errors if mistake["type"] not in (UNKNOWN, UNKNOWN_OPTION, MISSING)]
    missing = [repr(_path(mistake)) for mistake in errors if mistake["type"] == MISSING]
    if len(missing) == 1:
        wrong.append(f"field {missing[0]} is missing")
    elif missing:
        wrong.append(f"fields {', '.join(missing)} are missing")
    more = len(relevant) - len(errors)
    # Of a union pydantic reports what is wrong with each of its members; each mistake is reported once.
    yield from dict.fromkeys([*unknown, *wrong, *([f"{more:,} more mistakes"] if more else [])])


def option_errors(error: ValidationError, options: type[BaseModel], owner: str) -> ValidationError:
    """The same mistakes, for a place further down in settings: unknown options with the nearest one that there is.

    Args:
        error: what pydantic found in a plug-in's options.
        options: their model.
        owner: whose they are.
    """
    valid, known = list(paths(options)), ", ".join(options.model_fields) or "none"

    def problem(mistake: ErrorDetails) -> PydanticCustomError:
        its_options = f"; its options are: {known}" if len(mistake["loc"]) == 1 else ""
        match mistake["type"]:
            case "extra_forbidden":
                hint = _hint(mistake, valid) or its_options
                return PydanticCustomError(UNKNOWN_OPTION, f"{owner} has no such option{hint}")
            case "missing":
                return PydanticCustomError(MISSING_OPTION, f"{owner} needs it{its_options}")
            case kind:
                return PydanticCustomError(kind, mistake["msg"])

    return validation_error(
        options.__name__, ((mistake["loc"], problem(mistake), mistake["input"]) for mistake in error.errors())
    )


def validation_error(
    title: str, mistakes: Iterable[tuple[tuple[int | str, ...], PydanticCustomError, Any]]
) -> ValidationError:
    """A pydantic error with messages of our own: for each mistake its place, the message and the wrong value."""
    listed = list(islice(mistakes, MOST_MISTAKES))
    return ValidationError.from_exception_data(
        title, [{"type": problem, "loc": place, "input": value} for place, problem, value in listed]
    )


UNKNOWN, MISSING = "extra_forbidden", "missing"
"""What pydantic calls them."""
UNKNOWN_OPTION, MISSING_OPTION = "unknown_option", "missing_option"
"""The same of options of plug-ins, in our words: what the options are is known where they are validated, not above."""
WORDED = ("value_error", UNKNOWN_OPTION, MISSING_OPTION, "not_finite")
"""Kinds of mistakes whose message says all, the value included."""


def _relevant(error: ValidationError) -> list[ErrorDetails]:
    """The mistakes worth reporting, those of whole sections first."""
    errors = sorted(error.errors(), key=lambda mistake: len(mistake["loc"]))
    # A list that lost an entry to a mistake is not also too short.
    within = {mistake["loc"][:depth] for mistake in errors for depth in range(len(mistake["loc"]))}
    return [mistake for mistake in errors if mistake["loc"] not in within or mistake["type"] != "too_short"]


def in_one_line(mistakes: Iterable[str]) -> str:
    """The first mistake, which explains most, and the others after it."""
    first, *others = mistakes
    return f"{first} (also: {'; '.join(others)})" if others else first


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that somebody may have meant, if there is one."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def _path(mistake: ErrorDetails) -> str:
    return ".".join(map(str, mistake["loc"]))


def _hint(mistake: ErrorDetails, valid: Sequence[str]) -> str:
    """The nearest valid path: of the same section, else of any."""
    generic = ".".join("*" if isinstance(part, int) else str(part) for part in mistake["loc"])
    parent = generic.rpartition(".")[0]
    siblings = [path for path in valid if path.rpartition(".")[0] == parent]
    close = nearest(generic, siblings) or next(iter(difflib.get_close_matches(generic, valid, n=1, cutoff=0.4)), None)
    return f"; did you mean {close.replace('.*', '[]')!r}?" if close else ""


def _wrong(mistake: ErrorDetails) -> str:
    message = mistake["msg"].removeprefix("Value error, ")
    if not mistake["loc"]:
        return message
    quoted = NOT_KEPT if any(map(is_sent, map(str, mistake["loc"]))) else preview(redacted(mistake["input"]))
    value = "" if mistake["type"] in WORDED else f", not {quoted}"
    return f"field {_path(mistake)!r}: {message}{value}"


def preview(value: object) -> str:
    """A value as a message shows it, shortened."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every valid field path, with `*` for the entries of a list."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        yield path
        for inner, listed in _models_in(field.annotation, False):
            yield from paths(inner, f"{path}.*." if listed else f"{path}.")


def _models_in(annotation: Any, listed: bool) -> Iterator[tuple[type[BaseModel], bool]]:
    """The pydantic models inside a type, and whether they are entries of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, listed
    for inner in get_args(annotation):
        yield from _models_in(inner, listed or get_origin(annotation) is tuple)


def not_finite(value: object, path: str = "") -> Iterator[str]:
    """The paths of numbers that are infinite or NaN."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from not_finite(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from not_finite(inner, f"{path}.{number}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield path
