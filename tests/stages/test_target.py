"""Stage `target`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sinternal.errors import ModelError
from sinternal.models.loading import open_tokenizer
from sinternal.models.vocabulary import check_vocabulary
from sinternal.settings.sources import Target
from sinternal.stages import (
    target,
)
from sinternal.tools.check import look_at_model
from tests.stages.shared import (
    Make,
)


def test_base_takes_a_directory_as_it_is(make: Make, base_model: Path) -> None:
    artifact = make("base", lambda draft: target.target(draft, target.TargetConfig(model=str(base_model))))
    assert (target.model_path(artifact) / "model.safetensors").exists()


def test_base_refuses_what_is_neither_a_model_nor_a_name(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"target\.model: .* is neither a model directory .* nor one of: .*microworld"):
        make("base", lambda draft: target.target(draft, target.TargetConfig(model=str(tmp_path))))


def test_a_tokenizer_of_another_model_is_refused_before_any_text(make: Make, base_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(base_model, folder)
    config = json.loads((folder / "config.json").read_text())
    told = r"its tokenizer writes .* as token \d+, and its weights know 3 \(vocab_size\)"
    for fields in ({"vocab_size": 3}, {"vocab_size": None, "text_config": {"vocab_size": 3}}):
        (folder / "config.json").write_text(json.dumps({**config, **fields}))
        with pytest.raises(ModelError, match=told):
            check_vocabulary(folder, open_tokenizer(base_model), [1, 5])
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 3}))
    with pytest.raises(ModelError, match=rf"target\.model: .*{told}"):
        make("base", lambda draft: target.target(draft, target.TargetConfig(model=str(folder))))
    with pytest.raises(ModelError, match=told):
        list(look_at_model(Target(model=str(folder)), trained=False, part="target.model"))


def test_tokens_without_weights_that_no_turn_has_are_no_mistake(base_model: Path) -> None:
    tokenizer = open_tokenizer(base_model)
    known = json.loads((base_model / "config.json").read_text())["vocab_size"]
    check_vocabulary(base_model, tokenizer, [0, known - 1])
