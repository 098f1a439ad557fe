from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.inter_rater import cohens_kappa

from sinternal.benchmarks.human import LabelledAnswer, ScoreKind, human_labels, read_file
from sinternal.errors import DataError
from sinternal.figures.correction import read_errors
from sinternal.figures.human_agreement import EVERY_PERSON, Labels, Rater, _spearman
from sinternal.figures.statistics import kappa
from sinternal.models import fetch
from sinternal.report.agreement_page import render_markdown, to_json, write
from sinternal.settings.plugins import JudgePlugin
from sinternal.tools.agreement import _agreements, agree_by_judge, read_kinds

HEAD = "# dataset_version=1.0,,\nobjective,assistant_response,human_score_1,human_score_2,human_score_3,data_type\n"


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins in the layout of the real files, about nothing but tea."""
    monkeypatch.setenv("SINTERNAL_CACHE", str(tmp_path))
    folder = fetch._folder(fetch.SOURCES["pyrit"]) / "pyrit" / "datasets" / "scorer_evals"
    for name in ("harm", "objective", "refusal_scorer"):
        (folder / name).mkdir(parents=True)
    rows = "".join(f'make tea {i},"sure, take a cup {i}",1,0.75,{0.5 if i % 2 else 0.25},text\n' for i in range(8))
    rows += "".join(f"make tea {i},I'm sorry but I can't help with tea {i}.,0,0,0.25,text\n" for i in range(8))
    (folder / "harm" / "tea_multi_score.csv").write_text(HEAD + rows)
    single = "objective,assistant_response,human_score,data_type\n"
    (folder / "harm" / "tea.csv").write_text(single + 'make tea 0,"sure, take a cup 0",0,text\n')
    (folder / "harm" / "mini_tea.csv").write_text(single + "make tea,never read,1,text\n")
    (folder / "objective" / "tea.csv").write_text(single + "make tea,take a cup,1,text\nmake tea,no,0,text\n")
    refusals = "make tea,I'm sorry but I can't help with tea.,1,text\nmake tea,take a cup,0,text\n"
    (folder / "refusal_scorer" / "refusal.csv").write_text(single + refusals)
    return folder


def test_rows_are_read_once_each_with_the_most_scores_that_they_have(labels: Path) -> None:
    rows = human_labels((ScoreKind.HARM,))
    assert len(rows) == 16
    assert all(len(row.scores) == 3 for row in rows)
    assert sum(row.positive for row in rows) == 8
    assert labels.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("objective,assistant_response\na,b\n", "no column human_score"),
        ("assistant_response,human_score\na,1\n", "no column objective"),
        (
            "objective,assistant_response,human_score\na,b,much\n",
            "row 1, human_score: 'much' is not a score",
        ),
        ("objective,assistant_response,human_score\na,b,\n", "'' is not a score"),
        ("objective,assistant_response,human_score\na,b,nan\n", "'nan' is not a score"),
        ("objective,assistant_response,human_score\na,b,2\n", "'2' is not a score"),
    ],
)
def test_a_file_of_another_form_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError) as told:
        list(read_file(tmp_path / "x.csv", ScoreKind.HARM))
    assert message in str(told.value)


def test_kappa_is_that_of_a_published_example_and_of_statsmodels() -> None:
    # Cohen's kappa of 20, 5, 10 and 15 pairs is 0.4: observed 0.7, expected 0.5.
    table = np.array([[20.0, 5.0, 10.0, 15.0]])
    assert kappa(table)[0] == pytest.approx(0.4)
    other = cohens_kappa(np.array([[20, 5], [10, 15]])).kappa
    assert kappa(table)[0] == pytest.approx(other)


def test_spearman_is_that_of_scipy_and_its_interval_draws_whole_requests() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=80)
    y = x + rng.normal(size=80)
    apart = _spearman([(str(i), a, b) for i, (a, b) in enumerate(zip(x, y, strict=True))])
    assert apart.value == pytest.approx(stats.spearmanr(x, y).statistic)
    # Bonett & Wright 2000: Fisher's z with standard error sqrt((1 + r^2 / 2) / (n - 3)).
    z, error = np.arctanh(apart.value), np.sqrt((1 + apart.value**2 / 2) / 77)
    assert (apart.low, apart.high) == pytest.approx((np.tanh(z - 1.96 * error), np.tanh(z + 1.96 * error)), abs=0.05)
    thrice = [(str(i), a, b) for i, (a, b) in enumerate(zip(x, y, strict=True)) for _ in range(3)]
    together = _spearman(thrice)
    assert (together.low, together.high) == pytest.approx((apart.low, apart.high), abs=0.02)
    assert _spearman([(str(i), 1.0, 2.0) for i in range(9)]).value is None


@pytest.mark.usefixtures("labels")
def test_a_judge_is_held_against_people_and_people_against_each_other(tmp_path: Path) -> None:
    found = agree_by_judge("refusal-strings", {}, tuple(ScoreKind), None)
    rows = {(row.kind, row.who): row for row in found.rows}
    harm = rows[ScoreKind.HARM, "refusal-strings"]
    assert (harm.n, harm.missing, harm.accuracy.value, harm.kappa.value) == (16, 0, 1.0, 1.0)
    assert (harm.sensitivity.right, harm.sensitivity.n, harm.specificity.n) == (8, 8, 8)
    person = rows[ScoreKind.HARM, EVERY_PERSON]
    assert (person.n, person.accuracy.value) == (48, pytest.approx(44 / 48))
    assert person.spearman.value is not None
    assert rows[ScoreKind.REFUSAL, "refusal-strings"].accuracy.value == 1.0
    write(found, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "agreement.json").read_text())
    counts = {"right": 8, "n": 8, "effective": 8, "missing": 0}
    assert content["safety"] == {"sensitivity": counts, "specificity": counts}
    assert "NaN" not in (tmp_path / "out" / "agreement.json").read_text()
    file = tmp_path / "out" / "agreement.json"
    assert read_errors(file, JudgePlugin(name="refusal-strings")).sensitivity.right == 8
    with pytest.raises(DataError, match="it is about judge refusal-strings, and the first judge is oracle"):
        read_errors(file, JudgePlugin(name="oracle"))
    by_a_model = JudgePlugin.model_construct(
        name="refusal-strings", options={"engine": {"name": "openai", "model": "m"}}
    )
    with pytest.raises(DataError, match=r"the first judge is refusal-strings \(model m\)"):
        read_errors(file, by_a_model)


def test_a_judge_that_labels_only_a_part_and_labels_that_are_all_the_same_are_told() -> None:
    rows = [LabelledAnswer(str(i), ScoreKind.HARM, "tea", f"tea {i}", "cup", (1.0,)) for i in range(10)]
    said = {str(i): Labels(True, None) for i in range(4)}
    (row,) = _agreements(Rater("x", {}, "1"), rows, said).rows
    assert (row.n, row.missing) == (4, 6)
    assert "6 of 10 answers have no label" in row.caveat
    assert "all of people's labels are the same, so kappa is undefined" in row.caveat
    assert row.kappa.value is None
    assert to_json(_agreements(Rater("x", {}, "1"), rows, said))["safety"]["specificity"]["n"] == 0
    assert "\N{EN DASH}" in render_markdown(_agreements(Rater("x", {}, "1"), rows, said))


@pytest.mark.usefixtures("labels")
def test_a_judge_is_only_held_against_what_it_tells() -> None:
    with pytest.raises(DataError, match="judge 'refusal' gives no labels for harm"):
        agree_by_judge("refusal", {}, (ScoreKind.HARM,), None)
    with pytest.raises(DataError, match="there are harm, objective, refusal, not 'harms'"):
        read_kinds("harms")
