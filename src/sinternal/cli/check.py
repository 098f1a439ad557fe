"""`sinternal check`: each part of a recipe, before anything is spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from sinternal.cli.arguments import Json, MaxCost, MaxTokens, OutFolder, Overrides, RecipeName, StoreFolder
from sinternal.cli.output import emit, out

if TYPE_CHECKING:
    from sinternal.tools.findings import Finding

EXIT_WRONG = 2
"""Exit code if a run would stop: that of every mistake of the user's."""
PLAN = "; `sinternal plan` says what each stage takes"
"""What follows where nothing is wrong with a recipe."""
COLOURS = {"ok": "green", "note": "yellow", "wrong": "bold red"}
Ask = Annotated[bool, typer.Option("--ask", help="Also send each server one small request, which it may charge for.")]


def check(
    recipe: RecipeName,
    overrides: Overrides = None,
    out_folder: OutFolder = None,
    store_folder: StoreFolder = None,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    ask: Ask = False,
    as_json: Json = False,
) -> None:
    """Look at each part of a recipe before anything is spent: data, model, chat template, servers, keys, disk.

    All that is wrong is listed at once, each with how to fix it, and the exit code is 2. Nothing is downloaded, and no
    request is paid for, unless `--ask` allows one to each server.
    """
    from sinternal.budget import Limits
    from sinternal.tools.check import check as check_recipe

    limits = Limits(max_tokens, max_cost)
    show(
        check_recipe(recipe, overrides or (), out=out_folder, store=store_folder, limits=limits, ask=ask),
        as_json=as_json,
        then=PLAN,
    )


def show(findings: Iterable[Finding], *, as_json: bool, then: str = "") -> None:
    """Print what was found, `then` if nothing is wrong, and end with the code that says whether a run would stop."""
    from sinternal import budget

    before = budget.spent()
    listed = []
    for finding in findings:
        listed.append(finding)
        if not as_json:
            mark = Text(f"{finding.mark.value:<6}", COLOURS[finding.mark.value])
            out.print(Text.assemble(mark, f"{finding.part}: {finding.words}"), soft_wrap=True)
    counts = Counter(finding.mark.value for finding in listed)
    spent = budget.spent() - before
    bill = f"asking took {spent.in_words()}" if spent.calls else "nothing was spent"
    if as_json:
        emit(
            {
                "findings": [finding._asdict() for finding in listed],
                "counts": dict(counts),
                "spent": asdict(spent),
            }
        )
    elif counts["wrong"]:
        out.print(f"{counts['wrong']} wrong: a run would stop, or fail there; {bill}", soft_wrap=True)
    else:
        out.print(f"nothing is wrong{then}; {bill}", soft_wrap=True)
    if counts["wrong"]:
        raise typer.Exit(EXIT_WRONG)
