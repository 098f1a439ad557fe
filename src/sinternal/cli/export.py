"""`sinternal export`: what leaves a run, in the form that other programs read. One subcommand a form.

`sinternal export RUN/ARM TO` is short for `export model`, and `sinternal export RUN --inspect` for `export inspect`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sinternal.cli.arguments import Overrides, RunFolder, StoreFolder
from sinternal.cli.completion import complete_arms, complete_paths
from sinternal.cli.output import out, print_named, print_note

SHORT = {"--inspect": "inspect"}
"""Flags that stand for a subcommand where a run is named first."""


class Forms(TyperGroup):
    """The subcommands, of which one may be left out where a run's folder is named in its place."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the subcommand that is meant."""
        if args and args[0] not in self.commands and not args[0].startswith("-") and _is_path(args[0]):
            flag = next((argument for argument in args if SHORT.get(argument) in self.commands), None)
            args = [SHORT[flag] if flag else "model", *(argument for argument in args if argument != flag)]
        return super().parse_args(ctx, args)


def _is_path(text: str) -> bool:
    return "/" in text or Path(text).exists()


commands = typer.Typer(cls=Forms, no_args_is_help=True)


@commands.callback()
def options() -> None:
    """Take what a run made elsewhere: models, training sets, data for other trainers, logs.

    `sinternal export RUN/ARM TO` is short for `export model`, `sinternal export RUN --inspect` for `export inspect`.
    """


ArmName = Annotated[
    str,
    typer.Argument(
        metavar="RUN/ARM",
        help="An arm of a finished run; RUN/VARIANT/ARM of another variant, and RUN/ARM/SEED of another seed.",
        autocompletion=complete_arms,
    ),
]
To = Annotated[Path, typer.Argument(metavar="TO", help="Folder to write; new or empty.", autocompletion=complete_paths)]


@commands.command("model")
def export_model(
    arm: ArmName,
    to: To,
    base: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="What others call the base of an adapter.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--license", help="Of the weights; by default that of the base's own card.")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Merge an adapter into its base.")] = False,
    store_folder: StoreFolder = None,
) -> None:
    """A trained arm with its model card: loads in transformers, PEFT and vLLM. An adapter stays an adapter."""
    from sinternal.integrations.hub.models import export_model as export
    from sinternal.study.named_arm import ArmOfRun

    exported = export(ArmOfRun.open(arm, store_folder), to, base=base, licence=licence, merge=merge)
    for note in exported.notes:
        print_note(note)
    kind = f"a LoRA adapter for {exported.base}" if exported.adapter else "weights"
    out.print(f"{kind}, tokenizer and model card, {exported.bytes / 1e6:,.1f} MB: {exported.folder}", soft_wrap=True)


@commands.command("data")
def export_data(arm: ArmName, to: To, store_folder: StoreFolder = None) -> None:
    """The training set of an arm with its data card: prompts and completions, as TRL's SFTTrainer takes them."""
    from sinternal.integrations.hub.data import export_data as export
    from sinternal.study.named_arm import ArmOfRun

    exported = export(ArmOfRun.open(arm, store_folder), to)
    for note in exported.notes:
        print_note(note)
    out.print(f"{exported.rows:,} rows ({exported.form}) and data card: {exported.folder}", soft_wrap=True)


@commands.command("verl")
def export_verl(
    source: Annotated[
        str, typer.Argument(metavar="RUN_OR_RECIPE", help="Folder of a run, name of a packaged recipe, or a YAML file.")
    ],
    out_folder: Annotated[
        Path, typer.Option("--out", help="Folder that receives a folder for each arm.", autocompletion=complete_paths)
    ],
    arms: Annotated[
        list[str] | None, typer.Option("--arm", metavar="ARM", help="Only this arm; can be repeated.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Repetition; by default the recipe's first.")] = None,
    variant: Annotated[str | None, typer.Option(help="Variant; by default the recipe's first.")] = None,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of each node that verl trains on.")] = 8,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes.")] = 1,
    overrides: Overrides = None,
    store_folder: StoreFolder = None,
) -> None:
    """Parquet files, configurations and a reward function for verl, of every arm that is trained."""
    from sinternal.integrations.verl.config import Machine
    from sinternal.integrations.verl.export import Source, export

    opened = Source.open(source, overrides or [], store_folder)
    exported = export(opened, out_folder, arms=arms or (), seed=seed, variant=variant, machine=Machine(gpus, nodes))
    for arm in exported:
        print_named(arm.arm, f": {arm.rows:,} rows in {arm.folder}")
        out.print(arm.command, soft_wrap=True)
    for note in dict.fromkeys(note for arm in exported for note in arm.notes):
        print_note(note)
    if variant is None and len(opened.recipe.variants) > 1:
        print_note(f"this is the first variant; --variant names another: {', '.join(opened.recipe.variants)}")
    out.print(f"what verl does otherwise, and what was not exported: {out_folder / 'README.md'}", soft_wrap=True)


@commands.command("inspect")
def export_inspect(
    run: RunFolder,
    out_folder: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder of the logs; by default inspect in the run's.", autocompletion=complete_paths
        ),
    ] = None,
    arms: Annotated[
        list[str] | None, typer.Option("--arm", metavar="ARM", help="Only this arm; can be repeated.")
    ] = None,
    seeds: Annotated[
        list[int] | None, typer.Option("--seed", metavar="SEED", help="Only this training run; can be repeated.")
    ] = None,
    variants: Annotated[
        list[str] | None, typer.Option("--variant", metavar="VARIANT", help="Only this variant; can be repeated.")
    ] = None,
    redact: Annotated[bool, typer.Option("--redact", help="Leave out all texts.")] = False,
    store_folder: StoreFolder = None,
) -> None:
    """Logs of Inspect (.eval) of a finished run: of each arm, seed and benchmark, condition of stress, and attack."""
    from sinternal.integrations.logs.export import export

    exported = export(
        run,
        out_folder,
        arms=arms or (),
        seeds=seeds or (),
        variants=variants or (),
        store=store_folder,
        redact=redact,
    )
    out.print(f"{len(exported.logs):,} logs with {exported.samples:,} samples in {exported.folder}", soft_wrap=True)
    for note in exported.notes:
        print_note(note)
    out.print(f"look at them with: inspect view --log-dir {exported.folder}", soft_wrap=True)
