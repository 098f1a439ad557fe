"""Stage `dataset`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sinternal.errors import DataError
from sinternal.records import Example, Response
from sinternal.settings.plugins import BenchmarkPlugin
from sinternal.stages import (
    dataset,
    examples,
    prompts,
)
from tests.stages.shared import (
    Make,
    own_base,
)


def test_a_published_sets_own_thinking_and_answer_are_trained_on_as_they_are(make: Make, tmp_path: Path) -> None:
    lines = [
        {"q": "draw a cat", "a": "<think>\nA cat has ears.\n</think>\n\nHere: =^.^="},
        {"q": "draw a dog", "a": "<think>on and on"},
        {"q": "draw an owl", "a": ""},
        {"q": "draw a fox", "a": "No."},
    ]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = {
        "path": str(tmp_path / "set.jsonl"),
        "harmful": False,
        "columns": {"text": "q", "answer": "a"},
        "shares": {"train": 1.0},
    }
    source = {"benchmark": "file", "options": options, "part": "train", "attacks": [{"name": "plain"}]}
    asking = prompts.PromptsConfig.model_validate(
        {"sources": [source], "tuned_on": [], "for_training": True, "seed": 0}
    )
    asked = make("prompts", lambda draft: prompts.prompts(draft, asking))
    config = dataset.DatasetConfig(benchmark="file", options=options, part="train")
    read = make("dataset", lambda draft: dataset.dataset(draft, config, prompts=asked))
    assert {(row.thinking, row.answer) for row in read.rows(Response)} == {
        ("A cat has ears.", "Here: =^.^="),
        (None, "No."),
    }
    counts = {dataset.UNCLOSED: 1, dataset.NO_ANSWER: 1, dataset.NO_THINKING: 1, "responses": 2}
    assert read.counts == counts
    drawing = examples.ExamplesConfig(size=None, share=1.0, seed=0)
    rows = make(
        "examples",
        lambda draft: examples.examples(draft, drawing, model=own_base(make), prompts=asked, responses=read),
    ).rows(Example)
    assert {(row.prompt, row.thinking, row.answer) for row in rows} == {
        ("draw a cat", "A cat has ears.", "Here: =^.^="),
        ("draw a fox", "", "No."),
    }


@pytest.mark.parametrize("name", ["microworld", "everyday"])
def test_a_benchmark_without_answers_is_no_data_set_to_train_on(name: str) -> None:
    with pytest.raises(DataError, match=f"benchmark '{name}' holds no answers to train on; take star-1, or `file`"):
        dataset.open_with_answers(BenchmarkPlugin(name=name))
