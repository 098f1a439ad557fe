"""`sinternal view`: a folder of runs in the browser, while they go on."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from sinternal.cli.arguments import StoreFolder
from sinternal.cli.output import out, tell


def view(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Folder of runs, or one run.")] = Path("runs"),
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
    if out.is_terminal if browser is None else browser:
        webbrowser.open(served.address)
    try:
        served.run()
    except KeyboardInterrupt:
        tell("view ended; runs go on")
