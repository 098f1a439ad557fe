"""Commands about the embedded microworld."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sinternal.cli.arguments import Json
from sinternal.cli.completion import complete_paths
from sinternal.cli.output import emit, out, print_named
from sinternal.settings.files import override

commands = typer.Typer(help="The embedded microworld.", no_args_is_help=True)

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A=B", help="A setting of the base, for example link=0 or hidden=256; repeatable."),
]


@commands.command("build")
def build(
    seed: Annotated[int, typer.Option(help="Seed of corpus, weights and order.")] = 0,
    to: Annotated[Path, typer.Option(help="Folder that receives the model.", autocompletion=complete_paths)] = Path(
        "microworld-base"
    ),
    settings: Settings = None,
) -> None:
    """Pretrain a base model from scratch: about six minutes on one core."""
    from sinternal.cli.progress import Progress
    from sinternal.extras import TRAINING, require
    from sinternal.world.build import build_to

    require("building a base", *TRAINING)
    with Progress(out) as progress:
        build_to(to, seed=seed, settings=_read(settings), progress=progress.count("base"))
    out.print(f"base model: {to}")


@commands.command("show")
def show(
    rows: Annotated[int, typer.Option(help="Number of dialogues.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Print some dialogues of the corpus that the base is pretrained on."""
    from sinternal.world.build import read_settings
    from sinternal.world.corpus import pretraining_corpus

    dialogues = pretraining_corpus(read_settings(_read(settings)), rows=rows, seed=seed)
    if as_json:
        emit([{"prompt": each.prompt, "thinking": each.thinking, "answer": each.answer} for each in dialogues])
        return
    for dialogue in dialogues:
        print_named(dialogue.prompt, f"\n  {dialogue.thinking}\n  {dialogue.answer}")


def _read(settings: list[str] | None) -> dict[str, Any]:
    content: dict[str, Any] = {}
    override(content, settings or (), "--set")
    return content
