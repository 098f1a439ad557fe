"""How fast arms learn from rewards, and with which other arm each is compared."""

from __future__ import annotations

from collections.abc import Callable

from sinternal.figures.learning import learning, read_curves
from sinternal.figures.study import Arm, LearningCurve
from sinternal.store import Artifact, Draft
from tests.conftest import Build

REWARDS, VERDICTS = "rewards of its own rollouts", "rewards of its verdicts alone"
ARMS = (
    Arm("base", "nothing: the untouched base", 0, 0),
    Arm("tuned", "verification only", 360, 150),
    Arm("verify-rl", VERDICTS, 0, 35, rollouts=4480),
    Arm("base+grpo", REWARDS, 0, 60, start="base", rollouts=7680),
    Arm("tuned+grpo", REWARDS, 0, 60, start="tuned", rollouts=7680),
    Arm("tuned+verify-rl", VERDICTS, 0, 35, start="tuned", rollouts=4480),
)
LEVELS = {"verify-rl": 0.5, "base+grpo": 0.4, "tuned+grpo": 0.1, "tuned+verify-rl": 0.2}


def curves() -> list[LearningCurve]:
    return [
        LearningCurve("default", arm, seed, "held out", {"asr": ((0, level), (10, level + seed / 100 * (1 + level)))})
        for arm, level in LEVELS.items()
        for seed in (0, 1, 2)
    ]


def test_an_arm_is_compared_with_the_one_from_the_base_that_was_rewarded_alike() -> None:
    against = {row.arm: row.against for row in learning(curves(), ARMS)}
    assert against == {
        "verify-rl": None,
        "base+grpo": None,
        "tuned+grpo": "base+grpo",
        "tuned+verify-rl": "verify-rl",
    }


def test_the_logs_figures_of_verdicts_are_curves_that_leave_out_the_steps_without_any(
    make: Callable[[str, Build], Artifact],
) -> None:
    log = [
        {"step": 1, "balanced_accuracy": 0.5, "asr": None},
        {"step": 2, "asr": 0.3},
        {"step": 3, "balanced_accuracy": 1},
    ]

    def build(draft: Draft) -> None:
        draft.write_json("training", log)
        draft.write_json("held_out", [])

    (curve,) = read_curves(make("grpo", build), "default", "alternating", 0)
    assert curve.points["balanced_accuracy"] == ((1, 0.5), (3, 1.0))
    assert curve.points["asr"] == ((2, 0.3),)
