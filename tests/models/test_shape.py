"""The shape of a model is counted from its configuration, exactly as the model itself has it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from sinternal.errors import ModelError
from sinternal.models.shape import cached_config, find_shape, published_configs, shape_of

SMALL = {
    "hidden_size": 48,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 170,
    "max_position_embeddings": 64,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
CONFIGS = {
    "llama": LlamaConfig(**SMALL),
    "llama, tied, all biases": LlamaConfig(**SMALL, tie_word_embeddings=True, attention_bias=True, mlp_bias=True),
    "llama, wide heads": LlamaConfig(**SMALL, head_dim=16),
    "mistral": MistralConfig(**SMALL),
    "qwen2": Qwen2Config(**SMALL),
    "qwen2, tied": Qwen2Config(**SMALL, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SMALL, head_dim=16),
    "qwen3, tied, biases": Qwen3Config(**SMALL, head_dim=16, tie_word_embeddings=True, attention_bias=True),
    "qwen3 with experts": Qwen3MoeConfig(**SMALL, **EXPERTS, head_dim=16),
    "qwen3 with experts in some layers": Qwen3MoeConfig(**SMALL, **EXPERTS, head_dim=16, mlp_only_layers=[1]),
    "mixtral": MixtralConfig(**SMALL, num_local_experts=4, num_experts_per_tok=2),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_the_real_model(name: str) -> None:
    config = CONFIGS[name]
    model = meta_model(config)
    assert shape_of(config.to_dict(), name).parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", ["llama", "llama, wide heads", "qwen2, tied", "qwen3", "qwen3 with experts"])
def test_an_adapter_has_the_parameters_that_peft_gives_it(name: str) -> None:
    adapted = get_peft_model(
        meta_model(CONFIGS[name]), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert shape_of(CONFIGS[name].to_dict(), name).adapter_parameters(4) == trained


def test_a_token_meets_its_own_experts_alone() -> None:
    shape = shape_of(CONFIGS["qwen3 with experts"].to_dict(), "x")
    idle = 3 * 2 * 3 * 48 * 32  # of each of three layers two experts of three matrices
    assert shape.active_parameters == shape.parameters - idle - 170 * 48


@pytest.mark.parametrize("name", published_configs())
def test_a_published_configuration_counts_as_many_parameters_as_its_makers(name: str) -> None:
    config = published_configs()[name]
    assert shape_of(config, name).parameters == config["parameters"]
    assert find_shape(name, options={}) == shape_of(config, name)


def test_a_model_in_the_cache_of_the_hub_is_found_without_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--me--mine"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("abc")
    (folder / "snapshots/abc").mkdir(parents=True)
    CONFIGS["qwen3"].save_pretrained(folder / "snapshots/abc")
    assert cached_config("me/mine") == folder / "snapshots/abc/config.json"
    assert find_shape("me/mine").head_dim == 16
    assert cached_config("me/mine", "abc") == cached_config("me/mine")
    assert cached_config("me/other") is None


def test_a_directory_an_adapter_and_a_source_are_read_where_they_lie(tmp_path: Path, base_model: Path) -> None:
    assert find_shape(str(base_model)) == find_shape("microworld")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base_model)}))
    assert find_shape(str(adapter)) == find_shape("microworld")


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("nobody/nothing", {}, "--model-config nobody/nothing="),
        ("microworld", {"hidden": 128}, "neither built"),
    ],
)
def test_a_model_that_nothing_is_known_of_is_one_line(model: str, options: dict[str, int], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        find_shape(model, options=options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "gpt2"}, "type 'gpt2' cannot be counted"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"dtype": "float8"}, "weights of type 'float8'"),
        ({"hidden_size": None}, "missing or not a number"),
    ],
)
def test_what_cannot_be_counted_is_said(change: dict[str, object], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        shape_of({**CONFIGS["llama"].to_dict(), **change}, "here")


def meta_model(config: PretrainedConfig) -> torch.nn.Module:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)  # type: ignore[no-any-return]
