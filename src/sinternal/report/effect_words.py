"""What a method does beyond its placebo, in sentences that say no more than the intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sinternal.figures.effect import Contrast, Effect
from sinternal.figures.metric import ASR, HELPFUL, OVER_REFUSAL, PROACTIVE_VERIFICATION
from sinternal.records import HarmShows, Split
from sinternal.report.format import difference, listing, points_interval

SHOWN_FIRST = (
    (Split.OOD, HarmShows.REQUEST),
    (Split.OOD, HarmShows.DRAFT),
    (Split.ID, HarmShows.REQUEST),
    (Split.ID, HarmShows.DRAFT),
)
"""Places in the order of their weight: what no arm was tuned on comes first."""
WHERE = {
    (Split.OOD, HarmShows.REQUEST): "in unseen attack families",
    (Split.OOD, HarmShows.DRAFT): "where harm shows in the draft only",
    (Split.ID, HarmShows.REQUEST): "in known attack families",
    (Split.ID, HarmShows.DRAFT): "where harm shows in the draft only, in known families",
}
"""Each place, in a sentence."""
COUNTED = {
    ASR.name: "unsafe answers",
    HELPFUL.name: "helpful answers",
    OVER_REFUSAL.name: "refusals of requests that it could help with",
    PROACTIVE_VERIFICATION.name: "reasoning traces that check safety unasked",
}
"""What each metric counts, in a sentence."""
FEW_RUNS = 2
"""Up to so many seeds, a sentence speaks of these training runs: t with one degree of freedom tells next to nothing of
others, which a note says."""
NOT_SEPARATED = (
    "The recipe has no placebo of this arm, so its effect is not separated from that of tuning on anything of the same "
    "form: it is the arm less the base."
)
NEAREST = (
    "Of several placebos, each figure takes the one that leaves the smallest effect, which is the conservative choice; "
    "an effect counts as clear only if it is clear against every one of them."
)


@dataclass(frozen=True)
class EffectWords:
    """What a run shows of one variant."""

    lead: str
    """One sentence on unsafe answers, without figures."""
    safety: str
    """The same with figures."""
    price: str
    """One sentence on help and refusals; empty if neither was measured."""
    caution: str
    """That there is no placebo; empty if there is one."""
    notes: tuple[str, ...]
    """What a reader has to know of these, one sentence or two each."""


def main_effects(effects: Iterable[Effect], variant: str) -> list[Effect]:
    """The effects of the study's own method in one variant: that of its first question."""
    of_variant = [row for row in effects if row.variant == variant]
    return [row for row in of_variant if row.method == of_variant[0].method and row.headline is not None]


def effect_in_words(effects: Iterable[Effect], variant: str) -> EffectWords | None:
    """Say what the study's own method does beyond its placebo; None if there is nothing to hold it against."""
    rows = main_effects(effects, variant)
    of_safety = _whole(rows, ASR.name)
    if not of_safety:
        return None
    of_price = [of_metric for name in (HELPFUL.name, OVER_REFUSAL.name) if (of_metric := _whole(rows, name))]
    return EffectWords(
        lead=f"{_scope(of_safety)}{rows[0].method} {', and '.join(_clauses(of_safety, figures=False))}.",
        safety=f"{_scope(of_safety)}{rows[0].method} {'; it '.join(_clauses(of_safety))}.",
        price=_price(of_price),
        caution="" if rows[0].separated else NOT_SEPARATED,
        notes=tuple(_notes(of_safety)),
    )


def _price(metrics: Sequence[Sequence[Effect]]) -> str:
    """Safety is cheap for a model that helps nobody, so help stands beside it; empty if it was not measured."""
    clauses, alike = [], []
    for rows in metrics:
        if all(_is_known(row) and direction_told(row) == 0 for row in rows):
            alike.append(COUNTED[rows[0].metric])
        else:
            clauses += _clauses(rows, brief=True)
    if alike:
        clauses.append(
            f"showed no clear difference from {_references(metrics[0][0], brief=True)} in {' or in '.join(alike)}"
        )
    return f"At the same time, it {'; it '.join(clauses)}." if clauses else ""


def _whole(rows: Iterable[Effect], metric: str) -> list[Effect]:
    """Effects on all of a place by one metric, the weightiest first."""
    whole = [row for row in rows if row.metric == metric and row.family is None]
    return sorted(whole, key=lambda row: SHOWN_FIRST.index((row.split, row.harm_shows)))


def _clauses(rows: Sequence[Effect], *, brief: bool = False, figures: bool = True) -> list[str]:
    """What the intervals show of one metric, a clause for each way in which they go.

    Args:
        rows: effects on it.
        brief: whether to leave out the figures where there is no clear difference, and the names of placebos.
        figures: whether there are any.
    """
    counted = COUNTED[rows[0].metric]
    known = [row for row in rows if _is_known(row)]
    clauses: list[str] = []

    def whom() -> str:
        """Named once."""
        return _references(rows[0], brief=brief or bool(clauses))

    def which(rows: Sequence[Effect], *, brief: bool = False) -> str:
        return f": {listing(map(_figure, rows))}" if figures and not brief else f" {listing(map(_where, rows))}"

    for direction, words in ((-1, "fewer"), (1, "more")):
        if clear := [row for row in known if direction_told(row) == direction]:
            clauses.append(f"gave {words} {counted} than {whom()}{which(clear)}")
    if unclear := [row for row in known if direction_told(row) == 0]:
        clauses.append(f"showed no clear difference from {whom()} in {counted}{which(unclear, brief=brief)}")
    if unknown := [row for row in rows if row not in known]:
        clauses.append(
            f"cannot be compared with {whom()} in {counted} {listing(map(_where, unknown))}, as no pair of answers has "
            "both labels"
        )
    return clauses


def _scope(effects: Sequence[Effect]) -> str:
    """How a sentence about few training runs begins."""
    seeds = max((row.headline.seeds for row in effects if row.headline is not None), default=0)
    return "" if seeds > FEW_RUNS else "In this training run, " if seeds < 2 else f"In these {seeds} training runs, "


def _is_of_few_runs(contrast: Contrast) -> bool:
    return contrast.seeds <= FEW_RUNS


def direction_told(effect: Effect) -> int:
    """The way of a difference, as the sentences have it: 0 unless every placebo's interval has the same."""
    contrasts = effect.placebos or ((effect.base,) if effect.base is not None else ())
    ways = {_way(row) if _is_of_few_runs(row) else row.direction for row in contrasts}
    return ways.pop() if len(ways) == 1 else 0


def _way(contrast: Contrast) -> int:
    """The way of a difference in these training runs."""
    low, high = contrast.low_these_runs, contrast.high_these_runs
    if contrast.value is None or low is None or high is None:
        return 0
    return -1 if high < 0 else 1 if low > 0 else 0


def _is_known(effect: Effect) -> bool:
    return effect.headline is not None and effect.headline.value is not None


def _references(effect: Effect, *, brief: bool = False) -> str:
    """What the method is held against."""
    if not effect.placebos:
        return "the base" if effect.base is None or brief else _named("the base", effect.base.other)
    names = [row.other for row in effect.placebos]
    whom = "its placebo" if len(names) == 1 else "its placebos"
    return whom if brief or names == ["placebo"] else f"{whom} ({listing(names)})"


def _named(what: str, name: str) -> str:
    """What an arm is, and its name if that tells more."""
    return what if what.endswith(f" {name}") else f"{what} ({name})"


def _figure(effect: Effect) -> str:
    """A difference in points, its interval, and where."""
    return f"{_shown(effect.headline)} {_where(effect)}"


def _shown(contrast: Contrast | None) -> str:
    """A difference in points, with the interval that the sentences speak of."""
    if contrast is None or not _is_of_few_runs(contrast) or contrast.low_these_runs is None:
        return _points(contrast)
    value, _, _ = difference(contrast).partition(" ")
    return f"{value} points {points_interval(contrast.low_these_runs, contrast.high_these_runs or 0.0)}"


DETECTABLE = (
    "Detectable: a true difference from this size on would come out clear, in these training runs, in 8 of 10 samples "
    "of this many prompts (80 % power). A smaller one can come out clear, too, less often: it is then likely nearer to "
    "0 than the figure says."
)
"""How a figure in bold can lie below what is detectable (Gelman & Carlin 2014, doi 10.1177/1745691614551642)."""


def interval_told(contrast: Contrast) -> str:
    """The interval that the sentences speak of: with few seeds that of these training runs."""
    low, high = contrast.low, contrast.high
    if _is_of_few_runs(contrast) and contrast.low_these_runs is not None:
        low, high = contrast.low_these_runs, contrast.high_these_runs
    return "no interval" if low is None or high is None else points_interval(low, high)


def _points(contrast: Contrast | None) -> str:
    value, _, ends = difference(contrast).partition(" ")
    return f"{value} points {ends or '(no interval)'}"


def _of_these_runs(effect: Effect) -> str:
    shown = effect.headline
    if shown is None or shown.low_these_runs is None or shown.high_these_runs is None:
        return "no interval"
    return points_interval(shown.low_these_runs, shown.high_these_runs)


def _of_other_runs(effect: Effect) -> str:
    shown = effect.headline
    if shown is None or shown.low is None or shown.high is None:
        return "no interval"
    return points_interval(shown.low, shown.high)


def _where(effect: Effect) -> str:
    return WHERE[effect.split, effect.harm_shows]


def _notes(of_safety: Sequence[Effect]) -> list[str]:
    """Which placebo, what the base would have said, what intervals hold for, and what has no label."""
    first, notes = of_safety[0], []
    if len(first.placebos) > 1:
        notes.append(NEAREST)
    if first.separated and (beside := [row for row in of_safety if row.base is not None]):
        figures = listing(f"{_points(row.base)} {_where(row)}" for row in beside)
        base = _named("the base", next(row.base.other for row in beside if row.base is not None))
        notes.append(
            f"Less {base}, unsafe answers differ by {figures}: that includes what "
            "tuning on anything of the same form does."
        )
    notes.append(what_intervals_hold_for(of_safety))
    if several := [row for row in of_safety if row.headline is not None and row.headline.seeds > 1]:
        few = all(row.headline is not None and _is_of_few_runs(row.headline) for row in several)
        interval = _of_other_runs if few else _of_these_runs
        figures = listing(f"{interval(row)} {_where(row)}" for row in several)
        whose = "other training runs, of which so few tell little" if few else "these training runs alone"
        notes.append(f"For {whose}: {figures}.")
    if unlabelled := [row for row in of_safety if row.headline is not None and row.headline.missing]:
        parts = (f"{_missing(row.headline)} {_where(row)}" for row in unlabelled if row.headline is not None)
        notes.append(
            f"Answers without a label: {listing(parts)}. They count as neither safe nor unsafe, and the intervals hold "
            "whatever they are."
        )
    return notes


def what_intervals_hold_for(effects: Sequence[Effect]) -> str:
    """How the intervals were made, and for what they hold, by the number of seeds."""
    seeds = sorted({row.headline.seeds for row in effects if row.headline is not None} - {0}, reverse=True)
    parts = [
        f"Student's t over {count} seeds, and whole parent prompts, for other prompts and other training runs"
        if count > FEW_RUNS
        else f"in these sentences over whole parent prompts of {count} training runs, elsewhere Student's t over them"
        if count > 1
        else "over whole parent prompts of one seed, so that nothing is known about other training runs"
        for count in seeds
    ]
    return f"95 % intervals: {'; or, where labels leave fewer seeds, '.join(parts)}. {NOT_CORRECTED}" if parts else ""


NOT_CORRECTED = (
    "They are not corrected for the number of figures, as the p values by Holm of the paired comparisons are."
)
"""Of many figures without any effect, some look clear."""


def _is_below(effect: Effect) -> bool:
    return effect.direction < 0


def _is_above(effect: Effect) -> bool:
    return effect.direction > 0


def _missing(contrast: Contrast) -> str:
    return f"{contrast.missing_method:,} of the method and {contrast.missing_other:,} of {contrast.other}"


def across_variants(effects: Sequence[Effect], variants: Sequence[str]) -> tuple[str, ...]:
    """In how many variants of a study the method makes fewer unsafe answers than its placebo, in each place."""
    by_place: dict[tuple[Split, HarmShows], list[Effect]] = {}
    for variant in variants:
        for row in _whole(main_effects(effects, variant), ASR.name):
            by_place.setdefault((row.split, row.harm_shows), []).append(row)
    if not by_place:
        return ()
    places = [place for place in SHOWN_FIRST if place in by_place]
    fewer, more, unknown = (
        [sum(counts(row) for row in by_place[place]) for place in places]
        for counts in (_is_below, _is_above, lambda row: not _is_known(row))
    )
    first = by_place[places[0]][0]
    separated = {row.variant: row.separated for rows in by_place.values() for row in rows}
    whom = "its placebo" if any(separated.values()) else "the base"
    parts = [f"{count} {WHERE[place]}" for count, place in zip(fewer, places, strict=True)]
    said = (
        f"In none of {len(variants)} variants did {first.method} show a clear difference from {whom} in unsafe answers."
        if not any((*fewer, *more, *unknown))
        else f"Variants, of {len(variants)}, in which {first.method} gave fewer unsafe answers than "
        f"{whom}: {listing(parts)}. More: "
        f"{listing(map(str, more))}; the others show no clear difference"
        f"{f', or lack the labels ({listing(map(str, unknown))})' if any(unknown) else ''}."
    )
    note = (
        "Each variant is judged by its own 95 % interval, not corrected for their number: of variants without any "
        "effect, one in twenty would look clear."
    )
    if not any(separated.values()):
        return (said, NOT_SEPARATED, note)
    without = [name for name, has_placebo in separated.items() if not has_placebo]
    caution = (
        [f"There is no placebo in {listing(without)}: less the base there, which separates nothing."] if without else []
    )
    return (said, *caution, note)
