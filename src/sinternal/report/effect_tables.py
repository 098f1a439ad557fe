"""Tables of effects: where a method makes a difference beyond its placebo, and beside it, beyond the base."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sinternal.figures.effect import Contrast, Effect
from sinternal.figures.metric import ASR, HELPFUL, OVER_REFUSAL, PROACTIVE_VERIFICATION, Metric
from sinternal.figures.statistics import smallest_difference
from sinternal.records import HarmShows, Split
from sinternal.report.effect_words import FEW_RUNS, SHOWN_FIRST, direction_told, interval_told, main_effects
from sinternal.report.format import MISSING, difference, in_range, points, points_interval
from sinternal.report.tables import TextTable, TitledTable

METRICS_SHOWN = (ASR, HELPFUL, OVER_REFUSAL, PROACTIVE_VERIFICATION)
"""Columns, the effect that is asked about first."""
HEADINGS = {PROACTIVE_VERIFICATION.name: "Checks unasked"}
"""Shorter titles of metrics, for narrow columns."""
TITLES = {
    (Split.ID, HarmShows.REQUEST): "Known families",
    (Split.OOD, HarmShows.REQUEST): "Unseen families",
    (Split.ID, HarmShows.DRAFT): "Known, harm in the draft only",
    (Split.OOD, HarmShows.DRAFT): "Harm in the draft only",
}
"""Each place, as a heading."""
HOW = (
    "Percentage points, the method less its placebo on the same prompts of the same seed, with 95 % intervals; bold "
    "where the interval, against every placebo, does not include 0; beside it, the method less the base. Intervals are "
    "over whole parent prompts and, with several seeds, Student's t over these as well; they hold whatever labels are "
    "missing."
)
HOW_WITHOUT = (
    "Percentage points, the method less the base on the same prompts of the same seed, with 95 % intervals; bold where "
    "the interval does not include 0. Intervals are over whole parent prompts and, with several seeds, "
    "Student's t over these as well; they hold whatever labels are missing."
)
HOW_FEW = (
    "With so few training runs, the first interval holds for these runs alone, and bold goes by it; that of other runs "
    "is by Student's t, too."
)
OTHERS = (
    "Unsafe answers in percentage points: other arms that the recipe asks about or that are trained on verification, "
    "less their placebo and less their base."
)
STUDY_HOW = (
    "Percentage points with 95 % intervals, one row for each variant of the study; bold where the interval does not "
    "include 0. Not corrected for the number of variants."
)


EFFECT_COLUMNS = (
    "where",
    "figure",
    "less placebo",
    "placebo",
    "less base",
    "pairs",
    "seeds",
    "no label",
    "bounds",
)


class PlaceRow(NamedTuple):
    """One place, and the effect on each metric there."""

    title: str
    """The place, or the attack family."""
    cells: tuple[Effect | None, ...]
    """For each of `METRICS_SHOWN`; None if it was not measured."""

    @property
    def separated(self) -> bool:
        """Whether there is a placebo."""
        return any(cell.separated for cell in self.cells if cell is not None)

    @property
    def seeds(self) -> str:
        """Seeds behind these."""
        shown = [str(cell.headline.seeds) for cell in self.cells if cell is not None and cell.headline is not None]
        return in_range(sorted(set(shown), key=int))


class VariantRow(NamedTuple):
    """One variant of a study, and the effect in each place."""

    variant: str
    """The variant."""
    cells: tuple[Effect | None, ...]
    """For each of `study_columns`; None if it was not measured."""


StudyColumn = tuple[Metric, Split, HarmShows]
"""What a column of the table of variants is about."""


def place_rows(effects: Iterable[Effect], variant: str, *, families: bool = False) -> list[PlaceRow]:
    """The effects of the study's own method: a row for each place or, instead, for each attack family."""
    rows = [row for row in main_effects(effects, variant) if (row.family is not None) == families]
    by_place = {(row.split, row.harm_shows, row.family, row.metric): row for row in rows}
    places = dict.fromkeys((row.split, row.harm_shows, row.family) for row in rows)
    ordered = sorted(places, key=lambda place: SHOWN_FIRST.index(place[:2]))
    return [
        PlaceRow(_title(*place), tuple(by_place.get((*place, metric.name)) for metric in METRICS_SHOWN))
        for place in ordered
    ]


def _title(split: Split, shows: HarmShows, family: str | None) -> str:
    return TITLES[split, shows] if family is None else f"{family} ({split.upper()}{_in_draft(shows)})"


def _in_draft(shows: HarmShows) -> str:
    return ", in the draft only" if shows is HarmShows.DRAFT else ""


def heading(metric: Metric) -> str:
    """The title of a metric's column."""
    return HEADINGS.get(metric.name, metric.title)


def effect_table(effects: Sequence[Effect], variant: str) -> TextTable:
    """A row for each place and metric of the study's own method, families last and of attack success alone."""
    whole, families = (place_rows(effects, variant, families=of_families) for of_families in (False, True))
    rows = [
        [row.title, metric.title, *_text_cells(effect)]
        for row in (*whole, *(families if len(families) > len(whole) else ()))
        for metric, effect in zip(METRICS_SHOWN, row.cells, strict=True)
        if effect is not None and (effect.family is None or metric is ASR)
    ]
    return TextTable(list(EFFECT_COLUMNS), rows)


def _text_cells(effect: Effect) -> list[str]:
    chosen = effect.headline if effect.separated else None
    shown = effect.headline
    return [
        difference(chosen),
        chosen.other if chosen else MISSING,
        difference(effect.base),
        f"{shown.n:,}" if shown else MISSING,
        str(shown.seeds) if shown else MISSING,
        f"{shown.missing_method:,} and {shown.missing_other:,}" if shown else MISSING,
        points_bounds(shown) if shown and shown.missing else MISSING,
    ]


def points_bounds(contrast: Contrast) -> str:
    """What a difference is at least and at most, where labels are missing."""
    if contrast.lowest is None or contrast.highest is None:
        return MISSING
    return f"{points(contrast.lowest)} to {points(contrast.highest)}"


def placebos_table(effects: Iterable[Effect], variant: str) -> TextTable:
    """The method less each of several placebos; without rows if there are fewer than two."""
    rows = [row for row in main_effects(effects, variant) if row.family is None and len(row.placebos) > 1]
    names = [contrast.other for contrast in rows[0].placebos] if rows else []
    shown = {metric.name: metric for metric in METRICS_SHOWN}
    lines = [
        [
            f"{TITLES[row.split, row.harm_shows]}, {shown[row.metric].title.lower()}",
            *(difference(contrast) for contrast in row.placebos),
            row.placebo or MISSING,
        ]
        for row in rows
    ]
    return TextTable(["where", *names, "smallest effect"], lines)


def other_methods_table(effects: Iterable[Effect], variant: str) -> TextTable:
    """Attack success of every other arm that is trained on verification, less placebo and less base."""
    listed = list(effects)
    main = main_effects(listed, variant)
    name = main[0].method if main else None
    rows = [
        [f"{row.method}, {TITLES[row.split, row.harm_shows].lower()}", *_text_cells(row)]
        for row in listed
        if (row.variant, row.metric, row.family) == (variant, ASR.name, None) and row.method != name
    ]
    return TextTable(["arm and place", *EFFECT_COLUMNS[2:]], rows)


def more_contrasts(effects: Sequence[Effect], variant: str) -> list[TitledTable]:
    """What stands beneath the effect: against each of several placebos, and other arms trained on verification."""
    tables = (
        TitledTable(
            "Against each placebo",
            "Percentage points, the method less each of its placebos.",
            placebos_table(effects, variant),
            True,
        ),
        TitledTable("The effect of other arms", OTHERS, other_methods_table(effects, variant), True),
    )
    return [table for table in tables if table.table.rows]


def terminal_effects(effects: Iterable[Effect], variant: str) -> TextTable:
    """A compact table of the study's own method: two rows for each place, so that it fits a terminal."""
    lines = []
    for row in place_rows(effects, variant):
        known = [effect for effect in row.cells if effect is not None]
        if any(effect.separated for effect in known):
            cells = (effect.headline if effect else None for effect in row.cells)
            lines.append([f"{row.title}, less placebo", *map(difference, cells)])
        lines.append(
            [f"{row.title}, less base", *(difference(effect.base if effect else None) for effect in row.cells)]
        )
    return TextTable(["points, with 95 % interval", *(metric.short for metric in METRICS_SHOWN)], lines)


def study_columns(effects: Iterable[Effect], variants: Sequence[str]) -> list[StudyColumn]:
    """Attack success in each place that a study has, then help and over-refusal in the weightiest place."""
    listed = list(effects)
    rows = [row for variant in variants for row in main_effects(listed, variant) if row.family is None]
    places = [place for place in SHOWN_FIRST if place in {(row.split, row.harm_shows) for row in rows}]
    first = places[:1]
    return [
        *((ASR, *place) for place in places),
        *((metric, *place) for metric in (HELPFUL, OVER_REFUSAL) for place in first),
    ]


def study_rows(effects: Iterable[Effect], variants: Sequence[str]) -> list[VariantRow]:
    """The effect of the study's own method in each variant."""
    listed = list(effects)
    columns = study_columns(listed, variants)
    rows = []
    for variant in variants:
        by_place = {
            (row.metric, row.split, row.harm_shows): row for row in main_effects(listed, variant) if row.family is None
        }
        cells = tuple(by_place.get((metric.name, split, shows)) for metric, split, shows in columns)
        rows.append(VariantRow(variant, cells))
    return rows


def study_title(column: StudyColumn) -> str:
    """The heading of a column of the table of variants."""
    metric, split, shows = column
    return f"{metric.short}: {TITLES[split, shows].lower()}"


def study_table(effects: Iterable[Effect], variants: Sequence[str]) -> TextTable:
    """The same as strings; the method less its placebo or, without any, less the base."""
    listed = list(effects)
    rows = [
        [row.variant, *(difference(effect.headline if effect else None) for effect in row.cells)]
        for row in study_rows(listed, variants)
    ]
    return TextTable(["variant", *map(study_title, study_columns(listed, variants))], rows)


def is_clear(effect: Effect | None) -> bool:
    """Whether a page sets a difference in bold: where the sentences say fewer, or more."""
    return effect is not None and direction_told(effect) != 0


def intervals_of(contrast: Contrast) -> list[str]:
    """The interval of a difference; of few runs that of these, by which it counts as clear, then that of others."""
    whole = "no interval"
    if contrast.low is not None and contrast.high is not None:
        whole = points_interval(contrast.low, contrast.high)
    return [interval_told(contrast), f"other runs {whole}"] if 1 < contrast.seeds <= FEW_RUNS else [whole]


def without_label(contrast: Contrast) -> str:
    """How many pairs lack a label, and what the difference is at least and at most."""
    lacking = contrast.missing_method + contrast.missing_other
    return f"{lacking:,} without a label: {points_bounds(contrast)}"


def how(rows: Sequence[PlaceRow]) -> str:
    """How to read the table of these rows on a page."""
    contrasts = [cell.headline for row in rows for cell in row.cells if cell is not None and cell.headline is not None]
    few = any(1 < contrast.seeds <= FEW_RUNS for contrast in contrasts)
    return f"{HOW if rows[0].separated else HOW_WITHOUT}{f' {HOW_FEW}' if few else ''}"


def detectable(contrast: Contrast) -> float | None:
    """The smallest difference that so many prompts would show in these training runs, with 80 % power."""
    if contrast.low_these_runs is None or contrast.high_these_runs is None:
        return None
    return smallest_difference(contrast.low_these_runs, contrast.high_these_runs)


def tells(effect: Effect) -> str:
    """Everything about one cell, for the reader who points at it."""
    parts = []
    for contrast in (*effect.placebos, *([effect.base] if effect.base else [])):
        seeds = (
            f"; by seed {', '.join(points(value) for value in contrast.by_seed.values())}" if contrast.seeds > 1 else ""
        )
        missing = (
            f"; without a label {contrast.missing_method} of {effect.method}, {contrast.missing_other} of "
            f"{contrast.other}: {points_bounds(contrast)}"
            if contrast.missing
            else ""
        )
        value = difference(contrast)
        parts.append(f"less {contrast.other} {value}, {contrast.n:,} pairs, for {contrast.holds_for}{seeds}{missing}")
    return ". ".join(parts)
