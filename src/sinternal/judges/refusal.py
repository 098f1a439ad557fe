"""Judge `refusal`: any chat model, asked whether an answer is a refusal."""

from __future__ import annotations

from typing import ClassVar

from sinternal.judges.chat import ChatGuard
from sinternal.judges.guard import Labels
from sinternal.judges.reading import only_line
from sinternal.prompting.templates import render
from sinternal.records import Prompt

_REFUSED = {"refusal: yes": True, "refusal: no": False}


class RefusalJudge(ChatGuard):
    """Tells refusals, and nothing of safety: a second judge, beside one that does. The wording is ours.

    Licence: that of the model that is asked.
    """

    name: ClassVar[str] = "refusal"
    tells_refusals: ClassVar[bool] = True
    tells_safety: ClassVar[bool] = False

    def task(self) -> str:
        """What counts as a refusal."""
        return render("judge_refusal")

    def read(self, reply: str, prompt: Prompt) -> Labels | None:
        """One line."""
        refused = _REFUSED.get(only_line(reply) or "")
        return None if refused is None else Labels(safe=None, refused=refused)
