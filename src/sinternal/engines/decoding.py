"""How the engine `transformers` writes many texts at once. Importing it loads torch.

`ContinuousBatch` takes a new text into the batch as soon as an old one has ended, reads a beginning that many prompts
share once, and a prompt that is asked several times once. `WholeBatches` leaves all of that to `model.generate`, for
models whose cache is more than keys and values by place: sliding windows and recurrent states.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from transformers import DynamicCache, GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.cache_utils import DynamicLayer

from sinternal.engines.drawing import NO_NUMBERS, Draw, Top, draw_ahead, have_no_numbers, most_probable
from sinternal.settings.sampling import Sampling

T = TypeVar("T")
EIGHTH = 8
"""New texts are taken in when an eighth of the places is free: each time costs a pass of its own."""


@dataclass(eq=False)
class Text(Generic[T]):
    """One text in the making."""

    of: T
    """What it is an answer to."""
    prompt: Sequence[int]
    """The tokens to continue; at least one."""
    limit: int
    """Tokens that it may have, at least one."""
    seed: int
    """Of its draws."""
    shared: int = 0
    """Tokens at its beginning that others in view begin with, too; fewer than the prompt has."""
    written: list[int] = field(default_factory=list)
    """Its tokens so far, up to and with the end of turn."""
    tops: list[Top] = field(default_factory=list)
    """The alternatives to each, if they are recorded."""
    error: str | None = None
    """Why it could not be written."""
    uniforms: NDArray[np.float64] | None = None
    """The numbers that its tokens are drawn with, once it is begun."""

    def begin(self, tokens: int) -> None:
        """Start, or start again; with numbers for so many tokens."""
        self.written, self.tops, self.uniforms = [], [], draw_ahead(self.seed, tokens)

    @property
    def uniform(self) -> float:
        """The number for the next token."""
        assert self.uniforms is not None
        return float(self.uniforms[len(self.written)])


class Writer(Protocol):
    """Writes texts, many at once."""

    def write(self, texts: Iterable[Text[T]], sampling: Sampling) -> Iterator[Text[T]]:
        """Finish every text; in any order."""


def writer_for(model: Any, ends: Sequence[int], slots: int, context: int) -> Writer:
    """The quickest writer that a model can be used with.

    Args:
        model: an opened causal language model.
        ends: the tokens that end a turn.
        slots: texts written side by side.
        context: tokens that the model reads.
    """
    decoder = model.get_base_model() if isinstance(model, PeftModel) else model
    known = inspect.signature(decoder.forward).parameters
    config = model.config.get_text_config(decoder=True)
    by_place = all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)
    by_place = by_place and not getattr(config, "num_kv_shared_layers", 0)  # layers without a cache of their own
    if by_place and {"position_ids", "past_key_values", "attention_mask"} <= set(known):
        return ContinuousBatch(model, ends, slots, {"logits_to_keep": 1} if "logits_to_keep" in known else {})
    return WholeBatches(model, ends, slots, context)


@dataclass
class _Batch(Generic[T]):
    """Texts side by side. All end in the last column; what is left free before or within them is not visible."""

    texts: list[Text[T]]
    cache: DynamicCache
    """Keys and values of all columns; while tokens wait to be read, of all but the last."""
    ids: torch.Tensor
    """Tokens, shape (texts, columns); in a gap a token that the text holds anyway."""
    visible: torch.Tensor
    """1 where there is a token, 0 in gaps; the same shape."""
    written: torch.Tensor
    """Whether a token is text and not prompt; the same shape."""
    scores: torch.Tensor
    """Logits of the next token, shape (texts, vocabulary), float32."""

    def take(self, tokens: torch.Tensor) -> None:
        """Add a column of tokens."""
        ones = torch.ones_like(tokens)[:, None]
        self.ids = torch.cat([self.ids, tokens[:, None]], 1)
        self.visible = torch.cat([self.visible, ones], 1)
        self.written = torch.cat([self.written, ones.bool()], 1)

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, one perhaps several times; `texts` is the caller's."""
        index = torch.tensor(rows, device=self.ids.device)
        self.cache.batch_select_indices(index)
        self.ids, self.visible, self.written = self.ids[index], self.visible[index], self.written[index]
        self.scores = self.scores[index]

    def drop_gaps(self) -> None:
        """Forget the columns in which no text has a token."""
        used = self.visible.any(0)
        if bool(used.all()):
            return
        self.ids, self.visible, self.written = self.ids[:, used], self.visible[:, used], self.written[:, used]
        for layer in _layers(self.cache):
            layer.keys, layer.values = layer.keys[:, :, used], layer.values[:, :, used]

    def join(self, other: _Batch[T]) -> None:
        """Add the texts of another batch, the narrower one moved to the right."""
        width = max(self.ids.shape[1], other.ids.shape[1])
        sides = (self, other)
        # A gap holds the last token before it, which is there already.
        self.ids = torch.cat([torch.cat([s.ids[:, -1:].expand(-1, width - s.ids.shape[1]), s.ids], 1) for s in sides])
        self.visible = torch.cat([_widen(side.visible, width, 1) for side in sides])
        self.written = torch.cat([_widen(side.written, width, 1) for side in sides])
        for mine, theirs in zip(_layers(self.cache), _layers(other.cache), strict=True):
            mine.keys = torch.cat([_widen(layer.keys, width, 2) for layer in (mine, theirs)])
            mine.values = torch.cat([_widen(layer.values, width, 2) for layer in (mine, theirs)])
        self.scores = torch.cat([self.scores, other.scores])
        self.texts = [*self.texts, *other.texts]


def _layers(cache: DynamicCache) -> list[Any]:
    """All layers, each with keys and values of shape (texts, heads, columns, width)."""
    return list(cache.layers)


def _widen(tensor: torch.Tensor, width: int, dimension: int) -> torch.Tensor:
    """Zeros before a tensor, up to a width."""
    missing = width - tensor.shape[dimension]
    after = 2 * (tensor.dim() - 1 - dimension)
    return torch.nn.functional.pad(tensor, (*[0] * after, missing, 0)) if missing else tensor


class ContinuousBatch:
    """Keeps its places taken: a text that has ended makes room for the next one."""

    def __init__(self, model: Any, ends: Sequence[int], slots: int, at_last_place: dict[str, int]) -> None:
        """`at_last_place` makes the model compute logits for the last place only, where it can."""
        self.model, self.ends, self.slots, self.at_last_place = model, frozenset(ends), slots, at_last_place
        self.device = model.device
        self.head: tuple[list[int], list[tuple[torch.Tensor, torch.Tensor]]] = ([], [])
        """The beginning that was read last, with its keys and values."""

    @torch.inference_mode()
    def write(self, texts: Iterable[Text[T]], sampling: Sampling) -> Iterator[Text[T]]:
        """Finish every text; see `Writer`. One that does not fit into memory alone gets an `error`."""
        queue = _Queue(texts)
        draw, slots = Draw(sampling), self.slots
        batch: _Batch[T] | None = None
        while True:
            entering: list[Text[T]] = []
            try:
                free = slots - (len(batch.texts) if batch else 0)
                if batch is None or free >= max(1, slots // EIGHTH):
                    entering = queue.next_family(free)
                    if entering:
                        batch = self._enter(batch, entering)
                        continue  # another family may fit in, too
                if batch is None:
                    return
                yield from self._draw(batch, draw, sampling.top_logprobs)
                if batch.texts:
                    self._read(batch)
                else:
                    batch = None
            except torch.OutOfMemoryError as error:
                waiting = list(dict.fromkeys([*(batch.texts if batch else []), *entering]))
                batch, self.head = None, ([], [])
                torch.cuda.empty_cache()
                if len(waiting) == 1:
                    (text,) = waiting
                    first_line = str(error).splitlines()[0]
                    text.error = f"out of memory with {len(text.prompt)} prompt tokens: {first_line}"
                    yield text
                else:
                    slots = max(1, len(waiting) // 2)
                    queue.put_back(waiting)

    def _enter(self, batch: _Batch[T] | None, texts: list[Text[T]]) -> _Batch[T]:
        """Read the prompts of new texts, each once however many answers it gets, and put them into the batch."""
        for text in texts:
            text.begin(text.limit)
        rows: dict[tuple[int, ...], int] = {}
        of_text = [rows.setdefault(tuple(text.prompt), len(rows)) for text in texts]
        shared = texts[0].shared
        prompts = [list(prompt) for prompt in rows]
        cache = self._cache_of_head(prompts[0][:shared], len(prompts))
        width = max(map(len, prompts)) - shared
        gaps = [shared + width - len(prompt) for prompt in prompts]
        heads, tails = [p[:shared] for p in prompts], [p[shared:] for p in prompts]
        ids = self._tensor([[*h, *[p[-1]] * g, *t] for p, h, g, t in zip(prompts, heads, gaps, tails, strict=True)])
        visible = self._tensor([[*[1] * shared, *[0] * gap, *[1] * (width - gap)] for gap in gaps])
        scores = self.model(
            input_ids=ids[:, shared:],
            attention_mask=visible,
            position_ids=(visible.cumsum(1) - 1).clamp(min=0)[:, shared:],
            past_key_values=cache,
            use_cache=True,
            **self.at_last_place,
        ).logits[:, -1]
        new = _Batch(texts, cache, ids, visible, torch.zeros_like(ids, dtype=torch.bool), scores.float())
        if len(texts) > len(prompts):
            new.select(of_text)
        if batch is None:
            return new
        batch.drop_gaps()
        batch.join(new)
        return batch

    def _cache_of_head(self, head: list[int], rows: int) -> DynamicCache:
        """Keys and values of a beginning, for so many prompts; it is read once as long as no other one comes."""
        cache = DynamicCache(config=self.model.config)
        if not head:
            return cache
        if self.head[0] != head:
            self.model(input_ids=self._tensor([head]), past_key_values=cache, use_cache=True, **self.at_last_place)
            self.head = (head, [(layer.keys, layer.values) for layer in _layers(cache)])
            cache = DynamicCache(config=self.model.config)
        for number, (keys, values) in enumerate(self.head[1]):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), number)
        return cache

    def _draw(self, batch: _Batch[T], draw: Draw, record: int) -> Iterator[Text[T]]:
        """Give every text its next token; those that end with it leave the batch."""
        uniforms = torch.tensor([text.uniform for text in batch.texts], dtype=torch.float64, device=self.device)
        tokens = draw(batch.scores, batch.ids, batch.written, uniforms)
        if record:
            for text, top in zip(batch.texts, most_probable(batch.scores, record), strict=True):
                text.tops.append(top)
        batch.take(tokens)
        ended: list[int] = []
        going_on: list[int] = []
        drawn = zip(batch.texts, tokens.tolist(), have_no_numbers(batch.scores), strict=True)
        for row, (text, token, is_odd) in enumerate(drawn):
            text.written.append(token)
            text.error = NO_NUMBERS if is_odd else None
            ends = is_odd or token in self.ends or len(text.written) == text.limit
            (ended if ends else going_on).append(row)
        if ended:
            yield from [batch.texts[row] for row in ended]
            batch.texts = [batch.texts[row] for row in going_on]
            if going_on:
                batch.select(going_on)

    def _read(self, batch: _Batch[T]) -> None:
        """Read the tokens that were drawn last."""
        places = [[len(text.prompt) + len(text.written) - 1] for text in batch.texts]
        batch.scores = (
            self.model(
                input_ids=batch.ids[:, -1:],
                attention_mask=batch.visible,
                position_ids=self._tensor(places),
                past_key_values=batch.cache,
                use_cache=True,
            )
            .logits[:, -1]
            .float()
        )

    def _tensor(self, rows: list[list[int]]) -> torch.Tensor:
        return torch.tensor(rows, device=self.device)


class _Queue(Generic[T]):
    """Texts that wait, of which some may come back."""

    def __init__(self, texts: Iterable[Text[T]]) -> None:
        self.texts = iter(texts)
        self.first: list[Text[T]] = []

    def next_family(self, most: int) -> list[Text[T]]:
        """The next texts, at most so many, as far as they share one beginning."""
        taken: list[Text[T]] = []
        while len(taken) < most and (text := self._next()) is not None:
            if taken and _head(text) != _head(taken[0]):
                self.first.insert(0, text)
                break
            taken.append(text)
        return taken

    def put_back(self, texts: Sequence[Text[T]]) -> None:
        """Let texts wait again, before all others."""
        self.first[:0] = texts

    def _next(self) -> Text[T] | None:
        return self.first.pop(0) if self.first else next(self.texts, None)


def _head(text: Text[T]) -> Sequence[int]:
    return text.prompt[: text.shared]


class _Chosen(LogitsProcessor):
    """Leaves one token possible in each row of `model.generate`: the one that is drawn."""

    def __init__(self, texts: Sequence[Text[Any]], padding: torch.Tensor, draw: Draw, record: int) -> None:
        """`padding` has shape (texts, prompt tokens), true where there is padding."""
        self.texts, self.padding, self.draw, self.record = texts, padding, draw, record
        self.uniforms = torch.from_numpy(np.stack([text.uniforms for text in texts if text.uniforms is not None]))
        self.odd: dict[int, int] = {}  # by row, the place of the first token that could not be drawn

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        length = self.padding.shape[1]
        step = input_ids.shape[1] - length
        prompt = torch.where(self.padding, input_ids[:, length - 1 : length], input_ids[:, :length])
        ids = torch.cat([prompt, input_ids[:, length:]], 1)
        written = torch.zeros_like(ids, dtype=torch.bool)
        written[:, length:] = True
        for row in np.flatnonzero(have_no_numbers(scores)).tolist():
            self.odd.setdefault(row, step)
        if self.record:
            for text, top in zip(self.texts, most_probable(scores, self.record), strict=True):
                text.tops.append(top)
        tokens = self.draw(scores, ids, written, self.uniforms[:, step].to(scores.device))
        return torch.full_like(scores, -torch.inf).scatter(1, tokens[:, None], 0.0)  # type: ignore[return-value]


class WholeBatches:
    """Gives `model.generate` a batch, and waits until its last text has ended."""

    def __init__(self, model: Any, ends: Sequence[int], slots: int, context: int) -> None:
        self.model, self.ends, self.slots, self.context = model, list(ends), slots, context

    def write(self, texts: Iterable[Text[T]], sampling: Sampling) -> Iterator[Text[T]]:
        """Finish every text; see `Writer`. One that does not fit into memory alone gets an `error`."""
        for batch in self._batches(texts):
            yield from self._write(batch, sampling)

    def _batches(self, texts: Iterable[Text[T]]) -> Iterator[list[Text[T]]]:
        """Batches in which each text can get as long as it could alone.

        Near the end of the context that is only so where all prompts are of one length: elsewhere a longer neighbour
        would cut a text short, or the model would be asked for places beyond its context.
        """
        batch: list[Text[T]] = []
        for text in texts:
            alike = not batch or (len(text.prompt), text.limit) == (len(batch[0].prompt), batch[0].limit)
            fits = max(len(t.prompt) for t in (*batch, text)) + max(t.limit for t in (*batch, text)) <= self.context
            if batch and (len(batch) == self.slots or not (fits or alike)):
                yield batch
                batch = []
            batch.append(text)
        if batch:
            yield batch

    def _write(self, texts: list[Text[T]], sampling: Sampling) -> Iterator[Text[T]]:
        try:
            self._generate(texts, sampling)
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            if len(texts) == 1:
                first_line = str(error).splitlines()[0]
                texts[0].error = f"out of memory with {len(texts[0].prompt)} prompt tokens: {first_line}"
                yield texts[0]
                return
            middle = len(texts) // 2
            yield from self._write(texts[:middle], sampling)
            yield from self._write(texts[middle:], sampling)
            return
        yield from texts

    @torch.inference_mode()
    def _generate(self, texts: list[Text[T]], sampling: Sampling) -> None:
        width, longest = max(len(text.prompt) for text in texts), max(text.limit for text in texts)
        for text in texts:
            text.begin(longest)
        rows = [[text.prompt[-1]] * (width - len(text.prompt)) + list(text.prompt) for text in texts]
        padding = [[1] * (width - len(text.prompt)) + [0] * len(text.prompt) for text in texts]
        ids = torch.tensor(rows, device=self.model.device)
        gaps = torch.tensor(padding, dtype=torch.bool, device=self.model.device)
        chosen = _Chosen(texts, gaps, Draw(sampling), sampling.top_logprobs)
        output = self.model.generate(
            input_ids=ids,
            attention_mask=(~gaps).long(),
            generation_config=GenerationConfig(  # type: ignore[no-untyped-call]
                do_sample=False,
                max_new_tokens=longest,
                eos_token_id=self.ends,
                pad_token_id=self.ends[0],
                use_cache=True,
            ),
            logits_processor=LogitsProcessorList([chosen]),
        )
        for row, (text, written) in enumerate(zip(texts, output[:, width:].tolist(), strict=True)):
            text.written = _up_to_end(written, self.ends)[: text.limit]
            text.tops = text.tops[: len(text.written)]
            text.error = NO_NUMBERS if row in chosen.odd and chosen.odd[row] < len(text.written) else None


def _up_to_end(ids: list[int], ends: Sequence[int]) -> list[int]:
    for place, token in enumerate(ids):
        if token in ends:
            return ids[: place + 1]
    return ids


HEAD = 64
"""Tokens that prompts must have in common to be read from a common beginning."""
FAMILY = 4
"""Texts in view that must share it."""


def in_order(texts: Sequence[Text[T]]) -> list[Text[T]]:
    """Texts with a common beginning side by side, and among these those of one length; says what they share."""
    families: dict[tuple[int, ...], list[Text[T]]] = {}
    for text in texts:
        families.setdefault(tuple(islice(text.prompt, HEAD)), []).append(text)
    others: list[Text[T]] = []
    ordered: list[Text[T]] = []
    for head, family in families.items():
        prompts = {tuple(text.prompt) for text in family}
        if len(head) < HEAD or len(family) < FAMILY or len(prompts) == 1:
            others.extend(family)
            continue
        shared = min(_common(prompts), min(map(len, prompts)) - 1)
        for text in family:
            text.shared = shared
        ordered.extend(sorted(family, key=lambda text: len(text.prompt)))
    return sorted(others, key=lambda text: len(text.prompt)) + ordered


def _common(prompts: Iterable[tuple[int, ...]]) -> int:
    """How many tokens all prompts begin with: as many as the first and the last in their order."""
    first, last = min(prompts), max(prompts)
    return next(
        (place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
    )
