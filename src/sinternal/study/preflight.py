"""Checks before anything is paid for: are models to be had, can the servers be reached, do the limits limit anything?

Each server gets one tiny request: target, judges (in their own form), experts and attackers alike. So a judge that
cannot work is noticed before the answers that it would label are bought. Where the target alone is a server, its first
answer is the trial.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sinternal.benchmarks.hub import HubBenchmark, readiness
from sinternal.budget import Limits
from sinternal.engines import Destination, Engine, Request
from sinternal.errors import DataError, EngineError, ModelError, RecipeError
from sinternal.extras import ENGINES, require
from sinternal.judges import Judge
from sinternal.judges.guard import Guard
from sinternal.models.presence import find_model
from sinternal.records import Prompt, Split
from sinternal.registry import Kind, load, names
from sinternal.settings.named_engines import NamedEngine, engines_in
from sinternal.settings.plugins import EnginePlugin, JudgePlugin
from sinternal.settings.tracking import Tracker
from sinternal.stages.prompts import PromptsConfig
from sinternal.stages.target import TargetConfig
from sinternal.store import Store
from sinternal.study.task import Task

LOCAL = ("torch", "transformers", "tokenizers")
"""Modules that a model on this disk needs."""


HELLO = Request("hello", (("user", "Say hello."),))
"""What a server is tried with, if it is asked in no form of its own."""


class Server(NamedTuple):
    """A server that a run needs."""

    task: Task
    """The first task that asks it."""
    engine: str
    """Name of the engine."""
    model: str
    """What the engine is opened with."""
    options: dict[str, Any]
    """Its options."""
    request: Request
    """The trial request."""

    @property
    def has_a_price(self) -> bool:
        """Whether calls to it cost anything that is known."""
        return self._named.has_a_price

    @property
    def is_on_this_machine(self) -> bool:
        """Whether no other machine is asked."""
        return self.destination is None or self.destination.loopback

    @property
    def name(self) -> str:
        """What a bill calls it: `my-model at https://api.openai.com`."""
        return self._named.server(self.model)

    @property
    def destination(self) -> Destination | None:
        """Where it is; None if the engine starts it itself."""
        destination: Destination | None = self._named.destination
        return destination

    @property
    def _named(self) -> NamedEngine:
        return NamedEngine(self.engine, self.options, self.model)

    def open(self) -> Engine:
        """The engine that asks it."""
        opened: Engine = EnginePlugin(name=self.engine, options=self.options).open(self.model)
        return opened


def preflight(waiting: Sequence[Task], store: Store, limits: Limits | None) -> None:
    """Try every server that a run needs.

    Args:
        waiting: the artifacts that are to be made.
        store: where to.
        limits: on what may be spent.

    Raises:
        RecipeError: a limit on cost without any price.
        EngineError: a server is away, refuses the key or does not know the model.
        ModelError: a model that is opened here is not to be had, or damaged.
        DataError: a benchmark of the hub cannot be loaded.
        StoreError: nothing can be written.
        MissingExtraError: a stage, or an engine inside its settings, needs packages that are not installed.
    """
    store.check_writable()
    for task in waiting:
        check_extras(task)
    check_limits(waiting, limits)
    check_benchmarks(waiting)
    check_models(waiting)
    needed = list(servers(waiting))
    # Its first request, with nothing paid for before it, serves as the trial.
    answers_alone = [server.task.stage.name for server in needed] == ["sample"]
    for server in sorted(needed, key=_may_be_refused, reverse=True) if len(needed) > 1 else needed:
        try:
            engine = server.open()
            if answers_alone:
                engine.reach()
            else:
                engine.try_it(server.request)
        except (EngineError, RecipeError) as error:
            error.args = (f"{server.task.label}: {error}",)
            raise


def _may_be_refused(server: Server) -> int:
    """How likely it is that a server takes no call: such ones are tried first, as a refusal costs nothing."""
    try:
        server.open().look()
    except EngineError:
        return 2
    destination = server.destination
    return int(destination is not None and not destination.variables)


def check_limits(waiting: Sequence[Task], limits: Limits | None) -> None:
    """Make sure that limits limit something.

    Raises:
        RecipeError: there is a limit on cost, and no server has a price, or one on another machine has none.
    """
    if limits is None or limits.max_cost is None:
        return
    if not any(engine.has_a_price for engine in _engines_of(waiting)):
        raise RecipeError(
            f"--max-cost {limits.max_cost}: no server of this run has a price, so that the limit would limit nothing; "
            "give the engine's option price, per million tokens: --option 'price={read: 3, written: 15}' (of a recipe: "
            "--set 'engine.options.price={read: 3, written: 15}'), or use --max-tokens"
        )
    if free := [server.name for server in without_price(waiting) if not server.is_on_this_machine]:
        raise RecipeError(
            f"--max-cost {limits.max_cost}: {free[0]} has no price, so that the limit would not count what it takes; "
            "give its engine's option price, per million tokens ({read: 0, written: 0} if it costs nothing), or use "
            "--max-tokens"
        )


def without_price(waiting: Sequence[Task]) -> Iterator[Server]:
    """The servers that tasks ask, and of which nothing says what they cost, nor that they cost nothing."""
    return (server for server in servers(waiting) if server.options.get("price") is None)


def check_extras(task: Task) -> None:
    """Make sure that the packages are there which a task needs. Raises MissingExtraError."""
    require(task.label, *task.stage.needs)
    if task.stage.name == "grpo" and "mathematics" in task.inputs:
        require(f"{task.label} with mathematics", "math_verify")
    if isinstance(task.config, TargetConfig) and not task.config.served:
        require(f"target.model {task.config.model!r}", *LOCAL)
    if not task.stage.shows_paths:
        for engine in engines_in(task.config.model_dump(mode="json")):
            require(f"{task.label} by engine {engine.name}", *ENGINES.get(engine.name, ()))


def check_benchmarks(tasks: Iterable[Task]) -> None:
    """Make sure that benchmarks of the hub can be loaded. Raises DataError for one that cannot."""
    for task in tasks:
        if isinstance(task.config, PromptsConfig):
            for source in task.config.sources:
                plugin = load(Kind.BENCHMARK, source.benchmark)
                if not isinstance(plugin, HubBenchmark):
                    continue
                require(f"{task.label}: benchmark {source.benchmark}", "datasets")
                if (ready := readiness(plugin)).startswith("no: "):
                    raise DataError(f"{task.label}: benchmark {source.benchmark}: {ready.removeprefix('no: ')}")


def check_models(tasks: Iterable[Task]) -> None:
    """Make sure that every model can be had that tasks open here. Raises ModelError for one that cannot."""
    looked_at: set[tuple[str, ...]] = set()
    for task in tasks:
        for model, revision, engine in _models_of(task):
            if (model, revision, engine) in looked_at:
                continue
            looked_at.add((model, revision, engine))
            try:
                found = load(Kind.ENGINE, engine).find(model) if engine else find_model(model, revision or None)
                if found is not None:
                    found.check()
            except ModelError as error:
                error.args = (f"{task.label}: {error}",)
                raise


def _models_of(task: Task) -> Iterator[tuple[str, str, str]]:
    """The models that a task names itself: each with its revision, if it has one, and the engine that opens it."""
    config = task.config
    if isinstance(config, TargetConfig):
        if not config.served and config.model not in names(Kind.MODEL):
            yield config.model, config.revision or "", ""
    elif not task.stage.shows_paths:
        for engine in engines_in(config.model_dump(mode="json")):
            if engine.model is not None:
                yield engine.model, "", engine.name


def check_trackers(trackers: Iterable[Tracker]) -> None:
    """Make sure that the packages of trackers are there. Raises MissingExtraError."""
    for tracker in trackers:
        require(f"trackers: {tracker.value}", tracker.value)


def is_reachable(task: Task) -> bool:
    """Whether a task asks servers, and all of them can be reached."""
    needed = list(servers([task]))
    try:
        engines = [server.open() for server in needed]
    except (EngineError, RecipeError):
        return False
    return bool(engines) and all(engine.is_there() for engine in engines)


def _engines_of(tasks: Iterable[Task]) -> Iterator[NamedEngine]:
    for task in tasks:
        yield from engines_in(task.config.model_dump(mode="json"), inside=True)


def servers(tasks: Iterable[Task]) -> Iterator[Server]:
    """The servers that tasks ask, each once."""
    seen: list[Any] = []
    for task in tasks:
        if task.stage.shows_paths:  # the settings of a report name what other stages ask
            continue
        for asked in servers_in(task.config.model_dump(mode="json"), _target(task)):
            server = Server(task, *asked)
            if server[1:4] not in seen:
                seen.append(server[1:4])
                yield server


class Asked(NamedTuple):
    """A server that settings name, and how it can be tried."""

    engine: str
    """Name of the engine."""
    model: str
    """What the engine is opened with."""
    options: dict[str, Any]
    """Its options."""
    request: Request
    """The trial request."""

    def open(self) -> Engine:
        """The engine that asks it."""
        opened: Engine = EnginePlugin(name=self.engine, options=self.options).open(self.model)
        return opened


def servers_in(settings: Any, target: str) -> Iterator[Asked]:
    """The servers that plain settings name.

    Args:
        settings: of a stage, or a part of a recipe.
        target: the model that is asked where the settings name none.
    """
    questions = list(_questions_of_judges(settings))
    for engine in engines_in(settings):
        request = next((question for asker, question in questions[::-1] if asker == engine), HELLO)
        if engine.asks_server:
            yield Asked(engine.name, engine.model or target, dict(engine.options), request)


def _questions_of_judges(settings: Any) -> Iterator[tuple[NamedEngine, Request]]:
    """The engines of judges, with a request in such a judge's form: some models take nothing else."""
    if isinstance(settings, Mapping):
        name, options = settings.get("name"), settings.get("options")
        if isinstance(options, Mapping) and "engine" in options and name in names(Kind.JUDGE):
            judge: Judge = JudgePlugin(name=str(name), options=dict(options)).open()
            if isinstance(judge, Guard):
                engine = next(engines_in(options["engine"]))
                yield engine, replace(judge.ask_all(HARMLESS, "Good morning.")[0], id="hello")
        for value in settings.values():
            yield from _questions_of_judges(value)
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _questions_of_judges(value)


HARMLESS = Prompt("hello", "hello", "Say good morning.", False, "", "plain", Split.ID)
"""For trial requests of judges."""


def _target(task: Task) -> str:
    """The model that a task runs: that of the target it descends from."""
    ancestor: Task | None = task
    while ancestor is not None:
        if isinstance(ancestor.config, TargetConfig):
            return ancestor.config.model
        ancestor = ancestor.inputs.get("model")
    return ""
