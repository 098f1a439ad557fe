"""From a recipe to artifacts: which stage needs which, what is there already, and who works on the rest."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from queue import Empty
from typing import Any

from pydantic import BaseModel

from sinternal.errors import StoreError
from sinternal.experts import Demonstration
from sinternal.recipe import DEFAULT_VARIANT, Arm, Recipe, TrainOn
from sinternal.registry import Kind, check_name, load, names
from sinternal.stages import base, critique, demonstrate, evaluate, examples, judge, pair, prompts, report, sample, sft
from sinternal.stages.prompts import PLAIN
from sinternal.store import Artifact, Draft, Store, artifact_key, fingerprint


@dataclass(frozen=True)
class Stage:
    """A stage as the pipeline sees it."""

    function: Callable[..., None]
    """Called with a draft, its settings and its input artifacts by name."""
    version: int
    """Raised when the stage's output changes for the same settings and inputs."""


STAGES: Mapping[str, Stage] = {
    "base": Stage(base.base, base.VERSION),
    "prompts": Stage(prompts.prompts, prompts.VERSION),
    "sample": Stage(sample.sample, sample.VERSION),
    "judge": Stage(judge.judge, judge.VERSION),
    "pair": Stage(pair.pair, pair.VERSION),
    "critique": Stage(critique.critique, critique.VERSION),
    "demonstrate": Stage(demonstrate.demonstrate, demonstrate.VERSION),
    "examples": Stage(examples.examples, examples.VERSION),
    "sft": Stage(sft.sft, sft.VERSION),
    "evaluate": Stage(evaluate.evaluate, evaluate.VERSION),
    "report": Stage(report.report, report.VERSION),
}


@dataclass(frozen=True, eq=False)
class Task:
    """One artifact to make."""

    stage: str
    """Name of the stage."""
    label: str
    """What it is for, to be shown."""
    config: BaseModel
    """The stage's settings."""
    inputs: Mapping[str, Task] = field(default_factory=dict)
    """What it is made from, by the names of the stage's arguments."""

    @cached_property
    def key(self) -> str:
        """The artifact's key; the same for tasks that would make the same thing."""
        keys = {name: task.key for name, task in self.inputs.items()}
        return artifact_key(self.stage, STAGES[self.stage].version, self.config.model_dump(mode="json"), keys)

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True)
class Plan:
    """Everything that a recipe asks for."""

    tasks: tuple[Task, ...]
    """Each artifact once, inputs before what needs them; the report last."""

    @property
    def report(self) -> Task:
        """What the run is for."""
        return self.tasks[-1]


def make_plan(recipe: Recipe) -> Plan:
    """Lay out every artifact of a recipe. Reads no artifact and runs nothing.

    Raises:
        RegistryError: the recipe names a plug-in that is not there.
    """
    inputs: dict[str, Task] = {}
    _check_names(recipe)
    for variant in recipe.variants or {DEFAULT_VARIANT: {}}:
        settings = recipe.variant(variant)
        for seed in recipe.seeds:
            prefix = "" if variant == DEFAULT_VARIANT else f"{variant} "
            for name, task in _one_run(settings, seed, f"{prefix}seed {seed}").items():
                inputs[f"{variant}/{seed}/{name}"] = task
    config = report.ReportConfig(recipe=recipe.model_dump(mode="json", exclude={"workers"}))
    last = Task("report", "report", config, inputs)
    unique: dict[str, Task] = {}
    for task in [*_ancestors(last), last]:
        unique.setdefault(task.key, task)
    return Plan(tuple(unique.values()))


def _check_names(recipe: Recipe) -> None:
    """Fail on a mistyped name before anything runs."""
    named = [
        (Kind.BENCHMARK, recipe.prompts.benchmark),
        (Kind.ENGINE, recipe.engine.name),
        (Kind.EXPERT, recipe.expert.name),
        (Kind.VERIFICATION, recipe.verification.name),
        *((Kind.JUDGE, entry.name) for entry in recipe.judges),
        *((Kind.ATTACK, name) for name in (*recipe.prompts.train_attacks, *recipe.prompts.eval_attacks)),
    ]
    for kind, name in named:
        if (kind, name) != (Kind.ATTACK, PLAIN):
            check_name(kind, name)


def _ancestors(task: Task) -> Iterator[Task]:
    for parent in task.inputs.values():
        yield from _ancestors(parent)
        yield parent


def _one_run(recipe: Recipe, seed: int, where: str) -> dict[str, Task]:
    """The artifacts of one variant and seed, by the names under which the report finds them."""
    target = Task("base", f"base, {where}", _target_config(recipe, seed))
    asked = _prompt_tasks(recipe, seed, where)
    train = {"prompts": asked["prompts"]}
    sampling = sample.SampleConfig(engine=recipe.engine, sampling=recipe.sampling, seed=seed)
    responses = Task("sample", f"sample, {where}", sampling, {**train, "model": target})
    judging = judge.JudgeStageConfig(judges=recipe.judges)
    labels = Task("judge", f"judge, {where}", judging, {**train, "responses": responses})
    pairing = pair.PairConfig(judge=recipe.judges[0].name, seed=seed)
    pairs = Task("pair", f"pair, {where}", pairing, {**train, "responses": responses, "judgements": labels})
    run = {**asked, "sample": responses, "judge": labels, "pair": pairs}
    for arm in recipe.arms:
        run |= _arm(recipe, arm, seed, where, run, target)
    return run


def _prompt_tasks(recipe: Recipe, seed: int, where: str) -> dict[str, Task]:
    """Evaluation prompts first: training prompts that overlap with them are dropped."""
    wanted = recipe.prompts
    common: dict[str, Any] = {"benchmark": wanted.benchmark, "options": wanted.options, "seed": seed}
    measured_on = prompts.PromptsConfig(
        **common,
        part=wanted.eval_part,
        attacks=wanted.eval_attacks,
        tuned_on=wanted.train_attacks,
        limit=wanted.eval_limit,
        for_training=False,
    )
    tuned_on = prompts.PromptsConfig(
        **common, part="train", attacks=wanted.train_attacks, limit=wanted.train_limit, for_training=True
    )
    evaluation = Task("prompts", f"evaluation prompts, {where}", measured_on)
    training = Task("prompts", f"training prompts, {where}", tuned_on, {"evaluation": evaluation})
    return {"evaluation prompts": evaluation, "prompts": training}


def _arm(recipe: Recipe, arm: Arm, seed: int, where: str, run: Mapping[str, Task], target: Task) -> dict[str, Task]:
    """What one arm adds: its training set and model, and its evaluation."""
    label = f"{arm.name}, {where}"
    made: dict[str, Task] = {}
    model = target
    if arm.train_on is not TrainOn.NOTHING:
        made = _training_set(recipe, arm, seed, label, run)
        settings = sft.SftConfig(settings=recipe.sft, seed=seed)
        model = Task("sft", f"sft {label}", settings, {"examples": made[f"examples {arm.name}"], "model": target})
        made[f"sft {arm.name}"] = model
    measuring = evaluate.EvaluateConfig(
        engine=recipe.engine,
        sampling=recipe.evaluation.sampling,
        verification_sampling=recipe.evaluation.verification_sampling,
        judging=judge.JudgeStageConfig(judges=recipe.judges),
        verification=recipe.verification,
        seed=seed,
    )
    inputs = {"prompts": run["evaluation prompts"], "model": model}
    made[f"evaluate {arm.name}"] = Task("evaluate", f"evaluate {label}", measuring, inputs)
    return made


def _training_set(recipe: Recipe, arm: Arm, seed: int, label: str, run: Mapping[str, Task]) -> dict[str, Task]:
    written: dict[str, Task] = {"prompts": run["prompts"], "pairs": run["pair"]}
    size = examples.ExamplesConfig(size=recipe.examples.size, seed=seed)
    if arm.train_on is TrainOn.VERIFICATION:
        asking = critique.CritiqueConfig(expert=recipe.expert, verification=recipe.verification)
        source = Task("critique", f"critique {label}", asking, written)
        inputs = {"prompts": run["prompts"], "responses": run["pair"], "verifications": source}
    else:
        showing = demonstrate.DemonstrateConfig(expert=recipe.expert, kind=Demonstration(arm.train_on.value), seed=seed)
        source = Task("demonstrate", f"demonstrate {label}", showing, written)
        inputs = {"prompts": run["prompts"], "responses": source}
    rows = Task("examples", f"examples {label}", size, inputs)
    return {f"{source.stage} {arm.name}": source, f"examples {arm.name}": rows}


def _target_config(recipe: Recipe, seed: int) -> base.BaseModelConfig:
    target = recipe.target
    named = target.model in names(Kind.MODEL)
    folder = load(Kind.MODEL, target.model)().locate(target.options) if named else Path(target.model).expanduser()
    own = named and target.build_for_each_seed
    return base.BaseModelConfig(
        model=target.model,
        options=target.options,
        seed=seed if own else None,
        fingerprint=fingerprint(folder) if folder is not None and folder.is_dir() and not own else None,
    )


WORKER_LOG = "workers.log"
"""In the store: what libraries print while they work."""

# --- doing it --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """News of a task: for the progress display and the log."""

    task: Task
    """Which."""
    done: int = 0
    """Units done."""
    total: int = 0
    """Units in all, 0 if unknown."""
    artifact: Artifact | None = None
    """The result, once it is there."""
    cached: bool = False
    """Whether it was there before."""


def execute(plan: Plan, store: Store, workers: int, listen: Callable[[Event], None]) -> Artifact:
    """Make every artifact of a plan that is not there yet; return the report.

    Independent artifacts are made side by side in `workers` processes; with more than one, each computes on one
    thread. An interrupted run is gone on with by the next.

    Raises:
        SInternalError: a stage could not do its work. What was finished stays.
    """
    there: dict[str, Artifact] = {}
    for task in plan.tasks:
        if found := store.find(task.stage, task.key):
            there[task.key] = found
    wanted = _needed(plan.report, there)
    for task in plan.tasks:
        if task.key in there:
            listen(Event(task, artifact=there[task.key], cached=True))
    if wanted:
        _work_off([task for task in plan.tasks if task.key in wanted], there, store, workers, listen)
    return there[plan.report.key]


def _needed(task: Task, there: Mapping[str, Artifact]) -> set[str]:
    """Keys of the artifacts that have to be made for a task."""
    if task.key in there:
        return set()
    return {task.key}.union(*(_needed(parent, there) for parent in task.inputs.values()))


def _work_off(
    waiting: list[Task], there: dict[str, Artifact], store: Store, workers: int, listen: Callable[[Event], None]
) -> None:
    context = multiprocessing.get_context("spawn")
    news: multiprocessing.Queue[tuple[str, int, int]] = context.Queue()
    by_key = {task.key: task for task in waiting}
    running: dict[Future[Artifact], Task] = {}
    threads = 1 if workers > 1 else None
    with ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(news, threads, store.root)) as pool:
        try:
            while waiting or running:
                ready = [t for t in waiting if all(p.key in there for p in t.inputs.values())]
                for task in ready:
                    waiting.remove(task)
                    paths = {name: there[parent.key] for name, parent in task.inputs.items()}
                    running[pool.submit(_make, store.root, task.stage, task.config, paths, task.key)] = task
                done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                _pass_on(news, by_key, listen)
                for future in done:
                    task = running.pop(future)
                    there[task.key] = future.result()
                    listen(Event(task, artifact=there[task.key]))
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            if isinstance(error, BrokenProcessPool):
                raise StoreError(
                    f"a worker died, perhaps for lack of memory; see {store.root / WORKER_LOG}, or set workers=1"
                ) from error
            raise


def _pass_on(
    news: multiprocessing.Queue[tuple[str, int, int]], by_key: Mapping[str, Task], listen: Callable[[Event], None]
) -> None:
    latest: dict[str, tuple[int, int]] = {}
    while True:
        try:
            key, done, total = news.get_nowait()
        except Empty:
            break
        latest[key] = (done, total)
    for key, (done, total) in latest.items():
        listen(Event(by_key[key], done, total))


_news: multiprocessing.Queue[tuple[str, int, int]] | None = None
"""Set in worker processes only: where they report progress."""


def _start_worker(news: multiprocessing.Queue[tuple[str, int, int]], threads: int | None, root: Path) -> None:
    _keep_chatter_in(root / WORKER_LOG)
    global _news  # a process pool can hand a queue to its workers only through their initializer
    _news = news
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _keep_chatter_in(log: Path) -> None:
    """Send what libraries print to a file: it would tear the progress display apart."""
    log.parent.mkdir(parents=True, exist_ok=True)
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(stream, standard)


def _end_with_parent() -> None:
    """Leave no worker behind that goes on, and holds its lock, when the run itself was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make(root: Path, stage: str, config: BaseModel, inputs: Mapping[str, Artifact], key: str) -> Artifact:
    """Make one artifact, in a worker process."""

    def progress(done: int, total: int) -> None:
        if _news is not None:
            _news.put((key, done, total))

    def build(draft: Draft) -> None:
        STAGES[stage].function(draft, config, **inputs)

    return Store(root).make(
        stage,
        key,
        build,
        stage_version=STAGES[stage].version,
        config=config.model_dump(mode="json"),
        inputs={name: artifact.path.name for name, artifact in inputs.items()},
        progress=progress,
    )
