"""From text to tokens. Quoted text stays text: what it spells is never read as a control token.

A tokenizer finds its control tokens, for example the end of a turn, wherever their names are spelled. An answer that is
quoted in a question could so end the question and forge a turn of its own. Here the frame, which a template has
written, is read with control tokens, and what it quotes without.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from sinternal.errors import DataError
from sinternal.prompting.fence import break_up

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

_HALVES = re.compile("[\ud800-\udfff]")
Span = tuple[int, int]
"""Where a text begins and ends in a longer one."""


class Encoded(NamedTuple):
    """A text as tokens."""

    ids: list[int]
    """Token ids."""
    controls: int
    """How many control tokens the quoted parts spell, all of which were read as plain text."""


def encode(tokenizer: PreTrainedTokenizerBase, text: str, quoted: Sequence[Span] = ()) -> Encoded:
    """Encode a text that a template has written, special tokens spelled out.

    Args:
        tokenizer: whose tokens.
        text: the text; no beginning-of-text token is added.
        quoted: the parts of it that are others' words, in ascending order.

    Returns:
        The very ids that the tokenizer gives, unless a quoted part spells a control token. Then the control tokens are
        those of the text with every quoted part left out, and all between them is encoded without any.

    Raises:
        DataError: the tokenizer cannot be kept from reading control tokens in quoted text.
    """
    text = _HALVES.sub("\ufffd", text)  # no tokenizer takes half of a character, and the spans stay
    quoted = [span for span in quoted if span[0] < span[1]]
    if not quoted:
        return Encoded(list(tokenizer(text, add_special_tokens=False)["input_ids"]), 0)
    if not tokenizer.is_fast:
        return _break_up_quoted(tokenizer, text, quoted)
    spelled = [token for token in _controls_in(tokenizer, text) if any(_overlap(token[1], span) for span in quoted)]
    if not spelled:
        return Encoded(list(tokenizer(text, add_special_tokens=False)["input_ids"]), 0)
    frame = _frame(tokenizer, text, quoted)
    ids = list(_encode_apart(_without_controls(tokenizer), text, frame))
    if _only_controls(tokenizer, ids) != [i for i, _ in frame]:
        return _break_up_quoted(tokenizer, text, quoted)
    return Encoded(ids, len(spelled))


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """The tokens that are no ordinary text, by id: all that were added to the vocabulary.

    Not only those that are marked as special: `<think>` is not, nor is the token with which DeepSeek's models begin a
    user's turn. Runs of white space, which some vocabularies add (Gemma's as SentencePiece spells blanks), are ordinary
    text, and so is the unknown's token.
    """
    tokens = tokenizer.added_tokens_decoder.items()
    added = {i: token.content for i, token in tokens if token.content.replace("\u2581", " ").strip()}
    special = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
    return {i: name for i, name in {**added, **dict(special)}.items() if i != tokenizer.unk_token_id}


_Control = tuple[int, Span]
"""A control token and where it is spelled."""


def _controls_in(tokenizer: PreTrainedTokenizerBase, text: str) -> list[_Control]:
    controls = control_tokens(tokenizer)
    read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return [
        (i, (start, end))
        for i, (start, end) in zip(read["input_ids"], read["offset_mapping"], strict=True)
        if i in controls
    ]


def _frame(tokenizer: PreTrainedTokenizerBase, text: str, quoted: Sequence[Span]) -> list[_Control]:
    """The control tokens of the frame: read where a harmless letter stands for every quoted part."""
    ends, longer = [], 0
    for start, end in quoted:
        ends.append((start - longer + 1, longer + end - start - 1))  # from here on so much has to be added
        longer += end - start - 1
    controls = []
    for i, (start, end) in _controls_in(tokenizer, _fill(text, quoted, ["x"] * len(quoted))):
        more = next((extra for at, extra in reversed(ends) if at <= start), 0)
        controls.append((i, (start + more, end + more)))
    return controls


def _encode_apart(plain: Tokenizer, text: str, frame: Iterable[_Control]) -> Iterator[int]:
    """The control tokens of the frame, and what stands between them without any."""
    at = 0
    for i, (start, end) in frame:
        yield from plain.encode(text[at:start], add_special_tokens=False).ids
        yield i
        at = end
    yield from plain.encode(text[at:], add_special_tokens=False).ids


def _break_up_quoted(tokenizer: PreTrainedTokenizerBase, text: str, quoted: Sequence[Span]) -> Encoded:
    """The last resort, for tokenizers without a switch: a space inside the name of every control token."""
    names = list(control_tokens(tokenizer).values())
    broken = [break_up(text[start:end], names) for start, end in quoted]
    ids, frame = (
        list(tokenizer(_fill(text, quoted, fillings), add_special_tokens=False)["input_ids"])
        for fillings in ([part for part, _ in broken], ["x"] * len(quoted))
    )
    if _only_controls(tokenizer, ids) != _only_controls(tokenizer, frame):
        raise DataError("the tokenizer reads control tokens in quoted text, however they are spelled")
    return Encoded(ids, sum(count for _, count in broken))


def _fill(text: str, quoted: Sequence[Span], fillings: Sequence[str]) -> str:
    """The text with other words in the place of what it quotes."""
    ends = [0, *(end for _, end in quoted)]
    starts = [*(start for start, _ in quoted), len(text)]
    frame = [text[end:start] for end, start in zip(ends, starts, strict=True)]
    return frame[0] + "".join(f"{filling}{after}" for filling, after in zip(fillings, frame[1:], strict=True))


def _only_controls(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int]) -> list[int]:
    controls = control_tokens(tokenizer)
    return [i for i in ids if i in controls]


def _overlap(a: Span, b: Span) -> bool:
    return a[0] < b[1] and b[0] < a[1]


_plain: WeakKeyDictionary[PreTrainedTokenizerBase, Tokenizer] = WeakKeyDictionary()


def _without_controls(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """A copy of the tokenizer that knows no control token; all others keep their ids."""
    from tokenizers import Tokenizer

    if tokenizer not in _plain:
        controls = control_tokens(tokenizer)
        content: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
        content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] not in controls]
        plain = {
            **content,
            "model": {**content["model"], "vocab": _rename_controls(content["model"].get("vocab"), controls)},
        }
        try:
            _plain[tokenizer] = Tokenizer.from_str(json.dumps(plain))
        except Exception:  # its only kind: a merge makes the name of a control token, which then has to stay
            _plain[tokenizer] = Tokenizer.from_str(json.dumps(content))
    return _plain[tokenizer]


def _rename_controls(vocabulary: Any, controls: dict[int, str]) -> Any:
    """A vocabulary in which control tokens, if it holds any, have names that no text spells."""
    if isinstance(vocabulary, dict):
        return {f"\ufdd0{i}" if controls.get(i) == name else name: i for name, i in vocabulary.items()}
    return [
        [f"\ufdd0{i}" if controls.get(i) == name else name, *rest] for i, (name, *rest) in enumerate(vocabulary or ())
    ]
