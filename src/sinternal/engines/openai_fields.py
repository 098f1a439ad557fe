"""What a call says, in the words that a server takes: fields renamed, left out by the user, or refused by the server.

Servers take what a call leaves out from the model's `generation_config.json` or from defaults of their own. So every
setting of the sampling is sent, the neutral ones too. A server that refuses a field is asked again without it; if that
succeeds, all later calls leave it out, and each text says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sinternal.engines import Request
from sinternal.engines.openai_replies import Refusal
from sinternal.prompting.fence import FRAME, break_up
from sinternal.settings.sampling import Sampling

TOLD = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "seed",
    "max_tokens",
    "logprobs",
)
"""Fields that are reported if a server does not take them, in this order."""
SILENT = ("stream_options",)
"""Fields that change no text, and can be left out silently."""
NAMES = (*TOLD, "top_logprobs", *SILENT)
"""All that a call may say beside the model and the messages."""
NOT_AT_OPENAI = ("top_k", "min_p", "repetition_penalty")
"""Settings that the hosted API does not have (platform.openai.com, API reference of chat completions, 2026)."""
LIMIT_ELSEWHERE = "max_completion_tokens"
"""What reasoning models behind hosted APIs call the limit on tokens."""
ALL_TOKENS = (-1, 0)
"""What servers call drawing from all tokens: vLLM, SGLang and llama.cpp take -1, some gateways only 0."""
_OUT_OF_RANGE = re.compile(
    r"at most|at least|less than|greater than|no more than|between|range|maximum|minimum|exceed"
    r"|too (large|high|small|low)|[<>≤≥]=?\s*-?\d|positive",
    re.IGNORECASE,
)
_NEVER = re.compile(
    r"unsupported|not support|n't support|only (the )?default|deprecated|not permitted|unknown|unrecogni[sz]ed"
    r"|unexpected",
    re.IGNORECASE,
)
_STREAM = re.compile(r"\bnon[- ]?stream|\bstream(ing)?\b", re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """The fields that one server understands."""

    names: Mapping[str, str | None] = field(default_factory=dict)
    """The server's own names; None for what it does not take."""
    all_tokens: int = ALL_TOKENS[0]
    """Its word for top_k that keeps all."""
    most_logprobs: int | None = None
    """The most alternatives that it reports; None if unknown."""
    stream: bool = False
    """Whether it replies in pieces."""

    def write(self, sampling: Sampling, seed: int, *, chat: bool) -> dict[str, Any]:
        """The fields of one call, under our names."""
        fields: dict[str, Any] = sampling.model_dump(
            include={"temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "max_tokens"}
        )
        fields |= {"top_k": sampling.top_k or self.all_tokens, "seed": seed}
        if sampling.top_logprobs and chat:
            fields |= {"logprobs": True, "top_logprobs": min(sampling.top_logprobs, self.most_logprobs or 20)}
        if self.stream:
            fields["stream_options"] = {"include_usage": True}
        return {name: value for name, value in fields.items() if self.names.get(name, name) is not None}

    def rename(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The same under the server's names."""
        renamed = {str(self.names.get(name, name)): value for name, value in fields.items()}
        return renamed | ({"stream": True} if self.stream else {})

    def left_out(self, sampling: Sampling) -> str:
        """Settings that the server has its own way with, in words: `top_k, min_p`; empty for none."""
        missing = [name for name in TOLD if self.names.get(name, name) is None]
        if not sampling.top_logprobs and "logprobs" in missing:
            missing.remove("logprobs")
        return ", ".join(missing)

    def after(self, refusal: Refusal, fields: Mapping[str, Any]) -> Dialect | None:
        """How to ask again what was refused; None if no field is to blame."""
        named = refusal.names({str(self.names.get(name, name)): name for name in fields})
        dialect = self
        for name in named:
            dialect = dialect._without(name, refusal.words, fields)
        if not named and not self.stream and _STREAM.search(refusal.words):
            dialect = replace(self, stream=True)
        return None if dialect == self else dialect

    def merge(self, other: Dialect) -> Dialect:
        """What this and another call have learnt of the same server."""
        both = {name: other.names.get(name, name) for name in other.names} | {
            name: known for name, known in self.names.items() if other.names.get(name, name) is not None
        }
        most = [dialect.most_logprobs for dialect in (self, other) if dialect.most_logprobs is not None]
        return Dialect(
            both, min(self.all_tokens, other.all_tokens, key=abs), min(most, default=None), self.stream or other.stream
        )

    def _without(self, name: str, words: str, fields: Mapping[str, Any]) -> Dialect:
        unknown = _NEVER.search(words) is not None
        limited = _OUT_OF_RANGE.search(words) is not None and not unknown
        if name == "max_tokens":
            # Without a limit a model may write for ever: it is only ever called by another name.
            return self._with_name(name, LIMIT_ELSEWHERE) if self.names.get(name, name) == "max_tokens" else self
        if name in ("logprobs", "top_logprobs"):
            most = _most(words, int(fields.get("top_logprobs", 0))) if limited else None
            if most is not None:
                return replace(self, most_logprobs=most)
            return self._with_name("logprobs", None)._with_name("top_logprobs", None)
        if name == "top_k" and fields.get(name) == self.all_tokens != ALL_TOKENS[-1]:
            return self._with_name(name, None) if unknown else replace(self, all_tokens=ALL_TOKENS[-1])
        neutral = (name, fields.get(name)) in (("temperature", 0), ("top_k", self.all_tokens))
        if limited and not neutral and name not in SILENT:
            return self  # the server has the setting, and not this value: that is the recipe's mistake
        return self._with_name(name, None)

    def _with_name(self, name: str, other: str | None) -> Dialect:
        return replace(self, names={**self.names, name: other})


def first_dialect(fields: Mapping[str, str | None], *, stream: bool, hosted_by_openai: bool) -> Dialect:
    """What is known of a server before it was asked."""
    known: dict[str, str | None] = {}
    if hosted_by_openai:
        known = {**dict.fromkeys(NOT_AT_OPENAI), "max_tokens": LIMIT_ELSEWHERE}
    names = {**known, **fields}
    if names.get("logprobs", "logprobs") is None:
        names["top_logprobs"] = None
    return Dialect(names, stream=stream)


def _most(words: str, asked: int) -> int | None:
    """The largest number below what was asked for."""
    numbers = (int(number) for number in re.findall(r"(?<![\w.-])\d{1,3}(?![\w.]\d)", words))
    return max((number for number in numbers if 0 < number < asked), default=None)


def unknown_fields(names: Iterable[str]) -> list[str]:
    """Those that no call says."""
    return [name for name in names if name not in NAMES]


def as_text(request: Request) -> tuple[list[tuple[str, str]], int]:
    """The messages, and how many control tokens quoted ones spelled: broken up, for a server would read them."""
    if not request.quotes:
        return list(request.messages), 0
    ours = FRAME if request.raw else None
    messages = [(role, (content, 0) if role == ours else break_up(content)) for role, content in request.messages]
    return [(role, text) for role, (text, _) in messages], sum(spelled for _, (_, spelled) in messages)
