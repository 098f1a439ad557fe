"""Stage `grpo`: reinforcement learning on the arm's own rollouts, rewarded by a judge."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import closing

from pydantic import BaseModel, ConfigDict

from sinternal.engines import TemplateOptions
from sinternal.extras import TRAINING
from sinternal.judges import Judge
from sinternal.prompting.question import VerificationTask
from sinternal.records import Prompt
from sinternal.settings.plugins import JudgePlugin, VerificationPlugin
from sinternal.settings.training import GrpoSettings, cautions
from sinternal.stages.sample import check_trainable, to_request
from sinternal.stages.stage import Costs, Stage
from sinternal.stages.target import MODEL_FOLDER, check_same_template, model_path
from sinternal.store import Artifact, Draft

NOTABLE_FAILURES = 0.01
"""Share of a step's judged rollouts without a label above which there is a note."""


class GrpoConfig(BaseModel):
    """How, by whose rewards, and from which seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: GrpoSettings
    """How."""
    judge: JudgePlugin
    """The judge of safety."""
    refusals: JudgePlugin | None = None
    """The judge of refusals; None: the same judge."""
    verification: VerificationPlugin
    """How the policy is asked to verify."""
    speech: TemplateOptions = TemplateOptions()
    """The chat-template options of the engine that measures the model."""
    system: str = ""
    """System message for prompts that bring none of their own; empty for none."""
    seed: int
    """Seed of the prompts' order, the rollouts and new weights."""


def grpo(
    draft: Draft,
    config: GrpoConfig,
    *,
    prompts: Artifact,
    model: Artifact,
    mathematics: Artifact | None = None,
    held_out: Artifact | None = None,
    target: Artifact | None = None,
) -> None:
    """Write the folder `model`, and the logs `training.json` and `held_out.json`.

    Args:
        draft: what is written.
        config: how.
        prompts: harmful and benign training prompts.
        model: the start.
        mathematics: problems, if the mixture has a share of them.
        held_out: training prompts that are measured, and not trained on.
        target: the study's own target, if the start comes from elsewhere: both must have the same chat template.

    Raises:
        DataError: prompts are missing, or the first rewards leave nothing to learn from.
        EngineError: the judge fails too often.
    """
    from sinternal.training.grpo import Asking, train
    from sinternal.training.rewards import kind_of
    from sinternal.training.schedule import Turn, schedule
    from sinternal.training.scorer import Panel, check_solutions

    if target is not None:
        check_same_template(model, target)
    settings = config.settings
    problems = mathematics.rows(Prompt) if mathematics else []
    check_solutions(problems)
    pool = [*prompts.rows(Prompt), *problems]
    watched = held_out.rows(Prompt) if held_out else []
    for prompt in (*pool, *watched):
        check_trainable(prompt)
    if not settings.mixture.benign:
        draft.notes.append("grpo.mixture.benign is 0: nothing keeps the policy from refusing everything")
    task: VerificationTask = config.verification.open()
    asking = Asking(
        ask=lambda prompt: to_request(prompt, config.system).messages,
        ask_to_verify=lambda prompt, answer: (("user", task.ask(prompt, answer, with_spec=True)),),
    )
    out = draft.path / MODEL_FOLDER
    judges: list[Judge] = [plugin.open() for plugin in (config.judge, config.refusals) if plugin]
    with closing(Panel(*judges)) as panel:
        log = train(
            model_path(model),
            schedule(pool, settings.mixture, settings.prompts, settings.steps, config.seed),
            [Turn(prompt, kind_of(prompt)) for prompt in watched],
            panel,
            asking,
            settings,
            config.seed,
            out,
            draft.progress,
            config.speech,
        )
    draft.write_json("training", log.training)
    draft.write_json("held_out", log.held_out)
    draft.notes.extend([*cautions(settings), *log.notes])
    worst = max((row.get("judge_failed") or 0.0 for row in log.training), default=0.0)
    if worst > NOTABLE_FAILURES:
        draft.notes.append(f"the judge failed for up to {worst:.0%} of a step's rollouts, which were masked")
    steps = len(log.training)
    draft.counts.update({"steps": steps, "rollouts": steps * settings.prompts * settings.rollouts.n})
    shutil.rmtree(out.with_suffix(".checkpoints"), ignore_errors=True)


def _cost(config: GrpoConfig, inputs: Mapping[str, int]) -> Costs:
    settings = config.settings
    rollouts = settings.steps * settings.prompts * settings.rollouts.n
    if settings.held_out_every:
        rollouts += inputs.get("held_out", 0) * (1 + settings.steps // settings.held_out_every)
    return Costs(rollouts, rollouts, rollouts * settings.rollouts.max_tokens)


STAGE = Stage(
    name="grpo",
    function=grpo,
    version=2,
    cost=_cost,
    counted_as="rollouts",
    needs=TRAINING,
)
