"""The recipe with reinforcement learning, through the command line, in its smallest size."""

from __future__ import annotations

import json
from pathlib import Path

from tests.commands import sinternal
from tests.study.test_run import SMALL

TINY = [option for option in SMALL if not option.startswith("--set=arms=")]


def test_a_run_with_rewards_compares_the_starts(tmp_path: Path) -> None:
    smaller = ["steps=2", "held_out_every=1", "prompts=4", "rollouts.n=4"]
    options = [
        "--set=prompts.eval_limit=64",
        "--set=rewards.held_out_limit=8",
        *(f"--set=grpo.{one}" for one in smaller),
    ]
    done = sinternal("run", "microworld-rl", *TINY, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "runs/microworld-rl/results.json").read_text())
    assert {"base+grpo", "sinternal+grpo", "placebo+grpo", "verify-rl"} <= {row["arm"] for row in results["learning"]}
    for row in results["comparisons"]:
        assert 0 <= row["p_mcnemar"] <= 1
        whole = (
            not (row["family"] or row["benchmark"] or row["harm_shows"]) and row["metric"] != "proactive_verification"
        )
        pairs = [(q["arm"], other) for q in results["questions"] for other in q["against"]]
        if whole and (row["a"], row["b"]) in pairs:
            assert row["p"] <= row["p_holm"] <= 1
        else:
            assert row["p_holm"] is None
        assert (row["runs"], row["holds_for"]) == (1, "other prompts, and these training runs only")
        assert row["only_a"] + row["only_b"] <= row["n"]
    page = (tmp_path / "runs/microworld-rl/report.html").read_text()
    assert "Reinforcement learning, step by step" in page
    assert "frontier" in page
