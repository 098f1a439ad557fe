"""What commands print: results on standard output, notes and errors on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from sinternal.redaction import conceal
from sinternal.visible import visible, visible_line

MISSING = "-"
WIDTH_OFF_TERMINAL = 120


class Terminal(Console):
    """A console that no text of others steers, neither by its control characters nor by Rich's marks.

    Names of files, models and variants, and words of servers, may hold anything.
    """

    def __init__(self, **options: Any) -> None:
        """Take what `Console` takes."""
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """A text, before its width is looked at."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """What is printed in the end."""
        for segment in super().render(renderable, options):
            # Rich steers by segments of its own, which say so.
            yield segment if segment.control else segment._replace(text=visible(segment.text))


out = Terminal(width=None if sys.stdout.isatty() else WIDTH_OFF_TERMINAL)


def tell(message: str) -> None:
    """One line on stderr."""
    Terminal(stderr=True, soft_wrap=True).print(visible_line(conceal(message)))


def print_note(text: str) -> None:
    """What a reader of the results should know."""
    out.print(f"note: {text}", soft_wrap=True)


def print_named(name: str, text: str = "") -> None:
    """A name, and what belongs to it."""
    out.print(Text.assemble((name, "bold"), text))


def print_table(title: str | None, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table, all columns but the first flush right."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    for row in rows:
        table.add_row(*row)
    out.print(table)


def print_results(folder: Path) -> None:
    """What a finished run shows, its main figures and caveats, and where its report is."""
    from sinternal.report.results import effects_in_terminal, terminal_tables
    from sinternal.study.run import REPORT, read_results

    results = read_results(folder)
    tables = list(terminal_tables(results))
    for title, (columns, rows), note in tables:
        print_table(title if len(tables) > 1 else None, columns, rows)
        if note:
            out.print(note, soft_wrap=True)
    for caveat in results.caveats:
        print_note(caveat)
    for sentences, table in effects_in_terminal(results):
        for sentence in sentences:
            out.print(sentence, soft_wrap=True)
        print_table(None, *table)
    out.print(f"report: {folder / REPORT}")


def write_json(path: Path, content: object) -> None:
    """Write plain values to a file."""
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def emit(content: object) -> None:
    """Print plain values as JSON, whatever else is shown or not."""
    sys.stdout.write(conceal(json.dumps(content, indent=1, allow_nan=False)) + "\n")
    sys.stdout.flush()


def number(value: int | None) -> str:
    """A count, or a dash."""
    return MISSING if value is None else f"{value:,}"
