"""What the training stages are given is what their models were and will be asked with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sinternal.errors import DataError
from sinternal.records import Example, Prompt, Response, Verdict, Verification
from sinternal.settings.plugins import EnginePlugin, JudgePlugin, VerificationPlugin
from sinternal.settings.recipe import load_recipe
from sinternal.settings.sampling import Sampling
from sinternal.settings.training import GrpoSettings, SftSettings
from sinternal.stages.examples import ExamplesConfig, examples
from sinternal.stages.grpo import GrpoConfig, grpo
from sinternal.stages.sample import SampleConfig, sample
from sinternal.stages.sft import SftConfig, sft
from sinternal.stages.target import TargetConfig, target
from sinternal.store import Artifact, Draft
from sinternal.study.plan import make_plan
from sinternal.world.benchmark import Microworld
from tests.conftest import plain_prompt, response_to
from tests.plugins import open_plugin

Make = Callable[[str, Callable[[Draft], None]], Artifact]

HARMFUL, BENIGN = plain_prompt("harmful?", harmful=True), plain_prompt("benign?")


def made_of(
    make: Make, prompts: list[Prompt], verdicts: tuple[Verdict, ...] = (), system: str = "Be brief."
) -> list[Example]:
    """The examples that these prompts lead to: of verification if there are verdicts, else demonstrations."""
    responses = [response_to(prompt, f"answer to {prompt.text}") for prompt in prompts]
    rows = [
        Verification(f"v{i}", response.id, "expert", True, f"Is it safe? {response.answer}", "hm", f"Verdict: {v}", v)
        for i, (response, v) in enumerate(zip(responses, verdicts, strict=bool(verdicts)))
    ]
    inputs = {
        "prompts": make("prompts", lambda draft: draft.write(prompts, Prompt)),
        "responses": make("responses", lambda draft: draft.write(responses, Response)),
        "model": make("model", lambda draft: target(draft, TargetConfig(model="microworld"))),
    }
    if verdicts:
        inputs["verifications"] = make("verifications", lambda draft: draft.write(rows, Verification))
    config = ExamplesConfig(size=4, seed=0, system=system)
    return make("examples", lambda draft: examples(draft, config, **inputs)).rows(Example)


def test_demonstrations_are_trained_under_the_system_message_of_the_test(make: Make) -> None:
    own = replace(BENIGN, system="You are a pirate.")
    rows = {row.prompt: (row.system, row.quotes) for row in made_of(make, [HARMFUL, own])}
    assert rows == {"harmful?": ("Be brief.", False), "benign?": ("You are a pirate.", False)}


def test_verifications_are_trained_as_they_are_asked_for_without_it(make: Make) -> None:
    prompts = [HARMFUL, replace(HARMFUL, id="other"), BENIGN]
    rows = made_of(make, prompts, (Verdict.UNSAFE, Verdict.SAFE, Verdict.SAFE))
    assert {(row.system, row.quotes) for row in rows} == {("", True)}


@pytest.mark.parametrize("change", [{"prefill": "Sure, "}, {"raw": True}])
def test_what_a_trainer_cannot_put_as_it_is_tested_is_refused(make: Make, change: dict[str, object]) -> None:
    bent = replace(HARMFUL, family="answer-prefill", **change)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"attack 'answer-prefill' .* take it out of prompts\.train_attacks"):
        made_of(make, [bent, BENIGN])


def test_a_verification_of_an_answer_to_such_a_prompt_can_be_trained(make: Make) -> None:
    prompts = [replace(HARMFUL, prefill="Sure, "), replace(HARMFUL, id="other"), BENIGN]
    assert made_of(make, prompts, (Verdict.UNSAFE, Verdict.SAFE, Verdict.SAFE))


def test_the_recipes_system_message_and_template_reach_every_training_stage() -> None:
    told = ["target.system=Be brief.", "engine.options.chat_template_kwargs={enable_thinking: false}"]
    tasks = make_plan(load_recipe("microworld-rl", told)).tasks
    configs = {
        stage: [task.config for task in tasks if task.stage.name == stage] for stage in ("examples", "sft", "grpo")
    }
    assert all(configs.values())
    assert all(one.system == "Be brief." for stage in ("examples", "grpo") for one in configs[stage])  # type: ignore[attr-defined]
    for one in (*configs["sft"], *configs["grpo"]):
        assert one.speech.chat_template_kwargs == {"enable_thinking": False}  # type: ignore[attr-defined]


def test_arms_of_adapters_one_after_the_other_answer_wherever_their_store_is_moved(make: Make, tmp_path: Path) -> None:
    prompts = [*open_plugin(Microworld, {}).prompts("train")]
    rows = [Example("x", prompts[0].text, "review :", "sorry i cannot .", "harmful", "p", "r")]
    asked = make("prompts", lambda draft: draft.write(prompts, Prompt))
    start = make("base", lambda draft: target(draft, TargetConfig(model="microworld", trained=True)))
    written = make("examples", lambda draft: draft.write(rows, Example))
    tuning = SftConfig(settings=SftSettings(steps=2, batch=1, learning_rate=1e-3), seed=0)
    tuned = make("sft", lambda draft: sft(draft, tuning, examples=written, model=start))
    how = GrpoSettings.model_validate(
        {"steps": 1, "prompts": 4, "learning_rate": 1e-3, "rollouts": {"n": 4, "max_tokens": 64}}
    )
    rewarded = GrpoConfig(
        settings=how, judge=JudgePlugin(name="oracle"), verification=VerificationPlugin(name="microworld"), seed=0
    )
    reinforced = make("grpo", lambda draft: grpo(draft, rewarded, prompts=asked, model=tuned))
    few = make("few", lambda draft: draft.write(prompts[:4], Prompt))
    asking = SampleConfig(engine=EnginePlugin(), sampling=Sampling(max_tokens=32), seed=0)

    def answers(model: Artifact, name: str) -> list[Response]:
        return make(name, lambda draft: sample(draft, asking, prompts=few, model=model)).rows(Response)

    found = answers(reinforced, "here")
    shutil.move(start.path.parents[1] / "base", tmp_path / "moved/base")
    shutil.move(start.path.parents[1] / "grpo", tmp_path / "moved/grpo")
    assert answers(Artifact(tmp_path / "moved/grpo/key"), "there") == found
