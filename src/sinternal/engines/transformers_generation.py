"""What the engine `transformers` does with an opened model: from requests to tokens, and from tokens to completions.

Importing it loads torch.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from transformers import GenerationConfig

from sinternal.engines import Completion, Request, TokenLogprobs, request_seed
from sinternal.engines.decoding import Text, in_order, writer_for
from sinternal.engines.drawing import Top
from sinternal.engines.local_options import TransformersOptions
from sinternal.errors import DataError
from sinternal.models.loading import context_of, load_model, open_tokenizer
from sinternal.models.resolve import resolve_model
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

BATCHES_IN_VIEW = 8
"""How many times as many are read ahead and put in order."""


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


class Generator:
    """A loaded model, on the best device there is."""

    def __init__(self, model: str, options: TransformersOptions) -> None:
        """Load a model; see `TransformersEngine`.

        Raises:
            ModelError: there is no such model, it cannot be loaded, or its tokenizer has no chat template.
        """
        self.model: Any
        self.writer: Any
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
        self.context = context_of(self.model, self.tokenizer)
        self.slots = options.side_by_side(sum(weight.numel() for weight in self.model.parameters()))
        self.writer = writer_for(self.model, self.ends, self.slots, self.context)

    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        """Answer every request `sampling.n` times; see `Engine.generate`."""
        stream = (row for request in requests for row in self._rows(request, sampling))
        unfit: list[Completion] = []
        for text in self.writer.write(self._texts(stream, unfit, sampling, seed), sampling):
            yield self._completion(text) if text.error is None else _failure(text.of, text.error)
            while unfit:
                yield unfit.pop()
        yield from unfit

    def _texts(
        self, rows: Iterator[_Row], unfit: list[Completion], sampling: Sampling, seed: int
    ) -> Iterator[Text[_Row]]:
        """The texts to write, read ahead and put in order; what the model cannot be asked goes into `unfit`."""
        while window := list(islice(rows, self.slots * BATCHES_IN_VIEW)):
            unfit += [_failure(row, row.unfit) for row in window if row.unfit is not None]
            yield from in_order(
                [
                    Text(
                        row,
                        row.encoded.ids,
                        min(sampling.max_tokens, self.context - row.tokens),
                        request_seed(seed, row.request.id, row.sample),
                    )
                    for row in window
                    if row.unfit is None
                ]
            )

    def close(self) -> None:
        """Give the model's memory back."""
        self.model = self.writer = None
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

    def _completion(self, text: Text[_Row]) -> Completion:
        row, ids = text.of, text.written
        body = without_end(ids, self.ends)
        words = written_after(self.tokenizer, row.prompt.prefill, row.encoded.ids[-1], body)
        thinking, answer = row.prompt.split(words)
        return Completion(
            row.request.id,
            row.sample,
            thinking,
            answer,
            Finish.LENGTH if len(body) == len(ids) else Finish.STOP,
            prompt_tokens=row.tokens,
            tokens=len(ids),
            logprobs=tuple(map(self._token, body, text.tops)) if text.tops else None,
            quoted_controls=row.encoded.controls,
        )

    def _token(self, token: int, top: Top) -> TokenLogprobs:
        return TokenLogprobs(self._text(token), tuple((self._text(other), value) for other, value in top))

    def _text(self, token: int) -> str:
        if token not in self.texts:
            self.texts[token] = visible_text(self.tokenizer, [token])
        return self.texts[token]


def _failure(row: _Row, message: str) -> Completion:
    return Completion(row.request.id, row.sample, None, None, Finish.ERROR, message, prompt_tokens=row.tokens)
