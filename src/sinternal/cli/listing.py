"""The command that lists what a recipe can name."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Collection, Sequence
from functools import partial
from typing import Annotated, Any

import typer

from sinternal.cli.arguments import Json
from sinternal.cli.completion import complete_kinds, complete_listed, complete_recipes
from sinternal.cli.output import MISSING, emit, out, print_named
from sinternal.errors import SInternalError
from sinternal.validation import nearest


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="Only one kind, for example recipes or judges.", autocompletion=complete_kinds),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(help="Only one of them, with all that is known.", autocompletion=complete_listed)
    ] = None,
    as_json: Json = False,
) -> None:
    """List what a recipe can name."""
    from sinternal.registry import Kind, names
    from sinternal.settings.files import packaged_recipes

    known = {"recipes": list(packaged_recipes()), **{k.value.removeprefix("sinternal."): names(k) for k in Kind}}
    if kind is None:
        if as_json:
            emit(known)
        else:
            for each, entries in known.items():
                print_named(each, f": {', '.join(entries) or MISSING}")
        return
    _check_known(kind, known, "there is no kind {} to list", "choose one of")
    if name is not None:
        _check_known(name, known[kind], f"{{}} is not among the {kind.replace('_', ' ')}", "there are")
    chosen = known[kind] if name is None else [name]
    if as_json:
        emit(_as_json(kind, chosen))
    elif name is not None and kind not in ("recipes", "benchmarks"):
        _print_whole(kind, name)
    else:
        DETAILED.get(kind, partial(_print_plugins, kind))(chosen)


def _check_known(name: str, known: Collection[str], mistake: str, others: str) -> None:
    if name not in known:
        close = nearest(name, known)
        hint = f"did you mean {close!r}?" if close else f"{others}: {', '.join(known)}"
        raise SInternalError(f"{mistake.format(repr(name))}; {hint}")


def _as_json(kind: str, chosen: Sequence[str]) -> Any:
    """The names of a kind; of benchmarks and attacks, what is told of each."""
    from sinternal.registry import Kind, load

    match kind:
        case "benchmarks":
            from sinternal.benchmarks.listing import rows

            return [row._asdict() for row in rows({name: load(Kind.BENCHMARK, name) for name in chosen})]
        case "attacks":
            attacks = {name: load(Kind.ATTACK, name) for name in chosen}
            return [{"name": name, "family": each.family, "held_out": each.held_out} for name, each in attacks.items()]
        case _:
            return chosen


def _print_benchmarks(chosen: Sequence[str]) -> None:
    from sinternal.benchmarks.listing import rows
    from sinternal.registry import Kind, load

    for row in rows({name: load(Kind.BENCHMARK, name) for name in chosen}):
        print_named(row.name)
        for line in row.lines():
            out.print(f"  {line}", soft_wrap=True)


def _print_attacks(chosen: Sequence[str]) -> None:
    from sinternal.registry import Kind, load

    for name in chosen:
        attack = load(Kind.ATTACK, name)
        use = "held out: for evaluation only" if attack.held_out else "may be used for tuning"
        print_named(name, f": family {attack.family}, {use}")


def _print_adaptive_attacks(chosen: Sequence[str]) -> None:
    from sinternal.registry import Kind, load

    for name in chosen:
        attack = load(Kind.ADAPTIVE_ATTACK, name)
        use = "learns from each arm's answers" if attack.learns else "a control, always measured"
        print_named(name, f": family {attack.family}, {use}; for evaluation.adaptive only")


def _print_plugins(kind: str, chosen: Sequence[str]) -> None:
    """What each plug-in of a kind is, and its options."""
    from sinternal.registry import Kind, load

    for name in chosen:
        plugin = load(Kind(f"sinternal.{kind}"), name)
        print_named(name, f": {first_sentence(inspect.getdoc(plugin) or '')}")
        if options := plugin.Options.model_fields:
            needed = {option for option, field in options.items() if field.is_required()}
            words = (f"{option} (needed)" if option in needed else option for option in options)
            out.print(f"  options: {', '.join(words)}", soft_wrap=True)


def _print_whole(kind: str, name: str) -> None:
    """All that a plug-in says of itself, and of each option what it means, its values and its default."""
    from sinternal.registry import Kind, load
    from sinternal.settings.words import Described

    if kind in DETAILED:
        DETAILED[kind]([name])
    plugin = load(Kind(f"sinternal.{kind}"), name)
    if kind not in DETAILED:
        print_named(name)
    if inspect.isclass(plugin) or inspect.isfunction(plugin):
        out.print(inspect.getdoc(plugin) or "", soft_wrap=True)
    schema = plugin.Options.model_json_schema(schema_generator=Described)
    for option, field in schema.get("properties", {}).items():
        default = "needed" if option in schema.get("required", ()) else f"default {json.dumps(field.get('default'))}"
        print_named(f"  {option}", f" ({default}): {field.get('description', MISSING)}")
        for value in _values(field, schema.get("$defs", {})):
            out.print(f"    {value}", soft_wrap=True)


def _values(field: dict[str, Any], defs: dict[str, Any]) -> list[str]:
    """The words that an option may be, with what each means."""
    meant = defs[field["$ref"].rpartition("/")[2]] if "$ref" in field else {}
    if "enumDescriptions" in meant:
        return [f"{word}: {text}" for word, text in zip(meant["enum"], meant["enumDescriptions"], strict=True)]
    return [f"one of: {', '.join(map(str, meant['enum']))}"] if "enum" in meant else []


def _print_recipes(chosen: Sequence[str]) -> None:
    from sinternal.settings.files import read_recipe

    for name in chosen:
        about = str(read_recipe(name).get("description", ""))
        print_named(name, f": {' '.join(about.split()) if len(chosen) == 1 else first_sentence(about)}")


def first_sentence(text: str) -> str:
    """The first sentence of a text, on one line."""
    return re.split(r"(?<=\S)\. ", " ".join(text.split()))[0].removesuffix(".")


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
