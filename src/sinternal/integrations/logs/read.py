"""What a comparison needs of logs of Inspect: the scores of each sample and epoch, without its texts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sinternal.errors import DataError
from sinternal.extras import require
from sinternal.visible import visible_line

ENDINGS = (".eval", ".json")
VALUES: Mapping[str, float] = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""What words are as numbers, by Inspect's own `value_to_float`: `N`, no answer given, is a score of 0."""
NO_ANSWER = "N"
SEED, CLUSTER = "seed", "cluster"
"""In the metadata of a log that we have written: which training run it is of, and what its samples hang together by."""
LONGEST_SCORER = 200


@dataclass(frozen=True)
class Scored:
    """A sample in one epoch."""

    id: str
    """The sample."""
    epoch: int
    """The epoch."""
    scores: Mapping[str, float]
    """Its scores as numbers, by scorer; of one with several values by `scorer/value`. A missing one is not there."""
    unanswered: frozenset[str]
    """Scorers that say of it that there was no answer."""
    metadata: Mapping[str, Any]
    """Its metadata."""


@dataclass(frozen=True)
class Log:
    """A log of Inspect."""

    path: Path
    """Its file."""
    task: str
    """The task."""
    task_args: Mapping[str, Any]
    """Its arguments."""
    version: str
    """Of the task."""
    dataset: str
    """The data set."""
    model: str
    """The model."""
    settings: Mapping[str, Any]
    """How the model was asked, as far as that is written down."""
    seed: int
    """Which of several training runs of one model it is of; 0 if it does not say."""
    cluster: str | None
    """The metadata that it says its samples hang together by."""
    status: str
    """How the evaluation ended."""
    samples: tuple[Scored, ...]
    """What was scored."""
    failed: int
    """Samples that ended in an error, or were declared invalid: their scores are missing."""
    odd: Mapping[str, str]
    """Scorers whose values are no numbers, and one of these values."""

    @property
    def scorers(self) -> tuple[str, ...]:
        """Everything that samples have a number of, in the order in which it comes."""
        return tuple(dict.fromkeys(name for sample in self.samples for name in sample.scores))


def is_log(path: Path) -> bool:
    """Whether a path is a log of Inspect, or a folder of them, by its looks."""
    if path.is_dir():
        return any(path.glob("*.eval"))
    return path.suffix == ".eval" or (path.suffix == ".json" and path.is_file())


def find_logs(path: Path) -> list[Path]:
    """The file itself, or the logs in a folder. Raises DataError if there are none."""
    if path.is_dir():
        if files := sorted(path.glob("*.eval")):
            return files
        raise DataError(f"{path}: no log of Inspect (*.eval) in this folder")
    if not path.is_file():
        raise DataError(f"{path}: no such file; name a log of Inspect (.eval) or a folder of them")
    return [path]


def read_log(path: Path) -> Log:
    """Read a log.

    Raises:
        DataError: it is none, or is damaged.
        MissingExtraError: Inspect is not installed.
    """
    require("reading logs of Inspect", "inspect_ai")
    from inspect_ai.log import read_eval_log, read_eval_log_sample_summaries

    try:
        header = read_eval_log(str(path), header_only=True)
        summaries = read_eval_log_sample_summaries(str(path))
    except Exception as error:  # zip, JSON, validation, whatever a reader of Inspect's trips over
        raise DataError(f"{path}: no log that Inspect can read ({_short(error)})") from error
    spec, invalid = header.eval, _invalid(path) if header.invalidated else frozenset()
    samples, failed, odd = [], 0, dict[str, str]()
    for row in summaries:
        without = row.error is not None or (str(row.id), row.epoch) in invalid
        failed += without
        scores: dict[str, float] = {}
        unanswered = set()
        for name, value in () if without else _values(row.scores or {}):
            number = to_number(value)
            if number is not None:
                scores[name] = number
                if value == NO_ANSWER:
                    unanswered.add(name)
            elif isinstance(value, str | list | tuple):
                odd.setdefault(name, visible_line(str(value))[:40])
        samples.append(Scored(str(row.id), row.epoch, scores, frozenset(unanswered), row.metadata))
    about = spec.metadata or {}
    seed, cluster = about.get(SEED), about.get(CLUSTER)
    return Log(
        path,
        visible_line(spec.task),
        spec.task_args,
        str(spec.task_version),
        visible_line(spec.dataset.name or ""),
        visible_line(spec.model),
        spec.model_generate_config.model_dump(exclude_none=True),
        seed if isinstance(seed, int) and not isinstance(seed, bool) else 0,
        cluster if isinstance(cluster, str) else None,
        header.status,
        tuple(samples),
        failed,
        odd,
    )


def _invalid(path: Path) -> frozenset[tuple[str, int]]:
    """The samples that were declared invalid, which summaries do not say."""
    from inspect_ai.log import read_eval_log_samples

    kept_out = {"messages", "events", "store", "attachments", "output"}
    rows = read_eval_log_samples(str(path), all_samples_required=False, exclude_fields=kept_out)
    return frozenset((str(row.id), row.epoch) for row in rows if row.invalidation is not None)


def _values(scores: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for scorer, score in scores.items():
        name = visible_line(scorer)[:LONGEST_SCORER]
        if isinstance(score.value, Mapping):
            yield from (
                (f"{name}/{visible_line(str(part))[:LONGEST_SCORER]}", one) for part, one in score.value.items()
            )
        else:
            yield name, score.value


def to_number(value: object) -> float | None:
    """A score as a number; None for what is missing (None, NaN, infinite) or is no number."""
    if isinstance(value, str):
        known = VALUES.get(value, VALUES.get(value.lower()) if len(value) > 1 else None)
        if known is not None:
            return known
        try:
            value = float(value)
        except ValueError:
            return None
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _short(error: Exception) -> str:
    text = visible_line(str(error)) or type(error).__name__
    return text if len(text) < 160 else f"{text[:157]}…"
