"""What the engine `vllm` says to vLLM, and reads from its answers.

Run with vLLM 0.32.0 on a CPU (`make test-vllm`), not on a GPU yet. That all we say to vLLM, and all we read from its
answers, is spelled as in the wheel of 0.33.0, too, is tested without it.

A sample is one prompt with a seed of its own, so that it does not depend on what else is asked for. vLLM's kernels
round differently from batch to batch all the same, and a text can differ where two tokens are almost equally likely.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from sinternal.engines import Completion, Request, TokenLogprobs, request_seed
from sinternal.engines.local_options import VllmOptions
from sinternal.engines.orphans import Guard
from sinternal.engines.vllm_adapters import LORA_RANKS, adapter_arguments, read_adapter
from sinternal.errors import DataError, EngineError, ModelError
from sinternal.models.loading import stop_tokens
from sinternal.models.resolve import base_folder, resolve_model
from sinternal.prompting.chat import (
    GenerationPrompt,
    generation_prompt,
    turn_ends,
    visible_text,
    with_prefill,
    without_end,
    written_after,
)
from sinternal.prompting.encoding import Encoded
from sinternal.prompting.rendering import set_template_arguments
from sinternal.prompting.think import ThinkingStyle
from sinternal.records import Finish
from sinternal.settings.sampling import Sampling

WINDOW = 2048
"""Samples given to vLLM at a time: several times what it generates side by side, so that the wait for each window's
last texts costs little, and few enough that results reach the disk while others are being written."""
AUTO = "auto"
"""The option `dtype` where the files say it."""
SEEDS = 2**63
"""vLLM keeps a request's seed in a signed 64-bit number."""
FINISHES = {"stop": Finish.STOP, "length": Finish.LENGTH}
"""What vLLM calls the ends at which there is a text; `abort` and `error` are its others."""


@dataclass(frozen=True)
class Row:
    """One sample to generate."""

    request: Request
    """What is asked."""
    sample: int
    """Number of the sample."""
    prompt: GenerationPrompt
    """The text to continue."""
    encoded: Encoded
    """Its tokens."""
    unfit: str | None = None
    """Why the model cannot be asked this."""


class Generator:
    """An opened `vllm.LLM`, prefix caching on: prompts of a study share their long specification."""

    def __init__(self, model: str, options: VllmOptions) -> None:
        """Load a model; see `VllmEngine`."""
        self.options = options
        self.vllm, lora = _import_vllm()
        folder = resolve_model(model)
        arguments = engine_arguments(folder, as_stored(folder, options))
        stops = stop_tokens(folder)  # before vLLM: of an adapter whose base is gone, it says nothing that helps
        others = multiprocessing.active_children()
        try:
            self.llm: Any = self.vllm.LLM(**arguments)
        except Exception as error:  # from OSError to its own kinds, for all of which the user has to look at the model
            raise ModelError(f"{model}: vLLM cannot open it: {_first_line(error)}") from error
        started = [child.pid for child in multiprocessing.active_children() if child not in others]
        self.guard = Guard(pid for pid in started if pid is not None)
        self.adapter = lora.LoRARequest(**adapter_arguments(folder)) if "enable_lora" in arguments else None
        self.tokenizer: Any = self.llm.get_tokenizer()
        self.context: int = self.llm.model_config.max_model_len
        set_template_arguments(self.tokenizer, self.options.chat_template_kwargs)
        self.ends = turn_ends(self.tokenizer, stops)
        if not getattr(self.tokenizer, "chat_template", None):
            self.close()
            raise ModelError(f"{model}: the tokenizer has no chat template; add a chat_template.jinja to the directory")

    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        """Answer every request `sampling.n` times; see `Engine.generate`."""
        stream = (row for request in requests for row in self._rows(request, sampling))
        while window := list(islice(stream, WINDOW)):
            # vLLM would refuse the whole window for one prompt that it cannot take.
            yield from (_failure(row, row.unfit) for row in window if row.unfit is not None)
            yield from self._write([row for row in window if row.unfit is None], sampling, seed)

    def close(self) -> None:
        """End the process that holds the model, and with it give the GPU's memory back."""
        # `LLM` has no method for it in 0.33 (vllm-project/vllm#36283 was not merged); this is what vLLM itself calls.
        self.llm.llm_engine.engine_core.shutdown()
        self.guard.close()

    def _rows(self, request: Request, sampling: Sampling) -> Iterator[Row]:
        encoded, unfit = Encoded([], 0), None
        try:
            plain = generation_prompt(
                self.tokenizer, request.messages, raw=request.raw, quotes=request.quotes, tags=self.options.tags
            )
            prompt = with_prefill(plain, request.prefill)
            # Token ids, not text: vLLM would put a second beginning-of-text token before the template's own.
            encoded = prompt.encode(self.tokenizer)
        except DataError as error:
            prompt, unfit = GenerationPrompt("", ThinkingStyle.NONE), str(error)
        else:
            unfit = self._unfit(len(encoded.ids))
        for sample in range(sampling.n):
            yield Row(request, sample, prompt, encoded, unfit)

    def _unfit(self, tokens: int) -> str | None:
        if not tokens:
            return "the prompt is empty"
        return f"the prompt has {tokens} tokens, the model reads {self.context}" if tokens >= self.context else None

    def _write(self, rows: Sequence[Row], sampling: Sampling, seed: int) -> Iterator[Completion]:
        if not rows:
            return
        seeds = [request_seed(seed, row.request.id, row.sample) % SEEDS for row in rows]
        try:
            outputs = self.llm.generate(
                [{"prompt_token_ids": row.encoded.ids} for row in rows],
                [self.vllm.SamplingParams(**sampling_arguments(sampling, own, self.ends)) for own in seeds],
                use_tqdm=False,
                lora_request=self.adapter,
            )
        except Exception as error:  # vLLM's engine has died, or takes no such sampling: no request is to blame
            raise EngineError(f"engine vllm: {_first_line(error)}") from error
        for row, output in zip(rows, outputs, strict=True):
            yield read_output(row, output, self.tokenizer, self.ends, sampling.top_logprobs)


def as_stored(model: Path, options: VllmOptions) -> VllmOptions:
    """The options, with float32 for a `dtype` of auto if the model is stored so: vLLM would round it to half of that.

    Args:
        model: the directory of a model or of a LoRA adapter.
        options: the engine's settings.

    Raises:
        ModelError: it is an adapter without its base.
    """
    if options.dtype != AUTO:
        return options
    try:
        config = json.loads((base_folder(model) / "config.json").read_text())
    except (OSError, ValueError):
        return options  # vLLM says what is wrong with it
    fields = config.get("text_config", config)
    stored = fields.get("dtype") or fields.get("torch_dtype") or config.get("dtype")
    return options.model_copy(update={"dtype": stored}) if stored == "float32" else options


def engine_arguments(model: Path, options: VllmOptions) -> dict[str, object]:
    """The keyword arguments of `vllm.LLM`.

    Args:
        model: the directory of a model or of a LoRA adapter.
        options: the engine's settings.

    Returns:
        The arguments. For an adapter the model is its base, and the tokenizer the adapter's own if it brings one.

    Raises:
        ModelError: it is an adapter that vLLM cannot apply.
    """
    adapter = read_adapter(model)
    arguments: dict[str, object] = {
        "model": str(model),
        "tensor_parallel_size": options.tensor_parallel,
        "max_model_len": options.max_model_len,
        "gpu_memory_utilization": options.gpu_memory_utilization,
        "dtype": options.dtype,
        "enforce_eager": options.enforce_eager,
        "enable_prefix_caching": True,
        "generation_config": "vllm",  # its own neutral defaults, not what the model's maker wished for
        "logprobs_mode": "raw_logprobs",  # of the model itself, before temperature and penalties
        **options.extra,
    }
    if adapter is None:
        return arguments
    return arguments | {
        "model": adapter.base,
        "tokenizer": str(model) if (model / "tokenizer_config.json").exists() else adapter.base,
        "enable_lora": True,
        "max_lora_rank": next(rank for rank in LORA_RANKS if rank >= adapter.rank),
    }


def sampling_arguments(sampling: Sampling, seed: int, ends: Sequence[int]) -> dict[str, object]:
    """The keyword arguments of `vllm.SamplingParams` for one sample.

    Args:
        sampling: how text is drawn.
        seed: of this sample, from 0 up to `SEEDS`.
        ends: the tokens that end a turn.

    Returns:
        The arguments. vLLM gives back tokens only: its text would lack the thinking tags of the tokenizers that count
        them among their special tokens.
    """
    arguments: dict[str, object] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "stop_token_ids": list(ends),
        "seed": seed,
        "detokenize": False,
    }
    return arguments | ({"logprobs": sampling.top_logprobs} if sampling.top_logprobs else {})


def read_output(
    row: Row, output: Any, tokenizer: PreTrainedTokenizerBase, ends: Sequence[int], top_logprobs: int = 0
) -> Completion:
    """Read one answer of vLLM.

    Args:
        row: what was asked.
        output: a finished `vllm.RequestOutput` with one `CompletionOutput`. Its tokens include the end of turn.
        tokenizer: to decode with.
        ends: the tokens that end a turn.
        top_logprobs: alternatives that were asked for.
    """
    (written,) = output.outputs
    finish = FINISHES.get(written.finish_reason)
    if finish is None:
        return _failure(row, f"vLLM ended the request: {written.finish_reason}")
    ids = list(written.token_ids)
    body = without_end(ids, ends)
    text = written_after(tokenizer, row.prompt.prefill, row.encoded.ids[-1], body)
    thinking, answer = row.prompt.split(text)
    return Completion(
        row.request.id,
        row.sample,
        thinking,
        answer,
        finish,
        prompt_tokens=len(row.encoded.ids),
        tokens=len(ids),
        logprobs=_logprobs(body, written.logprobs, top_logprobs, tokenizer) if written.logprobs else None,
        quoted_controls=row.encoded.controls,
    )


def _logprobs(
    ids: Sequence[int], tops: Sequence[Mapping[int, Any]], most: int, tokenizer: PreTrainedTokenizerBase
) -> tuple[TokenLogprobs, ...]:
    """Each token with its alternatives, the most probable first.

    Args:
        ids: the tokens.
        tops: as `vllm.CompletionOutput.logprobs` gives them: a `Logprob` by token id, that of the token itself before
            the most probable ones, whether it is one of them or not.
        most: how many were asked for.
        tokenizer: to decode with.
    """

    def top(logprobs: Mapping[int, Any]) -> tuple[tuple[str, float], ...]:
        ranked = sorted(logprobs.items(), key=lambda item: -float(item[1].logprob))[:most]
        return tuple((visible_text(tokenizer, [token]), float(logprob.logprob)) for token, logprob in ranked)

    return tuple(
        TokenLogprobs(visible_text(tokenizer, [token]), top(logprobs))
        for token, logprobs in zip(ids, tops, strict=False)
    )


def _failure(row: Row, message: str) -> Completion:
    return Completion(row.request.id, row.sample, None, None, Finish.ERROR, message, prompt_tokens=len(row.encoded.ids))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _import_vllm() -> tuple[Any, Any]:
    try:
        import vllm
        import vllm.lora.request
    except ImportError as error:
        raise EngineError("engine 'vllm' needs vLLM: pip install 'sinternal[vllm]'") from error
    return vllm, vllm.lora.request
