"""Text from a local Hugging Face model, in batches of similar length.

Sampling uses one uniform number per token, drawn ahead from the sample's own seed, and inverts the cumulative
distribution with it. So a sample depends on its request and seed, not on its neighbours in the batch. The promise has
one limit: batches of another shape may round logits differently in the last bits, and a draw that falls on a boundary
can then flip. In float32 on the CPU a test holds it under one text in a hundred; in bfloat16 expect more.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from sinternal.chat import GenerationPrompt, ThinkingStyle, generation_prompt, visible_text, with_prefill
from sinternal.engines.base import Completion, Request, Sampling, TokenLogprobs, request_seed
from sinternal.errors import DataError, ModelError
from sinternal.loading import load_model
from sinternal.models import resolve_model
from sinternal.records import Finish
from sinternal.registry import read_options
from sinternal.think import split_thinking

BATCHES_IN_VIEW = 8
"""How many batches of requests are read ahead and sorted by length."""


class TransformersOptions(BaseModel):
    """Settings of this engine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch: int = Field(32, ge=1)
    """Sequences generated together."""


_Top = list[tuple[int, float]]
"""The most probable tokens of one step, and their natural log-probabilities."""


@dataclass(frozen=True)
class _Row:
    """One sample to generate."""

    request: Request
    sample: int
    prompt: GenerationPrompt
    tokens: int
    """Those of the prompt."""
    unfit: str | None = None
    """Why the model cannot be asked this."""


class _InverseCdf(LogitsProcessor):
    """Leaves one token possible in each row: the one in which that row's uniform number for this step falls."""

    def __init__(self, uniforms: torch.Tensor, prompt_length: int) -> None:
        """`uniforms` has shape (rows, steps), values in [0, 1)."""
        self.uniforms = uniforms
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        step = input_ids.shape[1] - self.prompt_length
        cumulative = scores.double().softmax(-1).cumsum(-1)
        threshold = self.uniforms[:, step : step + 1] * cumulative[:, -1:]
        chosen = torch.searchsorted(cumulative, threshold, right=True).clamp(max=scores.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)  # type: ignore[return-value]


class _Recorder(LogitsProcessor):
    """Keeps the most probable tokens of every step, before anything changes their probabilities."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.steps: list[tuple[list[list[int]], list[list[float]]]] = []

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        top = scores.float().log_softmax(-1).topk(min(self.k, scores.shape[1]))
        self.steps.append((top.indices.tolist(), top.values.tolist()))
        return scores


class TransformersEngine:
    """Generates with `model.generate` and its KV cache on the best device there is."""

    def __init__(self, model: str, options: dict[str, object]) -> None:
        """Load a model: a directory, a registered source or a Hugging Face id; also a LoRA adapter that names its base.

        Raises:
            ModelError: there is no such model, it cannot be loaded, or its tokenizer has no chat template.
        """
        self.model: Any
        self.options = read_options(TransformersOptions, options, "engine transformers")
        self.texts: dict[int, str] = {}
        folder = resolve_model(model)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(_tokenizer_of(folder), padding_side="left")
            self.model = load_model(folder)
        except ModelError:
            raise
        except (OSError, ValueError) as error:
            raise ModelError(f"{model}: not a Hugging Face model directory ({str(error).splitlines()[0]})") from error
        self.model.to(self.device).eval()
        if not self.tokenizer.chat_template:
            raise ModelError(f"{model}: the tokenizer has no chat template; add a chat_template.jinja to the directory")
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        ends = self.model.generation_config.eos_token_id or self.tokenizer.eos_token_id
        self.ends: list[int] = ends if isinstance(ends, list) else [ends]
        self.context: int = (
            getattr(self.model.config, "max_position_embeddings", None) or self.tokenizer.model_max_length
        )

    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        """Answer every request `sampling.n` times; see `Engine.generate`."""
        stream = (row for request in requests for row in self._rows(request, sampling))
        while window := list(islice(stream, self.options.batch * BATCHES_IN_VIEW)):
            fitting = [row for row in window if row.unfit is None]
            yield from (_failed(row, row.unfit) for row in window if row.unfit is not None)
            fitting.sort(key=lambda row: row.tokens)
            for start in range(0, len(fitting), self.options.batch):
                yield from self._batch(fitting[start : start + self.options.batch], sampling, seed)

    def close(self) -> None:
        """Give the model's memory back."""
        self.model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _rows(self, request: Request, sampling: Sampling) -> Iterator[_Row]:
        row = self._row(request)
        return (replace(row, sample=sample) for sample in range(sampling.n))

    def _row(self, request: Request) -> _Row:
        try:
            prompt = with_prefill(generation_prompt(self.tokenizer, request.messages, raw=request.raw), request.prefill)
        except DataError as error:
            return _Row(request, 0, GenerationPrompt("", ThinkingStyle.NONE), 0, str(error))
        tokens = len(self._encode([prompt.text])["input_ids"][0])
        if 0 < tokens < self.context:
            return _Row(request, 0, prompt, tokens)
        return _Row(request, 0, prompt, tokens, f"the prompt has {tokens} tokens, the model reads {self.context}")

    def _encode(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        # The template has written the special tokens already: a second beginning-of-text token would be added here.
        encoded = self.tokenizer(list(texts), return_tensors="pt", padding=True, add_special_tokens=False)
        return {name: encoded[name].to(self.device) for name in ("input_ids", "attention_mask")}

    def _batch(self, rows: Sequence[_Row], sampling: Sampling, seed: int) -> Iterator[Completion]:
        try:
            written = self._write(rows, sampling, seed)
        except torch.OutOfMemoryError as error:
            if len(rows) == 1:
                message = f"out of memory with {rows[0].tokens} prompt tokens: {str(error).splitlines()[0]}"
                yield _failed(rows[0], message)
                return
            torch.cuda.empty_cache()
            middle = len(rows) // 2
            yield from self._batch(rows[:middle], sampling, seed)
            yield from self._batch(rows[middle:], sampling, seed)
            return
        for row, (ids, tops) in zip(rows, written, strict=True):
            yield self._completion(row, ids, tops)

    @torch.inference_mode()
    def _write(self, rows: Sequence[_Row], sampling: Sampling, seed: int) -> list[tuple[list[int], list[_Top] | None]]:
        """The new token ids of each row, up to and with its end of turn, and the alternatives to each."""
        inputs = self._encode([row.prompt.text for row in rows])
        length = inputs["input_ids"].shape[1]
        steps = min(sampling.max_tokens, self.context - length)
        recorder = _Recorder(sampling.top_logprobs) if sampling.top_logprobs else None
        output = self.model.generate(
            **inputs,
            generation_config=GenerationConfig(  # type: ignore[no-untyped-call]
                do_sample=False,
                max_new_tokens=steps,
                eos_token_id=self.ends,
                pad_token_id=self.tokenizer.pad_token_id,
                use_cache=True,
            ),
            logits_processor=self._processors(rows, sampling, seed, length, steps, recorder),
        )
        written = [_up_to_end(ids, self.ends) for ids in output[:, length:].tolist()]
        if recorder is None:
            return [(ids, None) for ids in written]
        return [(ids, _alternatives(recorder, i, len(ids))) for i, ids in enumerate(written)]

    def _processors(
        self, rows: Sequence[_Row], sampling: Sampling, seed: int, length: int, steps: int, recorder: _Recorder | None
    ) -> LogitsProcessorList:
        processors = LogitsProcessorList([recorder] if recorder else [])
        if sampling.repetition_penalty != 1:
            processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
        if sampling.temperature > 0:
            processors.append(TemperatureLogitsWarper(sampling.temperature))
            if sampling.top_p < 1:
                processors.append(TopPLogitsWarper(sampling.top_p))
            seeds = [request_seed(seed, row.request.id, row.sample) for row in rows]
            uniforms = np.stack([np.random.Generator(np.random.Philox(s)).random(steps) for s in seeds])
            processors.append(_InverseCdf(torch.from_numpy(uniforms).to(self.device), length))
        return processors

    def _completion(self, row: _Row, ids: list[int], tops: list[_Top] | None) -> Completion:
        ended = bool(ids) and ids[-1] in self.ends
        body = ids[:-1] if ended else ids
        text = row.prompt.prefill + self._continued(row, body)
        thinking, answer = split_thinking(text, opened=row.prompt.opened)
        return Completion(
            row.request.id,
            row.sample,
            thinking,
            answer,
            Finish.STOP if ended else Finish.LENGTH,
            prompt_tokens=row.tokens,
            tokens=len(ids),
            logprobs=None if tops is None else tuple(map(self._token, body, tops[: len(body)])),
        )

    def _continued(self, row: _Row, ids: list[int]) -> str:
        """What was written after a prefill, with the space that joins it: alone, some tokenizers decode it without."""
        if not row.prompt.prefill:
            return visible_text(self.tokenizer, ids)
        last = int(self._encode([row.prompt.text])["input_ids"][0][-1])
        return visible_text(self.tokenizer, [last, *ids]).removeprefix(visible_text(self.tokenizer, [last]))

    def _token(self, token: int, top: _Top) -> TokenLogprobs:
        return TokenLogprobs(self._text(token), tuple((self._text(other), value) for other, value in top))

    def _text(self, token: int) -> str:
        if token not in self.texts:
            self.texts[token] = visible_text(self.tokenizer, [token])
        return self.texts[token]


def _alternatives(recorder: _Recorder, row: int, steps: int) -> list[_Top]:
    """For each step of a row, the most probable tokens and their log-probabilities."""
    return [list(zip(tokens[row], values[row], strict=True)) for tokens, values in recorder.steps[:steps]]


def _failed(row: _Row, message: str) -> Completion:
    return Completion(row.request.id, row.sample, None, None, Finish.ERROR, message, prompt_tokens=row.tokens)


def _tokenizer_of(folder: Path) -> str:
    """Where a model's tokenizer is: for an adapter that was saved without one, at its base."""
    adapter = folder / "adapter_config.json"
    if (folder / "tokenizer_config.json").exists() or not adapter.exists():
        return str(folder)
    return str(json.loads(adapter.read_text())["base_model_name_or_path"])


def _up_to_end(ids: list[int], ends: Sequence[int]) -> list[int]:
    for position, token in enumerate(ids):
        if token in ends:
            return ids[: position + 1]
    return ids
