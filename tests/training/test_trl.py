"""Our trainer reaches into TRL's, which does not promise to stay as it is: see record_trl_interface.py."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from sinternal.settings.training import GrpoSettings, SftSettings
from sinternal.training import grpo, sft, steps
from tests.training.record_trl_interface import FILE, METHODS, record

INTERFACE = json.loads(FILE.read_text())
OURS = {
    "_drop_idle",
    "_check_first_rewards",
    "_with_answers_to_verify",
    "_answers",
    "_own_verdicts",
    "_write",
    "_idle_reward",
}


def test_the_installed_trl_has_the_recorded_interface() -> None:
    assert record() == INTERFACE


def test_what_is_used_of_trls_private_parts_is_recorded() -> None:
    tree = ast.parse(Path(grpo.__file__).read_text())
    trainer = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "_Trainer")
    used = {
        node.attr
        for node in ast.walk(trainer)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and ast.unparse(node.value) in ("self", "super()")
    } - {"__init__"}
    assert used - OURS <= {*METHODS, *INTERFACE["attributes"]}
    assert {"advantages", "completion_mask", "num_items_in_batch", "tool_mask"} <= set(INTERFACE["batch"])
    assert {"reward", *steps.LOGGED} - {"loss", "mean_reward"} <= set(INTERFACE["logged"])


@pytest.mark.parametrize("engine", ["transformers", "vllm-colocate", "vllm-server"])
def test_trl_is_told_nothing_that_it_does_not_know(tmp_path: Path, engine: str) -> None:
    how = GrpoSettings.model_validate({"steps": 1, "rollouts": {"engine": engine}})
    assert grpo._arguments(how, [2], 0, tmp_path, measured=False).max_steps == 1
    assert sft._arguments(SftSettings(steps=1, batch=1, learning_rate=1e-4), 0, tmp_path).max_steps == 1


@pytest.mark.parametrize("module", [grpo, sft], ids=["grpo", "sft"])
def test_only_names_that_older_transformers_know_are_used(module: object) -> None:
    """`activation_checkpointing` is unknown to those that vLLM allows."""
    assert "activation_checkpointing" not in Path(str(module.__file__)).read_text()  # type: ignore[attr-defined]
