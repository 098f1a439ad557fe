"""What a folder tells, and what a run holds: whatever is in both has leaked."""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Iterator
from pathlib import Path

from sinternal.queries import Query
from sinternal.records import Example, Prompt, Response, Row, Verification
from sinternal.store.tables import read_table, table_name

TEXTS: dict[type[Row], tuple[str, ...]] = {
    Prompt: ("text", "goal", "system", "prefill"),
    Query: ("text", "system", "prefill", "note", "error"),
    Response: ("thinking", "answer", "error"),
    Verification: ("prompt", "critique"),
    Example: ("prompt", "thinking", "answer"),
}
"""The fields that hold texts."""
SHORT = 12
"""Characters below which a text may be a word of our own."""


def everything_in(folder: Path) -> str:
    """All that its files say, packed transcripts and values of tables too."""
    return "\n".join(part for file in sorted(folder.rglob("*")) if file.is_file() for part in _told_by(file))


def _told_by(file: Path) -> Iterator[str]:
    content = file.read_bytes().decode("utf-8", "replace")
    yield content
    for packed in re.findall(r'(?:id="packed"|class="texts" id="texts-\d+")>([A-Za-z0-9+/=]*)</script>', content):
        yield gzip.decompress(base64.b64decode(packed)).decode()
    for packed in re.findall(r'#carrier\{--t\w+:"([A-Za-z0-9+/=]*)"\}', content):
        yield gzip.decompress(base64.b64decode(packed)).decode()
    if file.suffix == ".parquet":
        from sinternal.parquet import read_columns

        yield "\n".join(str(value) for column in read_columns(file).values for value in column)


def texts_of_run(store: Path) -> set[str]:
    """The texts in the artifacts of a run."""
    found: set[str] = set()
    for kind, names in TEXTS.items():
        for table in store.rglob(f"{table_name(kind)}.parquet"):
            for row in read_table(table, kind):
                found.update(str(getattr(row, name)).strip() for name in names if getattr(row, name))
    return {text for text in found if len(text) >= SHORT}
