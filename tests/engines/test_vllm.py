"""What we say to vLLM, without it: tests/vllm runs it. See record_vllm_interface.py for where the names come from."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sinternal.engines import Completion, Request, request_seed
from sinternal.engines.local_options import SET_BY_OPTIONS, SET_HERE, VllmOptions
from sinternal.engines.vllm import VllmEngine
from sinternal.engines.vllm_adapters import LORA_RANKS, adapter_arguments
from sinternal.engines.vllm_generation import (
    FINISHES,
    SEEDS,
    Row,
    as_stored,
    engine_arguments,
    read_output,
    sampling_arguments,
)
from sinternal.errors import EngineError, ModelError
from sinternal.prompting.chat import GenerationPrompt, ThinkingStyle
from sinternal.prompting.encoding import Encoded
from sinternal.records import Finish
from sinternal.settings.sampling import Sampling
from tests.commands import HANGS
from tests.plugins import open_plugin

INTERFACE: dict[str, Any] = json.loads(Path(__file__).with_name("vllm_0_33_0.json").read_text())
HOT = Sampling(n=2, temperature=0.7, top_p=0.95, max_tokens=64)
BREW = Request("brew", (("user", "how to brew p5 ?"),))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    config = {"base_model_name_or_path": "org/base", "r": 24, "rank_pattern": {"q_proj": 40}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    return tmp_path


WORDS = ["", "<think>", "no", "</think>", "sorry", "<end>"]
"""What the tokens of these tests say."""


def output(ids: list[int], finish_reason: str, logprobs: object = None) -> SimpleNamespace:
    """What vLLM answers, with the names that the recorded interface has."""
    written = {"token_ids": ids, "finish_reason": finish_reason, "logprobs": logprobs}
    assert set(written) <= set(INTERFACE["CompletionOutput"])
    assert "outputs" in INTERFACE["RequestOutput"]
    return SimpleNamespace(outputs=[SimpleNamespace(**written)])


def read(ids: list[int], finish_reason: str, style: ThinkingStyle, prefill: str = "") -> Completion:
    row = Row(BREW, 1, GenerationPrompt("how to brew ?", style, prefill), Encoded([2, 2, 2, 2], 0))
    return read_output(row, output(ids, finish_reason), word_level(), [5])


def word_level() -> PreTrainedTokenizerFast:
    """A tokenizer of these words."""
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token=""))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


def test_all_that_is_said_to_vllm_is_spelled_as_in_its_source(adapter: Path) -> None:
    for model in (Path("model"), adapter):
        assert set(engine_arguments(model, VllmOptions())) <= set(INTERFACE["LLM.__init__"])
    assert set(sampling_arguments(HOT, 1, [2])) <= set(INTERFACE["SamplingParams"])
    assert set(adapter_arguments(adapter)) <= set(INTERFACE["LoRARequest"])
    assert list(LORA_RANKS) == INTERFACE["LoRA ranks"]
    assert set(FINISHES) <= set(INTERFACE["finish reasons"])
    assert INTERFACE["LLM.generate"][:2] == ["prompts", "sampling_params"]
    assert {"use_tqdm", "lora_request"} <= set(INTERFACE["LLM.generate"])
    assert "prompt_token_ids" in INTERFACE["TokensPrompt"]


def test_all_that_is_asked_of_vllm_is_there_in_its_source() -> None:
    assert {"generate", "get_tokenizer", "llm_engine", "model_config"} <= set(INTERFACE["LLM attributes"])
    assert "engine_core" in INTERFACE["LLMEngine attributes"]
    assert "shutdown" in INTERFACE["EngineCoreClient attributes"]
    assert "max_model_len" in INTERFACE["ModelConfig"]


def test_an_installed_vllm_has_the_recorded_interface() -> None:
    vllm = pytest.importorskip("vllm")
    lora = importlib.import_module("vllm.lora.request")
    engine = {*inspect.signature(vllm.LLM).parameters, *inspect.signature(vllm.EngineArgs).parameters}
    assert set(engine_arguments(Path("model"), VllmOptions())) <= engine
    vllm.SamplingParams(**sampling_arguments(HOT, SEEDS - 1, [2]))
    lora.LoRARequest(**adapter_arguments(Path("adapter")))


def test_an_adapter_is_served_by_its_base(adapter: Path) -> None:
    found = engine_arguments(adapter, VllmOptions(tensor_parallel=2))
    assert {name: found[name] for name in ("model", "tokenizer", "enable_lora", "max_lora_rank")} == {
        "model": "org/base",
        "tokenizer": "org/base",
        "enable_lora": True,
        "max_lora_rank": 64,
    }
    assert found["tensor_parallel_size"] == 2
    assert adapter_arguments(adapter)["lora_path"] == str(adapter)


def test_an_adapter_that_brings_a_tokenizer_is_served_with_it(adapter: Path) -> None:
    (adapter / "tokenizer_config.json").write_text("{}")
    assert engine_arguments(adapter, VllmOptions())["tokenizer"] == str(adapter)


def test_an_adapter_that_vllm_cannot_apply_is_refused(adapter: Path) -> None:
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base", "r": 1024}))
    with pytest.raises(ModelError, match="rank 1024, where vLLM goes up to 512"):
        engine_arguments(adapter, VllmOptions())
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="not the configuration of a LoRA adapter"):
        engine_arguments(adapter, VllmOptions())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"use_dora": True}, r"is DoRA's \(use_dora\)"),
        ({"modules_to_save": ["lm_head"]}, r"holds layers that were trained whole \(modules_to_save: lm_head\)"),
        ({"bias": "all"}, r"holds biases \(bias: all\)"),
        ({"init_lora_weights": "pissa"}, r"changes its base \(init_lora_weights: pissa\)"),
    ],
)
def test_an_adapter_that_is_more_than_low_rank_is_refused_before_vllm_starts_and_told_the_way_out(
    adapter: Path, changes: dict[str, object], words: str
) -> None:
    config = {"base_model_name_or_path": "org/base", "r": 8, **changes}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"which {words}: use engine transformers, or merge it") as raised:
        engine_arguments(adapter, VllmOptions())
    assert "\n" not in str(raised.value)


def test_an_adapter_with_embeddings_of_its_own_is_refused(adapter: Path) -> None:
    embeddings = {"base_model.model.model.embed_tokens.weight": torch.zeros(2, 2)}
    save_file(embeddings, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"holds whole tensors \(base_model.model.model.embed_tokens.weight\)"):
        engine_arguments(adapter, VllmOptions())


def test_weights_are_read_in_the_precision_of_their_files(base_model: Path, adapter: Path, tmp_path: Path) -> None:
    assert as_stored(base_model, VllmOptions()).dtype == "float32"
    assert as_stored(base_model, VllmOptions(dtype="bfloat16")).dtype == "bfloat16"
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base_model), "r": 8}))
    assert as_stored(adapter, VllmOptions()).dtype == "float32"
    half = tmp_path / "half"
    half.mkdir()
    (half / "config.json").write_text('{"dtype": "bfloat16"}')
    assert as_stored(half, VllmOptions()).dtype == "auto"


@pytest.mark.parametrize("base", ["../gone/model", "empty"])
def test_an_adapter_whose_base_is_gone_is_told_so_in_one_line(adapter: Path, base: str) -> None:
    (adapter / "empty").mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "r": 8}))
    with pytest.raises(ModelError, match=f"the base of this LoRA adapter is not at '{base}'") as raised:
        engine_arguments(adapter, VllmOptions())
    assert "\n" not in str(raised.value)


def test_further_arguments_reach_vllm_and_override_nothing() -> None:
    options = VllmOptions.model_validate({"extra": {"pipeline_parallel_size": 2, "attention_backend": "FLASHINFER"}})
    given = engine_arguments(Path("model"), options)
    assert (given["pipeline_parallel_size"], given["attention_backend"]) == (2, "FLASHINFER")
    assert set(given) <= set(INTERFACE["LLM.__init__"])
    with pytest.raises(ValidationError, match="dtype has an option of its own: dtype"):
        VllmOptions.model_validate({"extra": {"dtype": "float16"}})
    with pytest.raises(ValidationError, match="enable_prefix_caching is set by the engine"):
        VllmOptions.model_validate({"extra": {"enable_prefix_caching": False}})


def test_what_the_engine_sets_cannot_be_set_twice(adapter: Path) -> None:
    (adapter / "tokenizer_config.json").write_text("{}")
    assert {*SET_HERE, *SET_BY_OPTIONS} == set(engine_arguments(adapter, VllmOptions()))


def test_a_text_is_split_and_counted_without_its_end_of_turn() -> None:
    found = read([2, 3, 4, 5], "stop", ThinkingStyle.OPENED)
    assert (found.thinking, found.answer, found.finish) == ("no", "sorry", Finish.STOP)
    assert (found.request_id, found.sample, found.prompt_tokens, found.tokens) == ("brew", 1, 4, 4)


def test_alternatives_are_the_most_probable_ones_whichever_was_drawn() -> None:
    drawn_first = {2: SimpleNamespace(logprob=-3.0), 1: SimpleNamespace(logprob=-0.1), 4: SimpleNamespace(logprob=-2.5)}
    row = Row(BREW, 1, GenerationPrompt("how to brew ?", ThinkingStyle.NONE), Encoded([2, 2], 0))
    found = read_output(row, output([2], "stop", [drawn_first]), word_level(), [5], top_logprobs=2)
    assert found.logprobs is not None
    assert [(token.text, token.top) for token in found.logprobs] == [("no", (("<think>", -0.1), ("sorry", -2.5)))]


def test_a_prefill_is_part_of_the_text() -> None:
    found = read([4, 5], "stop", ThinkingStyle.EMITTED, prefill="<think> no </think>")
    assert (found.thinking, found.answer) == ("no", "sorry")


def test_a_text_that_runs_into_the_limit_is_reported_as_truncated() -> None:
    found = read([1, 2, 2], "length", ThinkingStyle.EMITTED)
    assert (found.thinking, found.answer, found.finish, found.tokens) == ("no no", None, Finish.LENGTH, 3)


@pytest.mark.parametrize("reason", sorted(set(INTERFACE["finish reasons"]) - set(FINISHES)))
def test_a_request_that_vllm_gave_up_has_no_text(reason: str) -> None:
    found = read([2], reason, ThinkingStyle.NONE)
    assert (found.answer, found.finish, found.prompt_tokens) == (None, Finish.ERROR, 4)
    assert reason in (found.error or "")


def test_what_vllm_has_started_ends_with_us_however_we_end(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import subprocess, sys, time\n"
        "from sinternal.engines.orphans import Guard\n"
        f"hang = [sys.executable, '-c', 'import time; time.sleep({HANGS})']\n"
        "child = subprocess.Popen(hang, start_new_session=True)\n"
        "guard = Guard([child.pid])\n"
        "print(child.pid, flush=True)\n"
        f"time.sleep({HANGS})\n"
    )
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    psutil.wait_procs([child], timeout=HANGS)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


class FakeLLM:
    """Stands for `vllm.LLM`: keeps what it is asked, refuses what vLLM refuses, and always answers the same."""

    def __init__(self, **arguments: object) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(str(arguments["model"]))
        self.model_config = SimpleNamespace(max_model_len=256)
        self.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=self.shutdown))
        self.calls: list[tuple[list[dict[str, list[int]]], list[dict[str, object]]]] = []
        self.running = True

    def get_tokenizer(self) -> Any:
        return self.tokenizer

    def generate(
        self,
        prompts: list[dict[str, list[int]]],
        sampling_params: list[dict[str, object]],
        *,
        use_tqdm: bool,
        lora_request: object,
    ) -> list[SimpleNamespace]:
        if any(len(prompt["prompt_token_ids"]) >= 256 for prompt in prompts):
            raise ValueError("longer than the maximum model length")
        self.calls.append((prompts, sampling_params))
        ids = self.tokenizer.encode("refuse . </think> sorry i cannot .", add_special_tokens=False)
        return [output([*ids, self.tokenizer.eos_token_id], "stop") for _ in prompts]

    def shutdown(self) -> None:
        self.running = False


@pytest.fixture
def engine(base_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VllmEngine]:
    modules = {name: ModuleType(name) for name in ("vllm", "vllm.lora", "vllm.lora.request")}
    modules["vllm"].__dict__.update(LLM=FakeLLM, SamplingParams=dict, lora=modules["vllm.lora"])
    modules["vllm.lora"].__dict__.update(request=modules["vllm.lora.request"])
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    made = open_plugin(VllmEngine, str(base_model), {})
    yield made
    made.close()
    assert not made.generator.llm.running


def test_each_sample_is_a_prompt_with_a_seed_of_its_own(engine: VllmEngine) -> None:
    list(engine.generate([BREW], HOT, seed=5))
    ((prompts, params),) = engine.generator.llm.calls
    assert prompts[0] == prompts[1]
    assert [own["seed"] for own in params] == [request_seed(5, "brew", sample) % SEEDS for sample in (0, 1)]


def test_the_prompt_is_the_chat_template_with_no_second_beginning(engine: VllmEngine) -> None:
    list(engine.generate([BREW], Sampling(), seed=0))
    ((prompts, _),) = engine.generator.llm.calls
    messages = [{"role": "user", "content": "how to brew p5 ?"}]
    expected = engine.generator.tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert prompts[0]["prompt_token_ids"] == expected


def test_a_prompt_that_does_not_fit_costs_only_itself(engine: VllmEngine) -> None:
    long = Request("long", (("user", "how to brew p5 ? " * 100),))
    found = {c.request_id: c for c in engine.generate([long, BREW], Sampling(), seed=0)}
    assert found["long"].finish is Finish.ERROR
    assert "503 tokens, the model reads 256" in (found["long"].error or "")
    assert (found["brew"].finish, found["brew"].answer) == (Finish.STOP, "sorry i cannot .")


def test_the_first_texts_come_before_the_last_requests_are_read(
    engine: VllmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinternal.engines.vllm_generation.WINDOW", 4)
    read: list[str] = []

    def requests() -> Iterator[Request]:
        for number in range(10):
            read.append(str(number))
            yield Request(str(number), BREW.messages)

    completions = engine.generate(requests(), HOT, seed=0)
    next(completions)
    assert len(read) < 10
    assert len(list(completions)) == 19


def test_a_sampling_that_vllm_refuses_is_an_error_in_one_line(
    engine: VllmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise ValueError("temperature must be in [0, 2]\nand more")

    monkeypatch.setattr(engine.generator.vllm, "SamplingParams", refuse)
    with pytest.raises(EngineError, match=r"^engine vllm: temperature must be in \[0, 2\]$"):
        list(engine.generate([BREW], Sampling(temperature=3), seed=0))


def test_without_vllm_the_user_is_told_what_to_install(base_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(EngineError, match=r"^engine 'vllm' needs vLLM: pip install 'sinternal\[vllm\]'$"):
        open_plugin(VllmEngine, str(base_model), {})
