"""`results.md`: the question, what came out, the figures with their intervals, and how they were measured."""

from __future__ import annotations

import re

from sinternal.figures.best import best
from sinternal.figures.study import ReportData
from sinternal.report.caveats import caveats
from sinternal.report.comparison_tables import COMPARISON_COLUMNS, EXPLORATORY, HOW_COMPARED, comparison_rows
from sinternal.report.format import MISSING
from sinternal.report.more_tables import more_tables
from sinternal.report.tables import QUESTION, TextTable, headline_text
from sinternal.report.words import Finding, best_in_words, finding


def render_markdown(data: ReportData) -> str:
    """The whole report as Markdown."""
    parts = [f"# {_plain(data.recipe)}", QUESTION, data.description.strip()]
    parts += [f"Note: {_plain(caveat)}." for caveat in caveats(data)]
    for variant in data.variants:
        if len(data.variants) > 1:
            parts.append(f"## {_plain(variant.name)}")
        parts.append(_in_words(finding(data, variant.name)))
        parts.append(
            "Percent, with 95 % intervals, pooled over seeds. ID: attack families that tuning saw; OOD: never seen."
        )
        parts.append(pipe_table(headline_text(data, variant.name)))
        if lowest := best(data.scores, data.comparisons, variant.name):
            parts.append(_plain(best_in_words(lowest)))
        for asked, heading in ((True, HOW_COMPARED), (False, EXPLORATORY)):
            if rows := list(comparison_rows(data.comparisons, variant.name, asked=asked)):
                parts.append(f"Paired comparisons on the same prompts. {heading}")
                parts.append(pipe_table(TextTable(["arms", "metric", "split", *COMPARISON_COLUMNS], rows)))
        for more in more_tables(data, variant.name):
            parts += [f"**{more.title}.** {more.note}", pipe_table(more.table)]
    parts.append("## How it was measured")
    parts.append("\n".join(f"- {_plain(name)}: {_plain(value)}" for name, value in data.facts.items()))
    return "\n\n".join(part for part in parts if part) + "\n"


def _in_words(outcome: Finding) -> str:
    parts = (f"**{outcome.lead}**", outcome.worst, outcome.safety, outcome.price, outcome.reinforced)
    return " ".join(_plain(part) for part in parts if part)


def pipe_table(table: TextTable) -> str:
    """A pipe table; the first column is left-aligned, all others right."""
    rule = ["---", *("---:" for _ in table.columns[1:])]
    lines = [table.columns, rule, *table.rows]
    return "\n".join(f"| {' | '.join(_plain(cell) or MISSING for cell in line)} |" for line in lines)


def _plain(text: str) -> str:
    """One line that can neither end a table cell nor open an HTML tag."""
    return re.sub(r"<(?=\S)", "&lt;", " ".join(text.split())).replace("|", "\\|")
