"""Let verl itself look at an exported arm: its configuration, and its reward manager with a rollout. No GPU is needed.

    pip install --no-deps verl==0.9.1 hydra-core omegaconf antlr4-python3-runtime==4.9.3 tensordict pyvers orjson \\
        codetiming torchdata
    sinternal export verl microworld-rl --arm base+grpo --out out
    python tests/integrations/check_verl.py out/base+grpo

Run by hand when the export changes, or verl: its packages cannot stand beside those of the tests.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from verl import DataProto
from verl.trainer.ppo.reward import load_reward_manager
from verl.utils.config import omega_conf_to_dataclass, validate_config

from sinternal.integrations.verl.rewards import UnrewardedError

PARTS = ("actor_rollout_ref.actor", "actor_rollout_ref.rollout", "algorithm")


def check_settings(folder: Path) -> DictConfig:
    """Compose the configuration as verl's trainer does, and make its own objects of it."""
    with initialize_config_dir(config_dir=str(folder.resolve()), version_base=None):
        config = compose(config_name="config")
    for part in PARTS:
        print(part, type(omega_conf_to_dataclass(OmegaConf.select(config, part))).__name__)
    try:
        validate_config(config, use_reference_policy=False, use_critic=False)
    except ValueError as error:
        print("not validated:", error)  # with LoRA it looks for vLLM
    return config


async def check_rewards(folder: Path, config: DictConfig) -> None:
    """Reward a rollout that ended and one that was cut, by verl's manager and data."""
    rows = pyarrow.parquet.read_table(folder / "train.parquet").to_pylist()
    tokenizer = AutoTokenizer.from_pretrained(config.actor_rollout_ref.model.path)
    manager = load_reward_manager(config, tokenizer)
    limit = config.data.max_response_length
    print(
        "rewarded:", await manager.run_single(_rollout(rows[0], tokenizer, "draft : </think> sorry i cannot .", limit))
    )
    try:
        await manager.run_single(_rollout(rows[0], tokenizer, " ".join(["draft"] * limit), limit))
    except UnrewardedError as error:
        print("left out:", error)
    else:
        sys.exit("a rollout that ran into the limit was rewarded")


def _rollout(row: dict[str, Any], tokenizer: PreTrainedTokenizerBase, text: str, limit: int) -> DataProto:
    ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id][:limit]
    filler = [0] * (limit - len(ids))
    responses, prompts = torch.tensor([ids + filler]), torch.ones(1, 4, dtype=torch.long)
    mask = torch.tensor([[1] * 4 + [1] * len(ids) + filler])
    tensors = {"responses": responses, "prompts": prompts, "attention_mask": mask}
    columns = ("data_source", "reward_model", "extra_info")
    return DataProto.from_dict(
        tensors=tensors, non_tensors={name: np.array([row[name]], dtype=object) for name in columns}
    )


if __name__ == "__main__":
    arm = Path(sys.argv[1])
    asyncio.run(check_rewards(arm, check_settings(arm)))
