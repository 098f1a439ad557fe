"""How a model is trained, as a recipe says it; apart from the trainers, so that reading one does not load torch."""

from __future__ import annotations

from enum import StrEnum
from math import ceil
from typing import Self

from pydantic import Field, model_validator

from sinternal.settings.base import Section


class Method(StrEnum):
    """Which weights are trained."""

    FULL = "full"
    """All of them."""
    LORA = "lora"
    """Low-rank adapters on every linear layer (Hu et al. 2021, arXiv 2106.09685), stored apart from their base. An arm
    that starts from one trains it further, at the same rank."""


RL_RATES = {Method.FULL: 1e-6, Method.LORA: 2e-5}
"""Learning rates of reinforcement learning. Adapters want 10 times that of full tuning and more, in fine-tuning and in
reinforcement learning (Schulman et al. 2025, "LoRA Without Regret", doi 10.64434/tml.20250929; for fine-tuning also
Biderman et al. 2024, arXiv 2405.09673)."""
LOW_LORA_RATE = 1e-5
"""Rate below which adapters learn next to nothing in the few hundred steps of a study."""


class WeightSettings(Section):
    """Which weights a trainer changes."""

    method: Method = Method.LORA
    """Which weights are trained."""
    lora_r: int = Field(default=16, ge=1)
    """Rank of the adapters."""
    lora_alpha: int = Field(default=32, ge=1)
    """Scale of the adapters."""


class SftSettings(WeightSettings):
    """How a model is fine-tuned. The same for every arm of a study, unless an arm says otherwise."""

    steps: int = Field(ge=1)
    """Optimiser steps."""
    batch: int = Field(ge=1)
    """Examples to a step."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Examples that a process takes at most in one forward pass, if a whole batch does not fit."""
    learning_rate: float = Field(gt=0)
    """Peak; linear warm-up over 5 % of the steps, then linear decay."""
    max_length: int = Field(default=4096, ge=8)
    """Longest row in tokens; a longer one is an error, never cut."""
    save_steps: int | None = Field(default=None, ge=1)
    """Write a checkpoint every so many steps, from which an interrupted run goes on. Changing it makes nothing run
    again."""

    def of_a_process(self, processes: int) -> int:
        """Examples to a forward pass in each of so many processes, at most."""
        return min(self.micro_batch or self.batch, ceil(self.batch / processes))


def rows_seen(rows: int, batch: int, steps: int) -> int:
    """Rows that so many steps see. The last batch of a pass is smaller where `batch` does not divide `rows`.

    Args:
        rows: of the set.
        batch: rows to a step.
        steps: optimiser steps.
    """
    passes, rest = divmod(steps, ceil(rows / batch))
    return passes * rows + min(rest * batch, rows)


class RolloutEngine(StrEnum):
    """Who writes the rollouts while a model is trained."""

    TRANSFORMERS = "transformers"
    """The model in training itself."""
    VLLM_COLOCATE = "vllm-colocate"
    """vLLM in the same process, on the same GPU."""
    VLLM_SERVER = "vllm-server"
    """A vLLM server that was started with `trl vllm-serve`."""


class Rollouts(Section):
    """How a policy answers while it is trained."""

    n: int = Field(default=8, ge=2)
    """Rollouts of each prompt: the group whose rewards are compared."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the draw."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Probability mass kept by nucleus sampling."""
    max_tokens: int = Field(default=8192, ge=1)
    """Limit on the tokens written; what runs into it is masked."""
    engine: RolloutEngine = RolloutEngine.TRANSFORMERS
    """Who writes."""
    vllm_server: str | None = None
    """Address of the server, for `vllm-server`; by default http://0.0.0.0:8000."""
    vllm_memory: float = Field(default=0.3, gt=0, lt=1)
    """Share of the GPU's memory that vLLM takes, for `vllm-colocate`."""
    vllm_ratio_cap: float = Field(default=3.0, ge=1)
    """vLLM's probabilities differ a little from the trainer's: each token counts by their ratio, at most by this
    (truncated importance sampling, Yao et al. 2025, https://fengyao.notion.site/off-policy-rl; the cap is TRL's)."""


class ByKind(Section):
    """A number for each kind of prompt."""

    harmful: float = Field(default=0.0, ge=0)
    """Requests that should not be helped with."""
    benign: float = Field(default=0.0, ge=0)
    """Requests that should."""
    mathematics: float = Field(default=0.0, ge=0)
    """Problems with one right answer, which hold the reasoning."""
    verification: float = Field(default=0.0, ge=0)
    """Questions whether an answer that the policy has just given is safe."""


class Mixture(ByKind):
    """In which proportion prompts of each kind stand in every step."""

    harmful: float = Field(default=0.5, ge=0)
    """Requests that should not be helped with."""
    benign: float = Field(default=0.5, ge=0)
    """Requests that should."""


class Weights(ByKind):
    """Factors of the advantages. On rewards they would be lost when a group is divided by its spread."""

    harmful: float = Field(default=1.0, ge=0)
    """Requests that should not be helped with."""
    benign: float = Field(default=1.0, ge=0)
    """Requests that should."""
    mathematics: float = Field(default=1.0, ge=0)
    """Problems with one right answer."""
    verification: float = Field(default=1.0, ge=0)
    """Questions about the policy's own answers."""


class ZeroSpread(StrEnum):
    """What is done with a group whose rollouts all have the same reward, and so teach nothing."""

    DROP = "drop"
    """Its tokens count neither in the loss nor in the mean over tokens, as if it were not in the batch."""
    COUNT = "count"
    """They do, so that the step gets shorter. A rollout without a reward is left out all the same."""


class GrpoSettings(WeightSettings):
    """Group relative policy optimisation (Shao et al. 2024, arXiv 2402.03300), the same budget for every arm.

    Clipping with a higher upper bound, the mean over all tokens of a step, masked truncation and dropped groups are
    those of DAPO (Yu et al. 2025, arXiv 2503.14476).
    """

    steps: int = Field(ge=1)
    """How often rollouts are drawn and learned from, by arms that are trained on `rewards`."""
    verifying_steps: int | None = Field(default=None, ge=1)
    """The same for `verify-rl`, `alternating` and `self-reward`. None: as many as give as many rollouts as fine-tuning
    sees rows, so that these arms learn from as many texts as the method does."""
    prompts: int = Field(default=64, ge=1)
    """Prompts to a step."""
    rollouts: Rollouts = Rollouts()
    """How the policy answers."""
    mixture: Mixture = Mixture()
    """In which proportion prompts of each kind stand in every step."""
    weights: Weights = Weights()
    """Factors of the advantages, by kind."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Rollouts to a forward pass, if those of an update do not fit; must divide `prompts` times `rollouts.n` by
    `minibatches`."""
    minibatches: int = Field(default=1, ge=1)
    """Optimiser updates to a step, each on an equal part of its rollouts. At 1 every rollout is of the very policy that
    learns from it, the ratio of new to old probability is 1, and `epsilon` and `epsilon_high` do nothing."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Constant. None: 1e-6 for full tuning, 2e-5 for adapters."""
    beta: float = Field(default=0.0, ge=0)
    """Weight of the divergence from the start, on the rollouts that are learned from; 0 needs no second model."""
    epsilon: float = Field(default=0.2, gt=0)
    """How far below 1 the ratio of new to old probability counts; only with more than one of `minibatches`."""
    epsilon_high: float = Field(default=0.28, gt=0)
    """How far above 1; the same."""
    zero_spread: ZeroSpread = ZeroSpread.DROP
    """What is done with groups that teach nothing."""
    max_failed: float = Field(default=0.1, ge=0, le=1)
    """Share of a step's judged rollouts for which the judge may fail; above it, training stops."""
    held_out_every: int | None = Field(default=None, ge=1)
    """Measure held-out training prompts before the first step and after every so many; None: never."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many measurements without a better held-out reward, and keep the best; None: never."""
    save_steps: int | None = Field(default=None, ge=1)
    """Write a checkpoint every so many steps, from which an interrupted run goes on."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.of_a_step % self.minibatches:
            raise ValueError(f"minibatches ({self.minibatches}) must divide the {self.of_a_step} rollouts of a step")
        if self.micro_batch and self.of_an_update % self.micro_batch:
            raise ValueError(
                f"micro_batch ({self.micro_batch}) must divide the {self.of_an_update} rollouts of an update"
            )
        if not self.mixture.harmful:
            raise ValueError("mixture.harmful is 0, so nothing would be learned about safety; give it a share")
        if self.patience is not None and self.held_out_every is None:
            raise ValueError("patience needs held_out_every: say how often held-out prompts are measured")
        return self

    @property
    def rate(self) -> float:
        """The learning rate."""
        return self.learning_rate or RL_RATES[self.method]

    @property
    def of_a_step(self) -> int:
        """Rollouts to a step."""
        return self.prompts * self.rollouts.n

    @property
    def of_an_update(self) -> int:
        """Rollouts to an optimiser update."""
        return self.of_a_step // self.minibatches

    def of_a_process(self, processes: int) -> int:
        """Rollouts to a forward pass in each of so many processes.

        Raises:
            ValueError: the rollouts cannot be shared out evenly, or not without tearing groups apart.
        """
        if self.prompts % processes:
            raise ValueError(f"grpo.prompts ({self.prompts}) must be a multiple of launch.processes ({processes})")
        micro = self.micro_batch or self.of_an_update // processes
        if not micro or self.of_an_update % (micro * processes):
            raise ValueError(
                f"grpo.micro_batch ({micro}) times launch.processes ({processes}) must divide the {self.of_an_update} "
                "rollouts of an update"
            )
        return micro


def cautions(settings: SftSettings | GrpoSettings) -> list[str]:
    """What a user should know before a training with these settings begins."""
    section = "grpo" if isinstance(settings, GrpoSettings) else "sft"
    rate = settings.rate if isinstance(settings, GrpoSettings) else settings.learning_rate
    notes = []
    if settings.method is Method.LORA and rate < LOW_LORA_RATE:
        notes.append(
            f"{section}.learning_rate {rate:g} is a rate for full tuning: adapters want 10 to 100 "
            f"times as much and learn next to nothing below {LOW_LORA_RATE:g}; raise it or set {section}.method to full"
        )
    if isinstance(settings, GrpoSettings) and settings.minibatches == 1:
        defaults = {name: GrpoSettings.model_fields[name].default for name in ("epsilon", "epsilon_high")}
        notes += [
            f"grpo.{name} does nothing at one update a step: raise grpo.minibatches, or leave it out"
            for name, usual in defaults.items()
            if getattr(settings, name) != usual
        ]
    return notes
