"""Commands about studies: run a recipe, plan it, print its results, judge it anew, compare it with another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sinternal.cli.arguments import (
    Again,
    Json,
    JudgeOptions,
    MaxCost,
    MaxTokens,
    OutFolder,
    Overrides,
    RecipeName,
    RetryFailed,
    RunFolder,
    StoreFolder,
)
from sinternal.cli.completion import complete_judges, complete_paths
from sinternal.cli.output import emit, number, out, print_diagnosis, print_named, print_note, print_results, print_table
from sinternal.errors import SInternalError

if TYPE_CHECKING:
    from sinternal.settings.recipe import Recipe
    from sinternal.study.reach import Reach
    from sinternal.tools.differences import Difference

LONGEST_VALUE = 120
"""Characters of a setting in which two runs differ that a terminal shows."""


def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    out_folder: OutFolder = None,
    store_folder: StoreFolder = None,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    retry_failed: RetryFailed = None,
    again: Again = None,
    as_json: Json = False,
) -> None:
    """Run a recipe, except for what is already in the store; print the results and the report's path."""
    from sinternal.budget import Limits
    from sinternal.cli.progress import show_progress
    from sinternal.study.run import run as run_recipe

    limits = Limits(max_tokens, max_cost)
    with show_progress(again=bool(again), as_json=as_json) as listen:
        finished = run_recipe(
            recipe,
            overrides=overrides or (),
            out=out_folder,
            store=store_folder,
            limits=limits,
            retry_failed=retry_failed,
            again=again or (),
            listen=listen,
        )
    print_results(finished.folder, as_json=as_json)


def judge(
    folder: RunFolder,
    name: Annotated[
        str,
        typer.Option("--with", metavar="NAME", help="The judge to add or replace.", autocompletion=complete_judges),
    ],
    options: JudgeOptions = None,
    store_folder: StoreFolder = None,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    retry_failed: RetryFailed = None,
    as_json: Json = False,
) -> None:
    """Label a run's responses with another judge; nothing is generated again. The first judge still decides."""
    from sinternal.budget import Limits
    from sinternal.cli.progress import show_progress
    from sinternal.study.run import Run
    from sinternal.study.run import judge as judge_run

    finished, limits = Run.open(folder, store_folder), Limits(max_tokens, max_cost)
    with show_progress(as_json=as_json) as listen:
        judged = judge_run(finished, name, options or (), limits=limits, retry_failed=retry_failed, listen=listen)
    print_results(judged.folder, as_json=as_json)


def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    out_folder: OutFolder = None,
    store_folder: StoreFolder = None,
    hardware: Annotated[
        str | None,
        typer.Option(metavar="8xH100", help="Machine to plan for, or cpu: adds memory, tokens, hours and prices."),
    ] = None,
    model_config: Annotated[
        list[str] | None,
        typer.Option(metavar="[MODEL=]FILE", help="config.json of a model that is not here; by default the target's."),
    ] = None,
    mean_tokens: Annotated[
        int | None, typer.Option(min=1, help="Mean length of a text that a model writes, for hours; by default 1,500.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show formula and source beside each number.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a run would do: each stage, whether it is cached, what it costs at most, and what a machine needs."""
    from sinternal.cli.forecast import PlannedMachine, print_forecast, print_json, read_configs
    from sinternal.settings.files import parents_elsewhere
    from sinternal.settings.recipe import load_recipe
    from sinternal.store import Store
    from sinternal.study.cost import cautions, estimate, lessons, server_bound
    from sinternal.study.plan import make_plan
    from sinternal.study.reach import find_reach
    from sinternal.study.run import ARTIFACTS, RUNS

    loaded = load_recipe(recipe, overrides or [])
    planned = make_plan(loaded, parents_elsewhere(recipe))
    reach = find_reach(planned, loaded.launch, loaded.trackers)
    store = Store(store_folder or (out_folder or RUNS / loaded.name) / ARTIFACTS)
    rows = estimate(planned, store)
    machine = PlannedMachine(hardware, read_configs(model_config or [], loaded.target.model), mean_tokens)
    predicted = machine.forecast(rows, loaded.launch)
    trainings = lessons(rows)
    few = [caution for each in trainings if (caution := each.caution)]
    notes = [*planned.notes, *cautions(planned), *few, *_obstacles(loaded, reach, overrides or ())]
    if as_json:
        print_json(rows, predicted, notes, reach, trainings, explain=explain)
        return
    titles = ("stage", "key", "state", "rows ≤", "calls ≤", "tokens ≤")
    lines = [
        [row.task.label, row.task.key, "cached" if row.cached else "to run", *map(number, row.costs)] for row in rows
    ]
    print_table(None, titles, lines, left=3, dispensable=["key"])
    waiting = [row for row in rows if not row.cached]
    calls, tokens = (sum(row.costs[i] or 0 for row in waiting) for i in (1, 2))
    out.print(f"{len(waiting)} of {len(rows)} to run: at most {calls:,} generation calls and {tokens:,} tokens written")
    for training in trainings:
        out.print(f"training of {training.in_words()}", soft_wrap=True)
    if bound := server_bound(planned, store, rows):
        out.print(bound.in_words(), soft_wrap=True)
    if predicted is not None:
        print_forecast(predicted, loaded.workers, explain=explain)
    for words in reach.in_words():
        print_note(f"a run {words}")
    for note in notes:
        print_note(note)


def _obstacles(recipe: Recipe, reach: Reach, typed: Sequence[str]) -> Iterator[str]:
    """What would stop a run before it makes anything."""
    from sinternal.study.reach import check_allowed
    from sinternal.training.launch import check

    try:
        check_allowed(reach, typed)
        if recipe.launch is not None:
            check(recipe.launch, recipe.workers)
    except SInternalError as error:
        yield f"a run would stop here: {error}"


def report(
    folder: RunFolder,
    redact: Annotated[
        bool, typer.Option("--redact", help="Write its pages, or a diagnosis', without texts, for sharing.")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", help="Folder for these pages; by default redacted inside RUN.", autocompletion=complete_paths
        ),
    ] = None,
    store_folder: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Print a finished run's or diagnosis' results again, and where its page is; or write its pages without texts."""
    from sinternal.study.run import LAST

    diagnosed = any((folder / name).is_file() for name in LAST["diagnosis"])
    if not redact:
        if to is not None:
            raise SInternalError("--to is for --redact: the folder that receives pages without texts")
        (print_diagnosis if diagnosed else print_results)(folder, as_json=as_json)
        return
    from sinternal.study.sharing import share
    from sinternal.tools.diagnosis import share_diagnosis

    page = (share_diagnosis if diagnosed else share)(folder, store_folder, to)
    if as_json:
        emit({"page": str(page)})
    else:
        out.print(f"without texts: {page}", soft_wrap=True)


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B...",
            help="Folders of two finished runs; or logs of Inspect (.eval), or their folders.",
            autocompletion=complete_paths,
        ),
    ],
    arm_a: Annotated[str | None, typer.Option(help="An arm of A; by default all that B also has.")] = None,
    arm_b: Annotated[str | None, typer.Option(help="An arm of B; by default the one of the same name.")] = None,
    scorers: Annotated[
        list[str] | None,
        typer.Option("--scorer", metavar="NAME", help="Of logs: only this score; can be repeated. By default all."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD", help="Of logs: metadata that dependent samples share; by default the sample's id."
        ),
    ] = None,
    any_task: Annotated[
        bool, typer.Option("--any-task", help="Of logs: compare different tasks or data sets all the same.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare two runs, or logs of Inspect, on the same prompts: paired tests, and what they could detect at least."""
    from sinternal.integrations.logs.read import is_log
    from sinternal.study.run import RESULTS

    logs = [path for path in runs if not (path / RESULTS).is_file() and is_log(path)]
    if logs and len(logs) < len(runs):
        other = next(path for path in runs if path not in logs)
        raise SInternalError(f"{logs[0]} is a log of Inspect, {other} is none: compare like with like")
    if len(runs) < 2 or (len(runs) > 2 and not logs):
        raise SInternalError(f"two runs are compared, or several logs of Inspect with the first; {len(runs)} given")
    if logs:
        if arm_a or arm_b:
            raise SInternalError("--arm-a and --arm-b are for runs; choose scores of logs with --scorer")
        _compare_logs(runs, scorers or (), cluster, any_task=any_task, as_json=as_json)
        return
    if scorers or cluster or any_task:
        raise SInternalError("--scorer, --cluster and --any-task are for logs of Inspect")
    from sinternal.report.comparison_tables import pair_table
    from sinternal.tools.compare import compare as compare_runs
    from sinternal.tools.compare import to_json

    pairs = compare_runs(runs[0], runs[1], arm_a, arm_b)
    if as_json:
        emit(to_json(pairs))
        return
    _print_differences(pairs[0].differences, runs[0], runs[1])
    for pair in pairs:
        print_table(f"{pair.a.title} against {pair.b.title}", *pair_table(pair.comparisons))
        for caveat in pair.caveats:
            print_note(caveat)


def _print_differences(found: tuple[Difference, ...], a: Path, b: Path) -> None:
    """In what two runs differ, one below the other: values may be long."""
    from sinternal.tools.differences import in_words

    for words in in_words(found, a, b):
        print_note(words)
    if found:
        out.print("The runs differ in", soft_wrap=True)
    for difference in found:
        print_named(f"  {difference.path}")
        for folder, value in ((a, difference.a), (b, difference.b)):
            shown = value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}… (whole with --json)"
            out.print(f"    {folder}: {shown}", soft_wrap=True)
    if found:
        out.print()


def _compare_logs(
    paths: Sequence[Path], scorers: Sequence[str], cluster: str | None, *, any_task: bool, as_json: bool
) -> None:
    from sinternal.integrations.logs.compare import compare_logs
    from sinternal.integrations.logs.words import table, to_json

    found = compare_logs(paths, scorers=scorers, cluster=cluster, any_task=any_task)
    if as_json:
        emit(to_json(found))
        return
    for comparison in found:
        print_table(comparison.title, *table(comparison))
        for note in comparison.notes:
            print_note(note)
