"""An attack that hands over the request in pieces."""

from __future__ import annotations

import json
import random
from itertools import pairwise

from sinternal.attacks.wording import WordedAttack
from sinternal.prompting.templates import render

PIECES = 3
"""Into how many pieces a request is cut."""


class PayloadSplitting(WordedAttack):
    """The model is to join variables, as in a program, and to answer what comes out.

    Kang et al. 2023, arXiv 2302.05733.
    """

    family = "payload-splitting"

    def frame(self, request: str, rng: random.Random) -> str:
        """The pieces as assignments; see `WordedAttack.frame`."""
        quoted = [json.dumps(piece, ensure_ascii=False) for piece in cut(request, PIECES)]
        return render(self.template(), pieces=quoted)


def cut(text: str, pieces: int) -> list[str]:
    """Pieces of nearly equal length, which joined give the text; words are cut through."""
    ends = [len(text) * i // pieces for i in range(pieces + 1)]
    return [text[start:end] for start, end in pairwise(ends)]
