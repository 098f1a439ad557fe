"""Stage `prompts`: collect a benchmark's prompts, wrap them in attacks, and keep training apart from evaluation."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from sinternal.attacks import Attack
from sinternal.benchmarks import Benchmark
from sinternal.errors import DataError
from sinternal.records import Prompt, Split
from sinternal.registry import Kind, load
from sinternal.store import Artifact, Draft

VERSION = 1
OVERLAP_WORDS = 13
"""Length of a shared run of words that counts as contamination (Brown et al. 2020, arXiv 2005.14165, appendix C)."""
PLAIN = "plain"
"""The family of prompts without any disguise."""


class PromptsConfig(BaseModel):
    """Which prompts, in which disguises."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: str
    """Name of a registered benchmark."""
    options: dict[str, object] = {}
    """Its options."""
    part: str
    """Which of its parts: `train`, `dev` or `eval`."""
    attacks: tuple[str, ...] = (PLAIN,)
    """Attack families; each wraps every prompt. `plain` leaves it as it is."""
    tuned_on: tuple[str, ...] = (PLAIN,)
    """Attack families that tuning sees; every other one is out-of-distribution."""
    limit: int | None = Field(None, ge=1)
    """At most this many harmful and this many benign prompts, drawn at random; None takes all."""
    for_training: bool
    """Whether arms are tuned on these prompts."""
    seed: int
    """Of the attacks and the draw."""


def prompts(draft: Draft, config: PromptsConfig, *, evaluation: Artifact | None = None) -> None:
    """Write the table `prompts`.

    Args:
        draft: what is written.
        config: which prompts.
        evaluation: for training prompts, the evaluation prompts: whatever overlaps with them is dropped.

    Raises:
        DataError: nothing is left, or evaluation-only data or a held-out attack is asked for as training input.
    """
    benchmark: Benchmark = load(Kind.BENCHMARK, config.benchmark)(config.options)
    if config.for_training and benchmark.evaluation_only:
        raise DataError(f"benchmark {config.benchmark!r} is evaluation-only: choose another for prompts.benchmark")
    originals = benchmark.prompts(config.part)
    rows = _deduplicated(_wrapped(originals, config))
    draft.counts["duplicates"] = len(originals) * len(config.attacks) - len(rows)
    if evaluation is not None:
        clean = without_overlap(rows, evaluation.rows(Prompt))
        draft.counts["overlapping"] = len(rows) - len(clean)
        rows = clean
    rows = _limited(rows, config)
    if not rows:
        raise DataError(f"benchmark {config.benchmark!r}, part {config.part!r}: no prompts are left to work on")
    draft.write(sorted(rows, key=lambda row: row.id), Prompt)


def without_overlap(rows: Iterable[Prompt], evaluation: Iterable[Prompt]) -> list[Prompt]:
    """The rows that share no run of 13 words with an evaluation prompt, nor (if shorter) its whole text."""
    seen = {gram for prompt in evaluation for gram in _grams(prompt.text)}
    return [row for row in rows if seen.isdisjoint(_grams(row.text))]


def _grams(text: str) -> list[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    last = max(1, len(words) - OVERLAP_WORDS + 1)
    return [tuple(words[i : i + OVERLAP_WORDS]) for i in range(last)]


def _wrapped(originals: Sequence[Prompt], config: PromptsConfig) -> Iterable[Prompt]:
    for family in config.attacks:
        attack: Attack | None = None if family == PLAIN else load(Kind.ATTACK, family)()
        if attack is not None and attack.held_out and config.for_training:
            raise DataError(f"attack {family!r} is held out for evaluation: take it out of prompts.attacks")
        split = Split.TRAIN if config.for_training else Split.ID if family in config.tuned_on else Split.OOD
        for original in originals:
            row = original
            if attack is not None:
                row = attack.wrap(original, random.Random(f"{config.seed}/{family}/{original.id}"))
            yield Prompt(**{**vars(row), "split": split})


def _deduplicated(rows: Iterable[Prompt]) -> list[Prompt]:
    first: dict[str, Prompt] = {}
    for row in rows:
        first.setdefault(row.text, row)
    return list(first.values())


def _limited(rows: list[Prompt], config: PromptsConfig) -> list[Prompt]:
    if config.limit is None:
        return rows
    rng = random.Random(config.seed)
    kept = []
    for harmful in (True, False):
        group = [row for row in rows if row.harmful == harmful]
        kept += rng.sample(group, min(config.limit, len(group)))
    return kept
