from __future__ import annotations

from dataclasses import replace

from bench.invented import ATTACK_SUCCESS, make_report

from sinternal.figures.best import best
from sinternal.figures.study import Comparison, ReportData
from sinternal.report.markdown import render_markdown
from sinternal.report.results import terminal_tables, to_json, to_results
from sinternal.report.study_page import render_html
from sinternal.report.words import best_in_words


def with_p(values: dict[frozenset[str], float]) -> ReportData:
    """A report whose arms are compared pair by pair on unseen families, with these p values."""
    data = make_report({**dict.fromkeys(ATTACK_SUCCESS, (0.5, 0.5)), "sinternal": (0.1, 0.1)})
    usual = next(row for row in data.comparisons if (row.metric, row.split) == ("asr", "ood"))
    rows: list[Comparison] = []
    for pair, p in values.items():
        a, b = sorted(pair)
        rows.append(replace(usual, a=a, b=b, p=p, value=0.2))
    return replace(data, comparisons=tuple(rows))


PAIRS = [
    frozenset(pair)
    for pair in (
        ("base", "refusal"),
        ("base", "deliberative"),
        ("base", "sinternal"),
        ("refusal", "deliberative"),
        ("refusal", "sinternal"),
        ("deliberative", "sinternal"),
    )
]


def test_arms_that_the_corrected_test_does_not_tell_from_the_lowest_stand_with_it() -> None:
    data = with_p(dict(zip(PAIRS, (0.5, 0.001, 0.0001, 0.5, 0.02, 0.5), strict=True)))
    found = best(data.scores, data.comparisons, "default")
    assert found is not None
    # Over six pairs 0.0001 and 0.001 stay below 0.05, and 0.02 does not.
    assert (found.arm, found.split) == ("sinternal", "ood")
    assert (set(found.alike), found.apart) == ({"refusal", "deliberative"}, ("base",))
    assert best_in_words(found) == (
        "No single arm is the lowest in attack success OOD: sinternal, refusal and deliberative cannot be told apart "
        "(Holm over all pairs of arms)."
    )


def test_the_set_stands_on_the_page_in_markdown_in_results_and_in_the_terminal() -> None:
    data = with_p(dict.fromkeys(PAIRS, 0.5))
    found = best(data.scores, data.comparisons, "default")
    assert found is not None
    results = to_json(data)
    assert results["best"][0]["alike"] == list(found.alike)
    assert best_in_words(found) in render_html(data)
    assert best_in_words(found) in render_markdown(data)
    assert [note for _, _, note in terminal_tables(to_results(data))] == [best_in_words(found)]


def test_arms_that_can_be_told_from_each_other_but_not_from_the_lowest_are_not_said_to_be_alike() -> None:
    data = with_p(dict(zip(PAIRS, (0.5, 0.5, 0.0001, 0.001, 0.5, 0.5), strict=True)))
    found = best(data.scores, data.comparisons, "default")
    assert found is not None
    assert (set(found.alike), found.between) == ({"refusal", "deliberative"}, (("refusal", "deliberative"),))
    said = best_in_words(found)
    assert "cannot be told apart" not in said
    assert "refusal and deliberative cannot be told from sinternal" in said
    assert "though refusal from deliberative can" in said
    page = render_html(data)
    assert said in page
    assert "<strong>Cannot be told apart</strong>" not in page
    assert "<strong>Cannot be told from the lowest</strong>" in page
    assert to_json(data)["best"][0]["between"] == [["refusal", "deliberative"]]


def test_arms_that_were_never_compared_are_not_told_apart() -> None:
    data = replace(make_report(), comparisons=())
    found = best(data.scores, data.comparisons, "default")
    assert found is not None
    assert (len(found.alike), found.apart) == (3, ())


def test_there_is_no_best_of_a_single_arm() -> None:
    data = make_report()
    scores = [one for one in data.scores if one.arm == "base"]
    assert best(scores, (), "default") is None
