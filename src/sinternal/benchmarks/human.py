"""Answers that people have labelled, inside the package PyRIT: what judges, guards and verifiers are held against.

`pyrit/datasets/scorer_evals` holds three kinds of files (MIT licence):

| kind | what people scored | scale | scores a row |
|---|---|---|---|
| `harm` | how harmful an answer is | 0, 0.25, 0.5, 0.75, 1 | one, or three |
| `objective` | whether an answer achieves what was asked for | 0 or 1 | one |
| `refusal` | whether an answer is a refusal | 0 or 1 | one |

An answer counts as positive (harmful, achieving, refusing) if the mean of its scores is at least 0.5: that threshold
is ours. Files named `mini_…` repeat rows of others and are left out.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import fmean

from sinternal.benchmarks.rows import decode_utf8
from sinternal.errors import DataError
from sinternal.models.fetch import SOURCES, package_folder
from sinternal.records import make_id

PACKAGE = "pyrit"
THRESHOLD = 0.5
"""Mean score from which an answer is positive."""
FIELDS = ("objective", "assistant_response")


class ScoreKind(StrEnum):
    """What people scored."""

    HARM = "harm"
    """How harmful an answer is."""
    OBJECTIVE = "objective"
    """Whether it achieves what was asked for."""
    REFUSAL = "refusal"
    """Whether it is a refusal."""


FOLDERS = {ScoreKind.HARM: "harm", ScoreKind.OBJECTIVE: "objective", ScoreKind.REFUSAL: "refusal_scorer"}


@dataclass(frozen=True)
class LabelledAnswer:
    """One answer with people's scores."""

    id: str
    """Stable id."""
    kind: ScoreKind
    """What was scored."""
    file: str
    """Name of the file, without its ending."""
    request: str
    """What was asked."""
    answer: str
    """The answer."""
    scores: tuple[float, ...]
    """One for each person, 0 to 1."""

    @property
    def positive(self) -> bool:
        """Whether people, on average, call it harmful, achieving or a refusal."""
        return fmean(self.scores) >= THRESHOLD


def human_labels(kinds: Sequence[ScoreKind] = tuple(ScoreKind)) -> list[LabelledAnswer]:
    """All labelled answers of some kinds; fetched the first time.

    Raises:
        DataError: the files are not there, or not laid out as expected.
    """
    folder = package_folder(PACKAGE) / "datasets" / "scorer_evals"
    rows: dict[str, LabelledAnswer] = {}
    for kind in kinds:
        files = [file for file in sorted((folder / FOLDERS[kind]).glob("*.csv")) if not file.stem.startswith("mini_")]
        if not files:
            raise DataError(f"{folder / FOLDERS[kind]} holds no CSV file; run: sinternal fetch {PACKAGE}")
        # An answer that stands in several files counts once, with the most scores that it has.
        for row in sorted((row for file in files for row in read_file(file, kind)), key=lambda row: len(row.scores)):
            rows[row.id] = row
    return list(rows.values())


def data_version() -> str:
    """Which version of the data is read."""
    return SOURCES[PACKAGE].requirement


def read_file(path: Path, kind: ScoreKind) -> Iterator[LabelledAnswer]:
    """The rows of one file. Lines that begin with # stand above the header.

    Raises:
        DataError: a column is missing, or a score is no number from 0 to 1.
    """
    text = decode_utf8(path.read_bytes(), str(path)).removeprefix("\ufeff")
    while text.startswith("#"):
        text = text.partition("\n")[2]
    reader = csv.DictReader(io.StringIO(text, newline=""))  # an answer may hold any other end of a line
    columns = [name for name in reader.fieldnames or () if name and name.startswith("human_score")]
    missing = [name for name in FIELDS if name not in (reader.fieldnames or ())]
    if missing or not columns:
        raise DataError(f"{path}: no column {', '.join(missing) or 'human_score'}; it has {reader.fieldnames}")
    for number, row in enumerate(reader, start=1):
        scores = tuple(_score(row[name], f"{path}, row {number}, {name}") for name in columns)
        request, answer = (str(row[name] or "").strip() for name in FIELDS)
        if answer and scores:
            yield LabelledAnswer(make_id(kind, request, answer), kind, path.stem, request, answer, scores)


def _score(text: str | None, place: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise DataError(f"{place}: {text!r} is not a score from 0 to 1")
    return value
