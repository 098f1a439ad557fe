"""Write down the settings and the interface of verl that our export uses, read from a wheel without installing it.

    pip download --no-deps verl==0.9.1
    python tests/integrations/record_verl_interface.py verl-0.9.1-*.whl

verl asks for torch, Ray and vLLM, and does nothing without a GPU: the tests cannot count on it. Its files are parsed,
not run; the result lies beside this file and is what test_verl.py compares with.
"""

from __future__ import annotations

import ast
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CONFIG = "verl/trainer/config"
PARTS = (
    "data",
    "actor_rollout_ref.actor",
    "actor_rollout_ref.model",
    "actor_rollout_ref.rollout",
    "algorithm",
    "reward",
    "trainer",
)
"""The parts of a configuration that are recorded."""
SFT_DEFAULTS = {"model": "model/hf_model", "optim": "optim/fsdp"}
"""What sft_trainer_engine.yaml takes from elsewhere, of what we set."""


def record(wheel: Path) -> dict[str, object]:
    with zipfile.ZipFile(wheel) as archive:

        def read(file: str) -> str:
            return archive.read(f"verl/{file}").decode()

        ppo = yaml.safe_load(read("trainer/config/_generated_ppo_trainer.yaml"))
        sft = yaml.safe_load(read("trainer/config/sft_trainer_engine.yaml"))
        sft.pop("defaults")
        sft |= {name: yaml.safe_load(read(f"trainer/config/{file}.yaml")) for name, file in SFT_DEFAULTS.items()}
        manager = tree(read("experimental/reward_loop/reward_manager/naive.py"))
        return {
            "version": wheel.name.split("-")[1],
            "ppo_trainer": sorted(key for key in keys(ppo) if key.startswith(PARTS)),
            "sft_trainer_engine": sorted(keys(sft)),
            "compute_score": calls(manager, "self.compute_score"),
            "NaiveRewardManager.run_single": arguments(manager, "run_single"),
            "RLHFDataset columns": strings(
                read("utils/dataset/rl_dataset.py"), ("prompt", "extra_info", "data_source")
            ),
            "naive columns": strings(read("experimental/reward_loop/reward_manager/naive.py"), COLUMNS),
            "loss_agg_mode": strings(read("trainer/ppo/core_algos.py"), ("token-mean",)),
            "adv_estimator": strings(read("trainer/ppo/core_algos.py"), ("grpo",)),
            "kl_loss_type": strings(read("trainer/ppo/core_algos.py"), ("low_var_kl",)),
            "module prefix": strings(read("utils/import_utils.py"), ("pkg://",)),
            "failed sessions leave a group": "return_exceptions=True" in read("trainer/ppo/v1/agent_loop_tq.py"),
        }


COLUMNS = ("responses", "attention_mask", "data_source", "reward_model", "ground_truth", "extra_info")


def tree(source: str) -> ast.Module:
    return ast.parse(source)


def keys(config: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted names of all settings."""
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def calls(module: ast.Module, function: str) -> list[str]:
    """The names under which a function gets its arguments."""
    return sorted(
        {
            keyword.arg
            for node in ast.walk(module)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == function
            for keyword in node.keywords
            if keyword.arg
        }
    )


def arguments(module: ast.Module, method: str) -> list[str]:
    function = next(
        node
        for node in ast.walk(module)
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef) and node.name == method
    )
    return [argument.arg for argument in function.args.args][1:]


def strings(source: str, wanted: tuple[str, ...]) -> list[str]:
    """Which of these texts the code has as literals."""
    there = {node.value for node in ast.walk(tree(source)) if isinstance(node, ast.Constant)}
    return [text for text in wanted if text in there]


if __name__ == "__main__":
    found = record(Path(sys.argv[1]))
    out = Path(__file__).with_name(f"verl_{str(found['version']).replace('.', '_')}.json")
    out.write_text("{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in found.items()) + "\n}\n")
