"""The command that lists what a recipe can name."""

from __future__ import annotations

from typing import Annotated

import typer

from sinternal.cli.output import MISSING, out, print_named
from sinternal.errors import SInternalError


def list_(
    kind: Annotated[str | None, typer.Argument(help="Only one kind, for example recipes or judges.")] = None,
) -> None:
    """List what a recipe can name."""
    from sinternal.registry import Kind, names
    from sinternal.settings.files import packaged_recipes

    known = {"recipes": list(packaged_recipes()), **{k.value.removeprefix("sinternal."): names(k) for k in Kind}}
    if kind is not None and kind not in known:
        raise SInternalError(f"there is no kind {kind!r} to list; choose one of: {', '.join(known)}")
    if kind in DETAILED:
        DETAILED[kind]()
        return
    for name, entries in known.items():
        if kind in (None, name):
            print_named(name, f": {', '.join(entries) or MISSING}")


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


DETAILED = {
    "benchmarks": _print_benchmarks,
    "attacks": _print_attacks,
    "adaptive_attacks": _print_adaptive_attacks,
}
"""Kinds of which `list` tells more than their names."""
