"""The most that calls to servers can take, before any is made."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from sinternal.settings.plugins import AttackPlugin, ExpertPlugin, JudgePlugin, VerificationPlugin
from sinternal.settings.sampling import Sampling
from sinternal.settings.training import GrpoSettings
from sinternal.stages import contrast, critique, demonstrate, grpo, judge, prompts, sample
from sinternal.stages.stage import Costs, Stage
from sinternal.study.cost import Calls, Row, calls_of
from sinternal.study.task import Task

SAMPLING = Sampling(n=2, max_tokens=6000)
ROWS = 10


def server(model: str) -> dict[str, object]:
    return {"name": "openai", "model": model, "options": {"base_url": "http://localhost:1/v1"}}


GUARD = JudgePlugin(name="shieldgemma", options={"engine": server("guard")})
EXPERT = ExpertPlugin(name="chat", options={"engine": server("expert"), "max_tokens": 9000})
QUESTION = VerificationPlugin(name="specification")


def task(stage: Stage, config: BaseModel, **inputs: Task) -> Task:
    return Task(stage, stage.name, config, inputs)


def asked(of: Task, calls: int | None = ROWS) -> Calls:
    return calls_of(Row(of, False, Costs(ROWS, calls)))


@pytest.fixture
def answers() -> Task:
    return task(sample.STAGE, sample.SampleConfig(engine={"name": "openai"}, sampling=SAMPLING, seed=0))


def test_a_critique_quotes_an_answer_and_is_as_long_as_its_expert_may_write(answers: Task) -> None:
    pairs = task(contrast.STAGE, contrast.ContrastConfig(judge="shieldgemma", seed=0), responses=answers)
    config = critique.CritiqueConfig(expert=EXPERT, verification=QUESTION, seed=0)
    assert asked(task(critique.STAGE, config, pairs=pairs)) == Calls(2 * ROWS, 9000, 6000)


def test_a_judge_is_asked_as_often_as_it_has_questions_and_shown_whoever_has_answered(answers: Task) -> None:
    assert asked(task(judge.STAGE, GUARD, responses=answers)) == Calls(4 * ROWS, 1, 6000)
    config = demonstrate.DemonstrateConfig(expert=EXPERT, kind="refusal", seed=0)
    shown = task(demonstrate.STAGE, config)
    assert asked(shown) == Calls(ROWS, 9000, 0)
    assert asked(task(judge.STAGE, GUARD, responses=shown)) == Calls(4 * ROWS, 1, 9000)


def test_a_judge_that_rewards_is_shown_rollouts_and_not_asked_about_the_policys_own_verdicts() -> None:
    settings = GrpoSettings(steps=1, rollouts={"max_tokens": 7000})
    config = grpo.GrpoConfig(settings=settings, judge=GUARD, verification=QUESTION, seed=0)
    assert asked(task(grpo.STAGE, config), calls=2 * ROWS) == Calls(4 * ROWS, 1, 7000)


def test_an_attack_that_refines_its_prompts_asks_each_of_its_models_in_every_stream_of_every_round() -> None:
    pair = AttackPlugin(
        name="pair",
        options={
            **{name: server(name) for name in ("attacker", "target")},
            "judge": {"name": "strongreject", "options": {"engine": server("judge")}},
            "rounds": 3,
            "streams": 2,
            "target_max_tokens": 8000,
        },
    )
    rewritten = AttackPlugin(name="past-tense", options={"engine": server("rewriter")})
    source = prompts.SourceConfig(
        benchmark="everyday", part="train", limit=5, attacks=(AttackPlugin(name="plain"), rewritten, pair)
    )
    config = prompts.PromptsConfig(sources=(source,), tuned_on=(), for_training=True, seed=0)
    costs = prompts.STAGE.cost(config, {})
    assert costs == Costs(15, 5 * (1 + 6))
    assert calls_of(Row(task(prompts.STAGE, config), False, costs)).number == 35
