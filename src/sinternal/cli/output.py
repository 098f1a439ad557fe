"""What commands print: results on standard output, errors on standard error.

With `--json`, standard output has the JSON alone, and all else goes to standard error; with `--quiet`, notes and
progress are not shown at all.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from sinternal.redaction import conceal
from sinternal.visible import visible, visible_line

MISSING = "-"
WIDEST_LABEL = 28
"""Characters of a label in one line, where a terminal is narrow."""
GAP = 2
"""Columns of a terminal between two of a table."""
WIDTH_OFF_TERMINAL = 120
KEY_WIDTH = 80
"""Columns that the key to a table's terms takes at most."""


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


def _width() -> int | None:
    """What a table may take: the terminal, or what COLUMNS says; a file is as wide as most screens."""
    return None if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal() else WIDTH_OFF_TERMINAL


out = Terminal(width=_width())
_quiet = False


def set_quiet(quiet: bool) -> None:
    """Leave out notes and progress from now on, or show them again."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Whether notes and progress are left out."""
    return _quiet


@contextmanager
def reporting(as_json: bool) -> Iterator[Terminal]:
    """The console for what is shown on the way to a result: not that of the result, if it is JSON."""
    if not as_json:
        yield out
        return
    kept = out.stderr
    out.stderr = True
    try:
        yield out
    finally:
        out.stderr = kept


def tell(message: str) -> None:
    """One line on stderr."""
    Terminal(stderr=True, soft_wrap=True).print(visible_line(conceal(message)))


def print_note(text: str) -> None:
    """What a reader of the results should know; not shown with `--quiet`."""
    if not _quiet:
        out.print(f"note: {text}", soft_wrap=True)


def print_sentence(text: str) -> None:
    """A sentence of a result: on a terminal broken between words, elsewhere one line."""
    out.print(text, soft_wrap=not out.is_terminal)


def print_named(name: str, text: str = "") -> None:
    """A name, and what belongs to it."""
    out.print(Text.assemble((name, "bold"), text))


def print_table(
    title: str | None,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: int = 1,
    dispensable: Collection[str] = (),
) -> None:
    """A table that fits the terminal: no figure is cut off.

    Where it is too narrow, intervals go below their values; then columns that can be spared go; then the others go on
    below, beside the first column once more.

    Args:
        title: stands above.
        columns: their names.
        rows: as many cells each.
        left: how many columns are flush left; all others are flush right.
        dispensable: names of columns that a narrow terminal does without.
    """
    if title:
        out.print(Text(title, "italic"), soft_wrap=True)
    kept = [number for number, column in enumerate(columns) if column not in dispensable]
    everything = list(range(len(columns)))
    for numbers, broken in ((everything, False), (everything, True), (kept, False), (kept, True)):
        table = _table(columns, rows, numbers, broken=broken, left=left)
        if table is not None:
            out.print(table)
            return
    first, *others = kept
    while others:
        number = len(others)
        while number > 1 and _table(columns, rows, [first, *others[:number]], broken=True, left=left) is None:
            number -= 1
        out.print(_table(columns, rows, [first, *others[:number]], broken=True, left=left, fits=False))
        others = others[number:]


def _table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[int],
    *,
    broken: bool,
    left: int,
    fits: bool = True,
) -> Table | None:
    """Some columns of a table; None if it has to fit the terminal and does not."""
    table = Table(box=None, pad_edge=False)
    width = -GAP
    cells = [
        [_narrow(row[number], label=number < left) if broken else row[number] for number in numbers] for row in rows
    ]
    for place, number in enumerate(numbers):
        longest = max((_width_of(row[place]) for row in cells), default=0)
        title = _wrapped(columns[number], longest) if broken else columns[number]
        table.add_column(title, justify="left" if number < left else "right", no_wrap=True)
        width += max(longest, _width_of(title)) + GAP
    for row in cells:
        table.add_row(*row)
    return None if fits and width > out.width else table


def _narrow(cell: str, *, label: bool) -> str:
    """A label in several lines, or a value with its interval below it."""
    if label:
        return _wrapped(cell, WIDEST_LABEL)
    value, bracket, interval = cell.partition(" [")
    return f"{value}\n[{interval}" if bracket and interval.endswith("]") else cell


def _wrapped(title: str, width: int) -> str:
    """A heading in several lines, as wide as its column or its longest word."""
    longest = max((len(word) for word in title.split()), default=1)
    return "\n".join(textwrap.wrap(title, max(width, longest), break_long_words=False, break_on_hyphens=False)) or title


def _width_of(text: str) -> int:
    return max(map(cell_len, visible(text).split("\n")))


def print_results(folder: Path, *, as_json: bool = False) -> None:
    """What a finished run shows, its main figures and caveats, and where its report is; or its `results.json`."""
    from sinternal.report.results import budgets_in_terminal, effects_in_terminal, terminal_key, terminal_tables
    from sinternal.study.run import REPORT, read_results

    results = read_results(folder)
    if as_json:
        emit(results.model_dump(mode="json"))
        return
    tables = list(terminal_tables(results))
    for title, (columns, rows), note in tables:
        print_table(title if len(tables) > 1 else None, columns, rows)
        if note:
            print_sentence(note)
    for line in textwrap.wrap(terminal_key(tables[0][1]), min(KEY_WIDTH, out.width)) if tables else ():
        print_sentence(line)
    for caveat in results.caveats:
        print_note(caveat)
    for heading, table in budgets_in_terminal(results):
        print_table(heading, *table, left=2)
    for sentences, table in effects_in_terminal(results):
        for sentence in sentences:
            print_sentence(sentence)
        print_table(None, *table)
    out.print(f"report: {folder / REPORT}")


def print_diagnosis(folder: Path, *, as_json: bool = False) -> None:
    """What a finished diagnosis shows, its caveats, what its terms mean, and where its page is; or its JSON."""
    from sinternal.report.diagnosis_page import QUESTION, read_figures
    from sinternal.report.diagnosis_tables import in_terminal, key_to, tables
    from sinternal.store.sums import checked
    from sinternal.tools.diagnosis import PAGE, RESULTS

    content = json.loads(checked(folder / RESULTS).read_text())
    if as_json:
        emit(content)
        return
    figures = read_figures(content)
    print_named(f"Diagnosis of {content['model']}", f": {QUESTION[0].lower()}{QUESTION[1:]}")
    for sentence in content["words"]:
        print_sentence(sentence)
    for caveat in content["caveats"]:
        print_note(caveat)
    for table in tables(figures):
        out.print()
        print_table(table.title, *in_terminal(table))
        if table.lacks:
            print_sentence(table.lacks)
    out.print()
    for name, meaning in key_to(figures):
        print_sentence(f"{name}: {meaning}")
    out.print(f"diagnosis: {folder / PAGE}", soft_wrap=True)


def emit(content: object) -> None:
    """Print plain values as JSON, whatever else is shown or not."""
    sys.stdout.write(conceal(json.dumps(content, indent=1, allow_nan=False)) + "\n")
    sys.stdout.flush()


def number(value: int | None) -> str:
    """A count, or a dash."""
    return MISSING if value is None else f"{value:,}"
