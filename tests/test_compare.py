"""Two finished runs, compared prompt by prompt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sinternal.compare import compare, to_json
from sinternal.errors import DataError
from tests.commands import sinternal

SMALL = [
    "--set=workers=1",
    "--set=prompts.train_limit=8",
    "--set=prompts.eval_limit=40",
    "--set=evaluation.stress=null",
    "--set=arms=[{name: base}]",
]


def run(cwd: Path, out: str, *more: str) -> None:
    done = sinternal("run", "quickstart", "--out", out, *SMALL, *more, cwd=cwd)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    run(folder, "warm", "--set=seeds=[0]")
    run(folder, "cold", "--set=seeds=[0]", "--set=evaluation.sampling.temperature=0")
    run(folder, "later", "--set=seeds=[7]")
    return folder


def test_two_runs_are_paired_and_what_else_differs_is_told(runs: Path) -> None:
    (found,) = compare(runs / "warm", runs / "cold")
    assert {row.metric for row in found.comparisons} >= {"asr", "helpful"}
    for row in found.comparisons:
        assert row.n > 0
        assert row.low <= row.difference <= row.high
        assert row.detectable >= 0
        assert row.p_holm >= row.p - 1e-12
    assert any("differ in decoding" in caveat for caveat in found.caveats)
    assert json.dumps(to_json([found]), allow_nan=False)


def test_a_run_against_itself_shows_no_difference(runs: Path) -> None:
    (found,) = compare(runs / "warm", runs / "warm")
    assert all((row.difference, row.p, row.p_mcnemar) == (0, 1, 1) for row in found.comparisons)
    assert found.caveats == ()


def test_runs_without_a_common_prompt_seed_and_sample_are_refused(runs: Path) -> None:
    with pytest.raises(DataError, match="no prompt, seed and sample in common"):
        compare(runs / "warm", runs / "later")


def test_a_missing_run_or_arm_is_named(runs: Path) -> None:
    with pytest.raises(DataError, match="no finished run there"):
        compare(runs / "warm", runs / "nowhere")
    with pytest.raises(DataError, match="has no arm 'basis'; it has: base"):
        compare(runs / "warm", runs / "cold", "basis")
    with pytest.raises(DataError, match="with --arm-a, too"):
        compare(runs / "warm", runs / "cold", None, "base")
