"""The recipe that compares arms, through the command line, in its smallest size."""

from __future__ import annotations

import json
from pathlib import Path

from tests.commands import sinternal
from tests.study.test_run import SMALL

TINY = [option for option in SMALL if not option.startswith("--set=arms=")]


def test_every_arm_of_the_comparison_is_made_from_its_block_and_stands_in_the_report(tmp_path: Path) -> None:
    smaller = ("--set=sft.steps=2", "--set=prompts.eval_limit=8", "--set=evaluation.checks=null")  # checks: test_run.py
    same_model = "--set=arms.13.examples.answers.options={}"  # the shipped base; another would take minutes to build
    done = sinternal("run", "microworld-arms", *TINY, *smaller, same_model, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "runs/microworld-arms/results.json").read_text())
    measured = {score["arm"] for score in results["scores"]}
    assert measured == {arm["name"] for arm in results["arms"]}
    assert {"verdict-only", "critique-only", "other-answers", "no-spec", "swapped-spec", "half-data"} <= measured
    assert {"thinksafe", "answer-then-check"} <= measured
