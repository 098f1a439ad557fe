"""verl's reward manager, which sees the tokens of a rollout: one that ran into the token limit gets no reward.

A reward function alone could not tell: verl hands it text without special tokens.
"""

from __future__ import annotations

from typing import Any

from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager

from sinternal.integrations.verl.rewards import UnrewardedError, is_cut


class MaskTruncated(NaiveRewardManager):  # type: ignore[misc]  # verl has no types
    """verl's own manager for a reward function, but that truncated rollouts are left out."""

    async def run_single(self, data: Any) -> dict[str, Any]:
        """Reward one rollout.

        Raises:
            UnrewardedError: it ran into the token limit.
        """
        batch = data[-1:].batch
        responses = batch["responses"][0]
        written = int(batch["attention_mask"][0][-responses.shape[-1] :].sum())
        limit = int(self.config.data.max_response_length)
        if is_cut(responses[:written].tolist(), limit, self.tokenizer.eos_token_id):
            raise UnrewardedError(f"no reward: the rollout ran into the limit of {limit} tokens")
        rewarded: dict[str, Any] = await super().run_single(data)
        return rewarded
