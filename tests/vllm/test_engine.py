"""The engine `vllm` writes what the engine `transformers` writes: by one vLLM that all tests of this file ask."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sinternal.engines import Completion, Engine, Request
from sinternal.engines.vllm import VllmEngine
from sinternal.errors import EngineError, ModelError
from sinternal.records import Finish
from sinternal.settings.sampling import Sampling
from tests.plugins import open_plugin
from tests.vllm.conftest import GREEDY, PROMPTS, REQUESTS, SMALL, different, texts

PREFILLS = (
    "<think> draft :",
    "<think> draft : refuse . </think>",
    "<think> draft : refuse . </think> sorry",
    "<think>",
    "draft",
    "</think> mix",
)
"""What a turn may begin with: in the thinking, after it, with and without the tags that the template writes."""


@pytest.fixture(scope="module")
def vllm(base_model: Path) -> Iterator[VllmEngine]:
    engine = open_plugin(VllmEngine, str(base_model), {**SMALL, "extra": {"max_num_seqs": 7}})
    yield engine
    engine.close()


def test_greedy_texts_are_those_of_transformers(vllm: Engine, local: Engine) -> None:
    ours = texts(vllm, REQUESTS, GREEDY)
    assert len(ours) == 24
    assert not different(ours, texts(local, REQUESTS, GREEDY))


def test_so_are_those_with_penalties(vllm: Engine, local: Engine) -> None:
    plain, changed = texts(local, REQUESTS, GREEDY), set[str]()
    for penalties in ({"repetition_penalty": 1.3}, {"repetition_penalty": 5.0}, {"presence_penalty": 2.0}):
        sampling = Sampling(max_tokens=64, **penalties)
        theirs = texts(local, REQUESTS, sampling)
        changed |= {*different(plain, theirs)}
        assert not different(texts(vllm, REQUESTS, sampling), theirs)
    assert changed, "no penalty does anything, so that nothing was tested"


def test_a_text_that_runs_into_the_limit_is_cut_short(vllm: Engine, local: Engine) -> None:
    short = Sampling(max_tokens=3)
    ours = texts(vllm, REQUESTS, short)
    assert {(text.finish, text.tokens) for text in ours.values()} == {(Finish.LENGTH, 3)}
    assert not different(ours, texts(local, REQUESTS, short))


def test_raw_prompts_are_continued_as_they_are(vllm: Engine, local: Engine) -> None:
    raw = [
        Request("user", (("user", f"<user> {PROMPTS[0]} <assistant> <think>"),), raw=True),
        Request("parts", (("frame", "<user> how to brew p5 ? "), ("user", "<assistant> <think> draft :")), raw=True),
        Request("begun", (("user", "<user> how to brew p5 ? <assistant>"),), raw=True, prefill=" <think> draft"),
        Request("none", (("user", "how to brew"),), raw=True),
    ]
    ours = texts(vllm, raw, GREEDY)
    assert all(text.error is None for text in ours.values())
    assert not different(ours, texts(local, raw, GREEDY))


def test_a_turn_that_has_begun_is_continued_the_same(vllm: Engine, local: Engine) -> None:
    begun = [
        replace(request, id=f"{number} {request.id}", prefill=prefill)
        for number, prefill in enumerate(PREFILLS)
        for request in REQUESTS[:4]
    ]
    ours = texts(vllm, begun, GREEDY)
    assert not different(ours, texts(local, begun, GREEDY))
    drafted = ours["0 r0"]
    assert (drafted.thinking or "").startswith("draft :")


def test_a_prompt_that_is_too_long_costs_only_itself_and_is_told_as_by_transformers(
    vllm: Engine, local: Engine
) -> None:
    words = ("how to brew p5 ? " * 60).split()
    long = [Request(f"long {n}", (("user", " ".join(words[:n])),)) for n in (300, 253, 252, 251, 240)]
    mixed = [long[0], REQUESTS[0], *long[1:]]
    ours = texts(vllm, mixed, GREEDY)
    assert ours["long 300"].error == "the prompt has 303 tokens, the model reads 256"
    assert ours["long 252"].finish is Finish.LENGTH, "one token fits"
    assert not different(ours, texts(local, mixed, GREEDY))


def samples(engine: Engine, requests: list[Request], seed: int) -> set[Completion]:
    return set(engine.generate(requests, Sampling(n=3, temperature=1.5, top_p=0.98, max_tokens=48), seed))


def test_the_same_seed_gives_the_same_samples_in_any_order(vllm: Engine) -> None:
    requests = REQUESTS[:8]
    first = samples(vllm, requests, 5)
    assert len(first) == 24
    assert len({(text.request_id, text.thinking, text.answer) for text in first}) > len(requests), "samples differ"
    shuffled = random.Random(0).sample(requests, len(requests))
    assert samples(vllm, shuffled, 5) == first
    assert samples(vllm, requests[3:4], 5) == {text for text in first if text.request_id == "r3"}
    assert samples(vllm, requests, 6) != first


def assert_same_logprobs(ours: Completion, theirs: Completion) -> None:
    assert ours.logprobs is not None
    assert theirs.logprobs is not None
    assert [token.text for token in ours.logprobs] == [token.text for token in theirs.logprobs]
    for mine, other in zip(ours.logprobs, theirs.logprobs, strict=True):
        assert [text for text, _ in mine.top] == [text for text, _ in other.top]
        assert [value for _, value in mine.top] == pytest.approx([value for _, value in other.top], abs=1e-3)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_tokens=64, top_logprobs=3),
        Sampling(max_tokens=64, top_logprobs=3, repetition_penalty=5.0),
        Sampling(max_tokens=64, top_logprobs=3, temperature=0.01, top_k=1),
    ],
    ids=["plain", "penalty", "temperature"],
)
def test_log_probabilities_are_the_models_own_before_penalties_and_temperature(
    vllm: Engine, local: Engine, sampling: Sampling
) -> None:
    ours, theirs = texts(vllm, REQUESTS[:8], sampling), texts(local, REQUESTS[:8], sampling)
    for name, text in ours.items():
        assert text.tokens == theirs[name].tokens
        assert_same_logprobs(text, theirs[name])


def test_a_token_that_is_not_among_the_most_probable_does_not_stand_among_them(vllm: Engine) -> None:
    hot = Sampling(max_tokens=32, temperature=2.0, top_logprobs=1)
    tokens = [token for text in texts(vllm, REQUESTS, hot).values() for token in text.logprobs or ()]
    assert {len(token.top) for token in tokens} == {1}
    assert any(token.text != token.top[0][0] for token in tokens)


def test_arguments_of_vllm_that_have_no_option_of_ours_reach_it(vllm: VllmEngine) -> None:
    configuration = vllm.generator.llm.llm_engine.vllm_config
    assert configuration.scheduler_config.max_num_seqs == 7
    assert str(configuration.model_config.dtype) == "torch.float32", "as the files have it"


def test_a_sampling_that_vllm_does_not_take_is_told_in_its_words(vllm: Engine) -> None:
    with pytest.raises(EngineError, match=r"^engine vllm: .*temperature") as caught:
        texts(vllm, REQUESTS[:1], Sampling(temperature=1e9))
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_missing_or_holds_no_model_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such model directory"):
        open_plugin(VllmEngine, str(tmp_path / "gone"), dict(SMALL))
    with pytest.raises(ModelError, match=r"no config\.json in it"):
        open_plugin(VllmEngine, str(tmp_path), dict(SMALL))
