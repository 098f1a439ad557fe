"""What a trainer changes is what is saved, and what is saved is what is measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from sinternal.errors import ModelError
from sinternal.models.loading import apply_adapter, load_base, load_model
from sinternal.records import Example
from sinternal.settings.training import Method, SftSettings
from sinternal.training.sft import train
from tests.chat_models import qwen, save_model

EXAMPLES = [Example("x", "Is it safe?", "Nice.", "Verdict: safe", "safe", "p", "r")]
TOKENS = torch.arange(12).reshape(1, 12)


def tuned(start: Path, out: Path, seed: int = 0, **changes: Any) -> Path:
    given = {"method": Method.LORA, "steps": 3, "batch": 1, "learning_rate": 2e-4, **changes}
    train(start, EXAMPLES, SftSettings.model_validate(given), seed, out, lambda *_: None)
    return out


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """As a store lies: each model in an artifact of its own."""
    save_model(qwen(), tmp_path / "store/base/b/model")
    return tmp_path / "store"


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS).logits.float()  # type: ignore[no-any-return]


def unchanged(before: Any, after: Any) -> float:
    """The share of the weights of linear layers that are the same."""
    pairs = [(w, after.get_parameter(n)) for n, w in before.named_parameters() if "_proj" in n]
    return sum(int((a == b).sum()) for a, b in pairs) / sum(a.numel() for a, _ in pairs)


def test_merged_into_bfloat16_a_rate_for_full_tuning_is_lost_and_a_higher_one_is_not(store: Path) -> None:
    before = load_base(store / "base/b/model").bfloat16()
    shares = {}
    for rate in (1e-6, 2e-5):
        out = tuned(store / "base/b/model", store / f"sft/{rate}/model", learning_rate=rate)
        shares[rate] = unchanged(before, apply_adapter(load_base(out).bfloat16(), out).merge_and_unload())
    assert shares[1e-6] > 0.95
    assert shares[2e-5] < 0.75


def test_an_adapter_of_a_base_in_bfloat16_is_measured_as_it_was_trained(store: Path) -> None:
    base = store / "base/b/model"
    load_base(base).bfloat16().save_pretrained(base)
    out = tuned(base, store / "sft/a/model", learning_rate=1e-6)
    measured = load_model(out)
    assert isinstance(measured, PeftModel)
    learnt = {name: weight for name, weight in measured.named_parameters() if "lora_B" in name}
    assert all(weight.dtype is torch.float32 and weight.any() for weight in learnt.values())


def test_in_float32_an_adapter_is_merged_and_says_the_same(store: Path) -> None:
    out = tuned(store / "base/b/model", store / "sft/a/model", learning_rate=1e-3)
    apart = apply_adapter(load_base(out), out)
    merged = load_model(out)
    assert not isinstance(merged, PeftModel)
    assert torch.allclose(logits(merged), logits(apart), atol=1e-5)


def test_a_trained_adapter_finds_its_base_wherever_its_store_is_moved(store: Path, tmp_path: Path) -> None:
    out = tuned(store / "base/b/model", store / "sft/a/model")
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "../../../base/b/model"
    found = logits(load_model(out))
    shutil.move(store, tmp_path / "elsewhere")
    assert torch.equal(logits(load_model(tmp_path / "elsewhere/sft/a/model")), found)


def test_a_base_that_its_store_only_links_to_is_found_through_the_store(store: Path, tmp_path: Path) -> None:
    shutil.move(store / "base/b/model", tmp_path / "hub")
    (store / "base/b/model").symlink_to(tmp_path / "hub", target_is_directory=True)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/artifacts").symlink_to(store, target_is_directory=True)
    artifacts = tmp_path / "runs/artifacts"
    out = tuned(artifacts / "base/b/model", artifacts / "sft/a/model")
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == "../../../base/b/model"
    assert load_model(out)


def test_an_adapter_is_trained_further_as_an_adapter_of_the_same_base(store: Path) -> None:
    first = tuned(store / "base/b/model", store / "sft/a/model", learning_rate=1e-2)
    second = tuned(first, store / "sft/b/model", learning_rate=1e-2)
    assert (
        json.loads((second / "adapter_config.json").read_text())["base_model_name_or_path"] == "../../../base/b/model"
    )
    shutil.rmtree(first)
    assert not torch.equal(logits(load_model(second)), logits(load_base(second)))


def test_training_further_begins_with_what_the_start_says(store: Path) -> None:
    first = tuned(store / "base/b/model", store / "sft/a/model", learning_rate=1e-2, steps=9)
    before = logits(load_model(first))
    second = tuned(first, store / "sft/b/model", learning_rate=1e-8, steps=1)
    assert torch.allclose(logits(load_model(second)), before, atol=1e-2)
    assert not torch.allclose(logits(load_base(second)), before, atol=1e-1)


def test_an_adapter_that_is_tuned_in_full_is_merged_without_rounding_first(store: Path) -> None:
    first = tuned(store / "base/b/model", store / "sft/a/model", learning_rate=1e-2)
    second = tuned(first, store / "sft/b/model", method=Method.FULL, learning_rate=1e-3)
    assert not (second / "adapter_config.json").exists()
    assert not torch.equal(logits(load_model(second)), logits(load_model(first)))


def test_an_adapter_of_another_rank_is_refused_with_what_to_set(store: Path) -> None:
    first = tuned(store / "base/b/model", store / "sft/a/model", lora_r=4, lora_alpha=8)
    with pytest.raises(ModelError, match=r"rank 4 and alpha 8, .* set lora_r and lora_alpha to these .*16 and 32"):
        tuned(first, store / "sft/b/model")


def test_the_same_seed_leaves_the_same_bytes_in_another_store(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "other")
    for root in (store, tmp_path / "other"):
        tuned(root / "base/b/model", root / "sft/a/model")
    for file in (store / "sft/a/model").iterdir():
        assert file.read_bytes() == (tmp_path / "other/sft/a/model" / file.name).read_bytes(), file.name
