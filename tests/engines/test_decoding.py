"""What is drawn is what `Sampling` says: not what a model's maker wished for, and not what stands beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from sinternal.engines import Completion, Request
from sinternal.engines.transformers import TransformersEngine
from sinternal.models.loading import stop_tokens
from sinternal.prompting.chat import turn_ends
from sinternal.records import Finish
from sinternal.settings.sampling import Sampling
from sinternal.world.benchmark import Microworld
from tests.chat_models import CHATML, CHATML_TOKENS, byte_level, chatml, qwen, r1_distill, save_model
from tests.plugins import open_plugin

WISHES = {
    "penalties": {
        "repetition_penalty": 1.3,
        "no_repeat_ngram_size": 2,
        "suppress_tokens": [2, 7],
        "begin_suppress_tokens": [20, 21],
        "bad_words_ids": [[7]],
        "sequence_bias": [[[7], -10.0]],
        "exponential_decay_length_penalty": [2, 1.5],
        "guidance_scale": 2.0,
        "renormalize_logits": True,
    },
    "warpers": {
        "do_sample": True,
        "temperature": 0.1,
        "top_k": 1,
        "top_p": 0.1,
        "min_p": 0.5,
        "typical_p": 0.2,
        "epsilon_cutoff": 0.1,
        "eta_cutoff": 0.1,
        "num_return_sequences": 2,
    },
    "lengths": {"min_new_tokens": 30, "min_length": 60, "max_new_tokens": 5, "max_length": 20, "max_time": 0.0},
    "ends": {"stop_strings": ["."], "forced_bos_token_id": 9, "forced_eos_token_id": 9},
    "search": {"num_beams": 3, "length_penalty": 2.0, "early_stopping": True},
    "machinery": {"use_cache": False, "return_dict_in_generate": True, "output_scores": True},
    "lookup": {"prompt_lookup_num_tokens": 3},
}
"""What a `generation_config.json` can say about the text."""


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    return [Request(row.id, (("user", row.text),)) for row in list(open_plugin(Microworld, {}).prompts("train"))[:24]]


def texts(completions: Sequence[Completion]) -> dict[tuple[str, int], tuple[str | None, str | None, Finish]]:
    return {(c.request_id, c.sample): (c.thinking, c.answer, c.finish) for c in completions}


@pytest.mark.parametrize("wishes", WISHES.values(), ids=WISHES)
def test_what_the_maker_of_a_model_wished_for_changes_no_text(
    wishes: dict[str, object], base_model: Path, tmp_path: Path, requests: list[Request]
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(base_model, copy)
    settings = json.loads((copy / "generation_config.json").read_text())
    (copy / "generation_config.json").write_text(json.dumps({**settings, **wishes}))
    wished, plain = (open_plugin(TransformersEngine, str(folder), {"batch": 24}) for folder in (copy, base_model))
    for sampling in (Sampling(max_tokens=48), Sampling(temperature=1.0, max_tokens=48)):
        found, expected = (texts(list(engine.generate(requests[:6], sampling, 0))) for engine in (wished, plain))
        assert found == expected


def with_padding_as_end(base_model: Path, folder: Path) -> Path:
    """The base, padded by its end of text, as R1-Distill is."""
    shutil.copytree(base_model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    return folder


PENALTIES = {
    "repetition": Sampling(n=2, temperature=1.0, max_tokens=48, repetition_penalty=1.2),
    "presence": Sampling(n=2, temperature=1.0, max_tokens=48, presence_penalty=1.0),
    "greedy repetition": Sampling(max_tokens=48, repetition_penalty=1.2),
    "all at once": Sampling(
        temperature=0.8, max_tokens=48, repetition_penalty=1.2, presence_penalty=0.5, top_k=20, top_p=0.9, min_p=0.01
    ),
}


@pytest.mark.parametrize("sampling", PENALTIES.values(), ids=PENALTIES)
def test_a_text_does_not_depend_on_a_longer_neighbour(
    sampling: Sampling, base_model: Path, tmp_path: Path, requests: list[Request]
) -> None:
    engine = open_plugin(TransformersEngine, str(with_padding_as_end(base_model, tmp_path / "model")), {"batch": 256})
    long = Request("long", (("user", "how to brew p5 ? " * 30),))
    alone = texts(list(engine.generate(requests, sampling, 0)))
    beside = texts(list(engine.generate([*requests, long], sampling, 0)))
    differing = [key for key in alone if alone[key] != beside[key]]
    assert len(differing) <= len(alone) // 50  # logits are rounded differently in batches of another shape


def test_a_penalty_counts_a_prompt_as_often_as_it_counts_alone(base_model: Path) -> None:
    """Against the reference: without padding, ours is the library's own."""
    engine = open_plugin(TransformersEngine, str(base_model), {"batch": 1})
    request = Request("r", (("user", "how to brew p5 ?"),))
    (found,) = engine.generate([request], Sampling(max_tokens=24, repetition_penalty=1.5), 0)
    ids = torch.tensor([engine.generator._row(request).encoded.ids])
    with torch.inference_mode():
        for _ in range(24):
            logits = engine.generator.model(ids).logits[:, -1]
            seen = torch.gather(logits, 1, ids)
            logits = logits.scatter(1, ids, torch.where(seen < 0, seen * 1.5, seen / 1.5))
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
            if int(ids[0, -1]) in engine.generator.ends:
                break
    text = engine.generator.tokenizer.decode(
        ids[0, len(engine.generator._row(request).encoded.ids) :], skip_special_tokens=True
    )
    assert " ".join((found.thinking or "", "</think>", found.answer or "")).split() == text.split()


def test_near_the_end_of_the_context_a_longer_neighbour_cuts_nothing_short(base_model: Path) -> None:
    engine = open_plugin(TransformersEngine, str(base_model), {"batch": 8})
    greedy = Sampling(max_tokens=250)
    rows = [Request(str(n), (("user", "how to brew p5 ? " * n),)) for n in (1, 20, 45, 50)]
    alone = {key: value for row in rows for key, value in texts(list(engine.generate([row], greedy, 0))).items()}
    assert texts(list(engine.generate(rows, greedy, 0))) == alone
    lengths = {c.request_id: (c.prompt_tokens or 0) + (c.tokens or 0) for c in engine.generate(rows, greedy, 0)}
    assert all(length <= engine.generator.context for length in lengths.values())


def test_a_model_with_learned_positions_is_never_asked_beyond_its_context(tmp_path: Path) -> None:
    tokenizer = chatml()
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=1, n_head=2, eos_token_id=None)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    engine = open_plugin(TransformersEngine, str(tmp_path / "model"), {"batch": 8})
    rows = [Request(str(n), (("user", "x" * n),)) for n in (1, 1, 5, 5, 20)]
    found = list(
        engine.generate([Request(f"{i}", row.messages) for i, row in enumerate(rows)], Sampling(max_tokens=500), 0)
    )
    assert [c.error for c in found] == [None] * 5
    assert all((c.prompt_tokens or 0) + (c.tokens or 0) <= 64 for c in found)


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [({"top_k": 1}, 1), ({"top_k": 3}, 3), ({"min_p": 1.0}, 1), ({"top_p": 1e-6}, 1), ({"top_k": 10_000}, None)],
)
def test_only_what_the_settings_leave_can_be_drawn(
    base_model: Path, settings: dict[str, float], allowed: int | None
) -> None:
    engine = open_plugin(TransformersEngine, str(base_model), {"batch": 256})
    request = Request("r", (("user", "how to brew p5 ?"),))
    hot = Sampling.model_validate({"n": 200, "temperature": 3.0, "max_tokens": 1, **settings})
    words = {c.thinking for c in engine.generate([request], hot, 0)}
    assert len(words) <= allowed if allowed else len(words) > 10


def test_a_presence_penalty_makes_words_that_stand_already_rarer(base_model: Path, requests: list[Request]) -> None:
    engine = open_plugin(TransformersEngine, str(base_model), {"batch": 64})

    def repeated(penalty: float) -> float:
        drawn = engine.generate(requests[:12], Sampling(temperature=3.0, max_tokens=40, presence_penalty=penalty), 0)
        words = [(c.thinking or "").split() for c in drawn]
        return sum(1 - len(set(one)) / len(one) for one in words if one) / len(words)

    assert repeated(2.0) < repeated(0.0) < repeated(-2.0)


BASE_LIKE = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}


def test_a_turn_ends_where_the_template_ends_it_and_where_the_model_says(tmp_path: Path) -> None:
    base = byte_level(CHATML, CHATML_TOKENS, (), **BASE_LIKE)
    ends = {base.convert_tokens_to_ids(name) for name in ("<|im_end|>", "<|endoftext|>")}
    assert set(turn_ends(base, base.eos_token_id)) == ends
    assert set(turn_ends(base, None)) == ends
    assert set(turn_ends(base, [5, 6])) == {5, 6, *ends}
    for tokenizer in (qwen(), r1_distill()):
        assert turn_ends(tokenizer, None) == [tokenizer.eos_token_id]
    endless = chatml("{% for m in messages %}{{ m.content }}{% endfor %}")
    assert turn_ends(endless, None) == [endless.eos_token_id]
    folder = save_model(base, tmp_path / "model")
    assert stop_tokens(folder) == base.eos_token_id
    (folder / "generation_config.json").unlink()
    assert stop_tokens(folder) in (base.eos_token_id, None)


def test_a_base_model_does_not_write_on_after_the_turn(tmp_path: Path) -> None:
    """Its own end of text is another token than the one with which the template ends a turn."""
    tokenizer = byte_level(CHATML, CHATML_TOKENS, (), **BASE_LIKE)
    engine = open_plugin(TransformersEngine, str(save_model(tokenizer, tmp_path / "model")), {})
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    with torch.no_grad():  # a model that always says the same
        engine.generator.model.lm_head = torch.nn.Linear(32, len(tokenizer), bias=True)
        engine.generator.model.lm_head.weight.zero_()
        engine.generator.model.lm_head.bias.zero_()[end] = 9.0
    (done,) = engine.generate([Request("r", (("user", "hello"),))], Sampling(max_tokens=8), 0)
    assert (done.finish, done.tokens, done.answer) == (Finish.STOP, 1, "")


def long_prompts(count: int) -> list[Request]:
    """Prompts that begin with the same long text, as those that quote one specification do."""
    rules = "how to brew p5 ? " * 20
    return [
        Request(str(n), (("user", f"{rules} {'is p1 ? ' * (n % 5)} how to brew p{n % 20} ?"),)) for n in range(count)
    ]


def test_a_beginning_that_many_prompts_share_is_read_once_and_changes_no_text(base_model: Path) -> None:
    read: list[int] = []
    engine = open_plugin(TransformersEngine, str(base_model), {"batch": 8})
    forward = engine.generator.model.forward

    def watched(*args, **arguments):  # type: ignore[no-untyped-def]
        read.append(arguments["input_ids"].numel())
        return forward(*args, **arguments)

    sampling = Sampling(n=2, temperature=1.0, max_tokens=24)
    alone = {key: row for r in long_prompts(24) for key, row in texts(list(engine.generate([r], sampling, 0))).items()}
    engine.generator.model.forward = watched
    together = texts(list(engine.generate(long_prompts(24), sampling, 0)))
    differing = [key for key in alone if alone[key] != together[key]]
    assert len(differing) <= 1
    prompts = sum(len(engine.generator._row(request).encoded.ids) for request in long_prompts(24))
    written = 24 * len(long_prompts(24)) * sampling.n
    assert sum(read) < prompts / 2 + written


def test_a_text_takes_the_place_of_one_that_has_ended(base_model: Path, requests: list[Request]) -> None:
    steps: list[int] = []
    engine = open_plugin(TransformersEngine, str(base_model), {"batch": 4})
    forward = engine.generator.model.forward

    def watched(*args, **arguments):  # type: ignore[no-untyped-def]
        if arguments["input_ids"].shape[1] == 1:
            steps.append(arguments["input_ids"].shape[0])
        return forward(*args, **arguments)

    engine.generator.model.forward = watched
    found = list(engine.generate(requests, Sampling(temperature=1.0, max_tokens=100), 0))
    assert len(found) == len(requests)
    assert len({c.tokens for c in found}) > 1  # they end at different times
    assert sum(steps) == sum((c.tokens or 0) - 1 for c in found)  # nothing is computed for texts that have ended
    assert sum(steps) / len(steps) > 3


def test_a_batch_that_does_not_fit_into_memory_is_made_smaller_and_loses_nothing(
    base_model: Path, requests: list[Request]
) -> None:
    engine = open_plugin(TransformersEngine, str(base_model), {"batch": 16})
    sampling = Sampling(n=2, temperature=1.0, max_tokens=48)
    expected = texts(list(engine.generate(requests, sampling, 0)))
    forward = engine.generator.model.forward

    def small(*args, **arguments):  # type: ignore[no-untyped-def]
        if arguments["attention_mask"].numel() > 200:
            raise torch.OutOfMemoryError("no room for 1 GiB")
        return forward(*args, **arguments)

    engine.generator.model.forward = small
    long = Request("long", (("user", "how to brew p5 ? " * 45),))
    found = texts(list(engine.generate([*requests, long], sampling, 0)))
    assert {key: found.pop(key)[2] for key in list(found) if key[0] == "long"} == dict.fromkeys(
        [("long", 0), ("long", 1)], Finish.ERROR
    )
    assert found.keys() == expected.keys()
    assert sum(found[key] != expected[key] for key in expected) <= 1


def test_a_model_with_sliding_windows_writes_what_it_would_write_alone(tmp_path: Path) -> None:
    tokenizer = chatml()
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=16,
        eos_token_id=tokenizer.eos_token_id,
    )
    MistralForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    engine = open_plugin(TransformersEngine, str(tmp_path / "model"), {"batch": 4})
    assert type(engine.generator.writer).__name__ == "WholeBatches"
    sampling = Sampling(temperature=1.0, max_tokens=30, repetition_penalty=1.1, presence_penalty=0.3)
    rows = [Request(str(n), (("user", "x" * (3 * n + 1)),)) for n in range(6)]
    alone = {key: row for r in rows for key, row in texts(list(engine.generate([r], sampling, 0))).items()}
    together = texts(list(engine.generate(rows, sampling, 0)))
    assert sum(alone[key] != together[key] for key in alone) <= 1


@pytest.mark.parametrize("kind", [LlamaForCausalLM, MistralForCausalLM])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_that_computes_no_numbers_writes_no_text(
    kind: type[LlamaForCausalLM | MistralForCausalLM], temperature: float, tmp_path: Path
) -> None:
    folder = save_model(qwen(), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    if kind is MistralForCausalLM:
        config |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 8}
        (folder / "config.json").write_text(json.dumps(config))
    model = kind.from_pretrained(folder)
    with torch.no_grad():
        for layer in model.model.layers:  # products of queries and keys become infinite, though no weight is
            layer.self_attn.q_proj.weight.mul_(1e25)
            layer.self_attn.k_proj.weight.mul_(1e25)
    model.save_pretrained(folder)
    engine = TransformersEngine(str(folder), TransformersEngine.Options())
    assert type(engine.generator.writer).__name__ == ("ContinuousBatch" if kind is LlamaForCausalLM else "WholeBatches")
    asked = [Request(word, (("user", word * 30),)) for word in ("one", "two")]
    found = list(engine.generate(asked, Sampling(max_tokens=4, temperature=temperature), 0))
    assert [(row.answer, row.finish) for row in found] == [(None, Finish.ERROR)] * 2
    assert all("NaN" in (row.error or "") for row in found)
