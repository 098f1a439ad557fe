"""How many rows each stage on the way from prompts to training sets passed on, and why it dropped others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sinternal.figures.study import FunnelRow
from sinternal.layout import Answers, RunMap, SeedRun
from sinternal.store import Artifact

NOT_ROWS = ("tokens",)
"""Counts that are not about rows."""


def funnel(run: RunMap[Artifact]) -> Iterator[FunnelRow]:
    """The way of the rows, stage by stage, of every variant and seed."""
    for place, seed_run in run.items():
        for arm, name, artifact in _on_the_way(seed_run):
            for reason, rows in artifact.counts.items():
                if reason not in NOT_ROWS:
                    yield FunnelRow(place.variant, place.seed, arm, name, reason, rows)


def _on_the_way(run: SeedRun[Artifact]) -> Iterator[tuple[str | None, str, Artifact]]:
    """The arm, None for what all share, the name, and the artifact."""
    yield None, "evaluation prompts", run.evaluation_prompts
    shared: set[Path] = set()
    if run.answers is not None:
        prompts, answers = run.learned_from
        shared.add(prompts.path)
        yield None, "training prompts", prompts
        yield from ((None, *step) for step in _of_answers(answers))
    for arm, arm_run in run.arms.items():
        if (training := arm_run.training) is None:
            continue
        if training.published:
            yield arm, "prompts of the data set", training.published.prompts
            yield arm, "answers of the data set", training.published.responses
        if training.others:
            yield from (
                (arm, f"other model: {name}", artifact) for name, artifact in _of_answers(training.others.answers)
            )
        steps = {
            "critiques": training.critiques,
            "demonstrations": training.demonstrations,
            "labels of demonstrations": training.judgements,
            "labels of refusals": training.refusals,
            "examples": training.examples,
        }
        yield from ((arm, name, artifact) for name, artifact in steps.items() if artifact is not None)
        for name, artifact in (("mathematics prompts", training.mathematics), ("held-out prompts", training.held_out)):
            if artifact is not None and artifact.path not in shared:
                shared.add(artifact.path)
                yield None, name, artifact


def _of_answers(answers: Answers[Artifact]) -> Iterator[tuple[str, Artifact]]:
    yield "own answers", answers.responses
    yield "labels of answers", answers.judgements
    yield "contrast pairs", answers.contrast
