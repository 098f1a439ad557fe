"""Commands about the embedded microworld."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sinternal.cli.output import out, print_named

commands = typer.Typer(help="The embedded microworld.", no_args_is_help=True)

Coupling = Annotated[float, typer.Option(help="How tightly careful style goes with the safety check.")]


@commands.command("build")
def build(
    seed: Annotated[int, typer.Option(help="Seed of corpus, weights and order.")] = 0,
    coupling: Coupling = 1.0,
    to: Annotated[Path, typer.Option(help="Folder that receives the model.")] = Path("microworld-base"),
    steps: Annotated[int | None, typer.Option(help="Optimiser steps, if not those of the shipped base.")] = None,
) -> None:
    """Pretrain a base model from scratch: about five minutes on one core."""
    from sinternal.cli.progress import Progress
    from sinternal.extras import TRAINING, require
    from sinternal.world.build import build_to

    require("building a base", *TRAINING)
    with Progress(out) as progress:
        build_to(to, seed=seed, coupling=coupling, steps=steps, progress=progress.count("base"))
    out.print(f"base model: {to}")


@commands.command("show")
def show(
    rows: Annotated[int, typer.Option(help="Number of dialogues.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    coupling: Coupling = 1.0,
) -> None:
    """Print some dialogues of the corpus that the base is pretrained on."""
    from sinternal.world.corpus import pretraining_corpus
    from sinternal.world.language import World

    for dialogue in pretraining_corpus(World.draw(), coupling=coupling, rows=rows, seed=seed):
        print_named(dialogue.prompt, f"\n  {dialogue.thinking}\n  {dialogue.answer}")
