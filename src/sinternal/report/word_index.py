"""Which transcripts hold a word: what a browser reads to search texts that it does not hold.

Cut into pieces in the order of words, so that a search reads the piece that its words are in, and no other. The script
of the page, `script/search.js`, takes words apart in the same way.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypedDict

LONGEST = 24
"""Letters of a word that count."""
SHARD = 80_000
"""Entries of one piece, about: words, and rows of words."""
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Letters of scripts that put no space between words: each counts as one."""
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")

TextChunk = Mapping[str, Sequence[Any]]
"""By column, with a row for each transcript: a text, None, or lists of them at any depth."""


class Shard(TypedDict):
    """One piece of the index."""

    words: list[str]
    """In their order."""
    rows: list[list[int]]
    """Of each word the first row that has it, and then the steps to the next ones."""


def word_shards(chunks: Iterable[TextChunk]) -> Iterator[Shard]:
    """The index of all words of some texts.

    Args:
        chunks: the texts, in the order of their rows.
    """
    rows: dict[str, array[int]] = {}
    row = 0
    for chunk in chunks:
        for texts in zip(*chunk.values(), strict=True):
            for word in {word[:LONGEST] for text in _flat(texts) for word in _WORD.findall(text.lower())}:
                if (known := rows.get(word)) is None:
                    rows[word] = known = array("I")
                known.append(row)
            row += 1
    shard: Shard = {"words": [], "rows": []}
    size = 0
    for word in sorted(rows, key=_as_browsers_sort):
        shard["words"].append(word)
        shard["rows"].append(_steps(rows.pop(word)))
        size += 1 + len(shard["rows"][-1])
        if size >= SHARD:
            yield shard
            shard, size = {"words": [], "rows": []}, 0
    if shard["words"]:
        yield shard


def _flat(texts: Iterable[Any]) -> Iterator[str]:
    for text in texts:
        if isinstance(text, str):
            yield text
        elif text is not None:
            yield from _flat(text)


def _as_browsers_sort(word: str) -> bytes:
    """Strings are compared there by units of UTF-16."""
    return word.encode("utf-16-be", "replace")


def _steps(rows: Sequence[int]) -> list[int]:
    return [rows[0], *(b - a for a, b in pairwise(rows))]
