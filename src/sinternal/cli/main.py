"""The command line: each command reads its arguments, calls the library and prints. No logic lives here."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from io import TextIOWrapper
from types import TracebackType
from typing import Annotated, Any

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
from sinternal.validation import nearest

DEBUG, QUIET = "--debug", "--quiet"
"""What every command takes, wherever it stands."""
EXIT_MISTAKE = 2
"""Exit code of an error of the user's."""
EXIT_BUDGET = 3
"""Exit code of a run that has spent its budget."""
EXIT_INTERRUPTED = 130
"""Exit code of what Ctrl-C has ended."""
EXIT_PIPE = 141
"""Exit code when nobody reads the output any more (128 and the number of SIGPIPE)."""
USAGE_ERROR: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
"""What is wrong with the words of a command; the class is Click's, or that of the Click inside newer Typers."""
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


def _tell_mistake(error: Exception, *, debug: bool) -> None:
    """Say what was wrong, in one line or by `--debug` with where it came from."""
    if debug:
        _show_traceback(type(error), error, error.__traceback__)
    else:
        more = "" if isinstance(error, SInternalError) else f" ({DEBUG} shows where)"
        tell(f"error: {error}{more}")


def _tell_progress(words: str) -> None:
    """Say how far something is."""
    if not is_quiet():
        tell(words)


def _in_one_line(error: Any) -> str:
    """What is wrong with the words of a command, and where to read on."""
    words, context = " ".join(error.format_message().split()).rstrip("."), getattr(error, "ctx", None)
    if (option := getattr(error, "option_name", None)) and hasattr(error, "possibilities"):
        near = nearest(option, error.possibilities or ())
        words = f"no such option: {option}{f'; did you mean {near}?' if near else ''}"
    more = f" (see `{context.command_path} --help`)" if context is not None else ""
    return f"{words[:1].lower()}{words[1:]}{more}"


def _call(words: list[str]) -> int:
    """Call a command; what is wrong with its words is one line, and so is the end of a question that nobody answers.

    Returns:
        The exit code.
    """
    try:
        return app(words, standalone_mode=False) or 0
    except USAGE_ERROR as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a group of commands, and none of them
            error.show()
        else:
            tell(f"error: {_in_one_line(error)}")
        return EXIT_MISTAKE
    except typer.Abort as abort:
        sys.stderr.write("\n")  # the question stands there still
        if isinstance(abort.__context__, EOFError):
            tell("error: the input ended before all was asked; say the rest by options (see --help)")
            return EXIT_MISTAKE
        tell("stopped; nothing was done")
        return EXIT_INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. An error of the user's is one line and exit code 2; `--debug` shows its traceback.

    Args:
        arguments: by default those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what its encoding does not know is spelled out, and ends no command
            stream.reconfigure(errors="backslashreplace")
    if not sys.warnoptions:  # what libraries are going to rename is no news to who exports a model
        warnings.simplefilter("ignore", FutureWarning)
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in given
    set_quiet(QUIET in given)
    try:
        with heard_by(_tell_progress):
            code = _call([argument for argument in given if argument not in (DEBUG, QUIET)] or ["--help"])
        if code:
            sys.exit(code)
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
        if isinstance(known, ModuleNotFoundError):
            raise
        _tell_mistake(known, debug=debug)
        sys.exit(EXIT_MISTAKE)
    finally:
        set_quiet(False)
        sys.excepthook = _show_traceback  # typer has put its own there
