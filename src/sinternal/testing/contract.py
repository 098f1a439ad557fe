"""What the checks of all kinds of plug-ins have in common: opening one, counting rows, and saying what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from sinternal.registry import Kind, missing_attributes


def open_plugin(kind: Kind, plugin: Any, options: Mapping[str, Any] | None, *arguments: Any) -> Any:
    """The plug-in opened, once all that its contract asks for is there."""
    contract, name = kind.contract, name_of(plugin)
    if lacking := next(missing_attributes(kind, plugin), None):
        fail(f"{name} has no {lacking!r}: inherit from {contract.__module__}.{contract.__name__}, or define it")
    if not (isinstance(plugin.Options, type) and issubclass(plugin.Options, BaseModel)):
        fail(f"Options of {name} is no pydantic model")
    if plugin.Options.model_config.get("extra") != "forbid":
        fail(f"Options of {name} takes options that it does not know: set model_config = ConfigDict(extra='forbid')")
    for attribute in contract.__annotations__:
        value, default = getattr(plugin, attribute), getattr(contract, attribute, "")
        expected = type(default) if isinstance(default, bool | str | frozenset) else object
        if value is not None and not isinstance(value, expected | property):
            fail(f"{attribute} of {name} is {value!r}, which is no {expected.__name__}")
    try:
        validated = plugin.Options.model_validate(dict(options or {}))
    except ValidationError as error:
        fail(f"{name} does not take the options of this check: {' '.join(str(error).split())}")
    return plugin(*arguments, validated)


def expect_each_once(
    what: str, wanted: Sequence[Hashable], rows: Iterable[Any], key: Callable[[Any], Hashable]
) -> None:
    """Whether there is one row for each thing that was asked for, and no other."""
    counts = Counter(map(key, rows))
    if missing := next((identity for identity in wanted if identity not in counts), None):
        fail(f"no {what} for {missing!r}: every one that is asked for comes back, if need be as an error")
    if twice := next((identity for identity, count in counts.items() if count > 1), None):
        fail(f"{counts[twice]} times a {what} for {twice!r}, which was asked for once")
    if strange := next((identity for identity in counts if identity not in set(wanted)), None):
        fail(f"a {what} for {strange!r}, which was not asked for")


def expect_error(kind: type[Exception], call: Callable[[], object], sentence: str) -> None:
    """Whether a call raises the error that its contract names; the sentence says what is wrong if it does not."""
    try:
        call()
    except kind:
        return
    fail(f"{sentence}: it should raise {kind.__name__}")


def expect_nothing(noun: str, rows: Iterable[object]) -> None:
    """Whether nothing comes back where nothing was asked for."""
    if list(rows):
        fail(f"the {noun} gives something where nothing is asked for")


def expect_closes_twice(opened: Any) -> None:
    """Whether what is closed can be closed again."""
    opened.close()
    try:
        opened.close()
    except Exception as error:
        fail(f"close of {name_of(type(opened))} fails when it is called again: {type(error).__name__}: {error}")


def name_of(plugin: Any) -> str:
    """The name of a plug-in's class, for messages."""
    return plugin.__qualname__ if isinstance(plugin, type) else type(plugin).__qualname__


def fail(sentence: str) -> NoReturn:
    """End a check: the plug-in breaks its contract."""
    raise AssertionError(sentence)
