"""What a run has made so far, and the curves of its trainings while they grow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from sinternal.layout import Place, RunMap
from sinternal.report.format import MINUS
from sinternal.store.artifact import PARTIAL
from sinternal.study.run import RESULTS
from sinternal.tools.diagnosis import RESULTS as DIAGNOSIS
from sinternal.training.names import CURVE, HELD_OUT, TRAINING
from sinternal.view.journal import TaskState
from sinternal.view.runs import ViewedRun, artifact_folder, read_head

MOST_POINTS = 400
"""Of a curve that are sent: more than a plot has pixels for."""
LONGEST_LOG = 32 * 2**20
"""Bytes of a log of a training that are read."""
TRAININGS = ("sft", "grpo")
LOGS = {"training.json": TRAINING, "held_out.json": HELD_OUT}


class Made(NamedTuple):
    """An artifact of a run: finished, or growing."""

    label: str
    """What it is for."""
    stage: str
    """Its stage."""
    folder: Path
    """Where it is."""
    growing: bool
    """Whether it is not finished."""
    inputs: Mapping[str, Path]
    """Where what it was made from is, by the names of the stage's arguments."""


def artifacts_of(run: ViewedRun) -> list[Made]:
    """What a run has made so far: of one that goes on by its journal, else by its report's inputs."""
    return list(_of_journal(run) if run.journal.tasks else _of_report(run))


def _of_journal(run: ViewedRun) -> Iterator[Made]:
    tasks = run.journal.tasks
    for task in tasks:
        if folder := run.artifact(task):
            parents = ((name, _at(tasks, number)) for name, number in task.inputs.items())
            inputs = {name: place for name, parent in parents if parent and (place := run.artifact(parent))}
            yield Made(task.label, task.stage, folder, folder.name.endswith(PARTIAL), inputs)


def _at(tasks: list[TaskState], number: int) -> TaskState | None:
    return tasks[number] if 0 <= number < len(tasks) else None


def _of_report(run: ViewedRun) -> Iterator[Made]:
    if run.is_diagnosis:
        yield from _of_diagnosis(run.store, _page_manifest(run, "diagnosis", DIAGNOSIS) or {})
        return
    seeds = RunMap[str].from_flat(_page_manifest(run, "report", RESULTS) or {})
    several = len({place.variant for place in seeds}) > 1
    for place in seeds.arms():
        arm = seeds.arm(place)
        label = f"{place.arm}, {f'{place.variant}, ' if several else ''}seed {place.seed}"
        if training := arm.training:
            for stage, key in (("sft", training.sft), ("grpo", training.grpo)):
                if folder := _find(run.store, stage, key):
                    yield Made(label, stage, folder, False, {})
        prompts = seeds[Place(place.variant, place.seed)].evaluation_prompts
        labels = {f"{label} by {judge}": key for judge, key in arm.judgements.items()}
        own = {f"verifications of {label}": arm.verifications}
        yield from _measured(run.store, prompts, {label: arm.responses}, labels, own)


def _of_diagnosis(store: Path, inputs: Mapping[str, str]) -> Iterator[Made]:
    if inputs.keys() >= {"prompts", "responses", "judgements", "verifications"}:
        answers, labels = {"answers": inputs["responses"]}, {"labels": inputs["judgements"]}
        yield from _measured(store, inputs["prompts"], answers, labels, {"verifications": inputs["verifications"]})


def _measured(
    store: Path, prompts: str, responses: Mapping[str, str], labels: Mapping[str, str], own: Mapping[str, str]
) -> Iterator[Made]:
    """What a model said, how that was labelled, and its own verdicts on it: keys by what each is for."""
    asked = _find(store, "prompts", prompts)
    inputs = {"prompts": asked} if asked else {}
    for stage, keys in (("sample", responses), ("judge", labels), ("self_verify", own)):
        for label, key in keys.items():
            if folder := _find(store, stage, key):
                yield Made(label, stage, folder, False, inputs)
                if stage == "sample":
                    inputs = {**inputs, "responses": folder}


def _find(store: Path, stage: str, key: str | None) -> Path | None:
    return artifact_folder(store, stage, key) if key else None


def _page_manifest(run: ViewedRun, stage: str, results: str) -> dict[str, str] | None:
    """The inputs of the page whose results lie in a run's folder, by the hashes that both have of them."""
    noted = dict(line.split("  ", 1)[::-1] for line in read_head(run.folder / "SHA256SUMS", 2**16).splitlines())
    wanted = noted.get(results)
    for path in sorted((run.store / stage).glob("*/manifest.json")) if wanted else ():
        try:
            manifest = json.loads(path.read_bytes())
            if manifest["files"][results] == wanted:
                return {str(name): str(key) for name, key in manifest["inputs"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return None


@dataclass(frozen=True)
class Curve:
    """The figures of one training."""

    label: str
    """What is trained."""
    stage: str
    """How: `sft` or `grpo`."""
    of: str
    """`training`, or `held out`."""
    growing: bool
    """Whether it goes on."""
    figures: Mapping[str, list[tuple[int, float]]]
    """Steps and values of each figure."""


def curves(made: Iterable[Made]) -> list[Curve]:
    """The curves of all trainings that were begun."""
    return [curve for one in made if one.stage in TRAININGS for curve in _curves_of(one)]


def _curves_of(made: Made) -> Iterator[Curve]:
    if made.growing:
        points = _growing(made.folder / "model.checkpoints" / CURVE)
    else:
        points = [(of, row) for name, of in LOGS.items() for row in _finished(made.folder / name, age_of(made.folder))]
    for of in LOGS.values():
        by_step = {row["step"]: row for about, row in points if about == of}  # what comes later counts
        steps = sorted(by_step)
        names = dict.fromkeys(name for step in steps for name in by_step[step] if name != "step")
        figures = {name: _thin([(s, by_step[s][name]) for s in steps if name in by_step[s]]) for name in names}
        if figures:
            yield Curve(made.label, made.stage, of, made.growing, figures)


def _growing(path: Path) -> list[tuple[str, dict[str, Any]]]:
    points = []
    for line in read_head(path, LONGEST_LOG).splitlines():
        try:
            row = json.loads(line)
            points.append((str(row.pop("of")), _numbers(row)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            continue  # cut short
    return points


@lru_cache(maxsize=512)
def _finished(path: Path, _age: float) -> tuple[dict[str, Any], ...]:
    try:
        return tuple(_numbers(row) for row in json.loads(read_head(path, LONGEST_LOG) or "[]"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return ()


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    figures = {str(name): float(value) for name, value in row.items() if isinstance(value, int | float)}
    return {**{name: value for name, value in figures.items() if abs(value) < float("inf")}, "step": int(row["step"])}


def _thin(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Fewer points, the last among them."""
    every = -(-len(points) // MOST_POINTS)
    return points[::-1][::every][::-1] if every > 1 else points


def age_of(path: Path) -> float:
    """When a file or folder was changed last, in seconds since 1970; 0 if it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def newest_figures(drawn: Iterable[Curve]) -> dict[tuple[str, str], str]:
    """The newest figure of each training that goes on, by stage and label: `loss 0.412 at step 30`, or its reward."""
    return {
        (curve.stage, curve.label): f"{name} {value:.3g} at step {step}".replace("-", MINUS)
        for curve in drawn
        if curve.growing and curve.of == TRAINING
        for name in ("loss", "reward")  # the last one that there is: the loss of reinforcement learning tells nothing
        for step, value in curve.figures.get(name, ())[-1:]
    }
