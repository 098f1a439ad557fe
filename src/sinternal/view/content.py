"""What artifacts of a run hold that is worth looking at while they grow: curves of trainings, and the newest texts."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from sinternal.errors import SInternalError, StoreError
from sinternal.layout import Place, RunMap
from sinternal.records import Judgement, Prompt, R, Response, Verification
from sinternal.store.artifact import PARTIAL
from sinternal.store.draft import SHARD
from sinternal.store.tables import Table, table_name
from sinternal.training.names import CURVE, HELD_OUT, TRAINING
from sinternal.view.journal import TaskState
from sinternal.view.runs import ViewedRun, artifact_folder, is_plain_file, read_head

MOST_POINTS = 400
"""Of a curve that are sent: more than a plot has pixels for."""
LONGEST_LOG = 32 * 2**20
"""Bytes of a log of a training that are read."""
TRAININGS = ("sft", "grpo")
LOGS = {"training.json": TRAINING, "held_out.json": HELD_OUT}
WRITING: Mapping[str, type[Response | Verification]] = {
    "sample": Response,
    "demonstrate": Response,
    "critique": Verification,
    "self_verify": Verification,
}
"""Stages whose rows are texts, and what they are."""
NEWEST = 4
"""Artifacts whose texts are shown."""
LONGEST_TEXT = 20_000
"""Characters of a text that are sent."""
MANY = 1 << 22
"""Bytes of a file of rows that are read at most for a few of them, unless it has but one batch."""


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
    manifest = _report_manifest(run)
    if manifest is None:
        return
    store = run.store
    places = {stage: store / stage for stage in (*TRAININGS, *WRITING, "prompts", "judge")}

    def find(key: str | None, *stages: str) -> Path | None:
        ways = (artifact_folder(store, stage, key) for stage in stages if key and places[stage].is_dir())
        return next((way for way in ways if way is not None), None)

    seeds = RunMap[str].from_flat(manifest)
    several = len({place.variant for place in seeds}) > 1
    for place in seeds.arms():
        arm = seeds.arm(place)
        label = f"{place.arm}, {f'{place.variant}, ' if several else ''}seed {place.seed}"
        if training := arm.training:
            for stage, key in (("sft", training.sft), ("grpo", training.grpo)):
                if folder := find(key, stage):
                    yield Made(label, stage, folder, False, {})
        prompts = find(seeds[Place(place.variant, place.seed)].evaluation_prompts, "prompts")
        responses = find(arm.responses, "sample")
        if prompts and responses:
            yield Made(label, "sample", responses, False, {"prompts": prompts})
            for judge, key in arm.judgements.items():
                if folder := find(key, "judge"):
                    yield Made(f"{label} by {judge}", "judge", folder, False, {"responses": responses})


def _report_manifest(run: ViewedRun) -> dict[str, str] | None:
    """The inputs of the report whose results lie in a run's folder, by the hashes that both have of them."""
    noted = dict(line.split("  ", 1)[::-1] for line in read_head(run.folder / "SHA256SUMS", 2**16).splitlines())
    wanted = noted.get("results.json")
    for path in sorted((run.store / "report").glob("*/manifest.json")) if wanted else ():
        try:
            manifest = json.loads(path.read_bytes())
            if manifest["files"]["results.json"] == wanted:
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
        points = [(of, row) for name, of in LOGS.items() for row in _finished(made.folder / name, _age(made.folder))]
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


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


@dataclass(frozen=True)
class Text:
    """A text that a model wrote, and what it answers."""

    label: str
    """Whose it is, and for what."""
    stage: str
    """What made it."""
    prompt: str
    """What was asked."""
    thinking: str | None
    """The thinking, or a critique."""
    answer: str | None
    """What follows it."""
    harmful: bool | None
    """Whether helping with the request is harmful; None: not known."""
    family: str
    """Its attack family."""
    outcome: str
    """What became of it, in a word or two."""


def newest_texts(made: Collection[Made], most: int) -> list[Text]:
    """The newest texts of the artifacts that grew last.

    Args:
        made: the artifacts of a run.
        most: texts in all.
    """
    writing = [(rows, one) for one in made if one.stage in WRITING and (rows := _newest_rows(one, WRITING[one.stage]))]
    chosen = sorted(writing, key=lambda pair: (pair[1].growing, _age(pair[0])), reverse=True)[:NEWEST]
    share = max(1, most // max(1, len(chosen)))
    texts: list[Text] = []
    for file, one in chosen:
        try:
            texts += _texts(one, file, share, made)
        except (SInternalError, OSError, ValueError, KeyError):  # it is being finished, or removed, just now
            continue
    return texts


def _newest_rows(made: Made, row_type: type[Response | Verification]) -> Path | None:
    name = table_name(row_type)
    table = made.folder / f"{name}.parquet"
    if is_plain_file(table):
        return table
    shards = [shard for shard in sorted(made.folder.glob(f"{name}.*{SHARD}")) if is_plain_file(shard)]
    return shards[-1] if shards else None


def _texts(made: Made, file: Path, most: int, others: Collection[Made]) -> Iterator[Text]:
    if WRITING[made.stage] is Verification:
        rows = _last(Table(file, Verification), most)
        for row in rows:
            words = [_verdict(row), *([row.dropped] if row.dropped else [])]
            yield Text(
                made.label,
                made.stage,
                _cut(row.prompt),
                row.critique and _cut(row.critique),
                row.answer and _cut(row.answer),
                None if row.label is None else row.label == "unsafe",
                "",
                "; ".join(words),
            )
        return
    responses = _last(Table(file, Response), most)
    wanted = {row.prompt_id for row in responses}
    prompts = _matching(made.inputs.get("prompts"), Prompt, "id", wanted)
    by_id = {prompt.id: prompt for prompt in prompts}
    judged = next((one for one in others if one.stage == "judge" and one.inputs.get("responses") == made.folder), None)
    ids = {row.id for row in responses}
    labels = {row.response_id: row for row in _matching(judged and judged.folder, Judgement, "response_id", ids)}
    for response in responses:
        prompt = by_id.get(response.prompt_id)
        yield Text(
            made.label,
            made.stage,
            _cut(prompt.text) if prompt else "",
            response.thinking and _cut(response.thinking),
            response.answer and _cut(response.answer),
            prompt.harmful if prompt else None,
            prompt.family if prompt else "",
            _outcome(response, labels.get(response.id)),
        )


def _verdict(row: Verification) -> str:
    if row.verdict is not None:
        return f"verdict: {row.verdict}"
    return "no verdict" if row.approves is None else "approves" if row.approves else "objects"


def _outcome(response: Response, label: Judgement | None) -> str:
    if response.finish != "stop":
        return {"length": "ran into the token limit", "error": "failed", "filtered": "filtered"}[response.finish]
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
    table = folder / f"{table_name(row_type)}.parquet"
    files = [table] if is_plain_file(table) else sorted(folder.glob(f"{table_name(row_type)}.*{SHARD}"))
    rows: list[R] = []
    for file in files:
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
