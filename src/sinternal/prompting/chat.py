"""What a model's chat template does to a conversation, and to thinking: found out here once, by rendering it.

Templates differ in who writes `<think>`: some end the generation prompt with it, some leave it to the model, some know
no thinking at all, and some open and close it at once. They also differ in what they do to a finished turn: the stock
template of DeepSeek-R1-Distill deletes the thinking. No engine and no trainer works this out again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from jinja2 import TemplateError

from sinternal.errors import DataError
from sinternal.prompting.encoding import Encoded, Span, encode
from sinternal.prompting.think import (
    CHANNELS,
    CLOSE,
    KNOWN_TAGS,
    OPEN,
    THINK,
    Tags,
    Text,
    ThinkingStyle,
    split_thinking,
    write_completion,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
from sinternal.prompting.rendering import Marks, Messages, Rendered, join_contents, render, render_quoting

KNOWN = "_chat_template"
"""How TRL's names of templates end; some of the things that are called so are functions."""
_MARK = "a thought that is looked for"


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
    tags: tuple[Tags, ...] = (THINK,)
    """How this model may spell the thinking of the turn that follows, if it has one; the opened one first."""

    @property
    def opened(self) -> bool:
        """Whether the template has opened the thinking."""
        return self.style is ThinkingStyle.OPENED

    def split(self, turn: str) -> Text:
        """Thinking and answer of the turn that follows, its prefill included."""
        thinks = self.style is not ThinkingStyle.NONE
        return split_thinking(turn, opened=self.opened, tags=self.tags if thinks else ())

    def encode(self, tokenizer: PreTrainedTokenizerBase) -> Encoded:
        """The prompt as tokens: the same ones for every engine and trainer. Raises DataError; see `encode`."""
        return encode(tokenizer, self.text, self.quoted)


def generation_prompt(
    tokenizer: PreTrainedTokenizerBase,
    messages: Messages,
    *,
    raw: bool = False,
    quotes: bool = False,
    tags: Tags | None = None,
) -> GenerationPrompt:
    """Render a conversation up to where the assistant's turn begins.

    Args:
        tokenizer: with a chat template, unless `raw`.
        messages: the conversation.
        raw: take the contents of the messages as they are, one after the other, without any template; only a token that
            the tokenizer itself begins every text with is put before them.
        quotes: the messages show text by others: nothing in them is a control token, but what has the role `FRAME`.
        tags: how the model spells its thinking; None: as its template and its tokens tell.

    Raises:
        DataError: the template refuses these messages, for example a system message, or drops one of them.
    """
    known = (tags,) if tags else known_tags(tokenizer)
    style = ThinkingStyle.EMITTED if known else ThinkingStyle.NONE
    if raw:
        text, quoted = join_contents(messages, quotes)
        begun = _with_bos(tokenizer, text)
        more = len(begun) - len(text)
        spans = tuple((start + more, end + more) for start, end in quoted)
        return GenerationPrompt(begun, style, quoted=spans, tags=known or (THINK,))
    if quotes:
        text, quoted = render_quoting(tokenizer, messages, generate=True)
    else:
        text, quoted = render(tokenizer, messages, generate=True), ()
    begun_by = _find_begun_thinking(text, known)
    if begun_by is None:
        return GenerationPrompt(text, style, quoted=quoted, tags=known or (THINK,))
    if begun_by.closed:
        return GenerationPrompt(text, ThinkingStyle.NONE, quoted=quoted)
    first = (begun_by.tags, *(pair for pair in known if pair != begun_by.tags))
    return GenerationPrompt(text, ThinkingStyle.OPENED, quoted=quoted, tags=first)


class _BegunThinking(NamedTuple):
    """A thinking with which a text ends."""

    at: int
    """Where it begins."""
    tags: Tags
    """How it is spelled."""
    closed: bool
    """Whether it is closed at once."""


def _find_begun_thinking(text: str, tags: Iterable[Tags]) -> _BegunThinking | None:
    for pair in dict.fromkeys((*tags, THINK)):
        pattern = rf"{re.escape(pair.open)}\s*(?P<closed>{re.escape(pair.close)}\s*)?\Z"
        if match := re.search(pattern, text):
            return _BegunThinking(match.start(), pair, match["closed"] is not None)
    return None


class _Tokens(NamedTuple):
    """What a tokenizer's vocabulary and template tell of thinking: looked up once, and not for every text."""

    size: int
    """Tokens that it had."""
    template: str
    """The template that it had."""
    tags: tuple[Tags, ...]
    """How its model may spell its thinking."""
    hidden: frozenset[int]
    """Its special tokens, but for those tags."""


_tokens: WeakKeyDictionary[PreTrainedTokenizerBase, _Tokens] = WeakKeyDictionary()


def _tokens_of(tokenizer: PreTrainedTokenizerBase) -> _Tokens:
    size, template = len(tokenizer), str(tokenizer.get_chat_template()) if tokenizer.chat_template else ""
    before = _tokens.get(tokenizer)
    if before is None or (before.size, before.template) != (size, template):
        tags = tuple(_find_tags(tokenizer, template))
        _tokens[tokenizer] = before = _Tokens(size, template, tags, frozenset(_find_hidden(tokenizer)))
    return before


def known_tags(tokenizer: PreTrainedTokenizerBase) -> tuple[Tags, ...]:
    """How a model may spell its thinking: what its template writes or takes apart, or what is a token of its own."""
    return _tokens_of(tokenizer).tags


def _find_tags(tokenizer: PreTrainedTokenizerBase, template: str) -> Iterator[Tags]:
    def knows(mark: str) -> bool:
        return mark in template or tokenizer.convert_tokens_to_ids(mark) not in (None, tokenizer.unk_token_id)

    def has(tags: Tags) -> bool:
        if tags == CHANNELS:
            return knows("<|channel|>") and knows("<|message|>")
        # Words that are in any vocabulary are no tags.
        return not tags.open.isalpha() and (knows(tags.open) or knows(tags.close))

    return (tags for tags in KNOWN_TAGS if has(tags))


def _find_hidden(tokenizer: PreTrainedTokenizerBase) -> Iterator[int]:
    marks = {mark for tags in KNOWN_TAGS if tags != CHANNELS for mark in tags}
    if "<|channel|>" in tokenizer.added_tokens_encoder:
        marks |= {"<|channel|>", "<|message|>", "<|start|>", "<|end|>"}
    return (i for i, token in tokenizer.added_tokens_decoder.items() if token.special and token.content not in marks)


def with_prefill(prompt: GenerationPrompt, prefill: str) -> GenerationPrompt:
    r"""Make the assistant's turn begin with a text.

    Args:
        prompt: without a prefill yet.
        prefill: with its thinking tags spelled out: `<think>\n…` to begin the thinking, `<think>\n\n</think>\n\n` to
            skip it. Its own `<think>` takes the place of one that the template has written, and a model that spells
            its thinking otherwise gets its own tags. A model that knows no thinking gets the prefill without the tags,
            which would be noise to it.

    Returns:
        The longer prompt. What the model writes is to be read after its `prefill`, not after the one given here.
    """
    if THINK not in prompt.tags and prefill.startswith(OPEN) and prompt.style is not ThinkingStyle.NONE:
        prefill = prefill.replace(OPEN, prompt.tags[0].open, 1).replace(CLOSE, prompt.tags[0].close, 1)
    begun = _find_begun_thinking(prompt.text, prompt.tags)
    if begun and prefill.startswith(begun.tags.open):
        return prompt._replace(
            text=prompt.text[: begun.at] + prefill, prefill=prefill, style=ThinkingStyle.EMITTED, tags=(begun.tags,)
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
    tags = prompt.tags[0]
    turn = write_completion(thinking, answer, tags)
    opening = prompt.text[prompt.text.rindex(tags.open) :] if prompt.opened else tags.open
    # Where the template goes on after the tag, the turn goes on after that; else it makes its own line break.
    return turn if opening == tags.open else opening + turn.removeprefix(tags.open).lstrip()


def training_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """TRL's training variant of this tokenizer's chat template; None if TRL ships none, or none is needed.

    TRL recognises a template by its exact text. Its variants render the same prompts; most also keep the thinking.
    It tries tool calls on a template, in this process; so only one that it knows is shown to it.
    """
    from trl import chat_template_utils as trl

    if str(tokenizer.get_chat_template()) not in {text for name, text in vars(trl).items() if name.endswith(KNOWN)}:
        return None
    try:
        return trl.get_training_chat_template(tokenizer)  # type: ignore[no-any-return]
    except (ValueError, TypeError, TemplateError):  # not every template takes tool calls
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
    if CHANNELS in known_tags(tokenizer):
        raise DataError("this model thinks in channels, as gpt-oss does, and cannot be trained here; take another")
    template = training_template(tokenizer) or str(tokenizer.get_chat_template())
    if not keeps_thinking(tokenizer, template):
        raise DataError(
            "the chat template deletes the thinking of assistant turns, and TRL ships no variant of it that does not; "
            "give the tokenizer a chat template that keeps the thinking"
        )
    return template


def finished_turn(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[tuple[str, str]],
    thinking: str,
    answer: str,
    *,
    quotes: bool = False,
    tags: Tags | None = None,
    template: str | None = None,
) -> Rendered:
    """Render a conversation and the assistant's finished turn. What the assistant says spells no control token.

    Args:
        tokenizer: with a chat template.
        messages: what the turn answers.
        thinking: may be empty.
        answer: may be empty.
        quotes: whether the messages, too, are others' words.
        tags: how the model spells its thinking; None: as its template and its tokens tell.
        template: another template to use in place of the tokenizer's own.

    Raises:
        DataError: the template refuses these messages, or drops one of them.
    """
    first = len(messages)
    marks = Marks([*(content for _, content in messages), thinking.strip(), answer.strip()])
    prompt = generation_prompt(tokenizer, messages, quotes=quotes, tags=tags)
    turn = assistant_turn(prompt, marks.of(first), marks.of(first + 1))
    turns = [(role, marks.of(number) if quotes else text) for number, (role, text) in enumerate(messages)]
    return marks.restore(render(tokenizer, [*turns, ("assistant", turn)], template=template))


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
    return sorted({end for end in (*own, tokenizer.eos_token_id, end_by_template(tokenizer)) if end is not None})


def turn_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that stand around every turn, and those of a short one. Raises DataError as `generation_prompt`."""
    text, end = generation_prompt(tokenizer, [("user", "hello")]).text, end_by_template(tokenizer)
    return [*tokenizer(text, add_special_tokens=False)["input_ids"], *([] if end is None else [end])]


def end_by_template(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The first added token that stands after a finished turn; None if the template writes none there."""
    try:
        after = render(tokenizer, [("user", "hello"), ("assistant", _MARK)]).rpartition(_MARK)[2]
    except DataError:  # it takes no turns of the assistant, as some guards' templates
        return None
    added = tokenizer.added_tokens_decoder
    ids = tokenizer(after, add_special_tokens=False)["input_ids"]
    return next((i for i in ids if i in added and added[i].content.strip()), None)


def without_end(ids: Sequence[int], ends: Collection[int]) -> Sequence[int]:
    """The tokens of a turn without the one that ends it, which in some tokenizers is no special token."""
    return ids[:-1] if ids and ids[-1] in ends else ids


def visible_text(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int]) -> str:
    """Decode without special tokens, but with the thinking tags, which some tokenizers count among them."""
    hidden = _tokens_of(tokenizer).hidden
    return str(tokenizer.decode([i for i in ids if i not in hidden], skip_special_tokens=False))


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
