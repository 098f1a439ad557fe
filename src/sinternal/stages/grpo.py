"""Stage `grpo`: reinforcement learning on the arm's own rollouts, rewarded by a judge or by its own verdicts.

Verdicts are learned on the target's stored answers, those that the method's examples verify: a policy's fresh answers
get safer while it learns, so that half of them being unsafe could not be had, and with it the balance that keeps
`always safe` from paying; nor would the policy learn from the same answers as the method.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from sinternal.engines import TemplateOptions
from sinternal.extras import TRAINING
from sinternal.figures.verdicts import notes_on_verdicts
from sinternal.judges import Judge
from sinternal.prompting.question import VerificationTask
from sinternal.records import Judgement, Prompt, Response, Verdict
from sinternal.settings.arms import VERIFYING, TrainOn
from sinternal.settings.plugins import JudgePlugin, VerificationPlugin
from sinternal.settings.training import GrpoSettings, cautions
from sinternal.stages.sample import check_trainable, to_request
from sinternal.stages.stage import Costs, Stage
from sinternal.stages.strata import VERIFICATION_SHARES, kind_of_answer, order_key, quotas
from sinternal.stages.target import MODEL_FOLDER, check_same_template, model_path
from sinternal.store import Artifact, Draft, Progress

if TYPE_CHECKING:  # they need torch
    from sinternal.training.grpo import Log
    from sinternal.training.schedule import Turn
    from sinternal.training.tracking import Tracking

NOTABLE_FAILURES = 0.01
"""Share of a step's judged rollouts without a label above which there is a note."""
OF_STORED_ANSWERS = (TrainOn.VERIFY_RL, TrainOn.ALTERNATING)
"""What is trained on verdicts on stored answers."""
NOTABLE_BUDGET = 0.02
"""Share by which rollouts and rows of fine-tuning may differ without a note."""


class GrpoConfig(BaseModel):
    """How, by whose rewards, and from which seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: GrpoSettings
    """How."""
    train_on: TrainOn = TrainOn.REWARDS
    """What is rewarded, and by whom."""
    judge: JudgePlugin
    """The judge of safety; where the policy rewards itself, its labels are compared with the policy's verdicts."""
    refusals: JudgePlugin | None = None
    """The judge of refusals; None: the same judge."""
    verification: VerificationPlugin
    """How the policy is asked to verify."""
    with_spec: bool = True
    """Whether the specification is quoted in that question."""
    answers: int | None = Field(default=None, ge=4)
    """Stored answers to verify at most, the first ones in the order that all arms share; None: all."""
    rows_tuned_on: int | None = None
    """Rows that fine-tuning sees, whose number the rollouts should have; None: nothing is said of it."""
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
    pairs: Artifact | None = None,
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
        pairs: the target's answers and their labels, if verdicts on them are trained.
        target: the study's own target, if the start comes from elsewhere: both must have the same chat template.

    Raises:
        DataError: prompts or answers are missing, or the first rewards leave nothing to learn from.
        EngineError: the judge fails too often.
    """
    from sinternal.training import launch, tracking
    from sinternal.training.scorer import check_solutions

    if target is not None:
        check_same_template(model, target)
    settings = config.settings
    problems = mathematics.rows(Prompt) if mathematics else []
    check_solutions(problems)
    pool = [*prompts.rows(Prompt), *problems]
    watched = held_out.rows(Prompt) if held_out else []
    for prompt in (*pool, *watched):
        check_trainable(prompt)
    if not settings.mixture.benign and config.train_on is not TrainOn.VERIFY_RL:
        draft.notes.append("grpo.mixture.benign is 0: nothing keeps the policy from refusing everything")
    turns = turns_of(config, pool, pairs)
    out = draft.path / MODEL_FOLDER
    draft.scaffolding.append(out.with_suffix(".checkpoints"))
    job = partial(_train, config, model_path(model), turns, watched, out, tracking=tracking.current())
    log = launch.run(job, draft.progress, out.with_suffix(".launch"))
    draft.write_json("training", log.training)
    draft.write_json("held_out", log.held_out)
    draft.notes.extend([*cautions(settings), *log.notes])
    worst = max((row.get("judge_failed") or 0.0 for row in log.training), default=0.0)
    if worst > NOTABLE_FAILURES:
        draft.notes.append(f"the judge failed for up to {worst:.0%} of a step's rollouts, which were masked")
    steps = len(log.training)
    seen = turns[: steps * settings.prompts]
    draft.counts.update(
        {
            "steps": steps,
            "rollouts": steps * settings.of_a_step,
            "turns": len(seen),
            "different prompts": len({turn.prompt.id for turn in seen}),
        }
    )
    draft.notes.extend(_notes_on_budget(draft.counts["rollouts"], config.rows_tuned_on))
    if config.train_on in VERIFYING:
        names = dict.fromkeys(name for row in log.training for name in row)
        logged = {name: [value for row in log.training if (value := row.get(name)) is not None] for name in names}
        draft.notes.extend(notes_on_verdicts(logged).values())


def _train(
    config: GrpoConfig,
    start: Path,
    turns: Sequence[Turn],
    watched: Sequence[Prompt],
    out: Path,
    *,
    tracking: Tracking,
    progress: Progress,
) -> Log:
    """The training itself, which every process that takes part does, each with judges of its own."""
    from sinternal.training.grpo import Asking, train
    from sinternal.training.rewards import kind_of
    from sinternal.training.schedule import Turn
    from sinternal.training.scorer import Panel

    task: VerificationTask = config.verification.open()
    asking = Asking(
        ask=lambda prompt: to_request(prompt, config.system).messages,
        ask_to_verify=lambda prompt, answer: (("user", task.ask(prompt, answer, with_spec=config.with_spec)),),
    )
    measured = [Turn(prompt, kind_of(prompt)) for prompt in watched]
    judges: list[Judge] = [plugin.open() for plugin in (config.judge, config.refusals) if plugin]
    with closing(Panel(*judges)) as panel:
        return train(
            *(start, turns, measured, panel, asking, config.settings, config.seed, out, progress, config.speech),
            tracking=tracking,
        )


def turns_of(config: GrpoConfig, pool: Sequence[Prompt], pairs: Artifact | None) -> list[Turn]:
    """What each step asks for, one step after the other.

    Args:
        config: how an arm is trained.
        pool: the prompts to draw from, problems of mathematics among them.
        pairs: the target's answers and their labels, if verdicts on them are trained.

    Raises:
        DataError: a kind of prompts or stored answers has a share, and there are none.
    """
    from sinternal.training.rewards import Kind
    from sinternal.training.schedule import alternate, schedule, schedule_stored

    settings, train_on = config.settings, config.train_on
    verifying = {TrainOn.VERIFY_RL: settings.steps, TrainOn.ALTERNATING: (settings.steps + 1) // 2}.get(train_on, 0)
    stored: list[Turn] = []
    if verifying:
        assert pairs is not None  # the plan has them for these arms
        sizes = quotas(settings.prompts, VERIFICATION_SHARES)
        stored = schedule_stored(_stored_answers(config, pool, pairs), sizes, verifying, config.seed)
    if train_on is TrainOn.VERIFY_RL:
        return stored
    answering = schedule(pool, settings.mixture, settings.prompts, settings.steps - verifying, config.seed)
    if train_on is TrainOn.SELF_REWARD:
        return [turn._replace(self_rewarded=turn.kind in (Kind.HARMFUL, Kind.BENIGN)) for turn in answering]
    return alternate(stored, answering, settings.prompts) if stored else answering


def _stored_answers(config: GrpoConfig, pool: Sequence[Prompt], pairs: Artifact) -> dict[str, list[Turn]]:
    """The verifications of the target's answers, by their kind, in the order in which fine-tuning takes them."""
    from sinternal.training.rewards import Kind
    from sinternal.training.schedule import Stored, Turn

    prompts_by_id = {prompt.id: prompt for prompt in pool}
    labels = {row.response_id: row.safe for row in pairs.rows(Judgement)}
    turns: defaultdict[str, list[Turn]] = defaultdict(list)
    for response in sorted(pairs.rows(Response), key=lambda row: (order_key(config.seed, row.prompt_id), row.id)):
        safe, prompt = labels[response.id], prompts_by_id[response.prompt_id]
        if safe is None or not response.answer:
            continue
        stored = Stored(response.answer, Verdict.SAFE if safe else Verdict.UNSAFE)
        kind = kind_of_answer(unsafe=not safe, harmful=prompt.harmful)
        turns[kind].append(Turn(prompt, Kind.VERIFICATION, stored))
    if config.answers is None:
        return turns
    most = quotas(config.answers, VERIFICATION_SHARES)
    return {kind: members[: most[kind]] for kind, members in turns.items()}


def _notes_on_budget(rollouts: int, rows: int | None) -> list[str]:
    if rows is None or abs(rollouts - rows) <= NOTABLE_BUDGET * rows:
        return []
    return [
        f"it learned from {rollouts:,} rollouts, and fine-tuning from {rows:,} rows: whole steps come no nearer, or "
        "grpo.verifying_steps says so; the table of exposure has both"
    ]


def _cost(config: GrpoConfig, inputs: Mapping[str, int]) -> Costs:
    settings = config.settings
    rollouts = settings.steps * settings.of_a_step
    own_verdicts = rollouts if config.train_on is TrainOn.SELF_REWARD else 0
    if settings.held_out_every:
        rollouts += inputs.get("held_out", 0) * (1 + settings.steps // settings.held_out_every)
    written = rollouts + own_verdicts
    return Costs(rollouts, written, written * settings.rollouts.max_tokens)


STAGE = Stage(
    name="grpo",
    function=grpo,
    version=5,
    cost=_cost,
    counted_as="rollouts",
    needs=TRAINING,
    rounds="every step of reinforcement learning waits for its judge's",
)
