"""`sinternal export`: what a run or recipe holds, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sinternal.cli.arguments import Overrides, RunFolder, StoreFolder
from sinternal.cli.output import out, print_named, print_note


class _ByName(TyperGroup):
    """Takes `export RUN --inspect` for `export inspect RUN`: people guess either."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command first that an option of its name stands for."""
        first = next((word for word in args if not word.startswith("-")), None)
        named = [word for word in args if word.startswith("--") and word[2:] in self.commands]
        if named and first not in self.commands:
            args = [named[0][2:], *(word for word in args if word != named[0])]
        return super().parse_args(ctx, args)


commands = typer.Typer(
    cls=_ByName, help="Write what a run or recipe holds for other programs: Inspect, verl.", no_args_is_help=True
)


@commands.callback()
def options() -> None:
    """Write what a run or recipe holds for other programs: Inspect, verl."""


@commands.command("inspect")
def export_inspect(
    run: RunFolder,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the logs; by default inspect in the run's.")
    ] = None,
    redact: Annotated[bool, typer.Option("--redact", help="Leave out all texts.")] = False,
    store_folder: StoreFolder = None,
) -> None:
    """Logs of Inspect (.eval) of a finished run: one for each arm, seed and benchmark, and each condition of stress."""
    from sinternal.integrations.logs.export import export

    exported = export(run, out_folder, store=store_folder, redact=redact)
    out.print(f"{len(exported.logs):,} logs with {exported.samples:,} samples in {exported.folder}", soft_wrap=True)
    for note in exported.notes:
        print_note(note)
    out.print(f"look at them with: inspect view --log-dir {exported.folder}", soft_wrap=True)


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
