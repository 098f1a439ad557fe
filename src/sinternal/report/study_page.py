"""`report.html`: one file that needs no network and runs no script but its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sinternal.figures.best import best
from sinternal.figures.metric import OF_VERDICTS
from sinternal.figures.study import ReportData, Variant
from sinternal.figures.transcripts import ROWS
from sinternal.report import cells, comparison_tables, effect_tables, plots, tables
from sinternal.report import format as figures
from sinternal.report.bounds import caveat_of
from sinternal.report.budget import budget_plots
from sinternal.report.caveats import caveats
from sinternal.report.effect_plots import study_picture
from sinternal.report.effect_words import EffectWords, across_variants, effect_in_words
from sinternal.report.family_pictures import HeatRow, heat_map, shade, small_multiples
from sinternal.report.first_picture import first_picture
from sinternal.report.first_screen import how_sure, told_alike, told_apart
from sinternal.report.funnel_plot import funnel_plot
from sinternal.report.more_tables import more_tables
from sinternal.report.page import Page, around, environment
from sinternal.report.texts import MOST_IN_PAGE, pack_texts
from sinternal.report.words import Finding, best_in_words, finding

ATTACKED = ", and every query of adaptive attacks, request by request"
TRANSCRIPTS_NOTE = (
    f"Every answer, also under stress{{attacked}}; and of each arm and seed the first {ROWS} training examples and "
    "critiques of the expert, all of which lie in the run's artifacts."
)

MOST_SETS = 3
"""Lines on arms that cannot be told apart, of studies whose variants differ in that; the others are folded."""


@dataclass(frozen=True)
class Study:
    """What the page shows of all variants together."""

    sentences: tuple[str, ...]
    """In how many variants there is an effect, and how to read that."""
    picture: Markup | None
    """The effect in each variant at a glance."""
    columns: list[effect_tables.StudyColumn]
    """The columns of the table of variants."""
    rows: list[effect_tables.VariantRow]
    """Its rows."""


@dataclass(frozen=True)
class Section:
    """What the page shows of one variant."""

    variant: Variant
    """The variant."""
    effect: EffectWords | None
    """What the method does beyond its placebo, in words; None if there is nothing to hold it against."""
    picture: Markup | None
    """The same at a glance."""
    places: list[effect_tables.PlaceRow]
    """The same in figures, by place."""
    families: list[effect_tables.PlaceRow]
    """The same by attack family."""
    contrasts: list[tables.TitledTable]
    """Against each of several placebos, and of other arms that are trained on verification."""
    finding: Finding
    """What came out against each other arm, in words."""
    headline: list[tables.Row]
    """The main table."""
    best: str
    """Which arms may have the lowest attack success, in words; empty if fewer than two were measured."""
    plots: list[Markup]
    """The plots of what was measured."""
    learning: list[Markup]
    """The plots of what was watched in reinforcement learning."""
    main_comparisons: list[comparison_tables.ComparisonRow]
    """Pairs that the recipe's questions are about."""
    other_comparisons: list[comparison_tables.ComparisonRow]
    """All other pairs."""
    verification: list[tables.Row]
    """How well the arms verify their own answers."""
    more: list[tables.TitledTable]
    """What only some runs have."""
    families_drawn: Markup | None
    """Attack success family by family."""
    heat: list[HeatRow]
    """The same as a heat map."""
    funnel: list[tables.FunnelLine]
    """From prompts to examples."""
    funnel_drawn: Markup | None
    """The same as a picture."""


def render_html(data: ReportData) -> str:
    """The whole report as one HTML document, however many transcripts there are."""
    return render(data, most=math.inf).html


def render(data: ReportData, *, most: float = MOST_IN_PAGE) -> Page:
    """The whole report as an HTML document and, if its texts are many, files beside it.

    Text of models and users is escaped where it is part of the page. Transcripts travel compressed and in base64, and
    the page's script shows them as text only; the content security policy allows no other script to run.

    Args:
        data: the run.
        most: bytes of packed texts up to which they are in the page.
    """
    template = environment(
        percent=figures.percent,
        interval=figures.interval,
        points=figures.points,
        p_value=figures.p_value,
        caveat=caveat_of,
        shade=shade,
        of_score=cells.of_score,
        of_effect=cells.of_effect,
        of_comparison=cells.of_comparison,
    ).get_template("page.html.j2")
    texts = pack_texts(data.transcripts, first=_worth_comparing(data), most=most)
    sections, study = [_section(data, variant) for variant in data.variants], _study(data)
    sets = (told_apart(data, variant.name) for variant in data.variants)
    html = template.render(
        data=data,
        caveats=list(caveats(data)),
        sections=sections,
        study=study,
        lead=_lead(sections, study),
        picture=study.picture if study else sections[0].picture if sections else None,
        sets=told_alike(sets),
        most_sets=MOST_SETS,
        sure=how_sure(len(data.seeds), trains=data.trains, of_variants=study is not None) if sections else "",
        tables=tables,
        effects=effect_tables,
        comparisons=comparison_tables,
        of_verdicts=OF_VERDICTS,
        figures=figures,
        legend=plots.legend(data.arms),
        same_training=_same_training(data),
        stem="report",
        transcripts_note=TRANSCRIPTS_NOTE.format(attacked=ATTACKED if data.budgets else ""),
        pooled=[score for score in data.scores if score.seed is None],
        **around(texts),
    )
    return Page(html, texts.files)


def _worth_comparing(data: ReportData) -> list[str]:
    """Arms in the order in which they are worth laying side by side: a placebo, or the base, and the method."""
    if not data.effects:
        base = [arm.name for arm in data.arms if not arm.steps][:1]
        return base + [question.arm for question in data.questions]
    first = data.effects[0]
    beside = [row.other for row in first.placebos][:1] or ([first.base.other] if first.base else [])
    return [*beside, first.method]


def _lead(sections: Sequence[Section], study: Study | None) -> str:
    """The one sentence that the page opens with."""
    if study:
        return study.sentences[0]
    if not sections:
        return "Nothing was measured."
    first = sections[0]
    lead = first.effect.lead if first.effect else first.finding.lead
    return lead if len(sections) == 1 else f"{first.variant.name}: {lead}"


def _study(data: ReportData) -> Study | None:
    """None if there is but one variant, or no effect in any."""
    names = [variant.name for variant in data.variants]
    if len(names) < 2 or not (sentences := across_variants(data.effects, names)):
        return None
    return Study(
        sentences,
        study_picture(data.effects, names),
        effect_tables.study_columns(data.effects, names),
        effect_tables.study_rows(data.effects, names),
    )


def _section(data: ReportData, variant: Variant) -> Section:
    name = variant.name
    funnel = tables.funnel_table(data, name)
    drawn = (
        plots.safety_against_helpfulness(data.scores, data.arms, data.seeds, name),
        *budget_plots(data, name),
        plots.training_loss(data.losses, data.arms, name),
    )
    lowest = best(data.scores, data.comparisons, name)
    pairs = comparison_tables.comparison_table(data.comparisons, name)
    first = [pair for pair in pairs if any(cell is not None and cell.p_holm is not None for cell in pair.cells)]
    families = effect_tables.place_rows(data.effects, name, families=True)
    places = effect_tables.place_rows(data.effects, name)
    return Section(
        variant=variant,
        effect=effect_in_words(data.effects, name),
        picture=first_picture(data, name),
        places=places,
        families=families if len(families) > len(places) else [],
        contrasts=effect_tables.more_contrasts(data.effects, name),
        finding=finding(data, name),
        headline=tables.headline(data.scores, data.arms, name),
        best=best_in_words(lowest) if lowest else "",
        plots=[plot for plot in drawn if plot is not None],
        learning=plots.learning_curves(data.curves, data.arms, name),
        main_comparisons=first,
        other_comparisons=[pair for pair in pairs if pair not in first],
        verification=tables.verification(data.scores, data.arms, name),
        more=more_tables(data, name),
        families_drawn=small_multiples(data.scores, data.arms, name),
        heat=heat_map(data.scores, data.arms, name),
        funnel=funnel,
        funnel_drawn=funnel_plot(funnel, len(data.seeds)),
    )


def _same_training(data: ReportData) -> bool | None:
    """Whether all arms that were trained in one way had as much of it; None if no two were."""
    tuned = [(arm.examples, arm.steps) for arm in data.arms if arm.steps and not arm.rollouts]
    rewarded: dict[str, list[tuple[int, int]]] = {}
    for arm in data.arms:
        if arm.rollouts:
            rewarded.setdefault(arm.trained_on, []).append((arm.rollouts, arm.steps))
    alike = [len(set(group)) == 1 for group in (tuned, *rewarded.values()) if len(group) > 1]
    return all(alike) if alike else None
