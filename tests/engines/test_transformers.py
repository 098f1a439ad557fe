from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from sinternal.engines import Completion, Request
from sinternal.engines.transformers import TransformersEngine
from sinternal.engines.transformers_generation import Generator
from sinternal.errors import ModelError
from sinternal.records import Finish, Prompt
from sinternal.settings.sampling import Sampling
from sinternal.world.benchmark import Microworld
from tests.chat_models import ASSISTANT, BOS, GEMMA, USER, chatml, qwen, r1_distill, save_model
from tests.plugins import open_plugin

HOT = Sampling(n=2, temperature=1.0, max_tokens=64)


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    rows: list[Prompt] = list(open_plugin(Microworld, {}).prompts("train"))[:60]
    return [Request(row.id, (("user", row.text),)) for row in rows]


@pytest.fixture(scope="module")
def engine(base_model: Path) -> TransformersEngine:
    return open_plugin(TransformersEngine, str(base_model), {"batch": 64})


def by_sample(completions: list[Completion]) -> dict[tuple[str, int], Completion]:
    return {(c.request_id, c.sample): c for c in completions}


def test_every_request_is_answered_n_times(engine: TransformersEngine, requests: list[Request]) -> None:
    found = Counter(c.request_id for c in engine.generate(requests, HOT, seed=0))
    assert found == {request.id: 2 for request in requests}


def test_a_sample_does_not_depend_on_its_batch(
    base_model: Path, engine: TransformersEngine, requests: list[Request]
) -> None:
    together = by_sample(list(engine.generate(requests, HOT, seed=0)))
    alone = by_sample(
        list(open_plugin(TransformersEngine, str(base_model), {"batch": 3}).generate(requests[::-1], HOT, seed=0))
    )
    # Logits are rounded differently in batches of another shape, so that one text in a hundred may differ.
    differing = [key for key in together if together[key] != alone[key]]
    assert len(differing) <= len(together) // 100


def test_the_same_seed_gives_the_same_text_and_another_seed_another(
    engine: TransformersEngine, requests: list[Request]
) -> None:
    first, again, other = (list(engine.generate(requests, HOT, seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_sampling_follows_the_models_distribution(engine: TransformersEngine) -> None:
    request = Request("r", (("user", "how to brew p5 ?"),))
    n = 600
    first_words = Counter(
        (c.thinking or "").split()[0]
        for c in engine.generate([request], Sampling(n=n, temperature=1.0, max_tokens=1), seed=0)
    )
    prompt = engine.generator.tokenizer.apply_chat_template(
        [{"role": "user", "content": "how to brew p5 ?"}], add_generation_prompt=True, return_tensors="pt"
    )
    with torch.no_grad():
        logits = engine.generator.model(prompt["input_ids"]).logits[0, -1]
    for word in ("draft", "p5"):
        expected = float(logits.softmax(-1)[engine.generator.tokenizer.convert_tokens_to_ids(word)])
        assert abs(first_words[word] / n - expected) < 4 * (expected * (1 - expected) / n) ** 0.5 + 1e-3


def test_greedy_decoding_ignores_the_seed(engine: TransformersEngine, requests: list[Request]) -> None:
    greedy = Sampling(max_tokens=64)
    assert list(engine.generate(requests[:8], greedy, 0)) == list(engine.generate(requests[:8], greedy, 1))


def test_a_text_that_runs_into_the_limit_is_reported_as_truncated(
    engine: TransformersEngine, requests: list[Request]
) -> None:
    for completion in engine.generate(requests[:4], Sampling(max_tokens=3), seed=0):
        assert (completion.finish, completion.answer, completion.tokens) == (Finish.LENGTH, None, 3)


def test_a_prefill_is_part_of_the_text(engine: TransformersEngine) -> None:
    request = Request("r", (("user", "how to brew p5 ?"),), prefill=" p5 is e1 . e1 forbidden . so refuse . </think>")
    (completion,) = engine.generate([request], Sampling(max_tokens=20), seed=0)
    assert completion.thinking == "p5 is e1 . e1 forbidden . so refuse ."
    assert completion.answer == "sorry i cannot ."


def test_a_prompt_that_does_not_fit_costs_only_itself(engine: TransformersEngine) -> None:
    long = Request("long", (("user", "how to brew p5 ? " * 100),))
    short = Request("short", (("user", "how to brew p5 ?"),))
    found = {c.request_id: c for c in engine.generate([long, short], Sampling(max_tokens=64), seed=0)}
    assert found["long"].finish is Finish.ERROR
    assert "503 tokens, the model reads 256" in (found["long"].error or "")
    assert found["short"].finish is Finish.STOP


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither a model directory"):
        open_plugin(TransformersEngine, str(tmp_path), {})
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="the tokenizer cannot be loaded"):
        open_plugin(TransformersEngine, str(tmp_path), {})


def test_a_registered_source_is_a_model(engine: TransformersEngine) -> None:
    named = open_plugin(TransformersEngine, "microworld", {})
    request = Request("r", (("user", "how to brew p5 ?"),))
    greedy = Sampling(max_tokens=32)
    assert list(named.generate([request], greedy, 0)) == list(engine.generate([request], greedy, 0))


def test_a_model_without_chat_template_is_refused(base_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(base_model, copy)
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match=r"no chat template; add a chat_template\.jinja"):
        open_plugin(TransformersEngine, str(copy), {})


def test_the_shipped_model_is_an_ordinary_directory(base_model: Path) -> None:
    assert json.loads((base_model / "config.json").read_text())["model_type"] == "llama"
    assert (base_model / "model.safetensors").stat().st_size < 4_000_000


HELLO = (("user", "hello"),)
SKIP = "<think>\n\n</think>\n\n"


@pytest.fixture
def read_by(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that engines give to their models, as the models read them."""
    texts: list[str] = []
    original = Generator._completion

    def watched(self, text):  # type: ignore[no-untyped-def]
        texts.append(self.tokenizer.decode(text.prompt))
        return original(self, text)

    monkeypatch.setattr(Generator, "_completion", watched)
    return texts


def test_generation_starts_where_the_template_and_the_prefill_say(tmp_path: Path, read_by: list[str]) -> None:
    user, turn = f"{BOS}{USER}hello{ASSISTANT}", "<|im_start|>assistant\n"
    expected = {
        r1_distill: [f"{user}<think>\n", f"{user}<think>\nSure", f"{user}{SKIP}", "hello"],
        qwen: [f"<|im_start|>user\nhello<|im_end|>\n{turn}{end}" for end in ("", "<think>\nSure", SKIP)] + ["hello"],
        chatml: [f"<|im_start|>user\nhello<|im_end|>\n{turn}{end}" for end in ("", "Sure", "")] + ["hello"],
    }
    for make, texts in expected.items():
        engine = open_plugin(TransformersEngine, str(save_model(make(), tmp_path / make.__name__)), {"batch": 1})
        requests = [
            Request("plain", HELLO),
            Request("begun", HELLO, prefill="<think>\nSure"),
            Request("skipped", HELLO, prefill=SKIP),
            Request("raw", HELLO, raw=True),
        ]
        for request, text in zip(requests, texts, strict=True):
            read_by.clear()
            (completion,) = engine.generate([request], Sampling(max_tokens=2), 0)
            assert read_by == [text]
            assert completion.error is None


def test_an_unfinished_raw_text_is_an_answer_not_a_thinking(tmp_path: Path) -> None:
    engine = open_plugin(TransformersEngine, str(save_model(r1_distill(), tmp_path / "model")), {})
    rows = [Request("raw", HELLO, raw=True), Request("templated", HELLO)]
    found = {c.request_id: c for c in engine.generate(rows, Sampling(max_tokens=2), 0)}
    assert found["raw"].thinking is None
    assert found["raw"].answer is not None
    assert (found["templated"].thinking is None, found["templated"].answer) == (False, None)


def test_a_request_that_the_template_refuses_costs_only_itself(tmp_path: Path) -> None:
    engine = open_plugin(TransformersEngine, str(save_model(chatml(GEMMA), tmp_path / "model")), {})
    rows = [Request("system", (("system", "be kind"), *HELLO)), Request("plain", HELLO)]
    found = {c.request_id: c for c in engine.generate(rows, Sampling(max_tokens=2), 0)}
    assert found["system"].finish is Finish.ERROR
    assert "System role not supported" in (found["system"].error or "")
    assert found["plain"].error is None


def test_an_adapter_is_loaded_on_its_base_with_or_without_a_tokenizer_of_its_own(
    base_model: Path, tmp_path: Path, engine: TransformersEngine
) -> None:
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base_model),
        LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False),
    )
    adapted.save_pretrained(tmp_path / "adapter")
    request = Request("r", (("user", "how to brew p5 ?"),))
    opened = open_plugin(TransformersEngine, str(tmp_path / "adapter"), {})
    engine.generator.tokenizer.save_pretrained(tmp_path / "adapter")
    with_tokenizer = open_plugin(TransformersEngine, str(tmp_path / "adapter"), {})
    inputs = engine.generator.tokenizer("<user> how to brew p5 ? <assistant> <think>", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        wanted, base = adapted(inputs).logits, engine.generator.model(inputs).logits
        for loaded in (opened, with_tokenizer):
            assert torch.allclose(loaded.generator.model(inputs).logits, wanted, atol=1e-5)
            assert not torch.allclose(loaded.generator.model(inputs).logits, base, atol=1e-2)
    (completion,) = opened.generate([request], Sampling(max_tokens=4), 0)
    assert completion.tokens == 4


def test_a_closed_engine_holds_no_model(base_model: Path) -> None:
    closing = open_plugin(TransformersEngine, str(base_model), {})
    closing.close()
    assert closing.generator.model is None


def test_recorded_probabilities_are_those_of_a_direct_pass_and_change_no_text(
    base_model: Path, engine: TransformersEngine, requests: list[Request]
) -> None:
    recording = HOT.model_copy(update={"top_logprobs": 5, "n": 1})
    plain = by_sample(list(engine.generate(requests[:8], HOT.model_copy(update={"n": 1}), seed=0)))
    found = by_sample(list(engine.generate(requests[:8], recording, seed=0)))
    assert {key: (c.thinking, c.answer) for key, c in found.items()} == {
        key: (c.thinking, c.answer) for key, c in plain.items()
    }
    done = found[requests[0].id, 0]
    assert done.logprobs is not None
    assert all(len(token.top) == 5 for token in done.logprobs)
    model = AutoModelForCausalLM.from_pretrained(base_model)
    prompt = engine.generator._row(requests[0]).prompt.text
    inputs = engine.generator.tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        direct = model(inputs).logits[0, -1].log_softmax(-1).topk(5).values
    assert [p for _, p in done.logprobs[0].top] == pytest.approx(direct.tolist(), abs=1e-4)
