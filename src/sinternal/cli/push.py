"""`sinternal push`: an exported folder on the Hugging Face hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sinternal.cli.completion import complete_paths
from sinternal.cli.output import out, tell
from sinternal.errors import SInternalError


def push(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="What `sinternal export` has written.", autocompletion=complete_paths),
    ],
    repo: Annotated[str, typer.Option(metavar="OWNER/NAME", help="Where to, on the hub; made if it is not there.")],
    public: Annotated[bool, typer.Option("--public", help="Let everybody see it; by default nobody else can.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it becomes public.")] = False,
) -> None:
    """Send an exported model or training set to the Hugging Face hub: private, unless you say otherwise.

    The token is HF_TOKEN, or that of `hf auth login`.
    """
    from sinternal.integrations.hub.push import HARMFUL, NO_TOKEN, aim
    from sinternal.integrations.hub.push import push as send

    aimed = aim(folder, repo)
    kind = aimed.kind
    tell(aimed.in_words())
    if aimed.token is None:
        raise SInternalError(NO_TOKEN)
    if public:
        tell(f"note: {HARMFUL}")
        if not yes and not (sys.stdin.isatty() and typer.confirm(f"Make this {kind} public as {repo}?")):
            raise SInternalError("nothing was sent; say --yes to make it public, or leave --public out")
    pushed = send(folder, repo, public=public)
    out.print(f"{kind}, {'private' if pushed.private else 'public'}: {pushed.address}", soft_wrap=True)
