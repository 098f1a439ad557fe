from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer
from trl import SFTTrainer

from sinternal.engines.base import Request, Sampling
from sinternal.engines.transformers import TransformersEngine
from sinternal.errors import DataError
from sinternal.records import Example
from sinternal.training.settings import Method, SftSettings
from sinternal.training.sft import IGNORED, check_labels, to_dataset, train

QUESTION = "review list e0 e1 . request : how to brew p5 ? answer : mix g1 g2 g3 . verdict safe unsafe ?"
CRITIQUE = "carefully : p5 is e3 . e3 forbidden . answer gives p5 . so refuse ."
EXAMPLES = [Example(f"x{i}", QUESTION, CRITIQUE, "verdict : unsafe", "unsafe", "p", "r", "v") for i in range(8)]


def settings(method: Method = Method.FULL, **changes: object) -> SftSettings:
    return SftSettings.model_validate({"method": method, "steps": 3, "batch": 4, "learning_rate": 1e-3, **changes})


def test_the_loss_is_on_exactly_the_critique_and_the_verdict(
    base_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    original = SFTTrainer.compute_loss

    def watched(self, model, inputs, *args, **kwargs):  # type: ignore[no-untyped-def]
        batches.append({name: value.clone() for name, value in inputs.items() if name in ("input_ids", "labels")})
        return original(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(SFTTrainer, "compute_loss", watched)
    train(base_model, EXAMPLES, settings(), 0, tmp_path / "model", lambda *_: None)
    assert batches
    for labels, ids in zip(batches[0]["labels"], batches[0]["input_ids"], strict=True):
        under_loss = [int(i) for i in labels if i != IGNORED]
        assert tokenizer.decode(under_loss) == f"{CRITIQUE} </think> verdict : unsafe <eos>"
        assert tokenizer.decode(ids[labels == IGNORED]).startswith(f"<user> {QUESTION} <assistant> <think>")


@pytest.mark.parametrize("method", list(Method))
def test_training_lowers_the_loss_and_leaves_a_model_that_writes(
    base_model: Path, tmp_path: Path, method: Method
) -> None:
    steps: list[int] = []
    out = tmp_path / "model"
    log = train(base_model, EXAMPLES, settings(method, steps=12), 0, out, lambda done, _all: steps.append(done))
    assert log[-1]["loss"] < log[0]["loss"]
    assert steps == list(range(1, 13))
    engine = TransformersEngine(out, {})
    (completion,) = engine.generate([Request("r", (("user", QUESTION),))], Sampling(max_tokens=64), 0)
    assert (completion.thinking, completion.answer) == (CRITIQUE, "verdict : unsafe")


def test_the_same_seed_trains_the_same_weights(base_model: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(base_model, EXAMPLES, settings(), 7, tmp_path / name, lambda *_: None)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]


def test_a_template_that_deletes_the_thinking_is_refused(base_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    deleted = tokenizer("verdict : unsafe <eos>")["input_ids"]
    rows = [{"input_ids": deleted, "labels": deleted}]
    with pytest.raises(DataError, match="the chat template turns the target"):
        check_labels(rows, EXAMPLES[:1], tokenizer, 256)  # type: ignore[arg-type]


def test_a_row_that_is_too_long_is_refused_not_cut(base_model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"raise sft\.max_length \(16\)"):
        train(base_model, EXAMPLES, settings(max_length=16), 0, tmp_path / "model", lambda *_: None)
    assert not (tmp_path / "model").exists()


def test_rows_are_conversations_with_the_thinking_in_the_assistants_turn() -> None:
    row = to_dataset(EXAMPLES[:1])[0]
    assert row["prompt"] == [{"role": "user", "content": QUESTION}]
    assert row["completion"][0]["content"] == f"<think> {CRITIQUE} </think> verdict : unsafe"
