"""Which checkpoints a training goes on from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sinternal.training.checkpoints import SEAL, STATE, keep_only, last_checkpoint, seal


def checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(bytes(range(256)) * step)
    (path / STATE).write_text(json.dumps({"global_step": step}))
    return path


def flip(path: Path) -> None:
    content = bytearray((path / "model.safetensors").read_bytes())
    content[100] ^= 1
    (path / "model.safetensors").write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped bit": flip,
    "cut short": lambda path: (path / "model.safetensors").write_bytes(b"\0"),
    "half removed": lambda path: (path / "model.safetensors").unlink(),
    "no state": lambda path: (path / STATE).unlink(),
    "state cut short": lambda path: (path / STATE).write_text("{"),
    "no seal, as others may have been writing still": lambda path: (path / SEAL).unlink(),
    "a seal without the state": lambda path: (path / SEAL).write_text("{}"),
    "seal cut short": lambda path: (path / SEAL).write_text('{"model'),
    "seal of another kind": lambda path: (path / SEAL).write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_is_not_what_was_written_is_gone_and_the_one_before_counts(
    tmp_path: Path, damage: str
) -> None:
    first, second = checkpoint(tmp_path, 2), checkpoint(tmp_path, 10)
    seal(first)
    seal(second)
    assert last_checkpoint(tmp_path) == second
    DAMAGES[damage](second)
    assert last_checkpoint(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


def test_what_was_never_sealed_or_is_half_removed_is_gone(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    seal(whole := checkpoint(tmp_path, 3))
    (tmp_path / "checkpoint-4").mkdir()
    (tmp_path / "checkpoint-3.removed").mkdir()
    checkpoint(tmp_path, 5)
    assert last_checkpoint(tmp_path) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]


def test_one_counts_only_with_the_best_before_it_which_the_training_ends_with(tmp_path: Path) -> None:
    first, best, last = (checkpoint(tmp_path, step) for step in (1, 2, 3))
    (last / STATE).write_text(json.dumps({"global_step": 3, "best_global_step": 2}))
    for path in (first, best, last):
        seal(path)
    assert last_checkpoint(tmp_path) == last
    flip(best)
    assert last_checkpoint(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_those_before_the_newest_go_but_for_the_best(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        checkpoint(tmp_path, step)
    keep_only(tmp_path, {2, 10})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-2"]
