"""What the engine `transformers` does with an opened model: batches, draws and decoding. Importing it loads torch.

Sampling uses one uniform number per token, drawn ahead from the sample's own seed, and inverts the cumulative
distribution with it. So a sample depends on its request and seed, not on its neighbours in the batch. The promise has
one limit: batches of another shape may round logits differently in the last bits, and a draw that falls on a boundary
can then flip. In float32 on the CPU a test holds it under one text in a hundred; in bfloat16 expect more.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from sinternal.engines import Completion, Request, TokenLogprobs, request_seed
from sinternal.engines.local_options import TransformersOptions
from sinternal.errors import DataError
from sinternal.models.loading import load_model, open_tokenizer
from sinternal.models.resolve import resolve_model
from sinternal.prompting.chat import (
    GenerationPrompt,
    generation_prompt,
    turn_ends,
    visible_text,
    with_prefill,
    written_after,
)
from sinternal.prompting.encoding import Encoded
from sinternal.prompting.rendering import set_template_arguments
from sinternal.prompting.think import ThinkingStyle
from sinternal.records import Finish
from sinternal.settings.sampling import Sampling

BATCHES_IN_VIEW = 8
"""How many batches of requests are read ahead and sorted by length."""


_Top = list[tuple[int, float]]
"""The most probable tokens of one step, and their natural log-probabilities."""


@dataclass(frozen=True)
class _Row:
    """One sample to generate."""

    request: Request
    sample: int
    prompt: GenerationPrompt
    encoded: Encoded
    """The prompt's tokens."""
    unfit: str | None = None
    """Why the model cannot be asked this."""

    @property
    def tokens(self) -> int:
        """Those of the prompt."""
        return len(self.encoded.ids)


class _RepetitionPenalty(RepetitionPenaltyLogitsProcessor):
    """That of Keskar et al. 2019 (arXiv 1909.05858) over prompt and text, but not over the padding before them.

    Padding is often the end of a turn, too: a longer neighbour in the batch would then make ending less likely.
    """

    def __init__(self, penalty: float, padding: torch.Tensor) -> None:
        """`padding` has shape (rows, prompt tokens), true where there is padding."""
        super().__init__(penalty)
        self.padding = padding

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        length = self.padding.shape[1]
        last = input_ids[:, length - 1 : length]  # always present, and counted once however often it occurs
        prompt = torch.where(self.padding, last, input_ids[:, :length])
        ids: Any = torch.cat([prompt, input_ids[:, length:]], dim=1)
        return super().__call__(ids, scores)  # type: ignore[no-any-return]


class _PresencePenalty(LogitsProcessor):
    """Takes a constant off the logits of the tokens that a text, without its prompt, holds already."""

    def __init__(self, penalty: float, prompt_length: int) -> None:
        self.penalty, self.prompt_length = penalty, prompt_length

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        written = input_ids[:, self.prompt_length :]
        present = torch.zeros_like(scores).scatter(1, written, self.penalty)
        return scores - present  # type: ignore[return-value]


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


class Generator:
    """A loaded model, which writes with `model.generate` and its KV cache on the best device there is."""

    def __init__(self, model: str, options: TransformersOptions) -> None:
        """Load a model; see `TransformersEngine`.

        Raises:
            ModelError: there is no such model, it cannot be loaded, or its tokenizer has no chat template.
        """
        self.model: Any
        self.options = options
        self.texts: dict[int, str] = {}
        folder = resolve_model(model)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokenizer = open_tokenizer(folder, padding_side="left")
        self.model = load_model(folder)
        self.model.to(self.device).eval()
        set_template_arguments(self.tokenizer, self.options.chat_template_kwargs)
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.ends = turn_ends(self.tokenizer, self.model.generation_config.eos_token_id)
        # What is left out of a request's settings, `generate` takes from here: it must not be the model's own wishes.
        self.model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
        self.context: int = (
            getattr(self.model.config, "max_position_embeddings", None) or self.tokenizer.model_max_length
        )

    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        """Answer every request `sampling.n` times; see `Engine.generate`."""
        stream = (row for request in requests for row in self._rows(request, sampling))
        while window := list(islice(stream, self.options.batch * BATCHES_IN_VIEW)):
            fitting = [row for row in window if row.unfit is None]
            yield from (_failure(row, row.unfit) for row in window if row.unfit is not None)
            fitting.sort(key=lambda row: row.tokens)
            for batch in self._batches(fitting, sampling.max_tokens):
                yield from self._batch(batch, sampling, seed)

    def _batches(self, rows: Sequence[_Row], max_tokens: int) -> Iterator[list[_Row]]:
        """Rows of similar length, such that each can write as much as it could alone.

        Near the end of the context that is only so where all prompts are of one length: elsewhere a longer neighbour
        would cut a text short, or the model would be asked for places beyond its context.
        """
        batch: list[_Row] = []
        for row in rows:
            fits = row.tokens + max_tokens <= self.context or (batch and row.tokens == batch[0].tokens)
            if batch and (len(batch) == self.options.batch or not fits):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

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
            plain = generation_prompt(
                self.tokenizer, request.messages, raw=request.raw, quotes=request.quotes, tags=self.options.tags
            )
            prompt = with_prefill(plain, request.prefill)
            encoded = prompt.encode(self.tokenizer)
        except DataError as error:
            return _Row(request, 0, GenerationPrompt("", ThinkingStyle.NONE), Encoded([], 0), str(error))
        row = _Row(request, 0, prompt, encoded)
        if 0 < row.tokens < self.context:
            return row
        return replace(row, unfit=f"the prompt has {row.tokens} tokens, the model reads {self.context}")

    def _batch(self, rows: Sequence[_Row], sampling: Sampling, seed: int) -> Iterator[Completion]:
        try:
            written = self._write(rows, sampling, seed)
        except torch.OutOfMemoryError as error:
            if len(rows) == 1:
                message = f"out of memory with {rows[0].tokens} prompt tokens: {str(error).splitlines()[0]}"
                yield _failure(rows[0], message)
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
        padded = self.tokenizer.pad({"input_ids": [row.encoded.ids for row in rows]}, return_tensors="pt")
        inputs = {name: padded[name].to(self.device) for name in ("input_ids", "attention_mask")}
        length = inputs["input_ids"].shape[1]
        steps = min(sampling.max_tokens, self.context - length)
        padding = inputs["attention_mask"] == 0
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
            logits_processor=self._processors(rows, sampling, seed, padding, steps, recorder),
        )
        written = [_up_to_end(ids, self.ends) for ids in output[:, length:].tolist()]
        if recorder is None:
            return [(ids, None) for ids in written]
        return [(ids, _alternatives(recorder, i, len(ids))) for i, ids in enumerate(written)]

    def _processors(
        self,
        rows: Sequence[_Row],
        sampling: Sampling,
        seed: int,
        padding: torch.Tensor,
        steps: int,
        recorder: _Recorder | None,
    ) -> LogitsProcessorList:
        """What changes the logits, in vLLM's order: penalties, temperature, min_p, top_k, top_p, the draw."""
        length = padding.shape[1]
        processors = LogitsProcessorList([recorder] if recorder else [])
        if sampling.repetition_penalty != 1:
            processors.append(_RepetitionPenalty(sampling.repetition_penalty, padding))
        if sampling.presence_penalty:
            processors.append(_PresencePenalty(sampling.presence_penalty, length))
        if sampling.temperature > 0:
            processors.append(TemperatureLogitsWarper(sampling.temperature))
            if sampling.min_p:
                processors.append(MinPLogitsWarper(sampling.min_p))
            if sampling.top_k:
                processors.append(TopKLogitsWarper(sampling.top_k))
            if sampling.top_p < 1:
                processors.append(TopPLogitsWarper(sampling.top_p))
            seeds = [request_seed(seed, row.request.id, row.sample) for row in rows]
            uniforms = np.stack([np.random.Generator(np.random.Philox(s)).random(steps) for s in seeds])
            processors.append(_InverseCdf(torch.from_numpy(uniforms).to(self.device), length))
        return processors

    def _completion(self, row: _Row, ids: list[int], tops: list[_Top] | None) -> Completion:
        ended = bool(ids) and ids[-1] in self.ends
        body = ids[:-1] if ended else ids
        text = written_after(self.tokenizer, row.prompt.prefill, row.encoded.ids[-1], body)
        thinking, answer = row.prompt.split(text)
        return Completion(
            row.request.id,
            row.sample,
            thinking,
            answer,
            Finish.STOP if ended else Finish.LENGTH,
            prompt_tokens=row.tokens,
            tokens=len(ids),
            logprobs=None if tops is None else tuple(map(self._token, body, tops[: len(body)])),
            quoted_controls=row.encoded.controls,
        )

    def _token(self, token: int, top: _Top) -> TokenLogprobs:
        return TokenLogprobs(self._text(token), tuple((self._text(other), value) for other, value in top))

    def _text(self, token: int) -> str:
        if token not in self.texts:
            self.texts[token] = visible_text(self.tokenizer, [token])
        return self.texts[token]


def _alternatives(recorder: _Recorder, row: int, steps: int) -> list[_Top]:
    """For each step of a row, the most probable tokens and their log-probabilities."""
    return [list(zip(tokens[row], values[row], strict=True)) for tokens, values in recorder.steps[:steps]]


def _failure(row: _Row, message: str) -> Completion:
    return Completion(row.request.id, row.sample, None, None, Finish.ERROR, message, prompt_tokens=row.tokens)


def _up_to_end(ids: list[int], ends: Sequence[int]) -> list[int]:
    for position, token in enumerate(ids):
        if token in ends:
            return ids[: position + 1]
    return ids
