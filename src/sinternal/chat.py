"""What a model's chat template does to a conversation, and to thinking: found out here once, by rendering it.

Templates differ in who writes `<think>`: some end the generation prompt with it, some leave it to the model, some know
no thinking at all, and some open and close it at once. They also differ in what they do to a finished turn: the stock
template of DeepSeek-R1-Distill deletes the thinking. No engine and no trainer works this out again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any, NamedTuple

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from sinternal.encoding import Encoded, Span, encode
from sinternal.errors import DataError
from sinternal.fence import FRAME
from sinternal.think import CLOSE, OPEN, ThinkingStyle, write_completion

Messages = Iterable[tuple[str, str]]
"""A conversation: (role, content) pairs."""

_AT_THE_END = re.compile(rf"{OPEN}\s*(?P<closed>{CLOSE}\s*)?\Z")
_MARK = "a thought that is looked for"


class Rendered(NamedTuple):
    """What a template makes of a conversation."""

    text: str
    """The whole text, special tokens spelled out."""
    quoted: tuple[Span, ...] = ()
    """The parts of it that are others' words, in which nothing is a control token."""


class GenerationPrompt(NamedTuple):
    """What a model is given to continue."""

    text: str
    """The whole text, special tokens spelled out, the prefill included."""
    style: ThinkingStyle
    """Who opens the thinking of the turn that follows: `split_thinking` has to know."""
    prefill: str = ""
    """The end of `text` that already belongs to the assistant's turn."""
    quoted: tuple[Span, ...] = ()
    """The parts of `text` that are others' words, in which nothing is a control token."""

    @property
    def opened(self) -> bool:
        """Whether the template has opened the thinking."""
        return self.style is ThinkingStyle.OPENED

    def encode(self, tokenizer: PreTrainedTokenizerBase) -> Encoded:
        """The prompt as tokens: the same ones for every engine and trainer. Raises DataError; see `encode`."""
        return encode(tokenizer, self.text, self.quoted)


def generation_prompt(
    tokenizer: PreTrainedTokenizerBase, messages: Messages, *, raw: bool = False, quotes: bool = False
) -> GenerationPrompt:
    """Render a conversation up to where the assistant's turn begins.

    Args:
        tokenizer: with a chat template, unless `raw`.
        messages: the conversation.
        raw: take the contents of the messages as they are, one after the other, without any template; only a token that
            the tokenizer itself begins every text with is put before them.
        quotes: the messages show text by others: nothing in them is a control token, but what has the role `FRAME`.

    Raises:
        DataError: the template refuses these messages, for example a system message, or drops one of them.
    """
    if raw:
        style = ThinkingStyle.EMITTED if _knows_thinking(tokenizer) else ThinkingStyle.NONE
        text, quoted = _joined(messages, quotes)
        begun = _with_bos(tokenizer, text)
        more = len(begun) - len(text)
        return GenerationPrompt(begun, style, quoted=tuple((start + more, end + more) for start, end in quoted))
    if quotes:
        text, quoted = render_quoting(tokenizer, messages, generate=True)
    else:
        text, quoted = render(tokenizer, messages, generate=True), ()
    at_the_end = _AT_THE_END.search(text)
    if at_the_end is None:
        style = ThinkingStyle.EMITTED if _knows_thinking(tokenizer) else ThinkingStyle.NONE
    else:
        style = ThinkingStyle.NONE if at_the_end["closed"] else ThinkingStyle.OPENED
    return GenerationPrompt(text, style, quoted=quoted)


def with_prefill(prompt: GenerationPrompt, prefill: str) -> GenerationPrompt:
    r"""Make the assistant's turn begin with a text.

    Args:
        prompt: without a prefill yet.
        prefill: with its thinking tags spelled out: `<think>\n…` to begin the thinking, `<think>\n\n</think>\n\n` to
            skip it. Its own `<think>` takes the place of one that the template has written. A model that knows no
            thinking gets the prefill without the tags, which would be noise to it.

    Returns:
        The longer prompt. What the model writes is to be read after its `prefill`, not after the one given here.
    """
    written = _AT_THE_END.search(prompt.text)
    if written and prefill.startswith(OPEN):
        return prompt._replace(
            text=prompt.text[: written.start()] + prefill, prefill=prefill, style=ThinkingStyle.EMITTED
        )
    if prompt.style is ThinkingStyle.NONE:
        prefill = _without_tags(prefill)
    return prompt._replace(text=prompt.text + prefill, prefill=prefill)


def written_after(tokenizer: PreTrainedTokenizerBase, prefill: str, last: int, ids: Sequence[int]) -> str:
    """An assistant's turn, prefill included, ready to be split into thinking and answer.

    Args:
        tokenizer: to decode with.
        prefill: what the turn was made to begin with.
        last: the last token of the prompt.
        ids: the new tokens, without the end of turn.
    """
    if not prefill:
        return visible_text(tokenizer, ids)
    # Alone, some tokenizers decode the first token without the space that joins it to what stands before.
    return prefill + visible_text(tokenizer, [last, *ids]).removeprefix(visible_text(tokenizer, [last]))


def thinking_style(tokenizer: PreTrainedTokenizerBase) -> ThinkingStyle:
    """Who opens the thinking after an ordinary message of the user."""
    return generation_prompt(tokenizer, [("user", "hello")]).style


def assistant_turn(prompt: GenerationPrompt, thinking: str, answer: str) -> str:
    r"""Write thinking and answer as the content of an assistant message, in the form of the model's own turns.

    Args:
        prompt: that the turn answers, without a prefill.
        thinking: may be empty.
        answer: may be empty.

    Returns:
        Text that begins exactly as the template opens the thinking, if it does; for a model without thinking, both
        parts with a blank line between them and no tags.
    """
    if prompt.style is ThinkingStyle.NONE:
        return "\n\n".join(part for part in (thinking.strip(), answer.strip()) if part)
    turn = write_completion(thinking, answer)
    opening = prompt.text[prompt.text.rindex(OPEN) :] if prompt.opened else OPEN
    # Where the template goes on after the tag, the turn goes on after that; else it makes its own line break.
    return turn if opening == OPEN else opening + turn.removeprefix(OPEN).lstrip()


def training_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """TRL's training variant of this tokenizer's chat template; None if TRL ships none, or none is needed.

    TRL recognises a template by its exact text. Its variants render the same prompts; most also keep the thinking.
    """
    from trl.chat_template_utils import get_training_chat_template

    try:
        return get_training_chat_template(tokenizer)  # type: ignore[no-any-return]
    except (ValueError, TypeError, TemplateError):  # TRL tries tool calls on the template, which not every one takes
        return None


def keeps_thinking(tokenizer: PreTrainedTokenizerBase, template: str | None = None) -> bool:
    """Whether an assistant turn still holds its thinking when it is rendered.

    Args:
        tokenizer: with a chat template.
        template: another template to use in its place.
    """
    turn = write_completion(_MARK, "answer")
    return _MARK in render(tokenizer, [("user", "hello"), ("assistant", turn)], template=template)


def template_to_train_with(tokenizer: PreTrainedTokenizerBase) -> str:
    """The template that renders training rows: TRL's variant if there is one, else the tokenizer's own.

    Raises:
        DataError: it deletes the thinking, so that training would go on without its target.
    """
    template = training_template(tokenizer) or str(tokenizer.get_chat_template())
    if not keeps_thinking(tokenizer, template):
        raise DataError(
            "the chat template deletes the thinking of assistant turns, and TRL ships no variant of it that does not; "
            "give the tokenizer a chat template that keeps the thinking"
        )
    return template


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

    def rendered(turns: list[dict[str, Any]]) -> str:
        return str(
            tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False, add_generation_prompt=generate)
        )

    said = [content.strip() for role, content in messages if role == "user"]
    try:
        text = rendered([{"role": role, "content": content} for role, content in messages])
        if not all(content in text for content in said):
            # Some templates (Llama Guard 3 1B and 4) take content only as a list of parts, and drop plain text.
            text = rendered([{"role": r, "content": [{"type": "text", "text": c}]} for r, c in messages])
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise DataError(f"the chat template refuses these messages: {error}") from error
    if dropped := next((content for content in said if content not in text), None):
        raise DataError(f"the chat template drops what the user says ({dropped[:60]!r}); mend the template")
    return text


def render_quoting(
    tokenizer: PreTrainedTokenizerBase, messages: Messages, *, generate: bool = False, template: str | None = None
) -> Rendered:
    """Render a conversation whose messages are others' words: as `render`, and where they stand in the text.

    The template is shown a mark in the place of every message, so that no message can change what it writes.

    Raises:
        DataError: the template refuses these messages, or drops one of them.
    """
    messages = list(messages)
    marks = _Marks([content for _, content in messages])
    said = [(role, marks.of(number)) for number, (role, _) in enumerate(messages)]
    return marks.undone(render(tokenizer, said, generate=generate, template=template))


def finished_turn(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[tuple[str, str]],
    thinking: str,
    answer: str,
    *,
    quotes: bool = False,
    template: str | None = None,
) -> Rendered:
    """Render a conversation and the assistant's finished turn. What the assistant says spells no control token.

    Args:
        tokenizer: with a chat template.
        messages: what the turn answers.
        thinking: may be empty.
        answer: may be empty.
        quotes: whether the messages, too, are others' words.
        template: another template to use in place of the tokenizer's own.

    Raises:
        DataError: the template refuses these messages, or drops one of them.
    """
    first = len(messages)
    marks = _Marks([*(content for _, content in messages), thinking.strip(), answer.strip()])
    turn = assistant_turn(generation_prompt(tokenizer, messages, quotes=quotes), marks.of(first), marks.of(first + 1))
    said = [(role, marks.of(number) if quotes else text) for number, (role, text) in enumerate(messages)]
    return marks.undone(render(tokenizer, [*said, ("assistant", turn)], template=template))


class _Marks:
    """What stands for texts while a template is rendered, so that no text can change what the template writes."""

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

    def undone(self, rendered: str) -> Rendered:
        """The texts in the places of their marks. Raises DataError if the template has dropped one."""
        pieces: list[str] = []
        quoted: list[Span] = []
        at = length = 0
        for place in re.finditer(f"{self.begin}([0-9]+)\ufdd1", rendered):
            core = self.texts[int(place[1])].strip()
            self.used.discard(int(place[1]))
            length += place.start() - at
            quoted.append((length, length + len(core)))
            pieces += [rendered[at : place.start()], core]
            at, length = place.end(), length + len(core)
        if self.used:
            lost = self.texts[min(self.used)].strip()
            raise DataError(f"the chat template drops a part of the conversation ({lost[:60]!r}); mend the template")
        return Rendered("".join([*pieces, rendered[at:]]), tuple(quoted))


def _joined(messages: Messages, quotes: bool) -> Rendered:
    """The contents of a raw request, one after the other."""
    text, quoted = "", []
    for role, content in messages:
        if quotes and role != FRAME:
            quoted.append((len(text), len(text) + len(content)))
        text += content
    return Rendered(text, tuple(quoted))


def turn_ends(tokenizer: PreTrainedTokenizerBase, stops: int | Sequence[int] | None) -> list[int]:
    """The tokens that end an assistant's turn: asked here by every engine, trainer and check, so that all agree.

    Args:
        tokenizer: with a chat template.
        stops: `eos_token_id` of the model's generation settings, which may name one token, several or none.

    Returns:
        Ids in ascending order: those of `stops`, the tokenizer's own end of text, and the token that the chat template
        writes after a turn. Base models with a ChatML-like template name only the second, and would write on.
    """
    own = [] if stops is None else [stops] if isinstance(stops, int) else list(stops)
    return sorted({end for end in (*own, tokenizer.eos_token_id, _end_by_template(tokenizer)) if end is not None})


def _end_by_template(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The first added token that stands after a finished turn; None if the template writes none there."""
    try:
        after = render(tokenizer, [("user", "hello"), ("assistant", _MARK)]).rpartition(_MARK)[2]
    except DataError:  # it takes no turns of the assistant, as some guards' templates
        return None
    added = tokenizer.added_tokens_decoder
    ids = tokenizer(after, add_special_tokens=False)["input_ids"]
    return next((i for i in ids if i in added and added[i].content.strip()), None)


def visible_text(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int]) -> str:
    """Decode without special tokens, but with the thinking tags, which some tokenizers count among them."""
    added = tokenizer.added_tokens_decoder
    hidden = {i for i, token in added.items() if token.special and token.content not in (OPEN, CLOSE)}
    return str(tokenizer.decode([i for i in ids if i not in hidden], skip_special_tokens=False))


def _knows_thinking(tokenizer: PreTrainedTokenizerBase) -> bool:
    template = str(tokenizer.get_chat_template()) if tokenizer.chat_template else ""
    if OPEN in template or CLOSE in template:
        return True
    return tokenizer.convert_tokens_to_ids(OPEN) not in (None, tokenizer.unk_token_id)


def _with_bos(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The text, after the token that the tokenizer begins texts with, if it does that and the text does not."""
    bos = str(tokenizer.bos_token or "")
    begins = bool(bos) and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return bos + text if begins and not text.startswith(bos) else text


def _without_tags(prefill: str) -> str:
    thinking, closed, answer = prefill.removeprefix(OPEN).partition(CLOSE)
    if not closed:
        return thinking.lstrip() if prefill.startswith(OPEN) else prefill
    return f"{thinking.strip()}\n\n{answer.lstrip()}".lstrip()
