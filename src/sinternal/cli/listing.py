"""The command that lists what a recipe can name."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Annotated, Any

import typer

from sinternal.cli.arguments import Json
from sinternal.cli.completion import complete_kinds, complete_recipes
from sinternal.cli.output import MISSING, emit, out, print_named
from sinternal.errors import SInternalError
from sinternal.validation import nearest


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="Only one kind, for example recipes or judges.", autocompletion=complete_kinds),
    ] = None,
    as_json: Json = False,
) -> None:
    """List what a recipe can name."""
    from sinternal.registry import Kind, names
    from sinternal.settings.files import packaged_recipes
    from sinternal.validation import nearest

    known = {"recipes": list(packaged_recipes()), **{k.value.removeprefix("sinternal."): names(k) for k in Kind}}
    if kind is not None and kind not in known:
        close = nearest(kind, known)
        hint = f"did you mean {close!r}?" if close else f"choose one of: {', '.join(known)}"
        raise SInternalError(f"there is no kind {kind!r} to list; {hint}")
    if as_json:
        emit(_as_json(kind, known))
        return
    if kind is not None:
        DETAILED.get(kind, partial(_print_plugins, kind))()
        return
    for name, entries in known.items():
        if kind in (None, name):
            print_named(name, f": {', '.join(entries) or MISSING}")


def _as_json(kind: str | None, known: dict[str, list[str]]) -> Any:
    """The names of every kind; of benchmarks and attacks alone, what is told of each."""
    if kind == "benchmarks":
        from sinternal.benchmarks.listing import rows

        return [row._asdict() for row in rows()]
    if kind == "attacks":
        from sinternal.registry import Kind, load, names

        attacks = {name: load(Kind.ATTACK, name) for name in names(Kind.ATTACK)}
        return [{"name": name, "family": each.family, "held_out": each.held_out} for name, each in attacks.items()]
    return known if kind is None else known[kind]


def _print_benchmarks() -> None:
    from sinternal.benchmarks.listing import rows

    for row in rows():
        print_named(row.name)
        for line in row.lines():
            out.print(f"  {line}", soft_wrap=True)


def _print_attacks() -> None:
    from sinternal.registry import Kind, load, names

    for name in names(Kind.ATTACK):
        attack = load(Kind.ATTACK, name)
        use = "held out: for evaluation only" if attack.held_out else "may be used for tuning"
        print_named(name, f": family {attack.family}, {use}")


def _print_adaptive_attacks() -> None:
    from sinternal.registry import Kind, load, names

    for name in names(Kind.ADAPTIVE_ATTACK):
        attack = load(Kind.ADAPTIVE_ATTACK, name)
        use = "learns from each arm's answers" if attack.learns else "a control, always measured"
        print_named(name, f": family {attack.family}, {use}; for evaluation.adaptive only")


def _print_plugins(kind: str) -> None:
    """What each plug-in of a kind is, and its options."""
    from sinternal.registry import Kind, load, names

    for name in names(Kind(f"sinternal.{kind}")):
        plugin = load(Kind(f"sinternal.{kind}"), name)
        print_named(name, f": {first_sentence(inspect.getdoc(plugin) or '')}")
        if options := plugin.Options.model_fields:
            needed = {option for option, field in options.items() if field.is_required()}
            words = (f"{option} (needed)" if option in needed else option for option in options)
            out.print(f"  options: {', '.join(words)}", soft_wrap=True)


def _print_recipes() -> None:
    from sinternal.settings.files import packaged_recipes, read_recipe

    for name in packaged_recipes():
        print_named(name, f": {first_sentence(str(read_recipe(name).get('description', '')))}")


def first_sentence(text: str) -> str:
    """The first sentence of a text, on one line."""
    return " ".join(text.split()).partition(". ")[0].removesuffix(".")


def show(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Name of a packaged recipe.", autocompletion=complete_recipes)
    ],
) -> None:
    """Print a packaged recipe as it is written, to read it or to begin one of your own."""
    from sinternal.settings.files import packaged_recipes

    packaged = packaged_recipes()
    if recipe not in packaged:
        close = nearest(recipe, packaged)
        hint = f"did you mean {close!r}?" if close else f"there are: {', '.join(packaged)}"
        raise SInternalError(f"there is no packaged recipe {recipe!r}; {hint}")
    out.print(packaged[recipe].read_text().rstrip(), soft_wrap=True)


DETAILED = {
    "adaptive_attacks": _print_adaptive_attacks,
    "attacks": _print_attacks,
    "benchmarks": _print_benchmarks,
    "recipes": _print_recipes,
}
"""Kinds of which `list` tells more than their names."""
