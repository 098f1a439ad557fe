"""Replies of servers at the border: every type is looked at, and what is odd is named.

Nothing here raises anything but `NonsenseError` and `ErrorInReplyError`, whatever a server sends.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sinternal.engines import TokenLogprobs
from sinternal.records import Finish
from sinternal.visible import whole_characters

FINISHES: Mapping[str, Finish] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "completed"), Finish.STOP),
    **dict.fromkeys(
        ("length", "max_tokens", "max_length", "model_length", "token_limit", "max_output_tokens", "incomplete"),
        Finish.LENGTH,
    ),
    **dict.fromkeys(
        (
            "content_filter",
            "content_filtered",
            "safety",
            "refusal",
            "recitation",
            "blocklist",
            "prohibited_content",
            "sensitive",
            "spii",
            "guardrail_intervened",
        ),
        Finish.FILTERED,
    ),
}
"""What servers call the ends of a text, in small letters: OpenAI, vLLM, SGLang, llama.cpp (stop, length); TGI
(eos_token, stop_sequence); Mistral (model_length); Anthropic (end_turn, max_tokens, refusal); Gemini (STOP, MAX_TOKENS,
SAFETY, …); Cohere (COMPLETE, MAX_TOKENS). Whatever is not here, `tool_calls` and null too, is no known end."""
FILTERS = re.compile(
    r"content[ _-]?(management[ _-])?(filter|polic|moderation|safety)|data[ _]?inspection|inappropriate content"
    r"|responsible ?ai|safety (system|filter)|prohibited[ _]content|prompt[ _]blocked|flagged|moderation",
    re.IGNORECASE,
)
"""How servers say that a filter withholds a reply: Azure, OpenAI, OpenRouter, DashScope, Gemini."""
FILTER_STATUSES = (400, 403, 422, 451)
MOST_TOKENS = 10_000_000
"""No context of today's models holds more: a server that claims to have read or written more is not believed."""
DEPTH = 4
"""Lists of parts inside parts."""
MOST_ERRORS = 20
"""Errors of a list that are read."""
SHOWN = 300
"""Characters of a server's words that a message quotes."""
_MARKUP = re.compile(r"<(style|script)\b.*?</\1>|<[^<>]{0,500}>", re.DOTALL | re.IGNORECASE)


class NonsenseError(Exception):
    """The reply is not a completion; the same call may yet bring one."""


class RefusedError(Exception):
    """The server does not do what it was asked for."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.words)
        self.refusal = refusal


class ErrorInReplyError(RefusedError):
    """An error came where a completion was due."""


class Usage(NamedTuple):
    """Tokens as a server counts them; None for counts that are missing or not credible."""

    read: int | None
    """Of the prompt."""
    written: int | None
    """Of the completion, its thinking included."""
    thought: int
    """Of the thinking, where the server reports them."""


@dataclass(frozen=True)
class Reply:
    """One completion."""

    content: str
    """The text."""
    thinking: str
    """What the server's reasoning parser has split off; empty for none."""
    finish: str | None
    """Why it ended, in the server's word."""
    usage: Usage
    """What it took."""
    logprobs: tuple[TokenLogprobs, ...] | None
    """The tokens, if the server reports them."""


@dataclass(frozen=True)
class Refusal:
    """A server's refusal of a call."""

    status: int
    """The status of HTTP; 200 for an error that came in place of a completion."""
    words: str
    """Its words, on one line."""
    params: tuple[str, ...] = ()
    """Fields that it names as such."""
    code: str = ""
    """Its codes for what went wrong."""

    @property
    def filtered(self) -> bool:
        """Whether a content filter is the reason."""
        fits = self.status in (*FILTER_STATUSES, 200)
        return fits and FILTERS.search(f"{self.code} {self.words}") is not None

    def names(self, names_sent: Mapping[str, str]) -> list[str]:
        """The fields, of those that were said (by the server's names), that the refusal is about."""
        if named := [ours for theirs, ours in names_sent.items() if theirs in self.params]:
            return named
        quoted = set(re.findall(r"[`'\"]([a-z_]+)[`'\"]", self.words))
        if named := [ours for theirs, ours in names_sent.items() if theirs in quoted]:
            return named
        return [
            ours for theirs, ours in names_sent.items() if re.search(rf"(?<!\w){re.escape(theirs)}(?!\w)", self.words)
        ]


def read_reply(body: bytes, *, chat: bool) -> Reply:
    """Read a completion, whole or in pieces.

    Raises:
        NonsenseError: it is none.
        ErrorInReplyError: it holds an error in place of a text.
    """
    content = _parse(body)
    if not isinstance(content, Mapping):
        raise NonsenseError(f"{line(str(content), 80)!r}")
    choices = content.get("choices")
    if not isinstance(choices, list) or not choices:
        if content.get("error"):
            raise ErrorInReplyError(read_refusal(200, body))
        raise NonsenseError("no choices")
    choice = choices[0]
    if not isinstance(choice, Mapping):
        raise NonsenseError(f"a choice that is {_type(choice)}")
    if choice.get("error"):
        raise ErrorInReplyError(read_refusal(200, json.dumps({"error": choice["error"]}).encode()))
    text, thinking = _message(choice) if chat else (_text(choice.get("text"), "the text")[0], "")
    finish = choice.get("finish_reason")
    return Reply(
        text,
        thinking,
        finish if finish is None or isinstance(finish, str) else str(finish),
        read_usage(body, content),
        _logprobs(choice.get("logprobs")),
    )


def read_usage(body: bytes, content: Mapping[str, Any] | None = None) -> Usage:
    """The tokens that a reply cost, even one that makes no sense otherwise."""
    if content is None:
        try:
            parsed = _parse(body)
        except NonsenseError:
            return Usage(None, None, 0)
        content = parsed if isinstance(parsed, Mapping) else {}
    usage = content.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    details = usage.get("completion_tokens_details")
    details = details if isinstance(details, Mapping) else {}
    thought = _tokens(details.get("reasoning_tokens")) or 0
    return Usage(_tokens(usage.get("prompt_tokens")), _tokens(usage.get("completion_tokens")), thought)


def read_refusal(status: int, body: bytes) -> Refusal:
    """What a server says in refusing, whatever it sends: OpenAI's errors, FastAPI's details, plain text or a page."""
    try:
        content: Any = json.loads(body)
    except (ValueError, RecursionError):
        text = _MARKUP.sub(" ", body[:100_000].decode("utf-8", "replace"))
        return Refusal(status, line(text) or "no reason given")
    try:
        texts = list(_error_texts(content, 0))
    except RecursionError:  # deeper than any error needs to be
        texts = []
    words = "; ".join(dict.fromkeys(text for kind, text in texts if kind == "words"))
    params = tuple(text for kind, text in texts if kind == "param")
    codes = " ".join(text for kind, text in texts if kind == "code")
    return Refusal(status, line(words) or line(str(content)[:2000]) or "no reason given", params, codes)


def line(text: str, most: int = SHOWN) -> str:
    """A server's words on one line, without what could steer a terminal."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())[:most]


def _parse(body: bytes) -> Any:
    try:
        if body.lstrip()[:1] in (b"{", b"["):
            return json.loads(body)
        if pieces := list(_pieces(body)):
            return _join(pieces)
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NonsenseError(
            f"no JSON ({line(str(error), 80)}): {line(body[:80].decode('utf-8', 'replace'))!r}"
        ) from None


def _pieces(body: bytes) -> Iterator[Any]:
    """The data of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    text = body.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    for event in text.split("\n\n"):
        data = [row[5:].removeprefix(" ") for row in event.split("\n") if row.startswith("data:")]
        if data and data != ["[DONE]"]:
            yield json.loads("\n".join(data))


def _join(pieces: Sequence[Any]) -> dict[str, Any]:
    """Pieces of a reply as the whole one that the server would have sent."""
    whole: dict[str, Any] = {"usage": None}
    choice: dict[str, Any] = {"finish_reason": None, "message": {}, "text": "", "logprobs": None}
    message: dict[str, Any] = choice["message"]
    tokens: list[Any] = []
    for piece in pieces:
        if not isinstance(piece, Mapping):
            raise NonsenseError(f"a piece that is {_type(piece)}")
        if piece.get("error") and not piece.get("choices"):
            return {"error": piece["error"]}
        whole["usage"] = piece.get("usage") or whole["usage"]
        choices = piece.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(first, Mapping):
            continue
        whole["choices"] = [choice]
        choice["finish_reason"] = first.get("finish_reason") or choice["finish_reason"]
        choice["text"] += first["text"] if isinstance(first.get("text"), str) else ""
        delta = first.get("delta")
        for name, value in (delta if isinstance(delta, Mapping) else {}).items():
            message[name] = _add(message.get(name), value)
        logprobs = first.get("logprobs")
        content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
        tokens += content if isinstance(content, list) else []
    if "choices" in whole and choice["finish_reason"] is None:
        raise NonsenseError("the pieces end before the text does")
    choice["logprobs"] = {"content": tokens} if tokens else None
    return whole


def _add(before: Any, piece: Any) -> Any:
    if before is None or piece is None:
        return piece if before is None else before
    if isinstance(before, str) and isinstance(piece, str):
        return before + piece
    return [*_as_list(before), *_as_list(piece)]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _message(choice: Mapping[str, Any]) -> tuple[str, str]:
    """Text and thinking of a chat reply."""
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise NonsenseError("a choice without a message")
    text, thinking = _text(message.get("content"), "the content")
    if not text:
        text = _text(message.get("refusal"), "the refusal")[0]
    for name in ("reasoning_content", "reasoning"):
        if apart := message.get(name):
            return text, "".join(_text(apart, name))
    return text, thinking


def _text(value: Any, what: str, depth: int = 0) -> tuple[str, str]:
    """Text and thinking of content: text, nothing, or a list of parts, as Mistral and others send it."""
    if value is None:
        return "", ""
    if isinstance(value, str):
        return whole_characters(value), ""
    if depth > DEPTH:
        raise NonsenseError(f"{what} is parts in parts in parts")
    if isinstance(value, list):
        parts = [_text(part, what, depth + 1) for part in value]
        return "".join(text for text, _ in parts), "".join(thinking for _, thinking in parts)
    if isinstance(value, Mapping):
        kind = value.get("type", "text" if "text" in value else "nothing known")
        if kind in ("thinking", "reasoning", "reasoning_content"):
            inside = next((value[name] for name in ("thinking", "reasoning", "text", "content") if name in value), None)
            return "", "".join(_text(inside, what, depth + 1))
        if kind in ("text", "output_text", "refusal"):
            inside = next((value[name] for name in ("text", "value", "refusal", "content") if name in value), None)
            return _text(inside, what, depth + 1)
        raise NonsenseError(f"{what} has a part of type {line(str(kind), 40)!r}, which is not text")
    raise NonsenseError(f"{what} is {_type(value)}, not text")


def _logprobs(value: Any) -> tuple[TokenLogprobs, ...] | None:
    """The tokens of a reply, if the server reports them in the known form. Some servers count the end of turn."""
    content = value.get("content") if isinstance(value, Mapping) else None
    if not isinstance(content, list) or not content:
        return None
    tokens = []
    for token in content:
        if not isinstance(token, Mapping) or not isinstance(token.get("token"), str):
            return None
        others = token.get("top_logprobs")
        top = [_alternative(other) for other in (others if isinstance(others, list) else [])]
        tokens.append(TokenLogprobs(whole_characters(token["token"]), tuple(other for other in top if other)))
    return tuple(tokens)


def _alternative(value: Any) -> tuple[str, float] | None:
    if not isinstance(value, Mapping) or not isinstance(value.get("token"), str):
        return None
    logprob = value.get("logprob")
    if isinstance(logprob, bool) or not isinstance(logprob, int | float) or math.isnan(logprob):
        return None
    return whole_characters(value["token"]), float(logprob) if abs(logprob) < MOST_TOKENS else -math.inf


def _tokens(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value <= MOST_TOKENS else None


def _error_texts(content: Any, depth: int) -> Iterator[tuple[str, str]]:
    """(`words`, `param` or `code`; text) of an error, wherever servers put them; never what they echo of the call."""
    if isinstance(content, str):
        yield "words", content
    elif isinstance(content, list):
        yield from (pair for entry in content[:MOST_ERRORS] for pair in _error_texts(entry, depth + 1))
    elif isinstance(content, Mapping) and depth <= DEPTH:
        location = content.get("loc")
        if isinstance(location, list) and location:
            yield "param", str(location[-1])
            yield "words", f"{location[-1]}: {content.get('msg', '')}"
            return
        for kind, names in (("param", ("param",)), ("code", ("code", "type", "reason"))):
            yield from ((kind, str(content[name])) for name in names if isinstance(content.get(name), str | int))
        for name in ("error", "message", "msg", "detail", "errors", "error_message", "description"):
            yield from _error_texts(content.get(name), depth + 1)
        for name in ("innererror", "inner_error", "metadata"):
            yield from (entry for entry in _error_texts(content.get(name), depth + 1) if entry[0] == "code")


def _type(value: Any) -> str:
    names = {type(None): "null", bool: "a truth value", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object" if isinstance(value, Mapping) else type(value).__name__)
