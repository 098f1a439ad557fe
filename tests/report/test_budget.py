"""How attack success over budget is shown."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

from sinternal.figures.budget import BudgetDifference, BudgetPoint
from sinternal.figures.estimate import OTHER_RUNS
from sinternal.figures.provenance import Provenance
from sinternal.figures.study import Arm, ReportData
from sinternal.layout import Control
from sinternal.report.budget import arms_table, budget_plots, budget_tables, curves_table, parts_table, shown_queries
from sinternal.report.caveats import unsent_attacks
from sinternal.report.markdown import pipe_table
from sinternal.report.results import Results, budgets_in_terminal, results_schema

SOURCE = Provenance("oracle", "r", "answer", "greedy", "2026-11-29", "k")
NASTY = "<b>|x"


def point(queries: int, control: Control = Control.NONE, value: float | None = 0.5, arm: str = NASTY) -> BudgetPoint:
    return BudgetPoint(
        value=value,
        low=0.25,
        high=0.75,
        n=4,
        lowest=0.4,
        highest=0.6,
        variant="v",
        arm=arm,
        attack="x",
        control=control,
        queries=queries,
        budget=3,
        missing=1,
        unsent=0.125,
        provenance=SOURCE,
    )


def difference(what: str, value: float | None = 0.1) -> BudgetDifference:
    return BudgetDifference(
        value=value,
        low=-0.5,
        high=0.5,
        lowest=0.0,
        highest=0.2,
        n=5,
        variant="v",
        what=what,
        attack="x",
        arm=NASTY,
        less_arm="base",
        queries=3,
        holds_for=OTHER_RUNS,
        runs=2,
        low_these_runs=-0.1,
        high_these_runs=0.3,
        missing=1,
        provenance=SOURCE,
    )


def report(*budgets: BudgetPoint, differences: tuple[BudgetDifference, ...] = ()) -> ReportData:
    arms = (Arm(NASTY, "nothing", 0, 0), Arm("other", "nothing", 0, 0))
    return cast(ReportData, SimpleNamespace(budgets=budgets, budget_differences=differences, arms=arms))


def test_a_row_for_each_arm_and_attack_with_bounds_where_there_is_no_value() -> None:
    data = report(point(1), point(2, value=None), point(3), point(1, Control.BLIND))
    table = curves_table(data.budgets, "v")
    assert table.columns == ["arm", "attack", "1 query", "2 queries", "3 queries", "requests", "nothing sent"]
    assert table.rows == [
        [NASTY, "x adaptive", "50.0 [25.0, 75.0]", "40.0 to 60.0 [25.0, 75.0]", "50.0 [25.0, 75.0]", "5", "12.5"],
        [NASTY, "x blind", "50.0 [25.0, 75.0]", "\N{EN DASH}", "\N{EN DASH}", "5", "12.5"],
    ]
    assert "&lt;b>\\|x" in pipe_table(table)
    assert curves_table(data.budgets, "another variant").rows == []


def test_a_terminal_has_a_table_of_success_over_budget_for_each_variant_that_was_attacked() -> None:
    variants = (SimpleNamespace(name="v"), SimpleNamespace(name="w"))
    results = SimpleNamespace(variants=variants, budgets=(point(1), point(3)))
    ((heading, table),) = budgets_in_terminal(cast(Results, results))
    assert heading.startswith("Attack success over budget, v: ")
    assert table == curves_table(results.budgets, "v")


def test_parts_are_for_these_runs_and_arms_for_others_too() -> None:
    every = tuple(map(difference, ("repetition", "disguises", "in all", "arms")))
    data = report(differences=(*every, difference("adaptation", None)))
    ((*_, adaptation, in_all, pairs),) = parts_table(data, "v").rows
    assert (adaptation, in_all) == ("0.0 to +20.0 [\N{MINUS SIGN}10.0, +30.0]", "+10.0 [\N{MINUS SIGN}10.0, +30.0]")
    assert pairs == "5"
    (row,) = arms_table(data, "v").rows
    assert row[2:] == ["+10.0 [\N{MINUS SIGN}10.0, +30.0]", "[\N{MINUS SIGN}50.0, +50.0]", "2", "5", "1"]


def test_a_reader_is_told_where_an_attacker_had_nothing_to_send() -> None:
    failed = replace(point(3), unsent=1.0)
    (told,) = unsent_attacks([point(1), failed, replace(point(3, Control.BLIND), unsent=0.04)])
    assert told.startswith(
        f"attack x had nothing to send in 100.0 % of its queries to {NASTY} (adaptive): they count as"
    )


def test_nothing_is_shown_where_nothing_was_attacked() -> None:
    assert [table for table in budget_tables(report(), "v") if table.table.rows] == []
    assert list(budget_plots(report(), "v")) == []


def test_the_plot_holds_both_curves_of_each_arm_and_escapes_its_name() -> None:
    curves = [point(i, control) for i in (1, 2, 3) for control in (Control.NONE, Control.BLIND)]
    (plot,) = budget_plots(report(*curves, point(1, Control.REPETITION)), "v")
    assert plot.count("<polyline") == 2
    assert "&lt;b&gt;|x, x blind" in plot
    assert "<b>" not in plot
    assert plot.count('class="whisker"') == 1


def test_some_numbers_of_queries_are_shown_the_first_and_the_last_among_them() -> None:
    assert [shown_queries(budget) for budget in (1, 2, 10)] == [[1], [1, 2], [1, 2, 3, 5, 10]]


def test_the_schema_of_results_describes_every_field_of_it() -> None:
    schema = results_schema()
    assert {"budgets", "budget_differences"} <= set(schema["properties"])
    for name in ("BudgetPoint", "BudgetDifference"):
        described = schema["$defs"][name]["properties"]
        assert all("description" in field or "$ref" in field for field in described.values()), name
