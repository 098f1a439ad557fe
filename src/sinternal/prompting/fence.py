"""Text by others: put between tags that it cannot close, and kept from spelling control tokens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import chain, count

FRAME = "frame"
"""In a raw request that quotes, the role of what is ours; all other pieces are others' words."""


def safe_tags(names: Sequence[str], texts: Sequence[str]) -> tuple[str, ...]:
    """Names for the tags around texts that nobody has checked, such that no text holds any of these tags.

    The names stay as they are unless a text seems to open or close one of them: whatever its case, spaced out, with
    invisible characters inside or in full-width letters. Then all names get the smallest number that is free, so the
    same texts always stand between the same tags.

    Args:
        names: what the tags are called, in plain lower-case letters.
        texts: everything that stands inside any of them.
    """
    pattern = re.compile(rf"</?(?:{'|'.join(map(re.escape, names))})-?([0-9]{{0,9}})")
    used: set[str] = set()
    for text in texts:
        for match in pattern.finditer(_bare(text)):
            number = match[1]
            # Of 23 also 2 is taken: "</request-2 3>" would pass for "</request-2>".
            used.update(number[:end] for end in range(len(number) + 1))
    free = next(number for number in chain([""], map(str, count(2))) if number not in used)
    return tuple(f"{name}-{free}" if free else name for name in names)


_CONTROL = re.compile(
    r"<[|\uff5c][^<>|\uff5c\n]{1,64}[|\uff5c]>"  # ChatML, Llama 3, Phi, gpt-oss; DeepSeek with wide bars
    r"|<\|[^<>|\s]{1,64}>|<[^<>|\s]{1,64}\|>"  # Gemma 4
    r"|\[\|[^\[\]|\s]{1,64}\|\]"  # EXAONE
    r"|\[/?[A-Z][A-Z_]{1,40}\]|\[gMASK\]|<</?SYS>>"  # Llama 2, Mistral, BERT, GLM
    r"|\]~!?b[\[\]]|\[e~\["  # MiniMax
    r"|</?(?:s|pad|unk|bos|eos|mask|sep|cls|sop|eop|think|thinking|tool_call|tool_response|tools|image)>"
    r"|<(?:start|end)_of_[a-z_]{1,40}>|<[a-z]{1,20}:[a-z_]{1,20}>"  # Gemma, SmolVLM; Seed
    r"|<[A-Z]{2,20}_TOKEN>"  # Command R
    r"|<(?:unused|reserved_?|extra_id_|SPECIAL_)[a-z_]{0,40}[0-9]{1,6}>"  # Gemma, Baichuan, T5, Nemotron
)
"""How control tokens of the model families in use are spelled, for servers, whose tokenizer is not known."""


_PLACEHOLDER = re.compile(r"\[(?!/|INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_|THINK|CLS|SEP|MASK|PAD|UNK)[A-Z_]+\]")
"""What texts leave for others to fill in, such as [NAME]: it is spelled as control tokens are, and is none."""


def spells_control(text: str) -> bool:
    """Whether a text spells what looks like a control token, or a tag around thinking, of a known model family."""
    return any(not _PLACEHOLDER.fullmatch(match[0]) for match in _CONTROL.finditer(text))


def break_up(text: str, names: Sequence[str] | None = None) -> tuple[str, int]:
    """Put a space behind the first character of every control token that a text spells, for all to see.

    Args:
        text: by others.
        names: the control tokens; None: whatever looks like one of a known model family.

    Returns:
        The text, and how many there were.
    """
    pattern = _CONTROL
    if names is not None:
        longest_first = sorted((name for name in names if len(name) > 1), key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
    replaced, more = 0, 1
    while more:  # what is broken up may have hidden another one, for example <|a<|b|>
        text, more = pattern.subn(lambda match: f"{match[0][0]} {match[0][1:]}", text)
        replaced += more
    return text, replaced


def _bare(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(char for char in plain if not char.isspace() and unicodedata.category(char) not in {"Cf", "Cc"})
