from __future__ import annotations

from dataclasses import replace

from bench.invented import ATTACK_SUCCESS, make_report

from sinternal.figures.estimate import THESE_RUNS
from sinternal.figures.study import ReportData
from sinternal.records import Split
from sinternal.report.comparison_tables import COMPARISON_COLUMNS
from sinternal.report.effect_tables import EFFECT_COLUMNS
from sinternal.report.format import MINUS, MISSING, points, with_interval
from sinternal.report.markdown import render_markdown
from sinternal.report.results import terminal_tables, to_json, to_results
from sinternal.report.study_page import render_html
from sinternal.report.tables import COLUMNS, headline, headline_text, verification


def attack_success(data: ReportData, arm: str) -> str:
    (score,) = (
        s for s in data.scores if (s.arm, s.metric, s.seed, s.family, s.split) == (arm, "asr", None, None, Split.OOD)
    )
    return with_interval(score)


def test_the_headline_has_a_row_for_each_arm_and_a_cell_for_each_column() -> None:
    data = make_report()
    rows = headline(data.scores, data.arms, "default")
    assert [row.name for row in rows] == list(ATTACK_SUCCESS)
    assert all(len(row.cells) == len(COLUMNS) for row in rows)
    for row in rows:
        for column, cell in zip(COLUMNS, row.cells, strict=True):
            assert cell is not None
            assert (cell.arm, cell.seed, cell.family) == (row.name, None, None)
            wanted = (column.metric.name, column.metric.over[0], column.split, column.spec)
            assert (cell.metric, cell.over, cell.split, cell.spec) == wanted


def test_figures_are_written_in_percent_with_their_interval() -> None:
    score = replace(make_report().scores[0], value=0.2134, low=0.18, high=0.2509)
    assert with_interval(score) == "21.3 [18.0, 25.1]"
    assert points(-0.271) == f"{MINUS}27.1"
    assert points(0.03) == "+3.0"
    assert points(-0.0001) == "0.0"


def test_the_markdown_holds_the_same_numbers_as_the_scores() -> None:
    data = make_report()
    text = render_markdown(data)
    for arm in ATTACK_SUCCESS:
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {arm} |"))
        assert line.split(" | ")[2] == attack_success(data, arm)
    first = data.comparisons[0]
    these = f"[{points(first.low_these_runs)}, {points(first.high_these_runs)}]"
    others = f"[{points(first.low or 0)}, {points(first.high or 0)}]"
    assert f"| {points(first.difference)} {these} | {others} |" in text


def test_every_line_of_a_markdown_table_has_as_many_cells_as_its_head() -> None:
    lines = [line for line in render_markdown(make_report()).splitlines() if line.startswith("| ")]
    assert {line.count("|") for line in lines} == {
        len(COLUMNS) + 2,
        len(COMPARISON_COLUMNS) + 4,
        7,
        len(EFFECT_COLUMNS) + 1,
    }


def test_a_pipe_or_a_tag_in_a_name_cannot_break_the_markdown() -> None:
    data = replace(make_report(), facts={"Judge": "a|b <script>alert(1)</script>"})
    text = render_markdown(data)
    assert "a\\|b" in text
    assert "<script>" not in text


def test_what_was_not_measured_is_a_dash() -> None:
    data = replace(make_report(), scores=(), comparisons=())
    table = headline_text(data, "default")
    assert table.rows == [[arm, *[MISSING] * len(COLUMNS)] for arm in ATTACK_SUCCESS]
    assert MISSING in render_markdown(data)


def test_a_figure_that_could_not_be_computed_is_a_dash() -> None:
    assert with_interval(replace(make_report().scores[0], value=None, low=None, high=None)) == MISSING


def test_each_variant_has_its_own_table() -> None:
    text = render_markdown(make_report(variants=("coupled", "uncoupled")))
    assert "## coupled" in text
    assert "## uncoupled" in text


def test_one_training_run_says_in_every_form_that_it_tells_nothing_of_others() -> None:
    data = make_report()
    once = tuple(replace(row, runs=1, holds_for=THESE_RUNS) for row in data.comparisons)
    data = replace(data, comparisons=once, seeds=(0,))
    assert render_markdown(data).count("one run: unknown") == len(once)
    assert "one run: unknown" in render_html(data)
    results = to_json(data)
    assert {row["holds_for"] for row in results["comparisons"]} == {THESE_RUNS}
    assert any(
        "no figure or test here says anything about other training runs" in caveat for caveat in results["caveats"]
    )


def test_what_was_not_asked_for_stands_apart_and_uncorrected() -> None:
    text = render_markdown(make_report())
    asked, explored = (part.split("\n\n")[0] for part in text.split("Paired comparisons on the same prompts. ")[1:])
    assert "Exploratory" not in asked
    assert "Exploratory" in explored
    tables = text.split("Paired comparisons on the same prompts. ")
    assert "exploratory |" not in tables[1]
    assert all("| exploratory |" in line for line in tables[2].splitlines() if line.startswith("| sinternal against"))


def measured_without_spec(data: ReportData) -> ReportData:
    """The same, as if no model had been asked with the specification quoted."""
    return replace(data, scores=tuple(score for score in data.scores if not score.spec))


def test_a_terminal_and_the_table_of_verdicts_show_the_ways_to_ask_that_were_measured() -> None:
    data = make_report()
    assert {row.note for row in verification(data.scores, data.arms, "default")} == {"no spec", "with spec"}
    without = measured_without_spec(data)
    assert {row.note for row in verification(without.scores, data.arms, "default")} == {"no spec"}
    ((_, shown, _),) = terminal_tables(to_results(without))
    titles = [row[0] for row in shown.rows]
    assert "verifies OOD" in titles
    assert not any(title.endswith("+spec") for title in titles)
    arms = [replace(arm, name=f"{arm.name}-{number}") for arm in data.arms for number in range(2)]
    copies = [replace(score, arm=f"{score.arm}-{number}") for score in without.scores for number in range(2)]
    many = to_results(replace(without, arms=tuple(arms), scores=tuple(copies), comparisons=(), questions=()))
    ((_, wide, _),) = terminal_tables(many)
    assert wide.columns[-1] == "verifies OOD", "the main column has its like"
    assert all(MISSING not in row[-1] for row in wide.rows)


def test_what_is_wrong_with_a_placebo_stands_among_the_notes() -> None:
    told = "placebo length: its verdicts approve of 99% of the answers"
    data = replace(make_report(), placebos=(told,))
    assert told in to_json(data)["caveats"]
    assert told in render_markdown(data)
    assert told in render_html(data)
