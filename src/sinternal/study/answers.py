"""What the arms of a finished run answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sinternal.errors import StoreError
from sinternal.figures.measured import own_verdicts
from sinternal.figures.searches import AttackQuery, join_queries
from sinternal.records import Judgement, Prompt, Response
from sinternal.store import Artifact
from sinternal.study.run import Run


class Answer(NamedTuple):
    """One answer of an arm."""

    prompt: Prompt
    """What was asked."""
    response: Response
    """What the arm said."""
    judgement: Judgement
    """The judge's labels of it."""
    verified_without_spec: str | None = None
    """The arm's own verdict on it without the specification, the first of several: `safe`, `unsafe`, `unparsed`,
    `failed` or `filtered`; None if it was not asked."""
    verified_with_spec: str | None = None
    """The same with the specification quoted."""


def answers(
    run: Run, arm: str, seed: int | None = None, judge: str | None = None, variant: str | None = None
) -> Iterator[Answer]:
    """What an arm answered to the evaluation prompts, with one judge's labels and its own verdicts.

    Texts of models may hold anything, harmful instructions among it.

    Args:
        run: a finished run.
        arm: the arm's name.
        seed: by default the recipe's first.
        judge: its name; by default the first, which decides.
        variant: by default the first in which the arm takes part.

    Yields:
        In the order in which the answers were given, a thousand or so of them in memory at a time.

    Raises:
        ModelError: the run has no such arm, seed or variant.
        StoreError: the run has no such judge, or its answers are not in its store.
    """
    keys = run.seed_keys(arm, seed, variant)
    if keys is None:
        raise StoreError(f"{run.folder}: its answers are not in {run.store.root}: finish it, or name its store")
    of_arm = keys.arms[arm]
    name = judge or next(iter(of_arm.judgements))
    if name not in of_arm.judgements:
        raise StoreError(f"{run.folder} has no judge {name!r}; it has: {', '.join(of_arm.judgements)}")
    prompts = {row.id: row for row in _find(run, "prompts", keys.evaluation_prompts).rows(Prompt)}
    labels = {row.response_id: row for row in _find(run, "judge", of_arm.judgements[name]).rows(Judgement)}
    own = own_verdicts(_find(run, "self_verify", of_arm.verifications))
    for batch in _find(run, "sample", of_arm.responses).batches(Response):
        for row in batch:
            yield Answer(prompts[row.prompt_id], row, labels[row.id], *own.get(row.id, ()))


def attack_queries(run: Run, arm: str, seed: int | None = None, variant: str | None = None) -> Iterator[AttackQuery]:
    """What adaptive attacks asked an arm, and what it answered.

    Args:
        run: a finished run.
        arm: the arm's name.
        seed: by default the recipe's first.
        variant: by default the first in which the arm takes part.

    Yields:
        By attack, then by query; nothing if the run has no such attack.

    Raises:
        ModelError: the run has no such arm, seed or variant.
        StoreError: its queries are not in its store.
    """
    keys = run.arm_keys(arm, seed, variant)
    if keys is None:
        raise StoreError(f"{run.folder}: its queries are not in {run.store.root}: finish it, or name its store")
    for name, attacked in keys.attacked.items():
        yield from join_queries(name, _find(run, "adapt", attacked.queries))


def _find(run: Run, stage: str, key: str) -> Artifact:
    if artifact := run.store.find(stage, key):
        return artifact
    raise StoreError(f"{run.folder}: {stage}/{key} is not in {run.store.root}; run it again, or name its store")
