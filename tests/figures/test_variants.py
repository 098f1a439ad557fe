"""A run whose variants have different arms, in its smallest size, from the recipe to the results."""

from __future__ import annotations

import json
from pathlib import Path

from tests.commands import sinternal

SMALL = [
    "--set=seeds=[0]",
    "--set=workers=1",
    "--set=sft.steps=2",
    "--set=examples.size=16",
    "--set=prompts.train_limit=16",
    "--set=prompts.eval_limit=8",
    "--set=arms=[{name: base}, {name: deliberative, train_on: deliberative}, {name: mine, train_on: verification}]",
    "--set=variants={every: {}, without: {arms: [deliberative, base]}}",
]


def test_each_variant_has_the_figures_of_its_own_arms(tmp_path: Path) -> None:
    ended = sinternal("run", "quickstart", *SMALL, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    folder = tmp_path / "runs/quickstart"
    results = json.loads((folder / "results.json").read_text())
    every, without = {"base", "deliberative", "mine"}, {"base", "deliberative"}
    assert [arm["name"] for arm in results["arms"]] == ["base", "deliberative", "mine"]
    for variant, arms in (("every", every), ("without", without)):
        assert {row["arm"] for row in results["scores"] if row["variant"] == variant} == arms
        compared = {
            name for row in results["comparisons"] if row["variant"] == variant for name in (row["a"], row["b"])
        }
        assert compared == arms
    assert {row["variant"] for row in results["effects"] if row["method"] == "mine"} == {"every"}
    asked = [row for row in results["comparisons"] if row["p_holm"] is not None]
    assert {row["variant"] for row in asked} == {"every"}, "the question is about an arm that the other does not have"
    page = (folder / "report.html").read_text()
    assert "without" in page
    assert "None" not in (folder / "results.md").read_text()
