"""`sinternal init`: asks, or takes flags, and writes a recipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sinternal.cli.completion import complete_paths
from sinternal.cli.output import out, print_note, tell
from sinternal.errors import SInternalError

if TYPE_CHECKING:
    from sinternal.tools.init_wishes import Wishes


def init(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="[RECIPE.yaml]", help="File to write; its name is the study's.", autocompletion=complete_paths
        ),
    ] = Path("my-study.yaml"),
    model: Annotated[
        str | None, typer.Option(help="Your model: a directory, a Hugging Face id (owner/name), or a known name.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="Prompts to tune on: a file, FILE:harmful, FILE:benign, or a benchmark; repeatable."
        ),
    ] = None,
    evaluation: Annotated[
        list[str] | None,
        typer.Option("--eval", metavar="FILE", help="Prompts to measure on, likewise; by default a fifth of --data."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COLUMN,...", help="Which columns of your files hold what, as prompt=question,harmful=label."
        ),
    ] = None,
    harmful_if: Annotated[
        str | None, typer.Option(metavar="VALUE", help="The value of the column `harmful` that means harmful.")
    ] = None,
    judge: Annotated[str | None, typer.Option(help="A judge: see `sinternal list judges`.")] = None,
    judge_model: Annotated[str | None, typer.Option(help="The model behind it.")] = None,
    judge_url: Annotated[str | None, typer.Option(help="Where it is served; by default it is opened here.")] = None,
    expert: Annotated[str | None, typer.Option(help="The expert's model.")] = None,
    expert_url: Annotated[
        str | None, typer.Option(help="Where it is served, OpenAI-compatible; by default OpenAI.")
    ] = None,
    expert_key: Annotated[
        str | None, typer.Option(metavar="VARIABLE", help="Variable of the environment that holds its key.")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="One server for judge and expert alike.")] = None,
    engine: Annotated[str | None, typer.Option(help="Who writes your model's text: transformers, vllm or ray.")] = None,
    method: Annotated[str, typer.Option(help="Which weights are trained: lora or full.")] = "lora",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take defaults, and say which.")] = False,
    look: Annotated[bool, typer.Option("--check/--no-check", help="Look at each part once it is written.")] = True,
) -> None:
    """Write a commented recipe for your own model, data, judge and expert, and check it before anything is spent."""
    from sinternal.cli.check import PLAN, show
    from sinternal.extras import is_there
    from sinternal.store.files import write_text
    from sinternal.tools.check import check
    from sinternal.tools.init import write_recipe
    from sinternal.tools.init_sources import read_columns_given
    from sinternal.tools.init_wishes import Wishes

    if recipe.suffix not in (".yaml", ".yml"):
        recipe = recipe.with_name(f"{recipe.name}.yaml")
    if recipe.exists():
        raise SInternalError(f"{recipe}: there is a file already; name another, or remove it")
    if not recipe.parent.is_dir():
        raise SInternalError(f"{recipe.parent}: there is no such folder")
    wishes = Wishes(
        name=_name(recipe.stem),
        file=recipe.name,
        model=model,
        data=tuple(data or ()),
        evaluation=tuple(evaluation or ()),
        columns=read_columns_given(columns or ()),
        harmful_if=harmful_if,
        judge=judge,
        judge_model=judge_model,
        judge_url=judge_url or base_url,
        expert=expert,
        expert_url=expert_url or base_url,
        expert_key=expert_key,
        engine=engine or ("vllm" if is_there("vllm") else "transformers"),
        method=method,
    )
    if not yes and sys.stdin.isatty() and sys.stdout.isatty():
        _ask(wishes)
    text = write_recipe(wishes)
    write_text(recipe, text)
    for words in wishes.taken:
        print_note(f"taken: {words}")
    for words in dict.fromkeys(wishes.missing):
        print_note(f"to be filled in: {words}")
    out.print(f"recipe: {recipe}", soft_wrap=True)
    if look:
        show(check(str(recipe)), as_json=False, then=PLAN)


def _name(stem: str) -> str:
    """A study's name out of a file's."""
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in stem.lower()).strip("-")
    return plain[:100] or "my-study"


def _ask(wishes: Wishes) -> None:
    """Ask for what was not said; an empty answer takes the default, and a wrong one is asked for once more."""
    from sinternal.registry import Kind, check_name, load, names
    from sinternal.tools.init import LOCAL_GUARD, OFFLINE
    from sinternal.tools.init_answers import check_model, check_url, check_variable
    from sinternal.tools.init_sources import read_source

    def sources(side: str) -> Callable[[str], object]:
        return lambda answer: [
            read_source(each, replace(wishes, taken=[], missing=[]), side) for each in answer.split()
        ]

    question = "Your model: directory, owner/name on the hub, or a known name"
    wishes.model = wishes.model or _answer(question, "smollm2", check_model)
    if not wishes.data:
        question = "Prompts to tune on: files, FILE:harmful, FILE:benign, or benchmarks"
        wishes.data = tuple((_answer(question, " ".join(OFFLINE), sources("train")) or "").split())
    if not wishes.evaluation:
        answer = _answer("Prompts to measure on, likewise", "a fifth of the same", sources("eval"))
        wishes.evaluation = tuple((answer or "").split())
    _ask_for_columns(wishes)
    if wishes.judge is None:
        check = partial(check_name, Kind.JUDGE)
        wishes.judge = _answer("Judge: see `sinternal list judges`", "qwen3guard", check) or "qwen3guard"
    if "engine" in load(Kind.JUDGE, wishes.judge).Options.model_fields:
        wishes.judge_url = wishes.judge_url or _answer(
            "Address of the judge's server", "opened here", partial(check_url, option="--judge-url")
        )
        default = LOCAL_GUARD if wishes.judge == "qwen3guard" else ""
        wishes.judge_model = wishes.judge_model or _answer("The judge's model", default)
    wishes.expert = wishes.expert or _answer("The expert's model", "gpt-4o-2024-11-20")
    if wishes.expert is not None and wishes.expert not in names(Kind.EXPERT):
        wishes.expert_url = wishes.expert_url or _answer(
            "Address of its server", "https://api.openai.com/v1", partial(check_url, option="--expert-url")
        )
        wishes.expert_key = wishes.expert_key or _answer(
            "Variable that holds its key", "OPENAI_API_KEY", check_variable
        )


def _ask_for_columns(wishes: Wishes) -> None:
    """Ask which columns of files hold requests and labels, where that is neither said nor clear by their names."""
    from sinternal.tools.init_sources import (
        FILL_IN,
        Named,
        check_column,
        check_label,
        describe_columns,
        labels_of,
        read_source,
    )

    for text in (*wishes.data, *wishes.evaluation):
        named = Named.of(text)
        if not named.is_file:
            continue
        options = read_source(text, replace(wishes, taken=[], missing=[]), "train")["options"]
        open_columns = [name for name, column in options.get("columns", {}).items() if column == FILL_IN]
        if open_columns:
            tell(f"{named.path} has the columns {describe_columns(named.path)}")
        for name in open_columns:
            what = "requests" if name == "text" else "what is harmful"
            answer = _answer(
                f"Column of {named.path} that says {what}",
                "left to be filled in",
                partial(check_column, [named.path], "prompt" if name == "text" else name),
            )
            if answer:
                wishes.columns[name] = answer
        column = wishes.columns.get("harmful") or options.get("columns", {}).get("harmful")
        options = read_source(text, replace(wishes, taken=[], missing=[]), "train")["options"]
        if options.get("harmful_if") == FILL_IN and column:
            seen = ", ".join(labels_of(named.path, column)[:12])
            wishes.harmful_if = _answer(
                f"Value of column {column} that means harmful: {seen}",
                "left to be filled in",
                partial(check_label, named.path, column),
            )


def _answer(question: str, default: str, check: Callable[[str], object] | None = None) -> str | None:
    """An answer that passes a check; None for the default."""
    while True:
        answer = str(typer.prompt(f"{question} [{default}]", default="", show_default=False)).strip()
        try:
            if answer and check is not None:
                check(answer)
        except SInternalError as error:
            tell(str(error))
            continue
        return answer or None
