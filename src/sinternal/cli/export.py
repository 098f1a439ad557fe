"""`sinternal export`: a recipe's data, settings and rewards for other trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sinternal.cli.arguments import Overrides, StoreFolder
from sinternal.cli.output import out, print_named, print_note

commands = typer.Typer(help="Write a recipe's data, settings and rewards for another trainer.", no_args_is_help=True)


@commands.callback()
def options() -> None:
    """Write a recipe's data, settings and rewards for another trainer."""


@commands.command("verl")
def export_verl(
    source: Annotated[
        str, typer.Argument(metavar="RUN_OR_RECIPE", help="Folder of a run, name of a packaged recipe, or a YAML file.")
    ],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder that receives a folder for each arm.")],
    arms: Annotated[
        list[str] | None, typer.Option("--arm", metavar="ARM", help="Only this arm; can be repeated.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Repetition; by default the recipe's first.")] = None,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of each node that verl trains on.")] = 8,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes.")] = 1,
    overrides: Overrides = None,
    store_folder: StoreFolder = None,
) -> None:
    """Parquet files, configurations and a reward function for verl, of every arm that is trained."""
    from sinternal.integrations.verl.config import Machine
    from sinternal.integrations.verl.export import Source, export

    opened = Source.open(source, overrides or [], store_folder)
    exported = export(opened, out_folder, arms=arms or (), seed=seed, machine=Machine(gpus, nodes))
    for arm in exported:
        print_named(arm.arm, f": {arm.rows:,} rows in {arm.folder}")
        out.print(arm.command, soft_wrap=True)
    for note in dict.fromkeys(note for arm in exported for note in arm.notes):
        print_note(note)
    out.print(f"what verl does otherwise, and what was not exported: {out_folder / 'README.md'}", soft_wrap=True)
