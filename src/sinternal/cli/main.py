"""The command line: each command reads its arguments, calls the library and prints. No logic lives here."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from io import TextIOWrapper
from types import TracebackType
from typing import Annotated

import typer

from sinternal.cli import check, export, init, listing, models, push, store, study, world
from sinternal.cli.examples import epilog
from sinternal.cli.output import is_quiet, out, set_quiet, tell
from sinternal.cli.schema import schema
from sinternal.cli.view import view
from sinternal.errors import BudgetError, SInternalError
from sinternal.extras import explained
from sinternal.pending import heard_by
from sinternal.redaction import conceal

DEBUG, QUIET = "--debug", "--quiet"
"""What every command takes, wherever it stands."""
EXIT_MISTAKE = 2
"""Exit code of an error of the user's."""
EXIT_BUDGET = 3
"""Exit code of a run that has spent its budget."""
EXIT_PIPE = 141
"""Exit code when nobody reads the output any more (128 and the number of SIGPIPE)."""
COMMANDS: tuple[Callable[..., None], ...] = (
    init.init,
    check.check,
    study.run,
    view,
    models.diagnose,
    study.judge,
    models.verify,
    models.agree,
    study.compare,
    models.fetch,
    study.plan,
    study.report,
    push.push,
    listing.list_,
    listing.show,
    schema,
)
"""In the order of the help; a command's name is its function's."""

GROUPS = {"export": export.commands, "store": store.commands, "world": world.commands}
"""Commands that have commands of their own, by name."""

app = typer.Typer(
    help="Train a reasoning model only to verify its own answers, and measure what that does to its safety.",
    epilog=epilog(""),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in COMMANDS:
    name = command.__name__.rstrip("_")
    app.command(name, epilog=epilog(name))(command)
for name, group in GROUPS.items():
    for each in group.registered_commands:
        each.epilog = epilog(f"{name} {each.name}")
    app.add_typer(group, name=name, epilog=epilog(name))


def _print_version(asked: bool) -> None:
    if asked:
        out.print(f"sinternal {version('sinternal')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the command line itself."""


def _show_traceback(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    """What is shown of an error that is not the user's, or by `--debug`: all but secrets that its causes may quote."""
    sys.stderr.write(conceal("".join(traceback.format_exception(kind, error, at))))


def _tell_progress(words: str) -> None:
    """Say how far something is."""
    if not is_quiet():
        tell(words)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. An error of the user's is one line and exit code 2; `--debug` shows its traceback.

    Args:
        arguments: by default those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what its encoding does not know is spelled out, and ends no command
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in given
    set_quiet(QUIET in given)
    try:
        with heard_by(_tell_progress):
            app([argument for argument in given if argument not in (DEBUG, QUIET)] or ["--help"])
    except BudgetError as error:
        tell(f"stopped: {error}")
        sys.exit(EXIT_BUDGET)
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        # Whoever read the output has had enough of it, which Typer and Rich both call 1. What is left is not written on
        # the way out either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_PIPE)
    except (SInternalError, OSError, ModuleNotFoundError) as error:
        known = explained(error, "this command") if isinstance(error, ModuleNotFoundError) else error
        if debug or isinstance(known, ModuleNotFoundError):
            raise
        more = "" if isinstance(known, SInternalError) else f" ({DEBUG} shows where)"
        tell(f"error: {known}{more}")
        sys.exit(EXIT_MISTAKE)
    finally:
        set_quiet(False)
        sys.excepthook = _show_traceback  # typer has put its own there
