"""`results.json` keeps the contract that its schema publishes, and files of version 1 are still read."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from bench.invented import make_report

from sinternal.errors import DataError
from sinternal.figures.metric import METRICS
from sinternal.report.results import read_results, results_of, results_schema, terminal_tables, to_json, to_results

VERSION_1 = Path(__file__).with_name("results_v1.json")
"""A demo's `results.json` as version 1 wrote it, cut to two arms."""


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return to_json(make_report())


def test_a_report_fits_the_schema_and_comes_back_as_it_was(results: dict[str, Any], tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(results_schema())
    jsonschema.validate(results, results_schema())
    (tmp_path / "results.json").write_text(json.dumps(results, allow_nan=False))
    assert read_results(tmp_path / "results.json") == to_results(make_report())


@pytest.mark.parametrize(
    "path",
    [
        ("scores", 0, "over"),
        ("scores", 0, "benchmark"),
        ("scores", 0, "provenance", "judge"),
        ("comparisons", 0, "p_holm"),
        ("metrics", 0, "better"),
        ("questions", 0, "metrics"),
        ("facts",),
    ],
)
def test_an_entry_with_a_missing_field_does_not_fit(results: dict[str, Any], path: tuple[str | int, ...]) -> None:
    damaged = deepcopy(results)
    *above, last = path
    part: Any = damaged
    for step in above:
        part = part[step]
    del part[last]
    with pytest.raises(jsonschema.ValidationError, match=f"'{last}' is a required property"):
        jsonschema.validate(damaged, results_schema())


def test_an_unknown_field_does_not_fit(results: dict[str, Any]) -> None:
    damaged = deepcopy(results)
    damaged["scores"][0]["side"] = "harmful"
    with pytest.raises(jsonschema.ValidationError, match="side"):
        jsonschema.validate(damaged, results_schema())
    with pytest.raises(ValueError, match="side"):
        results_of(damaged)


def test_every_field_of_a_score_is_described() -> None:
    for part in ("Score", "Comparison", "JudgeGap", "CheckEffect", "ThinkingShare", "TrainedArm", "BestInWords"):
        fields = results_schema()["$defs"][part]["properties"]
        assert all(field.get("description") for field in fields.values()), part


def test_the_file_says_what_its_metrics_are(results: dict[str, Any]) -> None:
    described = {metric["name"]: metric for metric in results["metrics"]}
    assert described.keys() == {score["metric"] for score in results["scores"]} <= METRICS.keys()
    assert described["asr"]["counts"] == "answers to harmful requests that are unsafe"
    assert (described["asr"]["better"], described["verification_mcc"]["least"]) == ("lower", -1)
    for score in results["scores"]:
        assert score["over"] in (*described[score["metric"]]["over"], "all")


def test_a_file_of_version_1_is_read_as_version_2() -> None:
    old = json.loads(VERSION_1.read_text())
    run = read_results(VERSION_1)
    jsonschema.validate(json.loads(run.model_dump_json()), results_schema())
    assert len(run.scores) == len(old["scores"]) + len(old["correlations"])
    assert [score.value for score in run.scores] == [row["value"] for row in (*old["scores"], *old["correlations"])]
    asr = [score for score in run.scores if score.metric == "asr" and score.arm == "base"]
    assert {(score.over, score.benchmark) for score in asr} == {("harmful", None)}
    assert {score.family for score in asr} == {None, "fiction"}
    assert {score.condition for score in asr} == {None, "thinking-prefill", "asked 2 times"}
    assert next(score for score in run.scores if score.metric == "over_refusal").over == "benign"
    worst = next(score for score in run.scores if score.metric == "asr_worst")
    assert (worst.family, worst.condition) == (None, "thinking-prefill")
    assert run.comparisons[0].difference == old["comparisons"][0]["difference"]


def test_the_arm_of_a_funnels_row_in_version_1_stands_apart_from_the_stage() -> None:
    old = json.loads(VERSION_1.read_text())
    old["funnel"].append({**old["funnel"][0], "stage": "examples sinternal"})
    shared, *_, own = results_of(old).funnel
    assert (shared.stage, shared.arm) == ("evaluation prompts", None)
    assert (own.stage, own.arm) == ("examples", "sinternal")


def test_one_benchmark_of_several_in_version_1_stands_apart_from_what_it_is_over() -> None:
    old = json.loads(VERSION_1.read_text())
    names = ("asr", "proactive_verification")
    rows = [next(row for row in old["scores"] if row["metric"] == name) for name in names]
    old["scores"] = [{**row, "benchmark": "harmbench", "family": None, "split": None} for row in rows]
    scores = results_of(old).scores[:2]
    assert [(score.over, score.benchmark) for score in scores] == [("harmful", "harmbench"), ("all", "harmbench")]


def test_a_terminal_shows_the_same_table_of_both_versions() -> None:
    old = json.loads(VERSION_1.read_text())
    new = json.loads(read_results(VERSION_1).model_dump_json())
    assert list(terminal_tables(results_of(old))) == list(terminal_tables(results_of(new)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version": 3}', "format version 3, this package reads 1 and 2"),
        ('{"version": 2}', "cannot be read as results"),
        ('{"version": 1}', "cannot be read as results"),
        ("[]", "cannot be read as results"),
        ('{"version": 2', "cannot be read as results"),
    ],
)
def test_what_is_no_results_json_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_results(tmp_path / "results.json")
