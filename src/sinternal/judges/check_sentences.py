"""Where in a thinking a check stands: its sentences are numbered, and a judge names the first and the last of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from sinternal.judges.reading import only_line

_SENTENCE = re.compile(r"\S(?:[^\n]*?[.!?][\"')\]\u201d\u2019*_]*(?=\s|\Z)|[^\n]*)")
"""Up to a full stop, question or exclamation mark that white space follows, or to the end of the line."""
_REPLY = re.compile(r"checks: (?:none|(?P<first>[0-9]{1,6})(?: ?[-\u2013] ?(?P<last>[0-9]{1,6}))?)")


class Sentence(NamedTuple):
    """One sentence of a text."""

    start: int
    """Where it begins, in characters."""
    end: int
    """Just behind it, without the white space that follows."""


def sentences(text: str, start: int = 0) -> list[Sentence]:
    """The sentences of a text from a place on: every character that is no white space is in one of them."""
    found = (match.span() for match in _SENTENCE.finditer(text, start))
    return [Sentence(begin, begin + len(text[begin:end].rstrip())) for begin, end in found]


def number(text: str, parts: Sequence[Sentence]) -> str:
    """A text with a number before each of its sentences, each on a line of its own; what stands before is kept."""
    before = text[: parts[0].start].rstrip() if parts else text
    lines = [f"[{i}] {text[start:end]}" for i, (start, end) in enumerate(parts, 1)]
    return "\n".join([*([before] if before else []), *lines])


class Named(NamedTuple):
    """What a reply names."""

    span: Sentence | None
    """From the first sentence of the check to its last; None if there is none."""


def read_reply(reply: str, parts: Sequence[Sentence]) -> Named | None:
    """What a reply names; None if it is not in the form that was asked for, or names sentences that are not there."""
    match = _REPLY.fullmatch(only_line(reply) or "")
    if match is None:
        return None
    if match["first"] is None:
        return Named(None)
    first = int(match["first"])
    last = int(match["last"] or first)
    if not 1 <= first <= last <= len(parts):
        return None
    return Named(Sentence(parts[first - 1].start, parts[last - 1].end))
