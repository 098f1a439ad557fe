"""Reinforcement learning by TRL's GRPOTrainer, with the rewards of this package.

What TRL does is TRL's: generation, advantages within a group, the clipped loss, checkpoints. Added here: rows without a
reward and groups without spread leave the loss and its mean over tokens; kinds of prompts have weights; a verification
prompt gets a fresh answer of the policy when its turn comes, unless it has a stored one; a policy can verify its own
answers for their reward; and what a trainer must watch is logged.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedTokenizerBase, PrinterCallback, set_seed
from trl import GRPOConfig, GRPOTrainer

from sinternal.engines import TemplateOptions
from sinternal.errors import DataError, ModelError
from sinternal.models.loading import open_tokenizer, stop_tokens
from sinternal.models.resolve import ADAPTER
from sinternal.prompting.chat import generation_prompt, turn_ends
from sinternal.prompting.rendering import set_template_arguments
from sinternal.records import Prompt, Verdict
from sinternal.settings.training import GrpoSettings, Method, ZeroSpread
from sinternal.store import Progress
from sinternal.training.checkpoints import agree_on_last
from sinternal.training.rewards import Kind
from sinternal.training.rollouts import close_vllm, vllm_arguments
from sinternal.training.schedule import Turn
from sinternal.training.scorer import Panel, Rollout, Scorer
from sinternal.training.steps import BEST, IDLE_START, notes_on_rollouts, notes_on_start, points, step_rows
from sinternal.training.tracking import NOBODY, Tracking
from sinternal.training.watch import Curve, EarlyStop, Report, Seal, Watch
from sinternal.training.weights import Start, hardware, open_model, save_trained, steady

Messages = Sequence[tuple[str, str]]
"""A conversation: (role, content) pairs."""


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
    """What a user should know."""


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
    speech: TemplateOptions | None = None,
    tracking: Tracking = NOBODY,
) -> Log:
    """Train a model on its own rollouts, and save it as a Hugging Face model directory, or its trained LoRA adapter.

    Args:
        model_folder: the model to start from, or an adapter to train further.
        turns: the prompts of all steps, one step after the other.
        held_out: measured every `held_out_every` steps.
        panel: who labels answers.
        asking: how prompts are put.
        settings: how.
        seed: of the rollouts and the adapters.
        out: receives the model; checkpoints stand beside it in `<out>.checkpoints`.
        progress: called with (steps done, steps in all).
        speech: the chat-template options of the engine that measures the model.
        tracking: who is told how it goes.

    Raises:
        DataError: the rewards of the first step are all 0 or all missing, so that there is nothing to learn from; or
            the training diverges, or changes nothing although there was something to learn.
        EngineError: the judge fails for more than the allowed share.
        ModelError: the model directory cannot be used.
    """
    speech = speech or TemplateOptions()
    tokenizer = open_tokenizer(model_folder)
    set_template_arguments(tokenizer, speech.chat_template_kwargs)
    ends = turn_ends(tokenizer, stop_tokens(model_folder))
    _name_ends(tokenizer, ends, model_folder)
    set_seed(seed)
    disable_progress_bar()
    checkpoints = out.with_suffix(".checkpoints")
    arguments = _arguments(settings, ends, seed, checkpoints, measured=bool(held_out))
    last = agree_on_last(checkpoints, arguments.process_index)
    arguments.eval_on_start = bool(held_out) and last is None
    tracking.put_into(arguments)
    start = open_model(model_folder, settings, keep=arguments.world_size == 1)
    _check_reference(start, settings)
    policy = start.model.get_base_model() if isinstance(start.model, PeftModel) else start.model
    own_settings = policy.generation_config
    # What TRL leaves out of its settings, `generate` takes from the model's: they must not be the model's own wishes.
    policy.generation_config = GenerationConfig(eos_token_id=ends)  # type: ignore[no-untyped-call]
    scorer = Scorer(
        {turn.prompt.id: turn.prompt for turn in (*turns, *held_out)},
        tokenizer,
        panel,
        split=generation_prompt(tokenizer, [("user", "hello")], tags=speech.tags).split,
        ends=ends,
        max_failed=settings.max_failed,
    )
    trainer = _Trainer(
        scorer=scorer,
        asking=asking,
        settings=settings,
        model=start.model,
        reward_funcs=[scorer],
        args=arguments,
        train_dataset=_rows(turns, asking),
        eval_dataset=_filled(_rows(held_out, asking), arguments) if held_out else None,
        processing_class=tokenizer,
        callbacks=[
            Report(progress),
            Watch("grpo"),
            Curve(partial(points, updates=settings.minibatches)),
            Seal(),
            *([EarlyStop(BEST, settings.patience)] if settings.patience else []),
        ],
    )
    trainer.remove_callback(PrinterCallback)  # the log is returned, not printed
    try:
        with steady(start.model):
            trainer.train(resume_from_checkpoint=last)
    finally:
        close_vllm(trainer)
    policy.generation_config = own_settings
    history = trainer.state.log_history
    moved = any(entry.get("grad_norm") for entry in history)
    notes = [*notes_on_start(history), *save_trained(trainer, start, settings, out, section="grpo", moved=moved)]
    training, measured = (list(step_rows(history, prefix, settings.minibatches)) for prefix in ("", "eval_"))
    return Log(training, measured, [*notes, *notes_on_rollouts(training)])


class _Trainer(GRPOTrainer):  # type: ignore[misc]  # TRL has no types
    """TRL's trainer, with what the module's first paragraph names."""

    def __init__(self, *, scorer: Scorer, asking: Asking, settings: GrpoSettings, **arguments: Any) -> None:
        self.scorer, self.asking, self.settings = scorer, asking, settings
        self._idle_reward: float | None = None
        super().__init__(**arguments)
        scorer.verify, scorer.gather = self._own_verdicts, gather_object

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        rows = self._with_answers_to_verify(inputs)
        batch: dict[str, Any] = super()._generate_and_score_completions(rows)
        if self.model.training:
            if self.state.global_step == 0:
                self._check_first_rewards(batch["advantages"])
            weights = [getattr(self.settings.weights, row["kind"]) for row in rows]
            batch["advantages"] = batch["advantages"] * torch.tensor(weights, device=batch["advantages"].device)
            self._drop_idle(batch)
        return batch

    def _drop_idle(self, batch: dict[str, Any]) -> None:
        """Take rows that teach nothing out of the mean over tokens: without a reward or, if so set, in an idle group.

        Their advantage is 0, so they add nothing to the sum, and only the number of tokens that it is divided by has to
        change: what is logged, for example the entropy, stays that of all rollouts. Only a divergence from the start
        they would add; where that counts, they leave what is logged, too.
        """
        teaches = batch["advantages"] != 0
        if self.settings.zero_spread is ZeroSpread.COUNT:
            teaches = torch.tensor([reward is not None for reward in self.scorer.rewards], device=teaches.device)
        teaching = batch["completion_mask"] * teaches.unsqueeze(1)
        batch["num_items_in_batch"] = self.accelerator.gather(teaching.sum()).sum()
        if self.settings.beta:
            batch["tool_mask"] = teaching

    def _check_first_rewards(self, advantages: torch.Tensor) -> None:
        """Before anything is changed: is there something to learn from?"""
        if bool((self.accelerator.gather(advantages) != 0).any()):
            return
        mean = self._metrics["train"]["reward"][-1]
        if math.isnan(mean) or mean == 0:
            raise DataError(
                f"the rewards of the first step are all {'missing' if math.isnan(mean) else '0'}, so there is nothing "
                f"to learn from ({_in_words(self.scorer.take())}); look at the answers of the start model, at "
                "grpo.rollouts.max_tokens and at the judge"
            )
        self._idle_reward = mean

    def _with_answers_to_verify(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Put a fresh answer of the policy, and the judge's label of it, into verifications that have none stored.

        An answer that was cut short or has no words is not labelled, and what is said of it has no reward.
        """
        heads = {row["turn"]: row for row in inputs if row["kind"] == Kind.VERIFICATION.value and row["label"] is None}
        if not _anywhere(heads):
            return inputs
        prompts = [self.scorer.prompts[row["prompt_id"]] for row in heads.values()]
        answers = self._answers(prompts)
        rollouts = [self.scorer.read(ids, prompt, Kind.HARMFUL) for ids, prompt in zip(answers, prompts, strict=True)]
        labelled = iter(self.scorer.label([rollout for rollout in rollouts if rollout.whole]))
        questions = {}
        for turn, rollout in zip(heads, rollouts, strict=True):
            safe = next(labelled).safe if rollout.whole else None
            verdict = None if safe is None else Verdict.SAFE if safe else Verdict.UNSAFE
            messages = self.asking.ask_to_verify(rollout.prompt, rollout.answer or "")
            questions[turn] = {
                "prompt": _as_dicts(messages, quotes=True),
                "label": verdict,
                "answered": rollout.whole,
            }
        return [{**row, **questions.get(row["turn"], {})} for row in inputs]

    def _tokenize_prompts(self, prompts: list[list[dict[str, Any]]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """Tokens of prompts: the very ones that an engine gives the model, which TRL would not give it everywhere."""
        known: dict[Any, list[int]] = {}
        for prompt in prompts:
            if (key := _key(prompt)) not in known:
                messages, quotes = key
                known[key] = generation_prompt(self._tokenizer, messages, quotes=quotes).encode(self._tokenizer).ids
        return [list(known[_key(prompt)]) for prompt in prompts], None, {}

    def _answers(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """One answer of the policy, as it is now, to each prompt."""
        return self._write([_as_dicts(self.asking.ask(prompt)) for prompt in prompts])

    def _own_verdicts(self, rollouts: Sequence[Rollout]) -> list[list[int]]:
        """One verification of each answer by the policy, as it is now; it is not learned from."""
        if not _anywhere(rollouts):
            return []
        questions = [self.asking.ask_to_verify(rollout.prompt, rollout.answer or "") for rollout in rollouts]
        return self._write([_as_dicts(question, quotes=True) for question in questions])

    def _write(self, conversations: list[list[dict[str, Any]]]) -> list[list[int]]:
        """One text for each conversation.

        All processes come here together, as a sharded model needs all of them to write: who has nothing to ask asks
        something.
        """
        asked = conversations or [_as_dicts([("user", "hello")])]
        ids, images, fields = self._tokenize_prompts(asked)
        drawn: list[list[int]] = self._generate_single_turn(ids, images, fields, num_generations=1)[0]
        return drawn[: len(conversations)]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the scorer's figures to TRL's; see `Trainer.log`."""
        prefix = "" if self.model.training else "eval_"
        if f"{prefix}loss" in logs:  # a step, though it may be one without any reward
            logs[f"{prefix}mean_reward"] = -math.inf if prefix else math.nan
        logs.update({f"{prefix}{name}": value for name, value in self.scorer.take().items()})
        if self._idle_reward is not None and not prefix:  # in the log, as that is what a checkpoint keeps
            logs[IDLE_START], self._idle_reward = self._idle_reward, None
        super().log(logs, start_time)


def _rows(turns: Sequence[Turn], asking: Asking) -> Dataset:
    """A row for each turn. The question about a fresh answer is put when its turn comes."""
    return Dataset.from_list(
        [
            {
                "prompt": _as_dicts(asking.ask_to_verify(turn.prompt, turn.stored.answer), quotes=True)
                if turn.stored
                else _as_dicts(asking.ask(turn.prompt)),
                "prompt_id": turn.prompt.id,
                "kind": turn.kind.value,
                "label": turn.stored.label.value if turn.stored else None,
                "self_rewarded": turn.self_rewarded,
                "answered": True,
                "turn": number,
            }
            for number, turn in enumerate(turns)
        ]
    )


def _filled(rows: Dataset, arguments: GRPOConfig) -> Dataset:
    """Rows that many processes can share evenly: what is added is asked, but counts for nothing."""
    if arguments.world_size == 1:
        return rows
    missing = -len(rows) % (arguments.per_device_eval_batch_size * arguments.world_size)
    counted = [True] * len(rows) + [False] * missing
    return rows.select([*range(len(rows)), *[0] * missing]).add_column("counted", counted)


def _anywhere(what: Collection[Any]) -> bool:
    """Whether any process has some of it."""
    return any(gather_object([bool(what)]))


def _as_dicts(messages: Messages, *, quotes: bool = False) -> list[dict[str, Any]]:
    """A conversation as TRL passes it on; `quotes`: it shows text by others, as of an engine's request."""
    return [{"role": role, "content": content, "quotes": quotes} for role, content in messages]


def _key(prompt: Sequence[dict[str, Any]]) -> tuple[tuple[tuple[str, str], ...], bool]:
    """The conversation that a row holds, and whether it quotes."""
    return tuple((turn["role"], turn["content"]) for turn in prompt), any(turn["quotes"] for turn in prompt)


def _name_ends(tokenizer: PreTrainedTokenizerBase, ends: Sequence[int], folder: Path) -> None:
    """Make sure that TRL, which asks the tokenizer, finds a token that ends a turn, and one to fill rows with."""
    if not ends:
        raise ModelError(f"{folder}: nothing says which token ends a turn; name one as eos_token of the tokenizer")
    if tokenizer.eos_token_id is None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ends[0])
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token


def _check_reference(start: Start, settings: GrpoSettings) -> None:
    """Make sure that TRL can open the start a second time, as the reference of `beta`, which it does by its name."""
    if settings.beta and settings.method is Method.FULL and (start.folder / ADAPTER).exists():
        raise DataError(
            f"grpo.beta needs the start as a reference, and {start.folder} is a LoRA adapter, of which that would be "
            "the base: set grpo.beta to 0 or grpo.method to lora"
        )


def _arguments(
    settings: GrpoSettings, ends: Sequence[int], seed: int, checkpoints: Path, *, measured: bool
) -> GRPOConfig:
    updates = settings.minibatches  # TRL counts these as its steps
    processes = int(os.environ.get("WORLD_SIZE", 1))
    micro = settings.of_a_process(processes)
    accumulated = settings.of_an_update // (micro * processes)
    stops_early = settings.patience is not None
    saves = settings.held_out_every if stops_early else settings.save_steps
    return GRPOConfig(
        output_dir=str(checkpoints),
        max_steps=settings.steps * updates,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulated,
        steps_per_generation=accumulated * updates,
        per_device_eval_batch_size=micro,
        num_generations=settings.rollouts.n,
        num_generations_eval=1,
        max_completion_length=settings.rollouts.max_tokens,
        temperature=settings.rollouts.temperature,
        top_p=settings.rollouts.top_p,
        shuffle_dataset=False,  # the schedule is the order
        learning_rate=settings.rate,
        lr_scheduler_type="constant",
        beta=settings.beta,
        epsilon=settings.epsilon,
        epsilon_high=settings.epsilon_high,
        loss_type="dapo",
        scale_rewards="group",
        mask_truncated_completions=True,
        gradient_checkpointing=torch.cuda.is_available(),
        logging_nan_inf_filter=False,  # it would show a loss of 0 where there is none
        logging_steps=updates,
        eval_strategy="steps" if measured else "no",
        eval_steps=(settings.held_out_every or settings.steps) * updates,
        save_strategy="steps" if saves else "no",
        save_steps=(saves or settings.steps) * updates,
        load_best_model_at_end=stops_early,
        metric_for_best_model=BEST if stops_early else None,
        greater_is_better=True if stops_early else None,
        seed=seed,
        data_seed=seed,
        **vllm_arguments(settings, ends),
        **hardware(),
    )


def _in_words(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in sorted(shares.items())) or "nothing could be counted"
