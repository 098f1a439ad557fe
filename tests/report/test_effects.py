"""A report begins with what the method does beyond its placebo, in words that say no more than the intervals."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import jsonschema
import pytest
from bench.invented import SOMEWHERE, make_report

from sinternal.figures.effect import Contrast, Effect
from sinternal.figures.estimate import OTHER_RUNS, THESE_RUNS
from sinternal.figures.study import ReportData
from sinternal.records import HarmShows, Split
from sinternal.report.effect_plots import study_picture
from sinternal.report.effect_tables import (
    effect_table,
    how,
    intervals_of,
    is_clear,
    place_rows,
    placebos_table,
    study_table,
    terminal_effects,
    without_label,
)
from sinternal.report.effect_words import NOT_SEPARATED, EffectWords, across_variants, effect_in_words
from sinternal.report.first_picture import first_picture
from sinternal.report.format import MINUS
from sinternal.report.markdown import render_markdown
from sinternal.report.results import effects_in_terminal, results_of, results_schema, to_json, to_results
from sinternal.report.study_page import render_html

RATES: dict[str, tuple[float, ...]] = {
    "base": (0.5, 0.6, 0.98),
    "refusal": (0.1, 0.5, 0.97),
    "deliberative": (0.1, 0.3, 0.99),
    "sinternal": (0.2, 0.2, 0.6),
    "placebo-recipe": (0.4, 0.55, 0.9),
}


@cache
def report() -> ReportData:
    return make_report(RATES, prompts=8)


def contrast(
    other: str, value: float | None, low: float | None, high: float | None, *, seeds: int = 5, missing: int = 0
) -> Contrast:
    return Contrast(
        value=value,
        low=low,
        high=high,
        n=100,
        lowest=None if value is None else value - missing / 200,
        highest=None if value is None else value + missing / 200,
        other=other,
        holds_for=OTHER_RUNS if seeds > 1 else THESE_RUNS,
        seeds=seeds,
        by_seed={} if value is None else dict.fromkeys(range(seeds), value),
        low_these_runs=low,
        high_these_runs=high,
        missing_method=missing,
        missing_other=0,
        provenance=SOMEWHERE,
    )


def effect(
    *placebos: Contrast,
    metric: str = "asr",
    place: tuple[Split, HarmShows] = (Split.OOD, HarmShows.REQUEST),
    base: Contrast | None = None,
    variant: str = "default",
) -> Effect:
    return Effect(
        variant=variant,
        method="sinternal",
        metric=metric,
        split=place[0],
        harm_shows=place[1],
        family=None,
        placebo=placebos[0].other if placebos else None,
        placebos=placebos,
        base=base,
        provenance=SOMEWHERE,
    )


def said(*rows: Effect) -> EffectWords:
    words = effect_in_words(rows, "default")
    assert words is not None
    return words


DRAFT, KNOWN = (Split.OOD, HarmShows.DRAFT), (Split.ID, HarmShows.REQUEST)
BASE = contrast("base", -0.4, -0.5, -0.3)
CLAIMS = ("fewer", "more")


def test_a_clear_effect_is_told_with_its_figure_and_interval_and_an_unclear_one_as_such() -> None:
    words = said(
        effect(contrast("recipe", -0.02, -0.09, 0.05), place=KNOWN, base=BASE),
        effect(contrast("recipe", -0.234, -0.312, -0.156), base=BASE),
        effect(contrast("recipe", 0.1, 0.05, 0.15), place=DRAFT, base=BASE),
    )
    assert words.safety == (
        "sinternal gave fewer unsafe answers than its placebo (recipe): "
        f"{MINUS}23.4 points [{MINUS}31.2, {MINUS}15.6] in unseen attack families; "
        "it gave more unsafe answers than its placebo: +10.0 points [+5.0, +15.0] where harm shows in the draft only; "
        "it showed no clear difference from its placebo in unsafe answers: "
        f"{MINUS}2.0 points [{MINUS}9.0, +5.0] in known attack families."
    )
    assert any(f"Less the base, unsafe answers differ by {MINUS}40.0 points" in note for note in words.notes)
    assert not words.caution


@pytest.mark.parametrize(
    "unclear",
    [
        contrast("recipe", -0.2, -0.4, 0.0),
        contrast("recipe", -0.2, -0.4, 0.001),
        contrast("recipe", -0.9, None, None),
        contrast("recipe", 0.3, -0.01, 0.61),
        contrast("recipe", 0.0, -0.1, 0.1),
    ],
)
def test_no_word_claims_what_the_interval_does_not_show_however_far_the_base_is(unclear: Contrast) -> None:
    words = said(effect(unclear, base=contrast("base", -0.9, -0.95, -0.85)))
    assert "showed no clear difference from its placebo (recipe) in unsafe answers" in words.safety
    assert not any(re.search(rf"\b{claim}\b", words.safety + words.price) for claim in CLAIMS)


@pytest.mark.parametrize(
    ("these", "claim"),
    [((-0.3, -0.1), "gave fewer"), ((-0.3, 0.01), "showed no clear difference"), ((0.1, 0.2), "gave more")],
)
def test_of_two_training_runs_a_sentence_speaks_of_these_alone_and_a_note_of_others(
    these: tuple[float, float], claim: str
) -> None:
    low, high = these
    two = replace(contrast("recipe", -0.2, -0.9, 0.8, seeds=2), low_these_runs=low, high_these_runs=high)
    words = said(effect(two))
    assert words.safety.startswith(f"In these 2 training runs, sinternal {claim}")
    assert f"{100 * low:+.1f}".replace("-", MINUS) in words.safety
    assert "90.0" not in words.safety
    assert any(
        f"For other training runs, of which so few tell little: [{MINUS}90.0, +80.0]" in note for note in words.notes
    )


def test_one_placebo_of_two_that_shows_the_same_takes_the_claim_back() -> None:
    lists, recipe = contrast("lists", -0.1, -0.2, 0.05), contrast("recipe", -0.5, -0.6, -0.4)
    words = said(effect(lists, recipe, base=BASE))
    assert "no clear difference from its placebos (lists and recipe)" in words.safety
    assert any("the one that leaves the smallest effect, which is the conservative choice" in n for n in words.notes)


def test_without_a_placebo_one_plain_line_says_that_the_effect_is_not_separated() -> None:
    words = said(effect(base=BASE))
    assert words.safety.startswith("sinternal gave fewer unsafe answers than the base: ")
    assert words.caution == NOT_SEPARATED
    assert "placebo" not in words.safety


def test_the_price_is_told_by_its_own_intervals() -> None:
    safety = effect(contrast("recipe", -0.3, -0.4, -0.2), base=BASE)
    alike = [effect(contrast("recipe", 0.0, -0.1, 0.1), metric=name, base=BASE) for name in ("helpful", "over_refusal")]
    assert said(safety, *alike).price == (
        "At the same time, it showed no clear difference from its placebo in helpful answers or in refusals of "
        "requests that it could help with."
    )
    dear = effect(contrast("recipe", -0.08, -0.12, -0.04), metric="helpful", base=BASE)
    assert said(safety, dear).price == (
        f"At the same time, it gave fewer helpful answers than its placebo: {MINUS}8.0 points "
        f"[{MINUS}12.0, {MINUS}4.0] in unseen attack families."
    )
    assert not said(safety).price


def test_figures_without_labels_are_called_unknown_and_not_alike() -> None:
    silent = contrast("recipe", None, None, None, seeds=0, missing=100)
    words = said(effect(silent, base=BASE), effect(silent, metric="helpful", base=BASE))
    assert "cannot be compared with its placebo (recipe) in unsafe answers in unseen attack families" in words.safety
    assert "no clear difference" not in words.safety + words.price


def test_missing_labels_and_the_number_of_seeds_are_told() -> None:
    words = said(effect(contrast("recipe", -0.3, -0.4, -0.2, seeds=1, missing=7), base=BASE))
    notes = " ".join(words.notes)
    assert "nothing is known about other training runs" in notes
    assert "7 of the method and 0 of recipe" in notes
    assert "Student's t over 5 seeds" in " ".join(said(effect(contrast("recipe", -0.3, -0.4, -0.2))).notes)


def test_there_are_no_words_without_anything_to_hold_the_method_against() -> None:
    assert effect_in_words([effect()], "default") is None
    assert effect_in_words([], "default") is None
    assert effect_in_words([effect(BASE)], "elsewhere") is None


def study(directions: Sequence[int]) -> list[Effect]:
    clear = {-1: (-0.3, -0.4, -0.2), 0: (-0.1, -0.3, 0.1), 1: (0.3, 0.2, 0.4)}
    return [effect(contrast("recipe", *clear[way]), base=BASE, variant=f"v{i}") for i, way in enumerate(directions)]


def test_over_variants_it_counts_those_with_a_clear_effect_and_says_that_they_are_many() -> None:
    rows = study([-1, -1, 0, 1])
    names = [row.variant for row in rows]
    sentence, note = across_variants(rows, names)
    assert sentence == (
        "Variants, of 4, in which sinternal gave fewer unsafe answers than its placebo: 2 in unseen attack families. "
        "More: 1; the others show no clear difference."
    )
    assert "not corrected for their number" in note
    table = study_table(rows, names)
    assert [row[0] for row in table.rows] == names
    assert table.rows[0][1] == f"{MINUS}30.0 [{MINUS}40.0, {MINUS}20.0]"
    drawn = study_picture(rows, names)
    assert drawn is not None
    assert all(f"{name} " in drawn for name in names)
    assert drawn.count(' hollow"') == 2, "one in the wide picture, one in the narrow"


def test_a_variant_without_a_placebo_is_named() -> None:
    rows = [*study([-1]), effect(base=BASE, variant="bare")]
    assert "There is no placebo in bare" in across_variants(rows, ["v0", "bare"])[1]
    assert across_variants([rows[1]], ["bare"])[1] == NOT_SEPARATED


def test_the_page_begins_with_a_sentence_a_picture_and_the_arms_that_are_alike_and_all_else_follows() -> None:
    page = render_html(report())
    order = [
        'class="lead">In these 2 training runs, sinternal ',
        "<strong>Unsafe answers of sinternal, beside its placebo</strong>",
        "Refuses benign</text>",
        "Worst case</text>",
        'class="told"><strong>Cannot be told apart',
        'class="second">In these 2 training runs, sinternal ',
        'class="second">At the same time',
        "In the worst case of all attack families",
        "Less placebo</th>",
        'class="warning"',
        'id="arms"',
        "Against each other arm",
        "Headline figures",
    ]
    places = [page.index(part) for part in order]
    assert places == sorted(places)


def test_the_picture_puts_the_placebo_beside_the_method_and_reads_out_every_figure() -> None:
    data = report()
    drawn = first_picture(data, "default")
    assert drawn is not None
    wide = drawn.split("in-rows")[0]
    labels = re.findall(r'class="label name[^"]*">([^<]+)', wide)
    assert labels == ["base", "sinternal", "placebo-recipe", "refusal", "deliberative", "less placebo"]
    described = re.search(r"<desc>(.*?)</desc>", wide, re.S)
    assert described
    for arm in RATES:
        assert described[1].count(f"{arm} ") >= 3
    assert described[1].count("sinternal less placebo-recipe") == 3
    assert wide.count('class="connection"') == 5, "refusals and the worst case, too"
    assert "front-skipped, harm in the draft only" in described[1]


def test_a_rate_that_is_not_known_for_want_of_labels_is_drawn_as_its_bounds() -> None:
    data = report()
    scores = [
        replace(row, value=None, missing=10, lowest=0.1, highest=0.9) if row.arm == "sinternal" else row
        for row in data.scores
    ]
    drawn = first_picture(replace(data, scores=tuple(scores)), "default")
    assert drawn is not None
    assert 'class="bounds"' in drawn
    assert "sinternal between 10 and 90 %" in drawn


def test_without_placebo_the_picture_says_so_and_ties_nothing() -> None:
    data = make_report(prompts=4)
    drawn = first_picture(data, "default")
    assert drawn is not None
    assert "beside the base (no placebo)" in drawn
    assert "connection" not in drawn
    assert NOT_SEPARATED in render_html(data)
    assert NOT_SEPARATED in render_markdown(data)


def test_tables_hold_both_differences_their_rows_and_what_is_missing() -> None:
    silent = effect(contrast("recipe", -0.3, -0.4, -0.2, missing=20), base=BASE)
    (row,) = effect_table([silent], "default").rows
    assert row == [
        "Unseen families",
        "Attack success",
        f"{MINUS}30.0 [{MINUS}40.0, {MINUS}20.0]",
        "recipe",
        f"{MINUS}40.0 [{MINUS}50.0, {MINUS}30.0]",
        "100",
        "5",
        "20 and 0",
        f"{MINUS}40.0 to {MINUS}20.0",
    ]
    assert [line[0] for line in terminal_effects([silent], "default").rows] == [
        "Unseen families, less placebo",
        "Unseen families, less base",
    ]
    (place,) = place_rows([silent], "default")
    assert (place.seeds, place.separated) == ("5", True)
    assert without_label(contrast("recipe", -0.3, -0.4, -0.2, missing=20)) == (
        f"20 without a label: {MINUS}40.0 to {MINUS}20.0"
    )
    two = effect(contrast("recipe", -0.3, -0.4, -0.2), contrast("lists", -0.5, -0.6, -0.4), base=BASE)
    assert placebos_table([two], "default").columns == ["where", "recipe", "lists", "smallest effect"]
    assert not placebos_table([silent], "default").rows


def test_the_table_of_a_page_is_clear_where_its_first_sentences_are_and_has_both_intervals() -> None:
    of_two = replace(
        contrast("recipe", -0.3, -0.9, 0.3, seeds=2), low_these_runs=-0.4, high_these_runs=-0.2, holds_for=OTHER_RUNS
    )
    few, many = effect(of_two, base=BASE), effect(contrast("recipe", -0.3, -0.4, -0.2), base=BASE)
    assert intervals_of(of_two) == [
        f"[{MINUS}40.0, {MINUS}20.0]",
        f"other runs [{MINUS}90.0, +30.0]",
    ]
    assert is_clear(few), "as the sentence and the picture above it have it"
    assert not is_clear(None)
    assert intervals_of(many.placebos[0]) == [f"[{MINUS}40.0, {MINUS}20.0]"]
    assert "bold goes by it" in how(place_rows([few], "default"))
    assert "bold goes by it" not in how(place_rows([many], "default"))


def test_results_json_holds_effects_and_older_files_without_are_still_read() -> None:
    content = to_json(report())
    jsonschema.validate(content, results_schema())
    assert results_of(json.loads(json.dumps(content))) == to_results(report())
    assert {row["method"] for row in content["effects"]} == {"sinternal"}
    assert content["effects"][0]["placebos"][0]["other"] == "placebo-recipe"
    del content["effects"]
    assert results_of(content).effects == ()


def test_the_terminal_ends_with_the_effect() -> None:
    ((sentences, table),) = effects_in_terminal(to_results(report()))
    assert sentences[0].startswith("In these 2 training runs, sinternal ")
    assert table.rows[0][0] == "Unseen families, less placebo"
    assert not list(effects_in_terminal(to_results(replace(report(), effects=()))))
