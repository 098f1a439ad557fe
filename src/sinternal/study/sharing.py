"""A finished run's pages without texts, for sharing: made from its artifacts, beside those with texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path

from sinternal.errors import SInternalError
from sinternal.figures.gather import call_notes, gather
from sinternal.figures.without_texts import hider_of, study_without_texts
from sinternal.layout import RunMap
from sinternal.records import Measured
from sinternal.report.markdown import render_markdown
from sinternal.report.page import Page
from sinternal.report.results import to_json
from sinternal.report.study_page import render
from sinternal.stages.report import ReportConfig
from sinternal.store import Artifact, Store, check_writable
from sinternal.store.files import write_text
from sinternal.store.tables import write_table
from sinternal.study.run import RECIPE, REPORT, RESULTS, Run, find_last

SHARED = "redacted"
"""Inside a run's folder: its pages without texts."""


def share(folder: Path | str, store: Path | str | None = None, to: Path | str | None = None) -> Path:
    """Write a finished run's report, results and rows without texts: lengths, keyed hashes and labels stay.

    Left out are prompts, thinkings, answers and critiques, words of servers, texts in the recipe, and the folders of
    files. Names stay, such as those of arms, models and benchmarks.

    Args:
        folder: the run's.
        store: its folder of artifacts, if that is not inside.
        to: where to; by default the folder `redacted` inside the run's.

    Returns:
        The page.

    Raises:
        SInternalError: there is no finished run, or artifacts of it are not there.
    """
    opened = Run.open(folder, store)
    made = page_artifact(opened.store, "report", opened.folder, (RECIPE, RESULTS))
    artifacts = inputs_of(opened.store, made, opened.folder)
    config = ReportConfig.model_validate(made.manifest["config"])
    run = RunMap[Artifact].from_flat(artifacts)
    calls = call_notes(run, reasons=False)
    data = study_without_texts(gather(config.recipe, config.variants, run), calls, hider_of(opened.folder))

    def write_rows(to: Path) -> None:
        write_table(to / "measured.parquet", data.measured, Measured)

    pages: dict[str, Callable[[], str | Page]] = {
        REPORT: lambda: render(data),
        RESULTS: lambda: json.dumps(to_json(data), indent=1, allow_nan=False) + "\n",
        "results.md": lambda: render_markdown(data),
    }
    return write_shared(opened.folder if to is None else Path(to), to is None, pages, write_rows)


def write_shared(
    folder: Path,
    inside: bool,
    pages: dict[str, Callable[[], str | Page]],
    write_rows: Callable[[Path], None] | None = None,
) -> Path:
    """Write pages into a folder for sharing.

    Args:
        folder: where to, or the run's folder.
        inside: whether it is the run's.
        pages: by name, the page for people first.
        write_rows: writes what else belongs there.

    Returns:
        The first page.
    """
    to = folder / SHARED if inside else folder
    check_writable(to, "--to")
    for name, make in pages.items():
        page = make()
        if isinstance(page, Page):
            page.write(to / name)
        else:
            write_text(to / name, page)
    if write_rows is not None:
        write_rows(to)
    return to / next(iter(pages))


def page_artifact(store: Store, stage: str, folder: Path, names: Collection[str]) -> Artifact:
    """The artifact whose files lie in a run's folder; for the arguments, see `find_last`.

    Raises:
        SInternalError: it is not in the store.
    """
    made = find_last(store, stage, folder, names)
    if made is None:
        raise SInternalError(
            f"{folder}: what its page was made from is not in {store.root}: finish the run, or name its --store"
        )
    return made


def inputs_of(store: Store, made: Artifact, folder: Path) -> dict[str, Artifact]:
    """The artifacts that another was made from, by the names of its stage's arguments.

    Args:
        store: where they are.
        made: the other.
        folder: of the run, for messages.

    Raises:
        SInternalError: one of them is not there.
    """
    found: dict[str, Artifact] = {}
    for name, key in made.manifest["inputs"].items():
        stages = sorted(path.parent.name for path in store.root.glob(f"*/{key}")) if str(key).isalnum() else []
        artifact = next(filter(None, (store.find(stage, key) for stage in stages)), None)
        if artifact is None:
            raise SInternalError(f"{folder}: {name!r}, which its page needs, is not in {store.root}; run it again")
        found[name] = artifact
    return found
