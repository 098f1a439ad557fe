"""Inputs of `bench/rows.py`: tables with so many rows of harmless words, about 500 characters each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sinternal.records import (
    Finish,
    Judgement,
    Prompt,
    Response,
    Split,
    Verdict,
    Verification,
    make_id,
)
from sinternal.store import Artifact, Store

SAMPLES = 4
"""Responses to each prompt."""
WORDS = 80
"""Words of a text."""
JUDGE = "bench"
SEED = 0


def write_tables(folder: Path, number: int) -> None:
    """Write the artifacts that stages start from, with `number` rows in the tables that are mapped."""
    store = Store(folder)
    tables: dict[str, Callable[[], Iterator[Any]]] = {
        "prompts": lambda: _prompts(number, copies=5),
        "evaluation": lambda: _prompts(max(1, number // 10), first=number - number // 100),
        "requests": lambda: _prompts(number // SAMPLES),
        "responses": lambda: _responses(number),
        "judgements": lambda: map(_judgement, range(number)),
        "verifications": lambda: _verifications(number),
    }
    types = {"prompts": Prompt, "evaluation": Prompt, "requests": Prompt, "responses": Response}
    types |= {"judgements": Judgement, "verifications": Verification}
    for name, rows in tables.items():
        row_type: Any = types[name]
        store.make(
            name,
            "inputs",
            lambda draft, rows=rows, row_type=row_type: draft.write_sorted(rows(), row_type),
            stage_version=1,
            config={},
            inputs={},
            progress=lambda *_: None,
        )


def _texts(seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnoprstuvw", k=rng.randint(3, 8))) for _ in range(5000)]
    while True:
        yield " ".join(rng.choices(words, k=WORDS))


def _prompts(number: int, *, first: int = 0, copies: int | None = None) -> Iterator[Prompt]:
    """Prompts, of which each so many repeats the text of the one before it; texts from `first` on."""
    text = ""
    for place, new in zip(range(first, first + number), _texts(SEED + first), strict=False):
        if first and place == first:
            text = " ".join(next(_texts(SEED)).split()[:40])  # overlaps with a prompt that is trained on
        elif not copies or place % copies:
            text = new
        identity = make_id("prompt", place)
        yield Prompt(identity, identity, text, place % 2 == 0, JUDGE, "plain", Split.TRAIN)


def _response_id(place: int) -> str:
    return make_id("response", place)


def _responses(number: int) -> Iterator[Response]:
    for place, text in zip(range(number), _texts(SEED + 1), strict=False):
        cut = place % 17 == 0
        yield Response(
            _response_id(place),
            make_id("prompt", place // SAMPLES),
            place % SAMPLES,
            "so" if cut else None,
            None if cut else text,
            Finish.LENGTH if cut else Finish.STOP,
            tokens=WORDS,
        )


def _judgement(place: int) -> Judgement:
    safe = None if place % 101 == 0 else place % 3 > 0
    return Judgement(make_id("label", place), _response_id(place), JUDGE, "answer", safe, refused=place % 7 == 0)


def _verifications(number: int) -> Iterator[Verification]:
    for place, text in zip(range(number), _texts(SEED + 2), strict=False):
        verdict = Verdict.SAFE if place % 3 else Verdict.UNSAFE
        yield Verification(
            make_id("verification", place),
            _response_id(place),
            JUDGE,
            True,
            text[:200],
            text[200:],
            f"Verdict: {verdict}",
            verdict,
            label=verdict,
            dropped="unreadable" if place % 13 == 0 else None,
        )


def artifact(folder: Path, name: str) -> Artifact:
    """One of the inputs."""
    return Artifact(folder / name / "inputs")


def file(folder: Path, name: str, table: str | None = None) -> Path:
    """The table of one of the inputs."""
    return folder / name / "inputs" / f"{table or name}.parquet"
