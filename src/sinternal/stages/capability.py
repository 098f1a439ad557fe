"""Stage `capability`: what else a model can do, by tasks of Inspect and its collection inspect-evals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sinternal.errors import DataError, EngineError
from sinternal.extras import require
from sinternal.redaction import seal
from sinternal.settings.measurement import CapabilityTask
from sinternal.settings.plugins import EnginePlugin
from sinternal.settings.sampling import Sampling
from sinternal.stages.stage import Costs, Stage
from sinternal.stages.target import model_name
from sinternal.store import Artifact, Draft

ERRORS = ("stderr", "std", "var", "_stderr")
"""Metrics that give the spread of others."""
COUNT = "_n"
"""Suffix of the metric that gives the sample size of another one."""
MEANS = ("accuracy", "mean")
"""Metrics that a plain `stderr` is about."""
Z = 1.959964
"""Quantile of the normal distribution for a 95 % interval."""


class CapabilityConfig(BaseModel):
    """Which tasks, and how the model answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: tuple[CapabilityTask, ...] = Field(min_length=1)
    """What is measured."""
    engine: EnginePlugin
    """The engine that writes."""
    sampling: Sampling
    """How, where a task does not say otherwise; always one answer."""
    system: str = ""
    """System message, for conversations that bring none."""
    seed: int
    """Seed of the sampling."""


@dataclass(frozen=True)
class Ability:
    """One metric of one task."""

    task: str
    """The task."""
    metric: str
    """Its metric, as Inspect names it."""
    value: float
    """The figure."""
    stderr: float | None
    """Its standard error, as the task computes it; None if it does not."""
    low: float | None
    """Lower end of the 95 % interval (normal approximation)."""
    high: float | None
    """Upper end."""
    n: int
    """Samples that count for it."""
    total: int
    """Samples in all."""
    truncated: int
    """Answers that ran into the token limit; with several answers to a sample, each counts."""
    scorer: str
    """Inspect's scorer, which is the judge."""
    revision: str
    """Version of the task and of Inspect."""
    sampling: dict[str, Any]
    """How the answers were drawn."""


def capability(draft: Draft, config: CapabilityConfig, *, model: Artifact) -> None:
    """Write `capability.json` and keep Inspect's logs in the folder `logs`.

    Raises:
        DataError: there is no such task.
        MissingExtraError: Inspect is not installed.
        EngineError: a task did not finish: that is no score.
    """
    abilities: list[Ability] = []
    for number, task in enumerate(config.tasks):
        draft.progress(number, len(config.tasks))
        abilities += _measure(draft, config, task, model_name(model))
    draft.write_json("capability", [asdict(ability) for ability in abilities])
    draft.counts["tasks"] = len(config.tasks)


def _measure(draft: Draft, config: CapabilityConfig, task: CapabilityTask, name: str) -> Iterator[Ability]:
    require("capability", "inspect_ai")
    from inspect_ai import eval as inspect_eval
    from inspect_ai.model import get_model

    options = seal(config.engine.options)  # Inspect's logs hold what it hands on
    sampling = task.sampling or config.sampling.model_copy(update={"n": 1})
    options |= {"system": config.system, "repetition_penalty": sampling.repetition_penalty}
    model = get_model(f"sinternal/{name}", engine=config.engine.name, memoize=False, **options)
    try:
        (log,) = inspect_eval(
            task.task,
            model=model,
            task_args=dict(task.options),
            limit=task.limit,
            epochs=sampling.n,
            log_dir=str(draft.path / "logs"),
            display="none",
            fail_on_error=False,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=config.seed,
        )
    except (LookupError, ValueError, FileNotFoundError) as error:
        raise DataError(f"Inspect cannot run {task.task!r}: {_one_line(error)}") from error
    except Exception as error:
        if type(error).__name__ == "PrerequisiteError":
            raise DataError(f"Inspect cannot run {task.task!r}: {_one_line(error)}") from error
        raise
    if log.status != "success" or log.results is None:
        reason = log.error.message if log.error else f"it ended as {log.status}"
        raise EngineError(f"{task.task}: {' '.join(reason.split())}")
    if not log.results.completed_samples:
        raise EngineError(f"{task.task}: all {log.results.total_samples} samples failed; see its log")
    if failed := log.results.total_samples - log.results.completed_samples:
        draft.notes.append(f"{task.task}: {failed} of {log.results.total_samples} samples failed and are in no figure")
    yield from _abilities(task.task, log, sampling)


def _abilities(task: str, log: Any, sampling: Sampling) -> Iterator[Ability]:
    packages = ", ".join(f"{name} {version}" for name, version in log.eval.packages.items())
    revision = f"{log.eval.task} version {log.eval.task_version}, {packages}"
    total = log.results.total_samples // sampling.n
    truncated = sum(sample.output.stop_reason == "max_tokens" for sample in log.samples or ())
    for score in log.results.scores:
        metrics = {name: metric.value for name, metric in score.metrics.items()}
        for name, value in metrics.items():
            if name.endswith((*ERRORS, COUNT)) or value != value:
                continue
            error = metrics.get(f"{name}_stderr", metrics.get("stderr") if name in MEANS else None)
            # No spread in so few samples says nothing about how certain the figure is.
            stderr = None if error is None or error != error or error == 0 else float(error)
            half = None if stderr is None else Z * stderr
            yield Ability(
                task=task,
                metric=name if len(log.results.scores) == 1 else f"{score.name} {name}",
                value=value,
                stderr=stderr,
                low=None if half is None else value - half,
                high=None if half is None else value + half,
                n=int(metrics.get(f"{name}{COUNT}", score.scored_samples or log.results.completed_samples)),
                total=total,
                truncated=truncated,
                scorer=score.scorer,
                revision=revision,
                sampling=sampling.model_dump(mode="json"),
            )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _cost(_config: CapabilityConfig, _inputs: Mapping[str, int]) -> Costs:
    return Costs(calls=None)


STAGE = Stage(
    name="capability",
    function=capability,
    version=3,
    cost=_cost,
    counted_as="tasks",
    needs=("inspect_ai",),
)
