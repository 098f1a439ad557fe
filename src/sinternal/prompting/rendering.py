"""Conversations as text, by a chat template: as they are, or so that no message can change what the template writes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from sinternal.errors import DataError, ModelError
from sinternal.prompting import template_process
from sinternal.prompting.encoding import Span
from sinternal.prompting.fence import FRAME
from sinternal.prompting.template_process import RefusedError, TooMuchError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LONGEST = 1_000_000
"""Characters of a template; published ones have up to 50,000."""
_endless: set[str] = set()
"""Templates that have taken too much: they are not tried for every request."""
Messages = Iterable[tuple[str, str]]
"""A conversation: (role, content) pairs."""


class Rendered(NamedTuple):
    """What a template makes of a conversation."""

    text: str
    """The whole text, special tokens spelled out."""
    quoted: tuple[Span, ...] = ()
    """The parts of it that are others' words, in which nothing is a control token."""


def set_template_arguments(tokenizer: PreTrainedTokenizerBase, values: Mapping[str, Any]) -> None:
    """Make a tokenizer's chat template see these values wherever it is rendered, from now on.

    Args:
        tokenizer: with a chat template, which is changed in place.
        values: by name; anything that JSON can say.

    Raises:
        ModelError: a template cannot ask for one of the names.
    """
    for name in values:
        if not name.isidentifier():
            raise ModelError(f"chat_template_kwargs: {name!r} is not a name that a chat template can ask for")
    if values:
        set_all = "".join(f"{{%- set {name} = {_literal(value)} -%}}" for name, value in values.items())
        tokenizer.chat_template = set_all + str(tokenizer.get_chat_template())


def _literal(value: Any) -> str:
    """A value as a Jinja literal: as in JSON, except for None."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(name))}: {_literal(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return "none" if value is None else json.dumps(value)


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Messages, *, generate: bool = False, template: str | None = None
) -> str:
    """Render a conversation as text, special tokens spelled out.

    Args:
        tokenizer: with a chat template.
        messages: the conversation.
        generate: whether the assistant's turn is begun after it.
        template: another template to use in place of the tokenizer's own.

    Raises:
        DataError: the template refuses these messages, or drops what the user says.
    """
    messages = list(messages)
    user_texts = [content.strip() for role, content in messages if role == "user"]
    text = apply_template(tokenizer, [{"role": r, "content": c} for r, c in messages], generate, template)
    if not all(content in text for content in user_texts):
        # Some templates (Llama Guard 3 1B and 4) take content only as a list of parts, and drop plain text.
        parts = [{"role": r, "content": [{"type": "text", "text": c}]} for r, c in messages]
        text = apply_template(tokenizer, parts, generate, template)
    if dropped := next((content for content in user_texts if content not in text), None):
        raise DataError(f"the chat template drops what the user says ({dropped[:60]!r}); fix the template")
    return text


def apply_template(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Mapping[str, Any]], generate: bool, template: str | None = None
) -> str:
    """What transformers' `apply_chat_template` makes of a conversation, in bounded time and memory.

    Args:
        tokenizer: with a chat template.
        turns: as transformers takes them.
        generate: whether the assistant's turn is begun after them.
        template: another template to use in place of the tokenizer's own.

    Raises:
        DataError: the template refuses the conversation, or takes too much.
        ModelError: no process can be started to render it.
    """
    source = str(tokenizer.get_chat_template(template))
    try:
        if source in _endless or len(source) > LONGEST:
            raise TooMuchError
        return template_process.render(source, turns, generate=generate, values=tokenizer.special_tokens_map)
    except TooMuchError as error:
        _endless.add(source)
        raise DataError(
            f"the chat template takes more than {template_process.SECONDS:g} s or {template_process.MEMORY >> 30} GiB, "
            f"or has more than {LONGEST:,} characters: fix it, or take another model"
        ) from error
    except OSError as error:
        raise ModelError(f"the chat template cannot be rendered: {error}") from error
    except RefusedError as error:
        raise DataError(f"the chat template refuses these messages: {' '.join(str(error).split())}") from error


def render_quoting(
    tokenizer: PreTrainedTokenizerBase, messages: Messages, *, generate: bool = False, template: str | None = None
) -> Rendered:
    """Render a conversation whose messages are others' words: as `render`, and where they stand in the text.

    The template is shown a mark in the place of every message, so that no message can change what it writes.

    Raises:
        DataError: the template refuses these messages, or drops one of them.
    """
    messages = list(messages)
    marks = Marks([content for _, content in messages])
    marked = [(role, marks.of(number)) for number, (role, _) in enumerate(messages)]
    return marks.restore(render(tokenizer, marked, generate=generate, template=template))


class Marks:
    """Placeholders for texts while a template is rendered, so that no text can change what the template writes."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Take the texts. A mark is made of characters that Unicode keeps out of them, and of a free number."""
        self.texts = texts
        free = next(number for number in count() if not any(f"\ufdd0{number}:" in text for text in texts))
        self.begin, self.used = f"\ufdd0{free}:", set[int]()

    def of(self, number: int) -> str:
        """The mark of a text, with the white space around it, which templates may take away; an empty text has none."""
        text = self.texts[number]
        core = text.strip()
        if not core:
            return text
        self.used.add(number)
        return text.replace(core, f"{self.begin}{number}\ufdd1")

    def restore(self, rendered: str) -> Rendered:
        """The texts in the places of their marks. Raises DataError if the template has dropped one."""
        pieces: list[str] = []
        quoted: list[Span] = []
        at = length = 0
        for match in re.finditer(f"{self.begin}([0-9]+)\ufdd1", rendered):
            core = self.texts[int(match[1])].strip()
            self.used.discard(int(match[1]))
            length += match.start() - at
            quoted.append((length, length + len(core)))
            pieces += [rendered[at : match.start()], core]
            at, length = match.end(), length + len(core)
        if self.used:
            lost = self.texts[min(self.used)].strip()
            raise DataError(f"the chat template drops a part of the conversation ({lost[:60]!r}); fix the template")
        return Rendered("".join([*pieces, rendered[at:]]), tuple(quoted))


def join_contents(messages: Messages, quotes: bool) -> Rendered:
    """The contents of a raw request, one after the other."""
    text, quoted = "", []
    for role, content in messages:
        if quotes and role != FRAME:
            quoted.append((len(text), len(text) + len(content)))
        text += content
    return Rendered(text, tuple(quoted))
