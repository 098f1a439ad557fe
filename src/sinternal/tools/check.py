"""Everything that could stop a run, looked at before anything is spent: each part by itself, so that all shows at once.

Nothing is downloaded, no model is loaded and no request is paid for, unless `ask` allows one to each server.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from sinternal.benchmarks import Benchmark
from sinternal.benchmarks.hub import HubBenchmark, readiness
from sinternal.benchmarks.packaged import PackagedBenchmark
from sinternal.budget import Limits
from sinternal.errors import DataError, MissingExtraError, ModelError, RecipeError, SInternalError
from sinternal.extras import is_there
from sinternal.models.files import faults
from sinternal.models.presence import Presence, find_here, find_model
from sinternal.models.resolve import ModelSource, tokenizer_folder
from sinternal.registry import Kind, Plugin, load
from sinternal.settings.arms import REINFORCED, SUPERVISED, Arm
from sinternal.settings.diagnosis import Diagnosis
from sinternal.settings.named_engines import engines_in
from sinternal.settings.recipe import Recipe, load_recipe
from sinternal.settings.sources import Source, Target
from sinternal.settings.training import Method
from sinternal.stages.dataset import open_with_answers
from sinternal.store import Store
from sinternal.study.cost import Row, cautions, estimate, lessons, server_bound
from sinternal.study.plan import make_plan
from sinternal.study.preflight import (
    Asked,
    check_extras,
    check_limits,
    check_trackers,
    servers,
    servers_in,
    without_price,
)
from sinternal.study.reach import check_allowed, find_reach
from sinternal.study.run import ARTIFACTS, RUNS
from sinternal.study.targets import is_served
from sinternal.study.task import Plan
from sinternal.tools.contexts import look_at_contexts, server_key
from sinternal.tools.diagnosis import plan_diagnosis
from sinternal.tools.engine import naming_servers
from sinternal.tools.findings import Finding, Mark
from sinternal.training.launch import check as check_launch

GIGA = 1e9
COPIES = 3
"""Times the weights' size that full tuning takes on disk at most while it writes checkpoints: weights, and AdamW's two
moments."""


def check(
    name_or_path: str,
    overrides: Sequence[str] = (),
    *,
    out: Path | None = None,
    store: Path | None = None,
    limits: Limits | None = None,
    ask: bool = False,
) -> Iterator[Finding]:
    """Look at each part of a recipe.

    Args:
        name_or_path: name of a packaged recipe, or path of a YAML file.
        overrides: `a.b=c` each.
        out: folder of the run.
        store: folder of artifacts.
        limits: on what the run may spend.
        ask: whether each server may be asked one small request, which it may charge for.
    """
    try:
        recipe = load_recipe(name_or_path, overrides)
    except SInternalError as error:
        mistakes = error.mistakes if isinstance(error, RecipeError) else ()
        yield from (Finding(Mark.WRONG, "recipe", words) for words in mistakes or [str(error)])
        return
    arms = ", ".join(arm.name for arm in recipe.arms)
    yield Finding(Mark.OK, "recipe", f"{recipe.name}: arms {arms}; seeds {', '.join(map(str, recipe.seeds))}")
    wrong: list[Finding] = []

    def tell(findings: Iterable[Finding]) -> Iterator[Finding]:
        """Each as soon as it is found; what is wrong is remembered."""
        for finding in findings:
            wrong.extend([finding] if finding.mark is Mark.WRONG else [])
            yield finding

    # What is here comes first: a server may keep one waiting.
    for look in (_check_target, _check_sources, _check_plugins):
        yield from tell(look(recipe))
    plan = None
    try:
        plan = make_plan(recipe)
        yield from _check_packages(plan)
    except SInternalError as error:
        # What the parts by themselves have shown is not told twice.
        if not any(part.words in str(error) for part in wrong):
            yield Finding(Mark.WRONG, "plan", str(error))
    told: Told = {}
    yield from tell(_check_servers(_servers_of(recipe), told, ask=ask))
    if not any(part.part == "target.model" for part in wrong) or not _is_here(recipe):
        yield from look_at_contexts(recipe, told)
    folder = out or RUNS / recipe.name
    artifacts = Store(store or folder / ARTIFACTS)
    yield from _attempt("disk", lambda: _check_room(recipe, artifacts))
    if plan is not None:
        yield from _check_plan(plan, artifacts, recipe, overrides, limits)


def check_diagnosis(
    settings: Diagnosis, store: Store, typed: Sequence[str] = (), *, limits: Limits | None = None, ask: bool = False
) -> Iterator[Finding]:
    """Look at each part of a diagnosis.

    Args:
        settings: of the diagnosis.
        store: its artifacts, of which what is there is not asked for again.
        typed: what was given beside its file.
        limits: see `check`.
        ask: see `check`.
    """
    if not settings.engine.plugin_class.asks_server:
        yield from _attempt("model", lambda: _look_at_diagnosed(settings))
    for number, source in enumerate(settings.prompts.sources):
        yield from _check_source(f"prompts.sources.{number}", source.part or "eval", source)
    try:
        plan = plan_diagnosis(settings)
    except ModelError:
        return  # told above, of the model
    except SInternalError as error:
        yield Finding(Mark.WRONG, "plan", str(error))
        return
    yield from _check_packages(plan)
    named = [(server.task.label, Asked(*server[1:])) for server in servers(plan.tasks)]
    yield from _check_servers(named, {}, ask=ask)
    yield from _check_plan(plan, store, None, typed, limits)


def _is_here(recipe: Recipe) -> bool:
    """Whether the target is on this disk: one that is not may be asked behind a server."""
    with suppress(ModelError):
        return recipe.target.source is not None or find_here(recipe.target.model, recipe.target.revision) is not None
    return False


def _look_at_diagnosed(settings: Diagnosis) -> list[Finding]:
    with naming_servers(settings.engine):
        return list(look_at_model(settings.target, trained=False, part="model"))


def _check_plan(
    plan: Plan, store: Store, recipe: Recipe | None, typed: Sequence[str], limits: Limits | None
) -> Iterator[Finding]:
    """Calls and limits, keys and the spread over processes."""
    rows: list[Row] = []

    def training() -> Iterator[Finding]:
        for lesson in lessons(rows):
            few = lesson.caution
            yield Finding(Mark.NOTE if few else Mark.OK, "training", few or lesson.in_words())

    def limit() -> Iterator[Finding]:
        check_limits(plan.tasks, limits)
        if limits and limits.max_cost is not None:
            free = [server.name for server in without_price(plan.tasks)]
            words = f"; not counted, for want of a price: {', '.join(free)}" if free else ""
            yield Finding(
                Mark.NOTE if free else Mark.OK,
                "limits",
                f"at most {limits.max_cost:g}, at the prices of the engines{words}",
            )
        if bound := server_bound(plan, store, rows):
            short = limits is not None and limits.max_cost is not None and bound.cost > limits.max_cost
            words = "; the limit may end the run before, and it goes on with a higher one" if short else ""
            yield Finding(Mark.NOTE if short else Mark.OK, "calls", bound.in_words() + words)

    def reach() -> Iterator[Finding]:
        trackers = recipe.trackers if recipe else ()
        check_trackers(trackers)
        check_allowed(find_reach(plan, recipe.launch if recipe else None, trackers), typed)
        yield from ()

    def launch() -> Iterator[Finding]:
        if recipe is not None and recipe.launch is not None:
            check_launch(recipe.launch, recipe.workers)
            yield Finding(Mark.OK, "launch", f"{recipe.launch.processes} processes by {recipe.launch.config}")

    def count() -> Iterator[Finding]:
        rows.extend(estimate(plan, store))
        yield from ()

    yield from _attempt("training", count)
    yield from _attempt("limits", limit)
    yield from _attempt("keys", reach)
    yield from _attempt("launch", launch)
    yield from (Finding(Mark.NOTE, "plan", note) for note in (*plan.notes, *cautions(plan)))
    yield from _attempt("training", training)


def _attempt(part: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What a look at a part finds; an error is one more finding."""
    try:
        yield from look()
    except (SInternalError, OSError) as error:
        yield Finding(Mark.WRONG, part, str(error).removeprefix(f"{part}: "))


def _check_target(recipe: Recipe) -> Iterator[Finding]:
    if is_served(recipe, recipe.target):  # whether the server has it, a look at the server says
        return
    trained = recipe.trains
    yield from _attempt("target.model", lambda: look_at_model(recipe.target, trained=trained, part="target.model"))


def look_at_model(target: Target, *, trained: bool, part: str) -> Iterator[Finding]:
    """Look at the files, the chat template and the ends of turns of a model that is on this disk.

    Args:
        target: which.
        trained: whether it is going to be trained.
        part: the field that names it.

    Raises:
        SInternalError: there is no such model.
    """
    if target.source is None:
        yield from _look_at(find_model(target.model, target.revision), part, trained=trained)
    elif (folder := _source_folder(target)) is None:
        words = f"{target.model} is fetched or built by the run: its files were not looked at"
        yield Finding(Mark.NOTE, part, words)
    else:
        yield from _look_at(Presence(str(folder), folder, tuple(faults(folder))), part, trained=trained)


def _look_at(presence: Presence, part: str, *, trained: bool) -> Iterator[Finding]:
    """What is known of a model that has been found."""
    yield from (Finding(Mark.WRONG, part, fault) for fault in presence.faults)
    if presence.faults:
        return
    if presence.folder is None:
        yield Finding(Mark.NOTE, part, presence.words)
    elif is_there("transformers"):  # a package that is missing is told once, with the others
        yield from _look_at_template(presence.folder, part, trained=trained)


def _source_folder(target: Target) -> Path | None:
    """Where a target of a registered source is, if it is there."""
    if target.source is None:
        return None
    source: ModelSource = target.source.open()
    return source.locate()


def _look_at_template(folder: Path, part: str, *, trained: bool) -> Iterator[Finding]:
    from sinternal.models.loading import open_tokenizer, stop_tokens
    from sinternal.models.vocabulary import check_vocabulary
    from sinternal.prompting.chat import end_by_template, known_tags, template_to_train_with, turn_ends, turn_tokens
    from sinternal.prompting.chat import thinking_style as style_of
    from sinternal.prompting.think import ThinkingStyle

    tokenizer = open_tokenizer(tokenizer_folder(folder))
    check_vocabulary(folder, tokenizer, turn_tokens(tokenizer))
    style = style_of(tokenizer)
    if trained:
        template_to_train_with(tokenizer)
    ends, end = turn_ends(tokenizer, stop_tokens(folder)), end_by_template(tokenizer)
    if not ends or (trained and end is None):
        yield Finding(
            Mark.WRONG,
            part,
            "its chat template writes no token after a turn, so that nothing tells a model where to stop: let the "
            "template write the tokenizer's end of text after each turn of the assistant",
        )
        return
    spelled = [tokenizer.convert_ids_to_tokens(each) for each in ends]
    tags = known_tags(tokenizer)
    if style is ThinkingStyle.NONE or not tags:
        thinking = "knows no thinking tags: thinking and answer are one text"
    else:
        who = "the template opens" if style is ThinkingStyle.OPENED else "the model opens"
        thinking = f"{who} the thinking with {tags[0].open}"
    yield Finding(Mark.OK, part, f"{folder}: complete; turns end with {' or '.join(map(str, spelled))}; {thinking}")


def _check_sources(recipe: Recipe) -> Iterator[Finding]:
    prompts, grpo = recipe.prompts, recipe.grpo if recipe.uses_rewards else None
    sides: list[tuple[str, str, Sequence[Source]]] = [("prompts.eval", "eval", prompts.eval)]
    if recipe.trains:
        sides.insert(0, ("prompts.train", "train", prompts.train))
    if grpo and grpo.mixture.mathematics:
        sides.append(("rewards.mathematics", "train", recipe.rewards.mathematics))
    if grpo and grpo.held_out_every and recipe.rewards.held_out:
        sides.append(("rewards.held_out", "dev", recipe.rewards.held_out))
    for side, part, sources in sides:
        for number, source in enumerate(sources):
            yield from _check_source(f"{side}.{number}", source.part or part, source)
    for arm in recipe.arms:
        if dataset := arm.examples.dataset:
            yield from _attempt(f"arm {arm.name}", partial(_with_answers, dataset))


def _check_source(field: str, part: str, source: Source) -> Iterator[Finding]:
    def look() -> Iterator[Finding]:
        benchmark: Benchmark = source.plugin.open()
        plugin = load(Kind.BENCHMARK, source.benchmark)
        licence = f", licence {plugin.licence}" if plugin.licence else ""
        if isinstance(plugin, HubBenchmark | PackagedBenchmark):
            ready = readiness(plugin) if isinstance(plugin, HubBenchmark) else plugin.readiness()
            if benchmark.evaluation_only and part != "eval":
                raise DataError(f"{plugin.name} is for evaluation only: its licence or purpose forbids training on it")
            words = f"{plugin.name}, {plugin.size:,} prompts{licence}: loads now: {ready}"
            yield Finding(Mark.WRONG if ready.startswith("no") else Mark.OK, field, words)
            return
        rows = benchmark.prompts(part)
        harmful = sum(prompt.harmful for prompt in rows)
        if not rows:
            raise DataError(f"{source.benchmark} has no prompts in part {part}: name another part, or other data")
        counted = f"{harmful:,} harmful and {len(rows) - harmful:,} benign prompts{licence}"
        note = benchmark.note(part)
        yield Finding(Mark.OK, field, f"{note}; {counted}" if note else f"{source.benchmark}: {counted}")

    yield from _attempt(field, look)


def _with_answers(source: Source) -> Iterator[Finding]:
    open_with_answers(source.plugin)
    yield from ()


def _check_plugins(recipe: Recipe) -> Iterator[Finding]:
    """Open what is named, which loads nothing."""
    named: list[tuple[str, Plugin]] = [
        *((f"judges.{number}", judge) for number, judge in enumerate(recipe.judges)),
        *([("expert", recipe.writer)] if recipe.trains else []),
        ("verification", recipe.verification),
    ]
    if recipe.rewards.judge:
        named.append(("rewards.judge", recipe.rewards.judge))
    if recipe.rewards.refusals:
        named.append(("rewards.refusals", recipe.rewards.refusals))
    for field, plugin in named:

        def look(field: str = field, plugin: Plugin = plugin) -> Iterator[Finding]:
            plugin.open()
            yield Finding(Mark.OK, field, f"{plugin.name}: its settings are right")
            for engine in engines_in(plugin.model_dump(mode="json")):
                if engine.model and (found := load(Kind.ENGINE, engine.name).find(engine.model)) is not None:
                    yield from _look_at(found, field, trained=False)

        yield from _attempt(field, look)


def _check_packages(plan: Plan) -> Iterator[Finding]:
    wrong: dict[str, None] = {}
    for task in plan.tasks:
        try:
            check_extras(task)
        except MissingExtraError as error:
            wrong.setdefault(str(error).partition(" needs ")[2] or str(error))
    yield from (Finding(Mark.WRONG, "packages", f"the run needs {words}") for words in wrong)
    if not wrong:
        yield Finding(Mark.OK, "packages", "all that the run imports is installed")


def _servers_of(recipe: Recipe) -> Iterator[tuple[str, Asked]]:
    """The servers that a recipe names, each once, with the part that names it first."""
    content = recipe.model_dump(mode="json")
    judges = content.pop("judges")
    sections = [*((f"judges.{number}", judge) for number, judge in enumerate(judges)), *content.items()]
    seen: list[object] = []
    for part, section in sorted(sections, key=lambda named: named[0] != "engine"):
        settings = {part: section} if isinstance(section, list) else section
        for asked in servers_in(settings, recipe.target.model):
            if asked[:3] not in seen:
                seen.append(asked[:3])
                yield part, asked


Told = dict[tuple[str, str], int]
"""Contexts that servers have told; see `look_at_contexts`."""


def _check_servers(named: Iterable[tuple[str, Asked]], told: Told, *, ask: bool) -> Iterator[Finding]:
    for part, asked in named:

        def look(part: str = part, asked: Asked = asked) -> Iterator[Finding]:
            engine = asked.open()
            sight = engine.look()
            if sight.context is not None:
                told[server_key(asked.engine, asked.options), asked.model] = sight.context
            if ask:
                engine.try_it(asked.request)
                yield Finding(Mark.OK, part, f"{sight.words}; it answered one small request")
            else:
                yield Finding(Mark.OK if sight.sure else Mark.NOTE, part, sight.words)
            variable = asked.options.get("api_key_env")
            if isinstance(variable, str) and not os.environ.get(variable):
                yield Finding(
                    Mark.NOTE,
                    part,
                    f"{variable}, which api_key_env names, is not set: it is asked without a key, which a server of "
                    "one's own may not need",
                )

        yield from _attempt(part, look)


def _check_room(recipe: Recipe, store: Store) -> Iterator[Finding]:
    """Whether the trained models fit on the disk, as far as the target's size is known."""
    at = store.root.resolve()
    while not at.exists():
        at = at.parent
    free = shutil.disk_usage(at).free
    folder = None
    with suppress(ModelError):  # told above
        target = recipe.target
        folder = find_here(target.model, target.revision) if target.source is None else _source_folder(target)
    if folder is None:
        yield Finding(Mark.NOTE, "disk", f"{free / GIGA:,.1f} GB are free in {at}; the target's size is not known yet")
        return
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    needed = (
        sum(_bytes_of(recipe, arm, weights) for arm in recipe.arms) * len(recipe.seeds) * max(1, len(recipe.variants))
    )
    words = f"trained models take about {needed / GIGA:,.2f} GB, and {free / GIGA:,.1f} GB are free in {at}"
    if needed > free:
        raise DataError(f"{words}: make room, name another --store, or train adapters (method: lora)")
    yield Finding(Mark.OK, "disk", words)


def _bytes_of(recipe: Recipe, arm: Arm, weights: int) -> float:
    """What an arm's model takes: all weights, or about a hundredth as an adapter."""
    if arm.train_on in REINFORCED and recipe.grpo:
        method, saves = recipe.grpo.method, recipe.grpo.save_steps
    elif arm.train_on in SUPERVISED:
        settings = recipe.sft_of(arm)
        method, saves = settings.method, settings.save_steps
    else:
        return 0.0
    whole = weights * (1 + (COPIES if saves else 0))
    return whole if method is Method.FULL else whole / 50
