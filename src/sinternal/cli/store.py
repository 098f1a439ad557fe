"""Commands about stores: what is damaged, what no run needs, what takes the room."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from sinternal.cli.arguments import Json
from sinternal.cli.completion import complete_paths
from sinternal.cli.output import emit, out, print_note, print_table, tell
from sinternal.errors import SInternalError, StoreError

commands = typer.Typer(help="Look after stores, the folders of artifacts.", no_args_is_help=True)

Places = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[PATH]...",
        help="Runs or stores; by default every run in runs/.",
        show_default=False,
        autocompletion=complete_paths,
    ),
]
UNITS = ("bytes", "kB", "MB", "GB", "TB")


@commands.callback()
def options() -> None:
    """Look after stores, the folders of artifacts."""


@commands.command("check")
def check(places: Places = None, as_json: Json = False) -> None:
    """Compare every file of every artifact with its checksum: all bytes are read."""
    from sinternal.store.care import check as look_at

    artifacts = damaged = 0
    looked: list[dict[str, Any]] = []
    for root in _stores(places):
        found = look_at(root)
        artifacts += found.artifacts
        damaged += len(found.damage)
        for line in found.damage:
            tell(f"damaged: {line}")
        if as_json:
            looked.append({"store": str(root), **asdict(found)})
            continue
        good = found.artifacts - len(found.damage)
        out.print(
            f"{root}: {good} of {found.artifacts} artifacts as they were written, {size(found.size)}", soft_wrap=True
        )
        if found.unguarded:
            print_note(
                f"{root}: {found.unguarded} artifacts were written by a version that kept no checksum of the manifest; "
                "changes of these cannot be seen"
            )
        if found.unfinished:
            print_note(f"{root}: {found.unfinished} unfinished artifacts are checked when their run goes on")
    if as_json:
        emit(looked)
    if damaged:
        raise StoreError(f"{damaged} of {artifacts} artifacts are damaged: do what is said above, and run again")


@commands.command("gc")
def gc(
    place: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A store, or a run that has one inside.", autocompletion=complete_paths),
    ],
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="A run whose artifacts stay though the store knows it elsewhere.",
            autocompletion=complete_paths,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it, say only what would be deleted.")] = False,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Also artifacts of which the store knows no run, such as older ones.")
    ] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Also unfinished artifacts, which a run would go on with.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Delete what no run needs. Runs are those that the store knows and whose folders are there; see also --run."""
    from sinternal.store.care import collect, garbage
    from sinternal.study.run import needs

    (root,) = _stores([place])
    kept = set[str]().union(*(needs(run, root) for run in runs or []))
    freed = collect(root, kept, unknown=unknown, unfinished=unfinished, delete=yes)
    if as_json:
        kinds = [{**each._asdict(), "path": str(each.path), "why": str(each.why)} for each in freed.garbage]
        emit({"store": str(root), "deleted": yes, "garbage": kinds, "in_use": [str(path) for path in freed.in_use]})
        return
    by_kind: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    for each in freed.garbage:
        by_kind[each.stage, each.why] += 1
        sizes[each.stage, each.why] += each.size
    if by_kind:
        rows = [
            [stage, f"{by_kind[stage, why]:,}", size(sizes[stage, why]), why]
            for stage, why in sorted(by_kind, key=lambda kind: -sizes[kind])
        ]
        print_table(None, ["stage", "artifacts", "size", ""], rows)
    total = size(sum(sizes.values()))
    mend = "" if yes or not by_kind else "; --yes deletes"
    out.print(f"{root}: {'freed' if yes else 'would free'} {total}{mend}", soft_wrap=True)
    for path in freed.in_use:
        print_note(f"{path}: a process is at it; it stays")
    gone = {each.path for each in freed.garbage}
    others = [each for each in garbage(root, kept, unknown=True, unfinished=True) if each.path not in gone]
    for why, number in Counter(each.why for each in others if each.path not in freed.in_use).items():
        flag = {"UNKNOWN": "--unknown", "UNFINISHED": "--unfinished"}.get(why.name, "--yes")
        print_note(f"{number:,} more stay ({why}); {flag} takes them, too")


@commands.command("size")
def size_(places: Places = None, as_json: Json = False) -> None:
    """Show what takes the room: each stage, largest first."""
    from sinternal.store.care import Share, shares

    if as_json:
        emit([{"store": str(root), "stages": [share._asdict() for share in shares(root)]} for root in _stores(places)])
        return
    for root in _stores(places):
        every = shares(root)
        whole = Share("all", *(sum(numbers) for numbers in list(zip(*every, strict=True))[1:])) if every else None
        rows = [
            [share.stage, f"{share.artifacts:,}", size(share.size), size(share.unfinished) if share.unfinished else ""]
            for share in (*every, *filter(None, [whole]))
        ]
        out.print(str(root), soft_wrap=True)
        print_table(None, ["stage", "artifacts", "size", "unfinished"], rows)


def size(number: int) -> str:
    """`1.2 MB`."""
    value, unit = float(number), 0
    while value >= 1000 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {UNITS[unit]}" if unit == 0 else f"{value:.1f} {UNITS[unit]}"


def _stores(places: list[Path] | None) -> list[Path]:
    """The stores that are named, or those of all runs here; one to which several runs lead, once."""
    from sinternal.study.run import ARTIFACTS, RUNS

    if not places:
        found = sorted(path for path in RUNS.glob(f"*/{ARTIFACTS}") if path.is_dir())
        if not found:
            raise SInternalError(f"{RUNS}: there are no runs with a store; name one, or the folder that --store had")
        return _each_once(found)
    stores = [place / ARTIFACTS if (place / ARTIFACTS).is_dir() else place for place in places]
    for store, place in zip(stores, places, strict=True):
        if not store.is_dir():
            raise SInternalError(f"{place}: there is no store; name a run's folder, or the folder that --store had")
    return _each_once(stores)


def _each_once(stores: list[Path]) -> list[Path]:
    first: dict[Path, Path] = {}
    for store in stores:
        first.setdefault(store.resolve(), store)
    return list(first.values())
