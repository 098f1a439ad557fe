"""`results.md`: the question, what came out, the figures with their intervals, and how they were measured."""

from __future__ import annotations

import re

from sinternal.figures.best import best
from sinternal.figures.study import ReportData
from sinternal.report.caveats import caveats
from sinternal.report.comparison_tables import COMPARISON_COLUMNS, EXPLORATORY, HOW_COMPARED, comparison_rows
from sinternal.report.effect_tables import HOW, HOW_WITHOUT, STUDY_HOW, effect_table, more_contrasts, study_table
from sinternal.report.effect_words import EffectWords, across_variants, effect_in_words
from sinternal.report.format import MISSING
from sinternal.report.more_tables import more_tables
from sinternal.report.tables import TextTable, bills_table, headline_text, question
from sinternal.report.words import Finding, best_in_words, finding
from sinternal.visible import visible_line


def render_markdown(data: ReportData) -> str:
    """The whole report as Markdown."""
    several = len(data.variants) > 1
    parts = [
        f"# {plain(data.recipe)}",
        question(data),
        *(_of_study(data) if several else _of_effect(data, data.variants[0].name)),
    ]
    parts += [plain(data.description), *(f"Note: {plain(caveat)}." for caveat in caveats(data))]
    for variant in data.variants:
        if several:
            parts += [f"## {plain(variant.name)}", *_of_effect(data, variant.name)]
        parts.append(_in_words(finding(data, variant.name)))
        parts.append(
            "Percent, with 95 % intervals, pooled over seeds. ID: attack families that tuning saw; OOD: never seen."
        )
        parts.append(pipe_table(headline_text(data, variant.name)))
        if lowest := best(data.scores, data.comparisons, variant.name):
            parts.append(plain(best_in_words(lowest)))
        for asked, heading in ((True, HOW_COMPARED), (False, EXPLORATORY)):
            if rows := list(comparison_rows(data.comparisons, variant.name, asked=asked)):
                parts.append(f"Paired comparisons on the same prompts. {heading}")
                parts.append(pipe_table(TextTable(["arms", "metric", "split", *COMPARISON_COLUMNS], rows)))
        for more in more_tables(data, variant.name):
            parts += [plain(f"**{more.title}.** {more.note}"), pipe_table(more.table)]
    parts.append("## How it was measured")
    parts.append("\n".join(f"- {plain(name)}: {plain(value)}" for name, value in data.facts.items()))
    billed = bills_table(data)
    parts += ["Calls by server", pipe_table(billed)] if billed.rows else []
    return "\n\n".join(part for part in parts if part) + "\n"


def _of_study(data: ReportData) -> list[str]:
    """The effect in every variant: sentences, and a row for each."""
    names = [variant.name for variant in data.variants]
    sentences = across_variants(data.effects, names)
    if not sentences:
        return []
    first, *notes = map(plain, sentences)
    return [f"**{first}**", pipe_table(study_table(data.effects, names)), " ".join((STUDY_HOW, *notes))]


def _of_effect(data: ReportData, variant: str) -> list[str]:
    """The effect of the study's method: sentences, then figures."""
    words = effect_in_words(data.effects, variant)
    if words is None:
        return []
    how = HOW if any(effect.separated for effect in data.effects if effect.variant == variant) else HOW_WITHOUT
    parts = [_effect_in_words(words), pipe_table(effect_table(data.effects, variant)), how]
    for more in more_contrasts(data.effects, variant):
        parts += [plain(f"**{more.title}.** {more.note}"), pipe_table(more.table)]
    return parts


def _effect_in_words(words: EffectWords) -> str:
    return " ".join(plain(part) for part in (f"**{words.safety}**", words.price, words.caution, *words.notes) if part)


def _in_words(outcome: Finding) -> str:
    parts = (f"**{outcome.lead}**", outcome.worst, outcome.safety, outcome.price, outcome.reinforced)
    return " ".join(plain(part) for part in parts if part)


def pipe_table(table: TextTable, *, words: bool = False) -> str:
    """A pipe table; the first column is left-aligned, all others right, unless they hold `words`."""
    rule = ["---", *("---" if words else "---:" for _ in table.columns[1:])]
    heading = [plain_cell(column) for column in table.columns]
    rows = [[plain_cell(cell) or MISSING for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heading, rule, *rows))


_BLOCK = re.compile(
    r"(?P<before>(?:[0-9]{1,9}(?=[.)](?:\s|\Z)))?)"
    r"(?=[.)]|[>\[]|(?:#{1,6}|[-+*])(?:\s|\Z)|```|~~~|={3,}\s*\Z|-{3,}|\*{3,}\s*\Z|_{3,}\s*\Z)"
)
"""What begins a heading, an item of a list, a quotation, a rule, a block of code or the target of a link."""


def plain(text: str) -> str:
    """One paragraph that is no more than that: it opens no block, HTML tag, link or image."""
    line = plain_cell(text)
    return _BLOCK.sub(lambda mark: f"{mark['before']}\\", line, count=1) if _BLOCK.match(line) else line


def plain_cell(text: str) -> str:
    """One line that ends no cell of a table, and opens no HTML tag, link or image."""
    line = re.sub(r"<(?=\S)", "&lt;", visible_line(text))
    line = re.sub(r"(\\*)\|", lambda bar: f"{2 * bar[1]}\\|", line)
    return re.sub(r"!(?=\[)|(?<=\])(?=[(\[:])", lambda mark: f"{mark[0]}\\", line)
