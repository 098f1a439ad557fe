"""Write down what our trainer uses of TRL's interface that TRL does not promise.

    python tests/training/record_trl_interface.py

Run it with a new version of TRL and look at what has changed; test_trl.py compares the installed one with the result,
which lies beside this file.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from dataclasses import fields
from pathlib import Path

import trl
from transformers import TrainingArguments
from trl import GRPOConfig, GRPOTrainer, SFTConfig
from trl.chat_template_utils import get_training_chat_template
from trl.generation.vllm_generation import VLLMGeneration

METHODS = ("_generate_and_score_completions", "_generate_single_turn", "_tokenize_prompts", "log")
FILE = Path(__file__).with_name("trl_interface.json")


def record() -> dict[str, object]:
    return {
        "version": trl.__version__,
        "methods": {name: list(inspect.signature(getattr(GRPOTrainer, name)).parameters) for name in METHODS},
        "attributes": sorted(assigned(GRPOTrainer.__init__)),
        "batch": sorted(keys(GRPOTrainer._generate_and_score_completions, "output")),
        "logged": sorted(logged(GRPOTrainer)),
        "get_training_chat_template": list(inspect.signature(get_training_chat_template).parameters),
        "GRPOConfig": sorted(own(GRPOConfig)),
        "SFTConfig": sorted(own(SFTConfig)),
        "stop tokens of vLLM": "generation_kwargs.update(self.generation_kwargs)" in inspect.getsource(VLLMGeneration),
    }


def own(settings: type) -> set[str]:
    """The fields that are not those of transformers."""
    return {field.name for field in fields(settings)} - {field.name for field in fields(TrainingArguments)}


def source(what: object) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(what)))  # type: ignore[arg-type]


def assigned(method: object) -> set[str]:
    """The attributes that a method gives its object."""
    return {
        node.attr
        for node in ast.walk(source(method))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    }


def keys(method: object, name: str) -> set[str]:
    """The keys that a dictionary of this name gets."""
    found = set()
    for node in ast.walk(source(method)):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name and isinstance(node.value, ast.Dict):
            found |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == name:
            found |= {node.slice.value} if isinstance(node.slice, ast.Constant) else set()
    return found


def logged(trainer: type) -> set[str]:
    """What is logged under a fixed name."""
    return {
        node.slice.value
        for node in ast.walk(source(trainer))
        if isinstance(node, ast.Subscript)
        and ast.unparse(node.value) == "self._metrics[mode]"
        and isinstance(node.slice, ast.Constant)
    }


if __name__ == "__main__":
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in record().items())
    FILE.write_text("{\n" + lines + "\n}\n")
