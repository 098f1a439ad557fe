"""Settings of ours as settings of verl 0.9.1's, and what of ours it has not.

The names are those of its files `ppo_trainer.yaml` and `sft_trainer_engine.yaml`, which each of ours extends; a test
holds them against a record of these files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from sinternal.engines import TemplateOptions
from sinternal.settings.training import (
    GrpoSettings,
    Method,
    RolloutEngine,
    SftSettings,
    Weights,
    WeightSettings,
    ZeroSpread,
)

TRAIN, TEST, REWARD = "train.parquet", "test.parquet", "reward.py"
"""The files beside a configuration."""
MISSING = "???"
"""What OmegaConf takes for a value that the user has to give."""
NO_DUAL_CLIP = 1000.0
"""verl also clips ratios of negative advantages, above this; TRL does not."""
CHECKPOINT = {"save_contents": ["model", "optimizer", "extra", "hf_model"]}
"""What a checkpoint of verl's holds: the last one is a model directory that a recipe can name as an arm's `start`."""
LOGGER = ["console"]
"""Where verl writes its log."""


@dataclass(frozen=True)
class Model:
    """The model that training starts from."""

    path: str = MISSING
    """A directory or a Hugging Face id."""
    adapter: str | None = None
    """A LoRA adapter on it that is trained further."""
    template: str | None = None
    """Chat template to train with, if not its own."""


@dataclass(frozen=True)
class Machine:
    """Where verl trains."""

    gpus: int = 8
    """GPUs of each node."""
    nodes: int = 1
    """Nodes."""


@dataclass(frozen=True)
class Training:
    """What verl is told of an arm, however it is trained."""

    model: Model
    """Its start."""
    machine: Machine
    """Where."""
    folder: Path
    """What the files lie in; verl's processes may have other working directories."""
    name: str
    """Of the recipe and arm."""
    seed: int
    """Of the arm."""
    speech: TemplateOptions | None = None
    """Options for the chat template."""


def grpo_config(settings: GrpoSettings, training: Training, *, prompt_tokens: int, watches: bool) -> dict[str, Any]:
    """The overrides that make verl's GRPO that of a recipe.

    Args:
        settings: of the arm.
        training: the arm, and where it is trained.
        prompt_tokens: the longest prompt.
        watches: whether there are held-out prompts.
    """
    return {
        **_extending("ppo_trainer"),
        "data": _prompts(settings, training, prompt_tokens, watches=watches),
        "actor_rollout_ref": {
            "model": _model(settings, training.model),
            "actor": _actor(settings, prompt_tokens),
            "rollout": _rollout(settings, training.seed),
        },
        "algorithm": {
            "adv_estimator": "grpo",
            "norm_adv_by_std_in_grpo": True,
            "use_kl_in_reward": False,
            "rollout_correction": {"rollout_is": "token", "rollout_is_threshold": settings.rollouts.vllm_ratio_cap},
        },
        "reward": _reward(training.folder),
        "trainer": {
            "use_v1": True,
            "critic_warmup": 0,
            **_steps(settings, training.machine, epochs=1),
            "test_freq": settings.held_out_every if watches and settings.held_out_every else -1,
            "val_before_train": watches,
            "logger": LOGGER,
            **_experiment(training.name),
        },
    }


def sft_config(settings: SftSettings, training: Training, *, rows: int) -> dict[str, Any]:
    """The overrides that make verl's fine-tuning that of a recipe.

    Args:
        settings: of the arm.
        training: the arm, and where it is trained.
        rows: of the training set.
    """
    return {
        **_extending("sft_trainer_engine"),
        "data": _conversations(settings, training),
        "model": _model(settings, training.model),
        "optim": {
            "lr": settings.learning_rate,
            "lr_scheduler_type": "cosine",
            "lr_warmup_steps": settings.steps // 20,
            "min_lr_ratio": 0.0,
            "weight_decay": 0.0,
            "clip_grad": 1.0,
        },
        "checkpoint": CHECKPOINT,
        "trainer": {
            **_steps(settings, training.machine, epochs=ceil(settings.steps / max(1, rows // settings.batch))),
            "test_freq": -1,
            "logger": LOGGER,
            "seed": training.seed,
            **_experiment(training.name),
        },
    }


def _extending(defaults: str) -> dict[str, Any]:
    """The file of verl's that ours extends."""
    return {"hydra": {"searchpath": ["pkg://verl.trainer.config"]}, "defaults": [defaults, "_self_"]}


def _model(settings: WeightSettings, model: Model) -> dict[str, Any]:
    """Section `model` of both trainers."""
    return {
        "path": model.path,
        "lora_adapter_path": model.adapter,
        "custom_chat_template": model.template,
        "lora_rank": settings.lora_r if settings.method is Method.LORA else 0,
        "lora_alpha": settings.lora_alpha,
        "target_modules": "all-linear",
        "enable_gradient_checkpointing": True,
        "use_remove_padding": True,
    }


def _steps(settings: SftSettings | GrpoSettings, machine: Machine, *, epochs: int) -> dict[str, Any]:
    """What section `trainer` of both has: how long they train, and on what."""
    return {
        "total_epochs": epochs,
        "total_training_steps": settings.steps,
        "n_gpus_per_node": machine.gpus,
        "nnodes": machine.nodes,
        "save_freq": settings.save_steps or settings.steps,
    }


def _experiment(name: str) -> dict[str, Any]:
    """What section `trainer` of both has: what it is called in logs."""
    return {"project_name": "sinternal", "experiment_name": name}


def _template_arguments(speech: TemplateOptions | None) -> dict[str, Any]:
    """What section `data` of both has: values for the chat template."""
    return {"apply_chat_template_kwargs": dict(speech.chat_template_kwargs) if speech else {}}


def _prompts(settings: GrpoSettings, training: Training, prompt_tokens: int, *, watches: bool) -> dict[str, Any]:
    """Section `data` of reinforcement learning."""
    return {
        "train_files": str(training.folder / TRAIN),
        "val_files": str(training.folder / (TEST if watches else TRAIN)),
        "val_max_samples": -1 if watches else 8,  # verl wants some, though none are measured
        "prompt_key": "prompt",
        "reward_fn_key": "data_source",
        "max_prompt_length": prompt_tokens,
        "max_response_length": settings.rollouts.max_tokens,
        "train_batch_size": settings.prompts,
        "shuffle": False,  # the file is the schedule
        "filter_overlong_prompts": False,  # one row less would shift it
        "truncation": "error",
        "seed": training.seed,
        **_template_arguments(training.speech),
    }


def _conversations(settings: SftSettings, training: Training) -> dict[str, Any]:
    """Section `data` of fine-tuning."""
    return {
        "train_files": str(training.folder / TRAIN),
        "messages_key": "messages",
        "train_batch_size": settings.batch,
        "micro_batch_size_per_gpu": settings.micro_batch or settings.batch,
        "use_dynamic_bsz": False,
        "max_length": settings.max_length,
        "truncation": "error",
        **_template_arguments(training.speech),
    }


def _actor(settings: GrpoSettings, prompt_tokens: int) -> dict[str, Any]:
    """Section `actor`: the policy that learns."""
    micro = {} if settings.micro_batch is None else {"ppo_micro_batch_size_per_gpu": settings.micro_batch}
    return {
        "optim": {"lr": settings.rate, "lr_scheduler_type": "constant", "weight_decay": 0.0},
        "grad_clip": 1.0,
        "ppo_mini_batch_size": max(1, settings.prompts // settings.minibatches),
        "ppo_epochs": 1,
        "shuffle": False,
        "checkpoint": CHECKPOINT,
        **micro,
        "use_dynamic_bsz": not micro,
        "ppo_max_token_len_per_gpu": prompt_tokens + settings.rollouts.max_tokens,
        "clip_ratio": settings.epsilon,
        "clip_ratio_low": settings.epsilon,
        "clip_ratio_high": settings.epsilon_high,
        "clip_ratio_c": NO_DUAL_CLIP,
        "loss_agg_mode": "token-mean",
        "entropy_coeff": 0.0,
        "use_kl_loss": settings.beta > 0,
        "kl_loss_coef": settings.beta,
        "kl_loss_type": "low_var_kl",
    }


def _rollout(settings: GrpoSettings, seed: int) -> dict[str, Any]:
    """Section `rollout`: the policy that writes."""
    rollouts, micro = settings.rollouts, settings.micro_batch
    drawn = {"temperature": rollouts.temperature, "top_p": rollouts.top_p}
    return {
        "name": "vllm",
        "n": rollouts.n,
        **drawn,
        "top_k": -1,
        "seed": seed,
        "tensor_model_parallel_size": 1,
        "gpu_memory_utilization": rollouts.vllm_memory,
        "calculate_log_probs": True,
        **({} if micro is None else {"log_prob_micro_batch_size_per_gpu": micro}),
        "val_kwargs": {"n": 1, "do_sample": True, **drawn},
    }


def _reward(folder: Path) -> dict[str, Any]:
    """Section `reward`: our function, and our manager, which sees what was cut short."""
    return {
        "custom_reward_function": {"path": str(folder / REWARD), "name": "compute_score"},
        "reward_manager": {
            "source": "importlib",
            "name": "MaskTruncated",
            "module": {"path": "pkg://sinternal.integrations.verl.manager"},
        },
    }


def grpo_differences(settings: GrpoSettings) -> Iterator[str]:
    """What of a recipe's reinforcement learning verl does otherwise, or has not."""
    if settings.zero_spread is ZeroSpread.DROP:
        yield (
            "groups whose rollouts all have one reward count in the mean over tokens: verl can only replace them by "
            "other prompts (algorithm.filter_groups), which are then more than the recipe has"
        )
    if settings.weights != Weights():
        yield "grpo.weights, factors of the advantages of each kind of prompt, are all 1: verl has no such factors"
    yield (
        f"grpo.max_failed ({settings.max_failed:g}): training does not stop if the judge fails too often; look for "
        "UnrewardedError in the log"
    )
    if settings.patience is not None:
        yield "grpo.patience: verl does not stop early, nor keep the best"
    if settings.prompts % settings.minibatches:
        yield (
            f"grpo.minibatches ({settings.minibatches}) does not divide grpo.prompts: verl's mini-batches hold whole "
            "groups, and there are fewer of them"
        )
    if settings.rollouts.engine is RolloutEngine.TRANSFORMERS:
        yield "rollouts are written by vLLM, whose probabilities differ a little: each token counts by the capped ratio"
    yield "advantages are divided by the spread plus 1e-6, and in TRL by the spread plus 1e-4"
    yield "text by others that spells control tokens, in questions of verification, is not kept plain text"


def sft_differences() -> Iterator[str]:
    """What of a recipe's fine-tuning verl does otherwise, or has not."""
    yield "the learning rate falls along a cosine: verl has no linear decay"
    yield (
        "rows are tokenised by verl, turn by turn: compare one with what the model is asked at measurement, above all "
        "where its template opens the thinking"
    )
    yield "text by others that spells control tokens, in quoted answers, is not kept plain text"
