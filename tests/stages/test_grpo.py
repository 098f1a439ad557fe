"""Stage `grpo`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from sinternal.errors import DataError, ModelError
from sinternal.records import Judgement, Prompt, Response
from sinternal.settings.arms import TrainOn
from sinternal.stages import (
    grpo,
    target,
)
from sinternal.store import Artifact, Draft
from sinternal.world.oracle import OracleJudge
from tests.conftest import plain_prompt
from tests.stages.shared import (
    Make,
    tables,
)


def grpo_config(train_on: TrainOn = TrainOn.REWARDS, **changes: object) -> grpo.GrpoConfig:
    given = {name: changes.pop(name) for name in ("with_spec", "rows_tuned_on", "answers") if name in changes}
    settings = {"method": "full", "steps": 1, "prompts": 4, "rollouts": {"n": 4, "max_tokens": 64}, **changes}
    plugins = {"judge": {"name": "oracle"}, "verification": {"name": "microworld"}}
    return grpo.GrpoConfig.model_validate({"settings": settings, "train_on": train_on, "seed": 0, **plugins, **given})


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


Pairs = tuple[Artifact, Artifact]


@pytest.mark.parametrize("train_on", [TrainOn.VERIFY_RL, TrainOn.ALTERNATING, TrainOn.SELF_REWARD])
@pytest.mark.parametrize("with_spec", [True, False])
def test_every_arm_that_verifies_changes_the_model_and_logs_its_verdicts(
    make: Make, model: Artifact, pairs: Pairs, train_on: TrainOn, with_spec: bool
) -> None:
    asked, kept = pairs
    config = grpo_config(
        train_on, steps=2, with_spec=with_spec, learning_rate=1e-3, rollouts={"n": 8, "max_tokens": 64}
    )
    artifact = make("grpo", lambda draft: grpo.grpo(draft, config, prompts=asked, model=model, pairs=kept))
    before, after = (load_file(target.model_path(one) / "model.safetensors") for one in (model, artifact))
    assert any((before[name] != after[name]).any() for name in before)
    log = artifact.json("training")
    assert {"unsafe_verdicts", "unread_verdicts"} <= log[0].keys()
    expected = {
        TrainOn.VERIFY_RL: [{"verification"}, {"verification"}],
        TrainOn.ALTERNATING: [{"verification"}, {"harmful", "benign"}],
        TrainOn.SELF_REWARD: [{"harmful", "benign"}] * 2,
    }[train_on]
    kinds = [{name.removeprefix("reward_") for name in row if name.startswith("reward_")} for row in log]
    assert all(there <= wanted for there, wanted in zip(kinds, expected, strict=True)), kinds
    assert all(there for there in kinds)
    assert ("self_judge_gap" in log[0]) == (train_on is TrainOn.SELF_REWARD)
    assert artifact.counts["rollouts"] == 2 * 4 * 8
    assert artifact.counts["turns"] == 8


def test_half_of_a_steps_questions_are_about_unsafe_answers_and_half_of_the_safe_ones_help(pairs: Pairs) -> None:
    asked, kept = pairs
    turns = grpo.turns_of(grpo_config(TrainOn.VERIFY_RL, steps=6, prompts=8), asked.rows(Prompt), kept)
    assert len(turns) == 48
    labels = {(row.prompt_id, row.answer): None for row in kept.rows(Response)}
    for start in range(0, 48, 8):
        step = turns[start : start + 8]
        stored = [(turn.stored.label, turn.prompt.harmful) for turn in step if turn.stored]
        assert sorted(stored) == [*[("safe", False)] * 2, *[("safe", True)] * 2, *[("unsafe", True)] * 4]
        assert all(turn.stored and (turn.prompt.id, turn.stored.answer) in labels for turn in step)


@pytest.mark.parametrize("says", ["unsafe", "safe"])
def test_always_the_same_verdict_earns_what_a_guess_earns(pairs: Pairs, says: str) -> None:
    asked, kept = pairs
    turns = grpo.turns_of(grpo_config(TrainOn.VERIFY_RL, steps=3, prompts=8), asked.rows(Prompt), kept)
    assert sum(turn.stored is not None and turn.stored.label == says for turn in turns) == len(turns) / 2


def test_judging_the_request_alone_or_the_refusal_alone_falls_short(pairs: Pairs) -> None:
    asked, kept = pairs
    turns = grpo.turns_of(grpo_config(TrainOn.VERIFY_RL, steps=3, prompts=8), asked.rows(Prompt), kept)
    stored = [(turn.stored, turn.prompt.harmful) for turn in turns if turn.stored]
    by_request = sum((answer.label == "unsafe") == harmful for answer, harmful in stored)
    by_refusal = sum((answer.label == "unsafe") == ("sorry" not in answer.answer) for answer, _ in stored)
    assert by_request == by_refusal == 0.75 * len(stored)


def test_verifications_take_no_more_answers_than_examples_would(pairs: Pairs) -> None:
    asked, kept = pairs
    config = grpo_config(TrainOn.VERIFY_RL, steps=9, prompts=8, answers=4)
    turns = grpo.turns_of(config, asked.rows(Prompt), kept)
    assert len({(turn.prompt.id, turn.stored) for turn in turns}) == 4


def test_a_kind_of_stored_answers_that_is_missing_is_an_error(make: Make, model: Artifact, pairs: Pairs) -> None:
    asked, kept = pairs
    harmful = [row for row in asked.rows(Prompt) if row.harmful]
    ids = {prompt.id for prompt in harmful}
    said = [row for row in kept.rows(Response) if row.prompt_id in ids]
    labels = [row for row in kept.rows(Judgement) if row.response_id in {response.id for response in said}]
    less = tables(make, "less", responses=said, judgements=labels)
    with pytest.raises(DataError, match="no stored answer of kind 'benign' to verify"):
        make(
            "grpo",
            lambda draft: grpo.grpo(draft, grpo_config(TrainOn.VERIFY_RL), prompts=asked, model=model, pairs=less),
        )


def test_an_answer_without_a_label_is_not_asked_about(make: Make, pairs: Pairs) -> None:
    asked, kept = pairs
    first, *others = [row for row in kept.rows(Judgement) if row.safe is False]
    labels = [replace(row, safe=None) if row == first else row for row in kept.rows(Judgement)]
    less = tables(make, "unlabelled", responses=kept.rows(Response), judgements=labels)
    turns = grpo.turns_of(grpo_config(TrainOn.VERIFY_RL, steps=9, prompts=8), asked.rows(Prompt), less)
    assert len({turn.stored for turn in turns if turn.stored and turn.stored.label == "unsafe"}) <= len(others)
    unlabelled = next(row for row in kept.rows(Response) if row.id == first.response_id)
    assert all(
        turn.prompt.id != unlabelled.prompt_id for turn in turns if turn.stored and turn.stored.label == "unsafe"
    )


def test_steps_alternate_and_the_first_verifies(pairs: Pairs) -> None:
    asked, kept = pairs
    turns = grpo.turns_of(grpo_config(TrainOn.ALTERNATING, steps=5), asked.rows(Prompt), kept)
    verifies = [{turn.stored is not None for turn in turns[i : i + 4]} for i in range(0, 20, 4)]
    assert verifies == [{True}, {False}, {True}, {False}, {True}]


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    ("train_on", "changes"),
    [
        (TrainOn.VERIFY_RL, {}),
        (TrainOn.ALTERNATING, {}),
        (TrainOn.SELF_REWARD, {}),
        (TrainOn.SELF_REWARD, {"method": "lora", "minibatches": 2, "micro_batch": 4}),
    ],
)
def test_a_killed_arm_that_verifies_ends_with_the_very_same_model(
    make: Make,
    model: Artifact,
    pairs: Pairs,
    originals: Sequence[Prompt],
    train_on: TrainOn,
    changes: dict[str, object],
) -> None:
    asked, kept = pairs
    watched = asked_less(make, originals)
    config = grpo_config(train_on, steps=3, save_steps=1, held_out_every=1, learning_rate=1e-3, **changes)
    updates = config.settings.minibatches

    def build(draft: Draft) -> None:
        grpo.grpo(draft, config, prompts=asked, model=model, held_out=watched, pairs=kept)

    def killed(draft: Draft) -> None:
        report = draft.progress

        def progress(done: int, total: int) -> None:
            report(done, total)
            if done == 2 * updates:
                raise Killed

        draft.progress = progress
        build(draft)

    steps: list[int] = []

    def resumed(draft: Draft) -> None:
        draft.progress = lambda done, _total: steps.append(done)
        build(draft)

    whole = make("whole", build)
    with pytest.raises(Killed):
        make("parts", killed)
    parts = make("parts", resumed)
    assert min(steps) > updates, "it went on from a checkpoint"
    assert parts.json("training") == whole.json("training")
    assert parts.json("held_out") == whole.json("held_out")
    assert contents(parts) == contents(whole)


def contents(artifact: Artifact) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in target.model_path(artifact).iterdir()}


def contrary(self: OracleJudge, items: Iterable[tuple[Prompt, Response]]) -> Iterator[Judgement]:
    """Says of every answer the opposite of what is right about its safety, and the truth about refusals."""
    for row in original(self, items):
        yield replace(row, safe=None if row.safe is None else not row.safe)


original = OracleJudge.judge


def test_the_judges_labels_of_safety_do_not_touch_what_rewards_itself(
    make: Make, model: Artifact, originals: Sequence[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tables(make, "prompts", prompts=originals)
    config = grpo_config(TrainOn.SELF_REWARD, steps=2, learning_rate=1e-3)
    right = make("right", lambda draft: grpo.grpo(draft, config, prompts=asked, model=model))
    monkeypatch.setattr(OracleJudge, "judge", contrary)
    wrong = make("wrong", lambda draft: grpo.grpo(draft, config, prompts=asked, model=model))
    assert contents(right) == contents(wrong)
    gaps = [[row["self_judge_gap"] for row in one.json("training")] for one in (right, wrong)]
    assert gaps[0] != gaps[1], "the comparison with the judge sees it"


def test_rewards_are_what_they_were(pairs: Pairs) -> None:
    asked, _ = pairs
    turns = grpo.turns_of(grpo_config(steps=3), asked.rows(Prompt), None)
    assert all(turn.stored is None and not turn.self_rewarded for turn in turns)
    assert len(turns) == 12


def test_another_budget_than_that_of_fine_tuning_is_told(make: Make, model: Artifact, pairs: Pairs) -> None:
    asked, kept = pairs
    for rows, told in ((16, False), (100, True)):
        config = grpo_config(TrainOn.VERIFY_RL, rows_tuned_on=rows)
        artifact = make(
            f"rows {rows}", lambda draft, c=config: grpo.grpo(draft, c, prompts=asked, model=model, pairs=kept)
        )
        assert any("fine-tuning from 100 rows" in note for note in artifact.manifest["notes"]) == told


def test_self_reward_costs_a_verdict_for_each_rollout() -> None:
    plain, own = (grpo.STAGE.cost(grpo_config(kind), {}) for kind in (TrainOn.REWARDS, TrainOn.SELF_REWARD))
    assert (own.rows, own.calls) == (plain.rows, 2 * (plain.calls or 0))
