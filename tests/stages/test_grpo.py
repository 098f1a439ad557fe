"""Stage `grpo`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sinternal.errors import DataError, ModelError
from sinternal.records import Prompt
from sinternal.stages import (
    grpo,
    target,
)
from sinternal.store import Artifact
from tests.conftest import plain_prompt
from tests.stages.shared import (
    Make,
    tables,
)


def grpo_config(**changes: object) -> grpo.GrpoConfig:
    settings = {"method": "full", "steps": 1, "prompts": 4, "rollouts": {"n": 4, "max_tokens": 64}, **changes}
    return grpo.GrpoConfig.model_validate(
        {"settings": settings, "judge": {"name": "oracle"}, "verification": {"name": "microworld"}, "seed": 0}
    )


def test_grpo_writes_a_model_and_its_logs(make: Make, model: Artifact, originals: Sequence[Prompt]) -> None:
    asked = tables(make, "prompts", prompts=originals)
    config = grpo_config(held_out_every=1)
    artifact = make(
        "grpo", lambda draft: grpo.grpo(draft, config, prompts=asked, model=model, held_out=asked_less(make, originals))
    )
    assert (target.model_path(artifact) / "model.safetensors").exists()
    assert {path.name for path in artifact.path.iterdir()} >= {"training.json", "held_out.json"}
    assert (artifact.counts["steps"], artifact.counts["rollouts"]) == (1, 16)
    assert not list(artifact.path.glob("*.checkpoints"))


def asked_less(make: Make, originals: Sequence[Prompt]) -> Artifact:
    return tables(make, "held-out", prompts=originals[:4])


def test_rewards_without_benign_prompts_are_refused(make: Make, model: Artifact, originals: Sequence[Prompt]) -> None:
    asked = tables(make, "prompts", prompts=[row for row in originals if row.harmful])
    with pytest.raises(DataError, match=r"no benign prompts .* refuses everything"):
        make("grpo", lambda draft: grpo.grpo(draft, grpo_config(), prompts=asked, model=model))


def test_a_mixture_without_benign_prompts_is_told(make: Make, model: Artifact, originals: Sequence[Prompt]) -> None:
    asked = tables(make, "prompts", prompts=originals)
    config = grpo_config(mixture={"harmful": 1, "benign": 0})
    artifact = make("grpo", lambda draft: grpo.grpo(draft, config, prompts=asked, model=model))
    assert any("nothing keeps the policy from refusing everything" in note for note in artifact.manifest["notes"])


def test_a_start_with_another_chat_template_is_refused_before_the_first_step(
    make: Make, model: Artifact, originals: Sequence[Prompt], base_model: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(base_model, other)
    template = other / "chat_template.jinja"
    template.write_text("list " + template.read_text())
    start = make("start", lambda draft: target.target(draft, target.TargetConfig(model=str(other))))
    asked = tables(make, "prompts", prompts=originals)
    with pytest.raises(ModelError, match="chat template of the start model renders a message as"):
        make("grpo", lambda draft: grpo.grpo(draft, grpo_config(), prompts=asked, model=start, target=model))


def test_a_prompt_that_no_trainer_can_put_is_refused(make: Make, model: Artifact, originals: Sequence[Prompt]) -> None:
    asked = tables(make, "prompts", prompts=[replace(row, prefill="<think>sure") for row in originals])
    with pytest.raises(DataError, match=r"take it out of prompts\.train_attacks"):
        make("grpo", lambda draft: grpo.grpo(draft, grpo_config(), prompts=asked, model=model))


def test_a_problem_whose_solution_cannot_be_compared_is_refused_before_the_first_step(
    make: Make, model: Artifact, originals: Sequence[Prompt]
) -> None:
    asked = tables(make, "prompts", prompts=originals)
    broken = replace(plain_prompt("how many ?"), meta='{"solution": " "}')
    problems = tables(make, "mathematics", prompts=[broken])
    with pytest.raises(
        DataError, match="benchmark 'test': the solution ' ' of a mathematics prompt is not an expression"
    ):
        make("grpo", lambda draft: grpo.grpo(draft, grpo_config(), prompts=asked, model=model, mathematics=problems))
