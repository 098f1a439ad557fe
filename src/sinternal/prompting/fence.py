"""Text by others: put between tags that it cannot close, and kept from spelling control tokens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import chain, count

FRAME = "frame"
"""In a raw request that quotes, the role of what is ours; all other pieces are others' words."""

_SHOWS_NOTHING = {
    *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
    *(*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)),
}
"""Characters that show nothing and are neither blanks, nor marks of format or control: Unicode's default-ignorable code
points, and the blank of Braille."""
_BEGINS, _SLASHES = "<\u02c2\u1438\u2039\u276e\u27e8\u3008\u00ab\u300a", "/\u2044\u2215\u29f8\u2571\\\\"
_LOOK_ALIKES = {
    "a": "\u0430\u03b1\u0251",
    "c": "\u0441\u03f2\u1d04",
    "d": "\u0501",
    "e": "\u0435\u0454\u212e\u04bd",
    "g": "\u0261\u0581",
    "h": "\u04bb\u0570",
    "i": "\u0456\u03b9\u0269\u04cf",
    "j": "\u0458\u03f3",
    "l": "\u04cf\u01c0|1",
    "n": "\u0578\u057c\u043f\u03b7",
    "o": "\u043e\u03bf\u0585\u1d0f0",
    "p": "\u0440\u03c1",
    "q": "\u051b\u0566\u0563",
    "r": "\u0433\u1d26\u027e",
    "s": "\u0455\ua731\u01bd",
    "t": "\u0442\u03c4\u1d1b",
    "u": "\u0443\u03c5\u057d\u028b\u1d1c",
    "v": "\u03bd\u0475\u1d20",
    "w": "\u051d\u0461\u1d21\u0448\u03c9",
    "x": "\u0445\u03c7",
    "y": "\u0443\u0263\u03b3",
    "z": "\u1d22",
}
"""Letters of other scripts that are drawn like these (https://www.unicode.org/Public/security/latest/confusables.txt)."""


def safe_tags(names: Sequence[str], texts: Sequence[str]) -> tuple[str, ...]:
    """Names for the tags around texts that nobody has checked, such that no text holds any of these tags.

    The names stay as they are unless a text seems to open or close one of them: whatever its case, spaced out, with
    invisible characters inside, in full-width letters or in those of another script that look the same. Then all names
    get the smallest number that is free, so the same texts always stand between the same tags.

    Args:
        names: what the tags are called, in plain lower-case letters.
        texts: everything that stands inside any of them.
    """
    pattern, nothing = _tag_pattern(tuple(names)), _nothing()
    used: set[str] = set()
    for text in texts:
        for match in pattern.finditer(unicodedata.normalize("NFKC", text).casefold()):
            number = re.sub(nothing, "", match[1])
            # Of 23 also 2 is taken: "</request-2 3>" would pass for "</request-2>".
            used.update(number[:end] for end in range(len(number) + 1))
    free = next(number for number in chain([""], map(str, count(2))) if number not in used)
    return tuple(f"{name}-{free}" if free else name for name in names)


@cache
def _tag_pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """The beginning of a tag with one of these names, and its number.

    What shows nothing is possible at each place of it, and is not taken out of the text beforehand: looked at is what
    follows a bracket, and not each character of a long text.
    """
    nothing = f"{_nothing()}*+"

    def letters(name: str) -> str:
        return nothing.join(f"[{re.escape(letter + _LOOK_ALIKES.get(letter, ''))}]" for letter in name)

    named = "|".join(map(letters, names))
    digits = f"((?:{nothing}[0-9]){{0,9}})"
    return re.compile(f"[{_BEGINS}]{nothing}(?:[{_SLASHES}]{nothing})*+(?:{named}){nothing}-?{digits}")


@cache
def _nothing() -> str:
    """A class of all characters that show nothing."""
    codes = [code for code in chain(range(0x1E000), range(0xE0000, 0xE0200)) if _shows_nothing(code)]
    first = [code for code, before in zip(codes, [-2, *codes], strict=False) if code != before + 1]
    last = [code for code, after in zip(codes, [*codes[1:], -1], strict=True) if code != after - 1]
    ends = zip(map(chr, first), map(chr, last), strict=True)
    return f"[{''.join(f'{re.escape(begin)}-{re.escape(end)}' for begin, end in ends)}]"


def _shows_nothing(code: int) -> bool:
    character = chr(code)
    return code in _SHOWS_NOTHING or character.isspace() or unicodedata.category(character) in ("Cf", "Cc")


_OPEN, _SHUT, _BAR = "[<\uff1c\ufe64]", "[>\uff1e\ufe65]", "[|\uff5c]"
_CONTROL = re.compile(
    rf"{_OPEN}{_BAR}[^<>|\uff1c\uff1e\uff5c\n]{{1,64}}{_BAR}{_SHUT}"  # ChatML, Llama 3, Phi, gpt-oss; DeepSeek
    r"|<\|[^<>|\s]{1,64}>|<[^<>|\s]{1,64}\|>"  # Gemma 4
    r"|\[\|[^\[\]|\s]{1,64}\|\]"  # EXAONE
    r"|\[/?[A-Z][A-Z_]{1,40}\]|\[[gs]MASK\]|<</?SYS>>"  # Llama 2, Mistral, BERT, GLM
    r"|\[(?:UNUSED_TOKEN_|PAD|control_)[0-9]{1,6}\]"  # InternLM, Qwen, the first Mistral
    r"|\]~!?b[\[\]]|\[e~\[|\]<\]minimax\[>\["  # MiniMax
    r"|>>[A-Z]{3,20}<<|\|\|\|[A-Z_]{3,40}\|\|\|"  # Falcon; OLMo
    r"|\u25c1/?think\u25b7"  # Kimi-VL
    rf"|</?dsml:|{_BAR}DSML{_BAR}|<\uff5c/?[a-z]{{1,20}}>\uff5c"  # DeepSeek V4's tools and tables
    r"|</?(?:s|pad|unk|bos|eos|mask|sep|cls|sop|eop|eoh|eoa|think|thinking|thought|tool_call|tool_response|tools|image)>"
    r"|<(?:start|end)_of_[a-z_]{1,40}>|<fim[_-][a-z]{1,20}>"  # Gemma, SmolVLM; StarCoder, Granite
    r"|</?[a-z]{1,20}:[a-z_]{1,20}>"  # Seed
    r"|<[A-Z]{2,20}_TOKEN>|<(?:PAD|CLS|SEP|MASK|UNK)>"  # Command R
    r"|</?longcat_[a-z_]{1,20}>|<_(?:system|user|bot|start|end)>|</?role>(?=[A-Z]{4,12}\b)"  # LongCat, TeleChat, Ling
    r"|</?(?:TOOLCALL|AVAILABLE_TOOLS)>|<\[(?:begin|end|PAD|SEP|CLS|MASK)[^\[\]<>\n]{0,40}\]>"  # Nemotron; Seed
    r"|<(?:unused|reserved_?|extra_id_|SPECIAL_|TOKENS_UNUSED_)[a-z_]{0,40}[0-9]{1,6}>"  # Gemma, Baichuan, T5, Nemotron
)
"""How control tokens of the model families in use are spelled, for servers, whose tokenizer is not known."""


_PLACEHOLDER = re.compile(
    r"\[(?!/|INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_|MODEL_SETTINGS|THINK|ARGS|CALL_ID|PREFIX|SUFFIX|MIDDLE|IMG|AUDIO"
    r"|BEGIN_AUDIO|CLS|SEP|MASK|PAD|UNK|BOS|EOS|EOT)[A-Z_]+\]"
)
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
    broken = 0

    def break_one(match: re.Match[str]) -> str:
        nonlocal broken
        if names is None and _PLACEHOLDER.fullmatch(match[0]):
            return match[0]
        broken += 1
        return f"{match[0][0]} {match[0][1:]}"

    before = -1
    while before < broken:  # what is broken up may have hidden another one, for example <|a<|b|>
        before = broken
        text = pattern.sub(break_one, text)
    return text, broken
