"""Stage `target`."""

from __future__ import annotations

from pathlib import Path

import pytest

from sinternal.errors import ModelError
from sinternal.stages import (
    target,
)
from tests.stages.shared import (
    Make,
)


def test_base_takes_a_directory_as_it_is(make: Make, base_model: Path) -> None:
    artifact = make("base", lambda draft: target.target(draft, target.TargetConfig(model=str(base_model))))
    assert (target.model_path(artifact) / "model.safetensors").exists()


def test_base_refuses_what_is_neither_a_model_nor_a_name(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"target\.model: .* is neither a model directory .* nor one of: .*microworld"):
        make("base", lambda draft: target.target(draft, target.TargetConfig(model=str(tmp_path))))
