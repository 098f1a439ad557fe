"""Text of others where it is printed: what would steer a terminal, or show nothing, is spelled out."""

from __future__ import annotations

import re

_STEERS = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\uffff\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Controls (of 7 and of 8 bits) but for line feeds and tabs, ends of lines that are none elsewhere, marks of format and
of direction, halves of characters, and what shows nothing."""


def visible(text: str) -> str:
    r"""A text as it may be printed: a mark that steers is spelled out, as in `\x1b[2J`."""
    return _STEERS.sub(lambda mark: mark[0].encode("unicode_escape").decode(), text)


def whole_characters(text: str) -> str:
    """A text in which halves of characters (lone surrogates, which JSON can spell) are replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def visible_line(text: str) -> str:
    """The same on one line."""
    return visible(" ".join(text.split()))


SHOWN = 160
"""Characters of a text that a message quotes."""
WROTE = ": it wrote "
"""Stands between what was wrong with a text and its end."""


def end_of(text: str | None) -> str:
    """The end of a text, as a message quotes it: what is wrong with a reply mostly shows there."""
    line = visible_line(text or "")
    return repr(line if len(line) <= SHOWN else f"…{line[-SHOWN:]}")


def quoting(reason: str, text: str) -> str:
    """What is wrong with a text, and its end; a text without words says nothing, which is told, too."""
    return f"{reason}{WROTE}{end_of(text)}"


def visible_json(text: str) -> str:
    """JSON that spells out the same marks, and says the same."""
    return _STEERS.sub(_in_json, text)


def _in_json(mark: re.Match[str]) -> str:
    units = mark[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
