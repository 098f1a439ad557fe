"""What is kept of reinforcement learning: a row for each step, of the trainer's figures and the scorer's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sinternal.training.names import HELD_OUT, TRAINING
from sinternal.training.rewards import Kind
from sinternal.training.watch import Point

LOGGED = {
    "loss": "loss",
    "entropy": "entropy",
    "clip_ratio/region_mean": "clipped",
    "completions/mean_length": "length",
    "completions/clipped_ratio": "truncated",
    "frac_reward_zero_std": "zero_spread",
    "mean_reward": "reward",
    "sampling/sampling_logp_difference/mean": "sampling_difference",
    "sampling/sampling_logp_difference/max": "sampling_difference_max",
    "sampling/importance_sampling_ratio/min": "sampling_ratio_min",
    "sampling/importance_sampling_ratio/mean": "sampling_ratio",
    "sampling/importance_sampling_ratio/max": "sampling_ratio_max",
}
"""What the trainer logs, and what it is called here: nats per token, tokens, shares. `clipped` is the share of tokens
whose ratio was cut to `epsilon` or `epsilon_high`. What begins with `sampling` is there if vLLM writes the rollouts:
how far its log-probabilities are from the trainer's, and the ratios by which tokens count for it."""
ONLY_IN_TRAINING = ("loss", "zero_spread", "clipped")
"""What means nothing for a single rollout of each held-out prompt."""
FAR = 0.9
"""Mean ratio of the trainer's to vLLM's probabilities below which another policy seems to have written the rollouts."""
OURS = (
    *(f"reward_{kind}" for kind in Kind),
    "asr",
    "over_refusal",
    "refused_harmful",
    "unreadable",
    "judge_failed",
    "unsafe_verdicts",
    "unread_verdicts",
    "balanced_accuracy",
    "right_unsafe",
    "right_safe",
    "right_benign",
    "unverified",
    "self_judge_gap",
)
"""What the scorer adds: mean rewards and shares. `unsafe_verdicts` is the share of readable verdicts that say `unsafe`,
`balanced_accuracy` the mean over both labels of the share that is right, and `self_judge_gap` the share of its own
answers that the policy calls safe less the share that the judge calls safe."""

BEST = "eval_mean_reward"
"""What chooses the best model, if one is chosen."""
IDLE_START = "idle_start"
"""In the log of the first step: its mean reward, if no group of rollouts had any spread."""


def step_rows(history: Sequence[Mapping[str, Any]], prefix: str, updates: int) -> Iterator[dict[str, float | None]]:
    """A row for each step, or for each measurement, under our names; a figure that could not be computed is None.

    Args:
        history: the trainer's log.
        prefix: of the entries that are meant: none of those of training, `eval_` of measurements.
        updates: what the trainer counts as a step, to each of ours.
    """
    names = {f"{prefix}{theirs}": ours for theirs, ours in LOGGED.items()}
    names |= {f"{prefix}{name}": name for name in OURS}
    skipped = ONLY_IN_TRAINING if prefix else ()
    for entry in history:
        if f"{prefix}mean_reward" in entry:
            figures = {ours: entry[theirs] for theirs, ours in names.items() if theirs in entry and ours not in skipped}
            yield {"step": entry["step"] // updates, **{name: _number(value) for name, value in figures.items()}}


def points(entry: Mapping[str, Any], updates: int) -> Iterator[Point]:
    """The same of one entry, for who watches."""
    for of, prefix in ((TRAINING, ""), (HELD_OUT, "eval_")):
        yield from ((of, figures) for figures in step_rows([entry], prefix, updates))


def notes_on_start(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a user should know of the first step."""
    return [
        f"in the first step every group of rollouts had one and the same reward ({entry[IDLE_START]:.2f} on average): "
        "the start has little to learn from these prompts"
        for entry in history
        if IDLE_START in entry
    ]


def notes_on_rollouts(training: Sequence[Mapping[str, float | None]]) -> list[str]:
    """What a user should know of the rollouts that vLLM wrote, if it wrote them."""
    lowest = min((ratio for row in training if (ratio := row.get("sampling_ratio")) is not None), default=1.0)
    if lowest >= FAR:
        return []
    return [
        "vLLM wrote rollouts as another policy would: in one step the mean ratio of the trainer's probabilities to "
        f"its own was {lowest:.2f}; look at its precision, and at whether it gets the new weights"
    ]


def _number(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
