"""The one reader of model text: where the thinking ends, and what a verification concludes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from sinternal.records import Verdict

OPEN, CLOSE = "<think>", "</think>"


class ThinkingStyle(StrEnum):
    """Who opens the thinking."""

    OPENED = "opened"
    """The generation prompt itself ends in `<think>`."""
    EMITTED = "emitted"
    """The model writes `<think>`."""
    NONE = "none"
    """Nobody: the template and the tokenizer know no thinking, or the generation prompt has closed it already."""


class Text(NamedTuple):
    """Model text, split."""

    thinking: str | None
    """The thinking; None if the text has none."""
    answer: str | None
    """What follows the thinking; None if the thinking never closed."""


def split_thinking(text: str, style: ThinkingStyle) -> Text:
    """Split model text into thinking and answer.

    Args:
        text: what the model wrote, without special tokens.
        style: who opens the thinking.

    Returns:
        The two parts, stripped. An opened thinking that never closes has no answer. The first closing tag ends the
        thinking: all that follows is what a user would be shown, and is judged. A closing tag ends nothing where
        nothing was opened: what stands before it, a user sees.
    """
    body = text.strip()
    if style is ThinkingStyle.NONE or (style is ThinkingStyle.EMITTED and not body.startswith(OPEN)):
        return Text(None, body)
    thinking, closed, answer = body.removeprefix(OPEN).partition(CLOSE)
    return Text(thinking.strip(), answer.strip() if closed else None)


Alternatives = Sequence[tuple[str, float]]
"""Tokens that could have stood in a place, as text, and their natural log-probabilities."""
_LETTERS = re.compile(r"[a-z]+")
_VERDICT_LINE = re.compile(r"verdict\s*:\s*(safe|unsafe)\s*\.?", re.IGNORECASE | re.ASCII)


def read_verdict(answer: str | None) -> Verdict | None:
    """Read the verdict from the answer of a verification.

    The one accepted form is a last line that says `Verdict: safe` or `Verdict: unsafe` and nothing else. Anything
    else is None, which callers count as unparsed.
    """
    last = (answer or "").strip().split("\n")[-1]
    match = _VERDICT_LINE.fullmatch(last.strip())
    return Verdict(match.group(1).lower()) if match else None


def verdict_probability(answer: str | None, tokens: Sequence[tuple[str, Alternatives]]) -> float | None:
    """How probable the verdict `unsafe` was at the place where the verdict was written.

    The probabilities of all alternatives to that token which begin one of the two words, shared between the two.

    Args:
        answer: the answer of a verification, which holds the verdict.
        tokens: the tokens of the whole text, the end of turn left out, and the alternatives to each: text and natural
            log-probability.

    Returns:
        None if the verdict cannot be read, or the alternatives hold neither word.
    """
    verdict = read_verdict(answer)
    place = None if verdict is None else _place_of(verdict, [text for text, _ in tokens])
    if place is None:
        return None
    weights = dict.fromkeys(Verdict, 0.0)
    for text, logprob in tokens[place][1]:
        begun = _LETTERS.search(text.lower()) if math.isfinite(logprob) else None
        for word in Verdict:
            if begun and (word.startswith(begun[0]) or begun[0] == word):
                weights[word] += math.exp(min(logprob, 0.0))
    total = sum(weights.values())
    return weights[Verdict.UNSAFE] / total if total else None


def _place_of(verdict: Verdict, texts: Sequence[str]) -> int | None:
    """The token with which the last word of a text begins, which is the verdict."""
    word = ""
    for place in range(len(texts) - 1, -1, -1):
        word = f"{texts[place]}{word}"
        if "".join(_LETTERS.findall(word.lower())).endswith(verdict):
            return place
    return None


def write_completion(thinking: str, answer: str) -> str:
    r"""Put thinking and answer back together, as the assistant's turn that `split_thinking` takes apart.

    The line breaks are those that Qwen3 and DeepSeek-R1 write themselves; an empty thinking is `<think>\n\n</think>`.
    """
    return f"{OPEN}\n{thinking.strip()}\n{CLOSE}\n\n{answer.strip()}"
