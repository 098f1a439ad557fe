from __future__ import annotations

from pathlib import Path

import pytest

from sinternal.engines import TemplateOptions
from sinternal.models.loading import open_tokenizer
from sinternal.records import Example
from sinternal.settings.training import Method, SftSettings, rows_seen
from sinternal.training.lengths import loss_tokens
from sinternal.training.sft import IGNORED, form_of, to_dataset, train
from tests.chat_models import qwen, save_model


def example(thinking: str, answer: str) -> Example:
    return Example("e", "how to brew p5 ?", thinking, answer, "harmful", "p", "r")


def test_loss_tokens_are_those_of_the_completion_alone(base_model: Path) -> None:
    short, long = loss_tokens(base_model, [example("review :", "sorry i cannot ."), example("review : " * 5, "mix .")])
    # Two words, </think>, four words, and the end of the turn, a token each; the template has opened the thinking.
    assert short == 8
    assert long == short + 8 - 2
    assert loss_tokens(base_model, []) == []


def test_loss_tokens_are_those_that_are_trained_on_when_an_engine_switches_the_thinking_off(tmp_path: Path) -> None:
    folder = save_model(qwen(), tmp_path / "model")
    speech = TemplateOptions(chat_template_kwargs={"enable_thinking": False})
    row = example("Nice.", "Verdict: safe")
    (trained,) = to_dataset([row], form_of(open_tokenizer(folder), speech=speech))["labels"]
    counts = loss_tokens(folder, [row], speech)
    assert counts == [sum(token != IGNORED for token in trained)]
    assert counts != loss_tokens(folder, [row])


@pytest.mark.parametrize(
    ("rows", "batch", "steps", "seen"),
    [
        (360, 32, 12, 360),
        (360, 32, 11, 352),
        (360, 32, 13, 392),
        (64, 2, 32, 64),
        (10, 32, 3, 30),
        (1000, 128, 40, 5000),
    ],
)
def test_rows_seen_know_that_the_last_batch_of_a_pass_is_smaller(rows: int, batch: int, steps: int, seen: int) -> None:
    assert rows_seen(rows, batch, steps) == seen


def test_rows_seen_are_those_that_the_trainer_sees(
    base_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl import SFTTrainer

    seen: list[int] = []
    compute_loss = SFTTrainer.compute_loss

    def counted(self: SFTTrainer, model: object, inputs: dict[str, object], *more: object, **named: object) -> object:
        seen.append(len(inputs["input_ids"]))  # type: ignore[arg-type]
        return compute_loss(self, model, inputs, *more, **named)

    monkeypatch.setattr(SFTTrainer, "compute_loss", counted)
    settings = SftSettings(method=Method.FULL, steps=5, batch=4, micro_batch=2, learning_rate=1e-4)
    rows = [example("review :", f"mix g{i} .") for i in range(6)]
    train(base_model, rows, settings, 0, tmp_path / "model", lambda _done, _total: None)
    assert sum(seen) == rows_seen(6, 4, 5) == 6 + 6 + 4
