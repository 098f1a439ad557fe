"""A model is opened whole or not at all: real files, damaged in all the ways that are met."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from sinternal.engines import Request
from sinternal.engines.transformers import TransformersEngine
from sinternal.errors import ModelError
from sinternal.models.loading import apply_adapter, load_base, load_model, open_tokenizer
from sinternal.settings.sampling import Sampling
from tests.chat_models import chatml, save_model
from tests.plugins import open_plugin

TOKENS = torch.arange(12).reshape(1, 12)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return save_model(chatml(), tmp_path / "whole")


def rewritten(folder: Path, change: Callable[[dict[str, torch.Tensor]], None], file: str = "model.safetensors") -> Path:
    tensors = load_file(folder / file)
    change(tensors)
    save_file(tensors, folder / file, metadata={"format": "pt"})
    return folder


def configured(folder: Path, **changes: object) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def emptied(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def without_a_shard(folder: Path) -> None:
    load_base(folder).save_pretrained(folder, max_shard_size="40KB")
    (folder / "model.safetensors").unlink()
    next(folder.glob("model-00002-*.safetensors")).unlink()


def without(part: str) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        del tensors[next(name for name in tensors if part in name)]

    return change


def filled(part: str, value: float) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[next(name for name in tensors if part in name)].fill_(value)

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda folder: rewritten(folder, without("layers.1.mlp.up_proj")),
            r"lacks weights of model\.layers\.1\.mlp\.up_proj\.weight",
        ),
        (lambda folder: configured(folder, num_hidden_layers=3), r"lacks weights of model\.layers\.2\..* and \d+ more"),
        (lambda folder: configured(folder, num_hidden_layers=100_000), r"describes [\d,]+ weights, and its files hold"),
        (lambda folder: configured(folder, vocab_size=10**12), r"describes [\d,]+ weights, and its files hold"),
        (lambda folder: configured(folder, num_hidden_layers=1), r"knows nothing of: model\.layers\.1\."),
        (lambda folder: configured(folder, intermediate_size=32), r"another shape: model\.layers\.0\.mlp\."),
        (
            lambda folder: rewritten(folder, filled("model.norm", float("nan"))),
            r"NaN or infinite numbers in model\.norm\.weight",
        ),
        (
            lambda folder: rewritten(folder, filled("model.norm", float("inf"))),
            r"NaN or infinite numbers in model\.norm\.weight",
        ),
        (lambda folder: configured(folder, model_type="no-such-model"), "cannot be loaded"),
        (lambda folder: configured(folder, model_type="gpt2", architectures=["GPT2LMHeadModel"]), "lacks weights of"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded"),
        (cut, "cannot be loaded"),
        (emptied, "cannot be loaded"),
        (without_a_shard, "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
    ],
    ids=[
        "a missing tensor",
        "a config with more layers",
        "a config with far more layers",
        "a config with far more tokens",
        "a config with fewer layers",
        "a config with other widths",
        "NaN",
        "infinity",
        "an unknown kind of model",
        "another kind of model",
        "a broken config",
        "cut weights",
        "empty weights",
        "a missing shard",
        "no weights",
    ],
)
def test_a_damaged_model_is_one_line_that_names_what_is_wrong(
    whole: Path, damage: Callable[[Path], Any], said: str
) -> None:
    damage(whole)
    with pytest.raises(ModelError, match=said) as raised:
        load_model(whole)
    assert "\n" not in str(raised.value)


def test_no_engine_measures_a_model_that_is_not_whole(whole: Path) -> None:
    rewritten(whole, without("layers.1.mlp.up_proj"))
    with pytest.raises(ModelError, match="lacks weights of"):
        open_plugin(TransformersEngine, str(whole), {})


def test_what_is_rightly_not_in_a_checkpoint_is_not_missed(tmp_path: Path, whole: Path) -> None:
    assert load_base(whole)
    tied = AutoModelForCausalLM.from_pretrained(whole)
    tied.config.tie_word_embeddings = True
    tied.tie_weights()
    tied.save_pretrained(tmp_path / "tied")
    assert "lm_head.weight" not in load_file(tmp_path / "tied" / "model.safetensors")
    assert load_base(tmp_path / "tied")
    # Older checkpoints of Llama hold a buffer that is worked out today.
    rewritten(whole, lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}))
    assert load_base(whole)


def adapter(whole: Path, folder: Path, tokens: int = 0, **config: Any) -> Path:
    """A LoRA adapter that changes what the model says; with so many new tokens."""
    base = AutoModelForCausalLM.from_pretrained(whole)
    if tokens:
        base.resize_token_embeddings(base.config.vocab_size + tokens)
    torch.manual_seed(1)
    made = get_peft_model(base, LoraConfig(**{"target_modules": "all-linear", "task_type": "CAUSAL_LM", **config}))
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    made.save_pretrained(folder, save_embedding_layers=bool(tokens))
    return folder


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(TOKENS).logits  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [{}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}], ids=str)
def test_an_adapter_is_applied_to_its_base(whole: Path, tmp_path: Path, kind: dict[str, Any]) -> None:
    folder = adapter(whole, tmp_path / "adapter", **kind)
    found = logits(load_model(folder))
    assert not torch.allclose(found, logits(load_model(whole)), atol=1e-3)
    assert torch.allclose(found, logits(apply_adapter(load_base(folder), folder)), atol=1e-4)


@pytest.mark.parametrize("kind", [{}, {"modules_to_save": ["embed_tokens", "lm_head"]}], ids=["as they are", "trained"])
def test_an_adapter_with_new_tokens_gets_room_for_them(whole: Path, tmp_path: Path, kind: dict[str, Any]) -> None:
    targets = {"target_modules": ["q_proj", "v_proj"]}
    folder = adapter(whole, tmp_path / "adapter", tokens=4, **targets, **kind)
    model = load_model(folder)
    assert model.get_input_embeddings().num_embeddings == load_model(whole).config.vocab_size + 4
    held = load_file(folder / "adapter_model.safetensors")
    assert torch.equal(model.get_input_embeddings().weight, held["base_model.model.model.embed_tokens.weight"])
    assert torch.equal(model.get_output_embeddings().weight, held["base_model.model.lm_head.weight"])


def test_new_tokens_that_an_adapter_cannot_write_are_refused_and_not_left_to_chance(
    whole: Path, tmp_path: Path
) -> None:
    folder = adapter(whole, tmp_path / "adapter", tokens=4, target_modules=["q_proj"])
    rewritten(folder, without("lm_head"), "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"no lm_head\.weight for as many: save it again"):
        load_model(folder)


def test_a_second_copy_of_embeddings_that_says_something_else_is_refused(whole: Path, tmp_path: Path) -> None:
    saved = {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}
    folder = adapter(whole, tmp_path / "adapter", tokens=4, **saved)
    rewritten(folder, filled("embed_tokens.modules_to_save", 1.0), "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"no place for: .*embed_tokens\.modules_to_save"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("lora_B"), "lacks weights of .*lora_B"),
        (lambda t: t.update({"base_model.model.model.layers.7.lora_A.weight": torch.ones(1)}), "no place for"),
        (filled("lora_A", float("nan")), "NaN or infinite numbers"),
        (lambda t: t.update({name: torch.ones(3, 3) for name in list(t)[:1]}), "size mismatch"),
        (lambda t: t.clear(), "lacks weights of"),
    ],
    ids=["missing", "unexpected", "NaN", "another shape", "empty"],
)
def test_an_adapter_that_is_not_whole_is_refused_by_the_names_of_its_tensors(
    whole: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None], said: str
) -> None:
    folder = adapter(whole, tmp_path / "adapter")
    rewritten(folder, change, "adapter_model.safetensors")
    with pytest.raises(ModelError, match=said) as raised:
        load_model(folder)
    assert "\n" not in str(raised.value)


def test_an_adapter_whose_base_is_gone_or_another_adapter_is_told_so(whole: Path, tmp_path: Path) -> None:
    folder = adapter(whole, tmp_path / "adapter")
    other = adapter(whole, tmp_path / "other")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(other)}))
    with pytest.raises(ModelError, match="is an adapter itself; merge that one first"):
        load_model(folder)
    for base, said in (("/gone/for/good", "not at '/gone/for/good'"), (None, "does not name the base")):
        (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": base}))
        with pytest.raises(ModelError, match=said):
            load_model(folder)
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "no-such/model"}))
    with pytest.raises(ModelError, match="adapter: the base of this LoRA adapter: "):
        load_model(folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match="not the configuration of a LoRA adapter"):
        load_model(folder)


def test_an_adapter_finds_its_base_from_its_own_folder_wherever_both_are_moved(whole: Path, tmp_path: Path) -> None:
    folder = adapter(whole, tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "../whole"}))
    found = logits(load_model(folder))
    (tmp_path / "elsewhere").mkdir()
    for name in ("whole", "adapter"):
        shutil.move(tmp_path / name, tmp_path / "elsewhere" / name)
    assert torch.equal(logits(load_model(tmp_path / "elsewhere/adapter")), found)
    # Without a tokenizer of its own, it speaks its base's.
    assert open_tokenizer(tmp_path / "elsewhere/adapter").chat_template


def test_code_that_a_model_brings_is_neither_run_nor_asked_about(whole: Path) -> None:
    configured(whole, model_type="mine", auto_map={"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"})
    (whole / "evil.py").write_text("raise SystemExit('it was run')")
    with pytest.raises(ModelError, match=r"brings code of its own .* serve the model.* engine openai") as raised:
        open_plugin(TransformersEngine, str(whole), {})
    assert "\n" not in str(raised.value)


def test_a_tokenizer_that_is_code_of_its_own_is_told_like_a_model_that_is(whole: Path) -> None:
    file = whole / "tokenizer_config.json"
    changed = {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["evil.Mine", None]}}
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    (whole / "evil.py").write_text("raise SystemExit('it was run')")
    (whole / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="the tokenizer brings code of its own"):
        open_tokenizer(whole)


def test_a_model_that_names_code_of_its_own_but_needs_none_is_loaded(whole: Path) -> None:
    configured(whole, auto_map={"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"})
    (whole / "evil.py").write_text("raise SystemExit('it was run')")
    assert load_model(whole)


def test_a_model_and_its_adapter_answer_through_the_engine(whole: Path, tmp_path: Path) -> None:
    folder = adapter(whole, tmp_path / "adapter")
    said = []
    for model in (whole, folder):
        shutil.copytree(whole, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("model*", "config.json"))
        engine = open_plugin(TransformersEngine, str(model), {})
        (completion,) = engine.generate([Request("r", (("user", "hello"),))], Sampling(max_tokens=8), 0)
        said.append(completion.answer)
    assert said[0] != said[1]


def test_weights_in_pickles_are_refused_and_not_read(whole: Path, tmp_path: Path) -> None:
    witness = tmp_path / "executed"

    class Malice:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (witness,)

    (whole / "pytorch_model.bin").write_bytes(pickle.dumps(Malice()))
    load_model(whole)  # its weights in safetensors are what is read
    (whole / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"the weights are a pickle \(pytorch_model\.bin\), which can run code"):
        load_model(whole)
    assert not witness.exists()


def test_a_pickled_adapter_is_refused(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(whole), "peft_type": "LORA"})
    )
    (folder / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"the weights are a pickle \(adapter_model\.bin\)"):
        load_model(folder)


def test_a_configuration_of_brackets_alone_is_one_line(whole: Path) -> None:
    (whole / "config.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match="cannot be loaded") as raised:
        load_model(whole)
    assert "\n" not in str(raised.value)


def test_a_stop_token_that_is_none_is_told_by_its_file(whole: Path) -> None:
    (whole / "generation_config.json").write_text('{"eos_token_id": "x"}')
    with pytest.raises(ModelError, match="eos_token_id of its generation settings is 'x'"):
        load_model(whole)
