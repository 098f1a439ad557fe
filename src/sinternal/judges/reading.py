"""Replies of judges without what decorates them: emphasis, quotation marks, a code fence, a full stop, capitals.

A judge that decorates only what it calls unsafe, and whose decoration no parser takes, would be silent about one side.
Nothing is taken away that could mean something else.
"""

from __future__ import annotations

import re

from sinternal.prompting.think import strip_decoration

_FENCE = re.compile(r"```[a-z]*\s*\n(?P<inside>.*)\n\s*```", re.DOTALL)


def plain_lines(reply: str) -> list[str]:
    """The lines of a reply that hold something, undecorated and in lower case."""
    lines = (strip_decoration(line).lower() for line in without_fence(reply).split("\n"))
    return [line for line in lines if line]


def only_line(reply: str) -> str | None:
    """The one line of a reply, undecorated and in lower case; None if there is another number of them."""
    lines = plain_lines(reply)
    return lines[0] if len(lines) == 1 else None


def without_fence(reply: str) -> str:
    """What stands inside a code fence, if the whole reply is one; else the reply."""
    fenced = _FENCE.fullmatch(reply.strip())
    return fenced["inside"] if fenced else reply
