"""`sinternal view`: a folder of runs in the browser, while they go on."""

from __future__ import annotations

import html
import os
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from sinternal.cli.arguments import StoreFolder
from sinternal.cli.completion import complete_paths
from sinternal.cli.output import out, tell

DOORWAY = (
    '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
    '<meta http-equiv="refresh" content="0; url={address}"><title>sinternal view</title>'
    '<a href="{address}">sinternal view</a>'
)


def view(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Folder of runs, or one run.", autocompletion=complete_paths)
    ] = Path("runs"),
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port on this machine; by default 8765, or any if it is taken.")
    ] = None,
    browser: Annotated[
        bool | None, typer.Option("--open/--no-browser", help="Whether to open a browser; by default on a terminal.")
    ] = None,
    redact: Annotated[bool, typer.Option("--redact", help="Show no text that a model wrote or was asked.")] = False,
    store_folder: StoreFolder = None,
) -> None:
    """Show a folder of runs in the browser, while they go on: progress, curves, newest texts, comparisons."""
    from sinternal.view.server import listen

    served = listen(folder, port, store=store_folder, texts=not redact)
    out.print(served.address, soft_wrap=True)
    out.print(f"shows {folder}, to this machine and whoever has this address; Ctrl-C ends it", soft_wrap=True)
    with ExitStack() as until_ended:
        if out.is_terminal if browser is None else browser:
            webbrowser.open(until_ended.enter_context(doorway(served.address)))
        try:
            served.run()
        except KeyboardInterrupt:
            tell("view ended; runs go on")


@contextmanager
def doorway(address: str) -> Iterator[str]:
    """The address of a file of one's own that leads to an address: command lines, which others can see, hold no token.

    It goes when the view ends.
    """
    with TemporaryDirectory(prefix="sinternal-view-") as folder:  # which nobody else may open
        page = Path(folder) / "open.html"
        with os.fdopen(os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            stream.write(DOORWAY.format(address=html.escape(address)))
        yield page.as_uri()
