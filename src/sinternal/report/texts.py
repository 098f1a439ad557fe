"""Transcripts made fit for a page: an index that is always in it, and texts in chunks, in the page or in files beside.

Up to `MOST_IN_PAGE` everything is in one file, which can be mailed. Beyond that the browser would have to hold all
texts to show fifty of them; so chunks then lie in a folder beside the page, each a style sheet with one long string in
it. A page that is opened from disk may read such a sheet and no other kind of file, and nothing in it can run
(docs/decisions/039-texts-beside-a-page.md).
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sinternal.figures.study import Transcript
from sinternal.figures.transcripts import CRITIQUE, EXAMPLE
from sinternal.report.word_index import TextChunk, word_shards

MOST_IN_PAGE = 8 * 2**20
"""Bytes of packed texts, in base64, up to which they are in the page."""
CHUNK = 2**19
"""Characters of the texts of one chunk, about."""
GZIP = 31
"""What `zlib` calls the format of gzip by; without a time, so that the same run gives the same page."""
LEVEL = 7
"""Of compression."""
ID_DIGITS = 12
"""Of a transcript's link: two of a million transcripts share one with a chance of 0.2 %, and are numbered then."""
TEXTS = ("prompt", "thinking", "answer", "critique", "critique_with_spec")
TURNS = "turns"
"""The column of a chunk that holds queries of attacks; left out of one in which there are none."""
TURN_TEXTS = ("query", "system", "prefill", "thinking", "answer", "note")
TRAINED_ON = (EXAMPLE, CRITIQUE)
"""Kinds of text that are no answer to an evaluation prompt: their outcome is a kind of row, or its fate."""
REQUEST = {True: "harmful", False: "benign"}
CHECKED = {None: "", True: "checks safety", False: "no safety check"}
LABELLED = {"unsafe": "unsafe", **dict.fromkeys(("refused", "helped", "not helpful", "safe"), "safe")}
"""What the judge says of an answer's safety, by its outcome."""
FILTERS = {
    "variant": "Variant",
    "kind": "Text",
    "arm": "Arm",
    "seed": "Seed",
    "split": "Split",
    "family": "Family",
    "request": "Request",
    "outcome": "Outcome of answers",
    "fate": "Training row",
    "broken": "Broken by an attack",
    "checked": "Thinking",
    "verified_without_spec": "Own verdict, no spec",
    "verified_with_spec": "Own verdict, with spec",
    "knows": "Own verdict, no spec, against label",
}
"""Columns by which transcripts can be chosen, and their labels."""


class Filter(NamedTuple):
    """One way to choose transcripts."""

    name: str
    """Of the column."""
    label: str
    """For people."""


@dataclass(frozen=True)
class Texts:
    """What the part of a page needs that shows transcripts."""

    count: int
    """Number of transcripts."""
    filters: list[Filter]
    """Those that leave something to choose."""
    pairs: bool
    """Whether any two arms have a prompt in common, to be laid side by side."""
    index: str
    """All but the texts, compressed, in base64: nothing outside its alphabet can occur."""
    chunks: list[bytes]
    """The texts, compressed, if they are in the page."""
    files: Mapping[str, str]
    """Else the files beside it, by name."""

    def in_page(self) -> Iterator[str]:
        """The chunks in base64."""
        return map(_base64, self.chunks)


def pack_texts(rows: Iterable[Transcript], *, first: Sequence[str] = (), most: float = MOST_IN_PAGE) -> Texts:
    """Pack transcripts as they come: only what is compressed is held.

    Args:
        rows: the transcripts.
        first: arms in the order in which they are worth laying side by side.
        most: bytes of packed texts up to which they are in the page.
    """
    columns = {name: _Column() for name in FILTERS}
    ids, prompts, samples = _Ids(), _Column(), []
    checks: dict[int, list[int]] = {}
    turns: dict[int, list[str]] = {}
    waiting: list[Transcript] = []
    chunks, lengths, size = [], [], 0
    for number, row in enumerate(rows):
        for name, column in columns.items():
            column.add(_value(row, name))
        ids.add(row)
        prompts.add("" if row.kind in TRAINED_ON else _valid(row.prompt_id))
        samples.append(row.sample)
        if row.check is not None and row.thinking is not None:
            checks[number] = [_utf16(row.thinking, place) for place in row.check]
        if row.turns:
            turns[number] = [turn.outcome for turn in row.turns]
        waiting.append(row)
        size += sum(len(text) for text in _texts_of(row))
        if size >= CHUNK:
            chunks.append(_pack(_by_column(waiting)))
            lengths.append(len(waiting))
            waiting, size = [], 0
    if waiting or not chunks:
        chunks.append(_pack(_by_column(waiting)))
        lengths.append(len(waiting))
    index: dict[str, Any] = {
        "columns": {name: {"values": list(column.values), "of": column.numbers} for name, column in columns.items()},
        "ids": ids.made,
        "prompt_ids": list(prompts.values),
        "prompts": [number if known else -1 for number, known in zip(prompts.numbers, prompts.known(), strict=True)],
        "samples": samples,
        "checks": checks,
        "turns": turns,
        "chunks": lengths,
        "files": None,
        "words": None,
        "pairs": _side_by_side(columns["arm"], prompts, first),
    }
    files: dict[str, str] = {}
    if 4 / 3 * sum(map(len, chunks)) > most:
        index["files"] = [_put(files, chunk) for chunk in chunks]
        firsts, shards = [], []
        for shard in word_shards(map(_unpack, chunks)):
            firsts.append(shard["words"][0])
            shards.append(_put(files, _pack(shard)))
        index["words"] = {"first": firsts, "files": shards}
        chunks = []
    return Texts(
        count=len(samples),
        filters=list(_filters(columns)),
        pairs=index["pairs"] is not None,
        index=_base64(_pack(index)),
        chunks=chunks,
        files=files,
    )


class _Column:
    """Words, numbered in the order of their coming."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self.numbers: list[int] = []

    def add(self, word: str) -> None:
        self.numbers.append(self.values.setdefault(word, len(self.values)))

    def known(self) -> Iterator[bool]:
        """Whether each is more than the empty word."""
        empty = self.values.get("")
        return (number != empty for number in self.numbers)


class _Ids:
    """Links of transcripts: the same in every report of the same rows, wherever they stand in it."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self._seen: dict[str, int] = {}

    def add(self, row: Transcript) -> None:
        what = json.dumps([row.variant, row.arm, row.seed, row.kind, row.prompt_id, row.sample])
        identity = hashlib.sha256(what.encode()).hexdigest()[:ID_DIGITS]
        before = self._seen.get(identity, 0)
        self._seen[identity] = before + 1
        self.made.append(f"{identity}-{before}" if before else identity)


def _value(row: Transcript, name: str) -> str:
    if name == "request":
        return REQUEST[row.harmful]
    if name == "checked":
        return CHECKED[row.checked]
    if name == "knows":
        return _knows(row)
    if name in ("outcome", "fate"):
        return row.outcome if (row.kind in TRAINED_ON) == (name == "fate") else ""
    value = getattr(row, name)
    return "" if value is None else _valid(str(value))


def _valid(text: str) -> str:
    """A text without halves of surrogate pairs, which no file can hold."""
    return text.encode("utf-8", "replace").decode()


def _knows(row: Transcript) -> str:
    """What a model's verdict without the specification, or else with it, is worth."""
    verdict = row.verified_without_spec or row.verified_with_spec
    label = LABELLED.get(row.outcome)
    if verdict is None or label is None:
        return ""
    if verdict not in LABELLED.values():
        return "no readable verdict"
    return "right" if verdict == label else f"calls {label} {verdict}"


def _filters(columns: Mapping[str, _Column]) -> Iterator[Filter]:
    for name, label in FILTERS.items():
        if len(columns[name].values) > 1:
            yield Filter(name, label)


def _side_by_side(arms: _Column, prompts: _Column, first: Sequence[str]) -> tuple[str, str] | None:
    """The first two arms that have a prompt in common."""
    asked: dict[int, set[int]] = {}
    for arm, prompt, known in zip(arms.numbers, prompts.numbers, prompts.known(), strict=True):
        if known:
            asked.setdefault(arm, set()).add(prompt)
    order = [name for name in (*first, *arms.values) if arms.values.get(name) in asked]
    names = list(dict.fromkeys(order))
    for i, b in enumerate(names[1:], 1):
        for a in names[:i]:
            if asked[arms.values[a]] & asked[arms.values[b]]:
                return a, b
    return None


def _utf16(text: str, place: int) -> int:
    """A place in characters, as a browser counts them."""
    return place + sum(letter > "\uffff" for letter in text[:place])


def _texts_of(row: Transcript) -> Iterator[str]:
    for source, names in ((row, TEXTS), *((turn, TURN_TEXTS) for turn in row.turns)):
        yield from filter(None, (getattr(source, name) for name in names))


def _by_column(rows: Sequence[Transcript]) -> TextChunk:
    columns: TextChunk = {name: [getattr(row, name) for row in rows] for name in TEXTS}
    if not any(row.turns for row in rows):
        return columns
    return {**columns, TURNS: [[[getattr(turn, name) for name in TURN_TEXTS] for turn in row.turns] for row in rows]}


def _pack(content: object) -> bytes:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return zlib.compress(text, LEVEL, wbits=GZIP)


def _unpack(packed: bytes) -> TextChunk:
    content: TextChunk = json.loads(zlib.decompress(packed, wbits=GZIP))
    return content


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _put(files: dict[str, str], packed: bytes) -> dict[str, str]:
    """Take a file, named by its content; returns how the page finds it."""
    text = _base64(packed)
    digest = hashlib.sha256(text.encode()).hexdigest()
    name = digest[:16]
    files[f"{name}.css"] = f'#carrier{{--t{name}:"{text}"}}\n'
    return {"name": name, "sha256": digest}
