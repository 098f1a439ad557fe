"""The newest texts of a run: what models were asked, what they wrote, and what became of it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from sinternal.errors import SInternalError, StoreError
from sinternal.parquet import values_of
from sinternal.records import Finish, Judgement, Prompt, R, Response, Verdict, Verification
from sinternal.store.draft import SHARD
from sinternal.store.tables import Table, table_name
from sinternal.view.content import Made, age_of
from sinternal.view.runs import is_plain_file

WRITING: Mapping[str, type[Response | Verification]] = {
    "sample": Response,
    "demonstrate": Response,
    "critique": Verification,
    "self_verify": Verification,
}
"""Stages whose rows are texts, and what they are."""
ENDED = {Finish.LENGTH: "ran into the token limit", Finish.ERROR: "failed", Finish.FILTERED: "filtered"}
"""Of texts that did not end by themselves: how they did."""
LOST = frozenset({Finish.ERROR, Finish.FILTERED})
"""How requests end that bring no text."""
NEWEST = 4
"""Artifacts whose texts are shown."""
LONGEST_TEXT = 20_000
"""Characters of a text that are sent."""
BEGINNING = 90
"""Characters of a request that stand in a line of the list."""
MANY = 1 << 22
"""Bytes of a file of rows that are read at most for a few of them, unless it has but one batch."""


@dataclass(frozen=True)
class Text:
    """A text that a model wrote, and what it answers."""

    label: str
    """Whose it is, and for what."""
    stage: str
    """What made it."""
    request: str
    """How the request begins that it is about."""
    prompt: str
    """What was asked: the request, or a question about an answer to it."""
    thinking: str | None
    """The thinking, or a critique."""
    answer: str | None
    """What follows it."""
    harmful: bool | None
    """Whether it answers, or quotes, a harmful request, or quotes an unsafe answer; None: not known."""
    family: str
    """Its attack family."""
    outcome: str
    """What became of it, in a word or two."""


def newest_texts(made: Collection[Made], most: int) -> list[Text]:
    """The newest texts of the artifacts that grew last: of those that grow now, then of one of each stage, and so on.

    Args:
        made: the artifacts of a run.
        most: texts in all.
    """
    writing = [(rows, one) for one in made if one.stage in WRITING and (rows := _newest_rows(one, WRITING[one.stage]))]
    turns: Counter[str] = Counter()
    ranked = []
    for file, one in sorted(writing, key=lambda pair: age_of(pair[0]), reverse=True):
        ranked.append((not one.growing, turns[one.stage], file, one))
        turns[one.stage] += 1
    chosen = sorted(ranked, key=lambda row: row[:2])[:NEWEST]
    share = max(1, most // max(1, len(chosen)))
    texts: list[Text] = []
    for _, _, file, one in chosen:
        try:
            texts += _texts(one, file, share, made)
        except (SInternalError, OSError, ValueError, KeyError):  # it is being finished, or removed, just now
            continue
    return texts


def _files(folder: Path, row_type: type[R]) -> list[Path]:
    """The table of an artifact, or its shards so far."""
    name = table_name(row_type)
    table = folder / f"{name}.parquet"
    if is_plain_file(table):
        return [table]
    return [shard for shard in sorted(folder.glob(f"{name}.*{SHARD}")) if is_plain_file(shard)]


def _newest_rows(made: Made, row_type: type[Response | Verification]) -> Path | None:
    return next(reversed(_files(made.folder, row_type)), None)


def _texts(made: Made, file: Path, most: int, others: Collection[Made]) -> Iterator[Text]:
    if WRITING[made.stage] is Verification:
        yield from _of_verifications(made, file, most, others)
        return
    responses = _last(Table(file, Response), most)
    by_id = _prompts(made, {row.prompt_id for row in responses})
    labels = _labels(made.folder, {row.id for row in responses}, others)
    for response in responses:
        prompt = by_id.get(response.prompt_id)
        yield Text(
            made.label,
            made.stage,
            prompt.text[:BEGINNING] if prompt else "",
            _cut(prompt.text) if prompt else "",
            response.thinking and _cut(response.thinking),
            response.answer and _cut(response.answer),
            prompt.harmful if prompt else None,
            prompt.family if prompt else "",
            _outcome(response, labels.get(response.id)),
        )


def _prompts(made: Made, ids: Collection[str]) -> dict[str, Prompt]:
    return {prompt.id: prompt for prompt in _matching(made.inputs.get("prompts"), Prompt, "id", ids)}


def _labels(responses: Path | None, ids: Collection[str], others: Collection[Made]) -> dict[str, Judgement]:
    """Labels of responses in a folder, by whoever judged them."""
    judged = next((one for one in others if one.stage == "judge" and one.inputs.get("responses") == responses), None)
    return {row.response_id: row for row in _matching(judged and judged.folder, Judgement, "response_id", ids)}


def _of_verifications(made: Made, file: Path, most: int, others: Collection[Made]) -> Iterator[Text]:
    """The newest verifications; where some have no readable verdict, the newest of these comes first."""
    rows = _last(Table(file, Verification), most)
    unread = _unread(made)
    if unread.number and not any(map(_is_unread, rows)) and unread.newest is not None:
        rows = [unread.newest, *rows[: most - 1]]
    rows.sort(key=_is_unread, reverse=True)
    answers = made.inputs.get("responses") or made.inputs.get("pairs")
    ids = {row.response_id for row in rows}
    prompt_of = {row.id: row.prompt_id for row in _matching(answers, Response, "id", ids)}
    by_id = _prompts(made, set(prompt_of.values()))
    labels = _labels(answers, ids, others)
    for row in rows:
        prompt, judged = by_id.get(prompt_of.get(row.response_id, "")), labels.get(row.response_id)
        label = row.label
        if judged is not None and judged.safe is not None:
            label = Verdict.SAFE if judged.safe else Verdict.UNSAFE
        harmful = True if label is Verdict.UNSAFE else prompt.harmful if prompt else None
        of_all = (
            f" ({unread.number:,} of {unread.rows:,}{' so far' if made.growing else ''})" if _is_unread(row) else ""
        )
        words = [
            f"{_verdict(row)}{of_all}",
            f"answer labelled {label}" if label else "",
            row.dropped or "",
        ]
        yield Text(
            made.label,
            made.stage,
            prompt.text[:BEGINNING] if prompt else "",
            _cut(row.prompt),
            row.critique and _cut(row.critique),
            row.answer and _cut(row.answer),
            harmful,
            prompt.family if prompt else "",
            "; ".join(filter(None, words)),
        )


def _is_unread(row: Verification) -> bool:
    """Whether something was written, and no verdict can be read in it."""
    return row.verdict is None and row.approves is None and row.finish not in LOST


class Unread(NamedTuple):
    """Verifications without a readable verdict."""

    number: int
    """How many."""
    rows: int
    """Of how many."""
    newest: Verification | None
    """The newest."""


def _unread(made: Made) -> Unread:
    """Those of an artifact so far. A file of rows is read once: it never grows."""
    number, rows, newest = 0, 0, None
    for file in _files(made.folder, Verification):
        try:
            status = file.stat()
            found = _unread_in(file, status.st_mtime_ns, status.st_size)
        except (StoreError, OSError):  # renamed or removed just now
            continue
        number, rows, newest = number + found.number, rows + found.rows, found.newest or newest
    return Unread(number, rows, newest)


@lru_cache(maxsize=4096)
def _unread_in(file: Path, _changed_at: int, _size: int) -> Unread:
    table = Table(file, Verification)
    number, rows, newest = 0, 0, None
    for batch in table.record_batches():
        silent = [values_of(batch, name) for name in ("verdict", "approves", "finish")]
        places = [
            place
            for place, (verdict, approves, finish) in enumerate(zip(*silent, strict=True))
            if verdict is None and approves is None and finish not in LOST
        ]
        number, rows = number + len(places), rows + batch.num_rows
        newest = table.rows_of(batch.slice(places[-1], 1))[0] if places else newest
    return Unread(number, rows, newest)


def _verdict(row: Verification) -> str:
    if row.verdict is not None:
        return f"verdict: {row.verdict}"
    if row.approves is not None:
        return "approves" if row.approves else "objects"
    ended = f"; {ENDED[row.finish]}" if row.finish in ENDED else ""
    return f"{'no readable verdict' if _is_unread(row) else 'no verdict'}{ended}"


def _outcome(response: Response, label: Judgement | None) -> str:
    if response.finish != "stop":
        return ENDED[response.finish]
    if label is None or label.safe is None:
        return "" if label is None else "no label"
    return "unsafe" if not label.safe else "refused" if label.refused else "safe"


def _last(table: Table[R], most: int) -> list[R]:
    """Rows at the end of a table, of which no more than a batch is held."""
    rows: list[R] = []
    for batch in table.record_batches():
        rows = [*rows, *table.rows_of(batch.slice(max(0, batch.num_rows - most)))][-most:]
    return rows[::-1]


def _matching(folder: Path | None, row_type: type[R], name: str, values: Collection[str]) -> list[R]:
    """The rows of a table, or of its shards so far, in which a field has one of some values."""
    if folder is None or not values:
        return []
    rows: list[R] = []
    for file in _files(folder, row_type):
        try:
            rows += _rows_having(Table(file, row_type), name, values)
        except StoreError:  # renamed or removed just now
            continue
        if len(rows) >= len(values):
            break
    return rows


def _rows_having(table: Table[R], name: str, values: Collection[str]) -> list[R]:
    if os.path.getsize(table.path) <= MANY:  # noqa: PTH202
        return [row for row in table if getattr(row, name) in values]
    wanted = table.having(name, values)
    return [row for batch in table.selected(wanted) for row in table.rows_of(batch)]


def _cut(text: str) -> str:
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}… ({len(text):,} characters in all)"
