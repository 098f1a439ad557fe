"""What commands print: results on standard output, notes and errors on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sinternal.redaction import conceal

MISSING = "-"
WIDTH_OFF_TERMINAL = 120
# No markup: names of files, models and variants may hold brackets.
out = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDTH_OFF_TERMINAL)


def tell(message: str) -> None:
    """One line on stderr; what would steer a terminal, as text of others may, is shown and not sent."""
    line = " ".join(conceal(message).split())
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(visible)


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


def number(value: int | None) -> str:
    """A count, or a dash."""
    return MISSING if value is None else f"{value:,}"
