"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sinternal.cli.completion import complete_arms, complete_paths, complete_recipes

RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="Name of a packaged recipe, or path of a YAML file.",
        autocompletion=complete_recipes,
    ),
]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a field of the recipe.")]
OutFolder = Annotated[
    Path | None,
    typer.Option("--out", help="Folder of the run; by default runs/<recipe name>.", autocompletion=complete_paths),
]
StoreFolder = Annotated[
    Path | None,
    typer.Option("--store", help="Folder of artifacts, to share between runs.", autocompletion=complete_paths),
]
RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of a finished run.", autocompletion=complete_paths)
]
MaxCost = Annotated[
    float | None,
    typer.Option("--max-cost", help="Stop once calls to servers have cost this much, at the set prices."),
]
MaxTokens = Annotated[
    int | None, typer.Option("--max-tokens", help="Stop once calls to servers have used this many tokens.")
]
RetryFailed = Annotated[
    bool | None,
    typer.Option(
        "--retry-failed/--keep-failed",
        help="Retry rows whose request failed or was withheld by a filter; by default only those of servers that "
        "can be reached.",
    ),
]
Again = Annotated[
    list[str] | None,
    typer.Option(metavar="STAGE", help="Redo this stage and everything made from it; can be repeated."),
]
Model = Annotated[
    str,
    typer.Option(
        help="An arm of a run (RUN/ARM), a model directory, a hub id, or a name that the server knows.",
        autocompletion=complete_arms,
    ),
]
BaseUrl = Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server.")]
EngineOptions = Annotated[
    list[str] | None, typer.Option("--option", metavar="A.B=C", help="Set an option of the engine.")
]
JudgeOptions = Annotated[list[str] | None, typer.Option("--option", metavar="A.B=C", help="Set a judge option.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
LongestVerification = Annotated[int, typer.Option(min=1, help="Longest verification, in tokens.")]


def parse_assignments(options: list[str] | None, flag: str = "--option") -> dict[str, Any]:
    """The values of an option that comes as `a.b=c`, any number of times.

    Args:
        options: what was given.
        flag: the option's name, for messages.

    Raises:
        RecipeError: one is not written so.
    """
    from sinternal.settings.files import override

    values: dict[str, Any] = {}
    override(values, options or [], flag)
    return values
