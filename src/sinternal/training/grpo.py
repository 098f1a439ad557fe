"""Reinforcement learning by TRL's GRPOTrainer, with the rewards of this package.

What TRL does is TRL's: generation, advantages within a group, the clipped loss, checkpoints. Added here: rows without a
reward and groups without spread leave the mean over tokens; kinds of prompts have weights; a verification prompt gets
a fresh answer of the policy when its turn comes; and what a trainer must watch is logged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from transformers import EarlyStoppingCallback, PreTrainedTokenizerBase, PrinterCallback, set_seed
from trl import GRPOConfig, GRPOTrainer

from sinternal.chat import generation_prompt
from sinternal.errors import DataError
from sinternal.records import Prompt, Verdict
from sinternal.store import Progress
from sinternal.training.rewards import Kind
from sinternal.training.schedule import Turn
from sinternal.training.scorer import Panel, Scorer
from sinternal.training.settings import GrpoSettings, RolloutEngine, ZeroSpread
from sinternal.training.weights import (
    Report,
    adapters,
    hardware,
    last_checkpoint,
    open_model,
    open_tokenizer,
    save_model,
)

Messages = Sequence[tuple[str, str]]
"""A conversation: (role, content) pairs."""
LOGGED = {
    "loss": "loss",
    "entropy": "entropy",
    "completions/mean_length": "length",
    "completions/clipped_ratio": "truncated",
    "frac_reward_zero_std": "zero_spread",
    "mean_reward": "reward",
}
"""What the trainer logs, and what it is called here: nats per token, tokens, shares."""
ONLY_IN_TRAINING = ("loss", "zero_spread")
"""What means nothing for a single rollout of each held-out prompt."""
OURS = (
    *(f"reward_{kind}" for kind in Kind),
    "asr",
    "over_refusal",
    "refused_harmful",
    "unreadable",
    "judge_failed",
)
"""What the scorer adds: mean rewards and shares."""


class Asking(NamedTuple):
    """How prompts are put to the policy."""

    ask: Callable[[Prompt], Messages]
    """The conversation in which a prompt is sent."""
    ask_to_verify: Callable[[Prompt, str], Messages]
    """The conversation that asks whether an answer to a prompt is safe."""


class Log(NamedTuple):
    """What happened, a row for each step, under the names of `LOGGED` and `OURS`."""

    training: list[dict[str, float | None]]
    """On each step's own rollouts."""
    held_out: list[dict[str, float | None]]
    """On held-out training prompts; step 0 is the start."""
    notes: list[str]
    """What a user should mind."""


def train(
    model_folder: Path,
    turns: Sequence[Turn],
    held_out: Sequence[Turn],
    panel: Panel,
    asking: Asking,
    settings: GrpoSettings,
    seed: int,
    out: Path,
    progress: Progress,
) -> Log:
    """Train a model on its own rollouts, and save it, merged, as a Hugging Face model directory.

    Args:
        model_folder: the model to start from.
        turns: the prompts of all steps, one step after the other.
        held_out: measured every `held_out_every` steps.
        panel: who labels answers.
        asking: how prompts are put.
        settings: how.
        seed: of the rollouts and the adapters.
        out: receives the model; checkpoints stand beside it in `<out>.checkpoints`.
        progress: called with (steps done, steps in all).

    Raises:
        DataError: the rewards of the first step are all 0 or all missing, so that there is nothing to learn from.
        EngineError: the judge fails for more than the allowed share.
        ModelError: the model directory cannot be used.
    """
    tokenizer = open_tokenizer(model_folder)
    set_seed(seed)
    disable_progress_bar()
    opened = open_model(model_folder, settings.method)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    scorer = Scorer(
        {turn.prompt.id: turn.prompt for turn in (*turns, *held_out)},
        tokenizer,
        panel,
        split=generation_prompt(tokenizer, [("user", "hello")]).split,
        ends=_ends(opened.model, tokenizer),
        max_failed=settings.max_failed,
    )
    checkpoints = out.with_suffix(".checkpoints")
    last = last_checkpoint(checkpoints)
    trainer = _Trainer(
        scorer=scorer,
        asking=asking,
        settings=settings,
        model=opened.model,
        reward_funcs=[scorer],
        args=_arguments(settings, seed, checkpoints, measured=bool(held_out), fresh=last is None),
        train_dataset=_rows(turns, asking),
        eval_dataset=_rows(held_out, asking) if held_out else None,
        processing_class=tokenizer,
        peft_config=adapters(settings),
        callbacks=[Report(progress), *_early_stop(settings)],
    )
    trainer.remove_callback(PrinterCallback)  # the log is returned, not printed
    trainer.train(resume_from_checkpoint=last)
    save_model(trainer.model, opened.stored_as, model_folder, out)
    history = trainer.state.log_history
    return Log(list(_log(history, "")), list(_log(history, "eval_")), trainer.notes)


class _Trainer(GRPOTrainer):  # type: ignore[misc]  # TRL has no types
    """TRL's trainer, with what the module's first paragraph names."""

    def __init__(self, *, scorer: Scorer, asking: Asking, settings: GrpoSettings, **arguments: Any) -> None:
        self.scorer, self.asking, self.settings = scorer, asking, settings
        self.notes: list[str] = []
        super().__init__(**arguments)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        rows = self._with_answers_to_verify(inputs)
        batch: dict[str, Any] = super()._generate_and_score_completions(rows)
        if self.model.training:
            if self.state.global_step == 0:
                self._check_first_rewards(batch["advantages"])
            weights = [getattr(self.settings.weights, row["kind"]) for row in rows]
            batch["advantages"] = batch["advantages"] * torch.tensor(weights, device=batch["advantages"].device)
            if self.settings.zero_spread is ZeroSpread.DROP:
                self._drop_idle(batch)
        return batch

    def _drop_idle(self, batch: dict[str, Any]) -> None:
        """Take rows that teach nothing out of the mean over tokens: those whose advantage is 0.

        They add nothing to the sum; so only the number of tokens that it is divided by has to change, and what is
        logged, for example the entropy, stays that of all rollouts.
        """
        tokens = (batch["completion_mask"] * (batch["advantages"] != 0).unsqueeze(1)).sum()
        batch["num_items_in_batch"] = self.accelerator.gather(tokens).sum()

    def _check_first_rewards(self, advantages: torch.Tensor) -> None:
        """Before anything is changed: is there something to learn from?"""
        if bool((advantages != 0).any()):
            return
        mean = self._metrics["train"]["reward"][-1]
        if math.isnan(mean) or mean == 0:
            raise DataError(
                f"the rewards of the first step are all {'missing' if math.isnan(mean) else '0'}, so there is nothing "
                f"to learn from ({_in_words(self.scorer.take())}); look at the answers of the start model, at "
                "grpo.rollouts.max_tokens and at the judge"
            )
        self.notes.append(
            f"in the first step every group of rollouts had one and the same reward ({mean:.2f} on average): the start "
            "has little to learn from these prompts"
        )

    def _with_answers_to_verify(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Put a fresh answer of the policy, and the judge's label of it, into each verification prompt."""
        heads = {row["turn"]: row for row in inputs if row["kind"] == Kind.VERIFICATION.value}
        if not heads:
            return inputs
        prompts = [self.scorer.prompts[row["prompt_id"]] for row in heads.values()]
        answers = self._answers(prompts)
        rollouts = [self.scorer.read(ids, prompt, Kind.HARMFUL) for ids, prompt in zip(answers, prompts, strict=True)]
        labelled = self.scorer.label(rollouts)
        questions = {}
        for turn, rollout, labels in zip(heads, rollouts, labelled, strict=True):
            verdict = None if labels.safe is None else Verdict.SAFE if labels.safe else Verdict.UNSAFE
            messages = self.asking.ask_to_verify(rollout.prompt, rollout.answer or "")
            questions[turn] = {"prompt": _as_dicts(messages), "label": verdict}
        return [{**row, **questions.get(row["turn"], {})} for row in inputs]

    def _answers(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """One answer of the policy, as it is now, to each prompt."""
        ids, images, fields = self._tokenize_prompts([_as_dicts(self.asking.ask(prompt)) for prompt in prompts])
        drawn: list[list[int]] = self._generate_single_turn(ids, images, fields, num_generations=1)[0]
        return drawn

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the scorer's figures to TRL's; see `Trainer.log`."""
        prefix = "" if self.model.training else "eval_"
        logs.update({f"{prefix}{name}": value for name, value in self.scorer.take().items()})
        super().log(logs, start_time)


def _rows(turns: Sequence[Turn], asking: Asking) -> Dataset:
    """A row for each turn. A verification's own question is put when its turn comes."""
    return Dataset.from_list(
        [
            {
                "prompt": _as_dicts(asking.ask(turn.prompt)),
                "prompt_id": turn.prompt.id,
                "kind": turn.kind.value,
                "label": None,
                "turn": number,
            }
            for number, turn in enumerate(turns)
        ]
    )


def _as_dicts(messages: Messages) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in messages]


def _ends(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end a turn: those of the generation settings, and the tokenizer's own."""
    ends = model.generation_config.eos_token_id
    several = ends if isinstance(ends, list) else [ends]
    return [end for end in {*several, tokenizer.eos_token_id} if end is not None]


def _early_stop(settings: GrpoSettings) -> list[EarlyStoppingCallback]:
    return [] if settings.patience is None else [EarlyStoppingCallback(early_stopping_patience=settings.patience)]


def _arguments(settings: GrpoSettings, seed: int, checkpoints: Path, *, measured: bool, fresh: bool) -> GRPOConfig:
    rollouts = settings.prompts * settings.rollouts.n
    micro = settings.micro_batch or rollouts
    stops_early = settings.patience is not None
    saves = settings.held_out_every if stops_early else settings.save_steps
    return GRPOConfig(
        output_dir=str(checkpoints),
        max_steps=settings.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=rollouts // micro,
        per_device_eval_batch_size=micro,
        num_generations=settings.rollouts.n,
        num_generations_eval=1,
        max_completion_length=settings.rollouts.max_tokens,
        temperature=settings.rollouts.temperature,
        top_p=settings.rollouts.top_p,
        shuffle_dataset=False,  # the schedule is the order
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant",
        beta=settings.beta,
        epsilon=settings.epsilon,
        epsilon_high=settings.epsilon_high,
        loss_type="dapo",
        scale_rewards="group",
        mask_truncated_completions=True,
        activation_checkpointing=torch.cuda.is_available(),
        logging_steps=1,
        eval_strategy="steps" if measured else "no",
        eval_steps=settings.held_out_every,
        eval_on_start=measured and fresh,
        save_strategy="steps" if saves else "no",
        save_steps=saves or settings.steps,
        save_total_limit=1,
        load_best_model_at_end=stops_early,
        metric_for_best_model="eval_mean_reward" if stops_early else None,
        greater_is_better=True if stops_early else None,
        seed=seed,
        data_seed=seed,
        **_vllm(settings),
        **hardware(),
    )


def _vllm(settings: GrpoSettings) -> dict[str, Any]:
    """What TRL is told of vLLM, if it writes the rollouts."""
    rollouts = settings.rollouts
    if rollouts.engine is RolloutEngine.TRANSFORMERS:
        return {}
    mode = {"use_vllm": True, "vllm_mode": rollouts.engine.value.removeprefix("vllm-")}
    if rollouts.engine is RolloutEngine.VLLM_SERVER:
        return {**mode, "vllm_server_base_url": rollouts.vllm_server}
    return {**mode, "vllm_gpu_memory_utilization": rollouts.vllm_memory}


def _log(history: Sequence[dict[str, Any]], prefix: str) -> Iterator[dict[str, float | None]]:
    """The entries of one kind, under our names; a figure that could not be computed is None."""
    names = {f"{prefix}{theirs}": ours for theirs, ours in LOGGED.items()}
    names |= {f"{prefix}{name}": name for name in OURS}
    skipped = ONLY_IN_TRAINING if prefix else ()
    for entry in history:
        if f"{prefix}mean_reward" in entry:
            found = {ours: entry[theirs] for theirs, ours in names.items() if theirs in entry and ours not in skipped}
            yield {"step": entry["step"], **{name: _number(value) for name, value in found.items()}}


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _in_words(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in sorted(shares.items())) or "nothing could be counted"
