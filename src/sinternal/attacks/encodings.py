"""Attacks that write the request in other characters."""

from __future__ import annotations

import base64
import codecs
import random
from abc import abstractmethod
from collections.abc import Iterator, Sequence

from sinternal.attacks.wording import WordedAttack
from sinternal.records import Prompt

_LOOK_ALIKE = str.maketrans("aeiostAEIOST", "431057431057")


class Encoding(WordedAttack):
    """Sends the request encoded, at the end of the message, and says how to read it."""

    def wrap(self, prompts: Sequence[Prompt], seed: int) -> Iterator[Prompt]:
        """The prompts that the code changes; see `Attack.wrap`."""
        return super().wrap([prompt for prompt in prompts if self.encode(prompt.text) != prompt.text], seed)

    def frame(self, request: str, rng: random.Random) -> str:
        """The encoded request; see `WordedAttack.frame`."""
        return super().frame(self.encode(request), rng)

    @abstractmethod
    def encode(self, text: str) -> str:
        """The text in other characters."""
        ...


class Base64(Encoding):
    """Base64 of the UTF-8 bytes.

    Wei et al. 2023, arXiv 2307.02483.
    """

    family = "base64"

    def encode(self, text: str) -> str:
        """See `Encoding.encode`."""
        return base64.b64encode(text.encode()).decode()


class Rot13(Encoding):
    """Latin letters shifted by half the alphabet; a text without any is left out.

    Yuan et al. 2023 (Caesar cipher), arXiv 2308.06463.
    """

    family = "rot13"

    def encode(self, text: str) -> str:
        """See `Encoding.encode`."""
        return codecs.encode(text, "rot13")


class Leetspeak(Encoding):
    """Letters replaced by digits that look like them; a text without any such letter is left out.

    Wei et al. 2023, arXiv 2307.02483.
    """

    family = "leetspeak"

    def encode(self, text: str) -> str:
        """See `Encoding.encode`."""
        return text.translate(_LOOK_ALIKE)
