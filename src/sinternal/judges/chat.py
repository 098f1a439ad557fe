"""What the judges share that any chat model can be: a message of ours tells the task, another shows the exchange."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from sinternal.engines import Request
from sinternal.judges.guard import Guard, RequestShown, shown_request
from sinternal.prompting.fence import safe_tags
from sinternal.prompting.templates import render
from sinternal.records import Prompt


class ChatGuard(Guard):
    """A judge that is a chat model. Subclasses tell the task, and read."""

    request: ClassVar[RequestShown] = RequestShown.SENT
    """Which request it is shown."""
    part: ClassVar[str] = "answer"
    """What of the response it is shown, by the name of the tag around it: `answer` or `thinking`."""
    max_tokens: ClassVar[int] = 4096
    """Longest reply, in tokens. A reasoning model needs room for its own thinking; another one ends long before."""

    @abstractmethod
    def task(self) -> str:
        """What the judge is to do, and the form of its reply: the system message."""
        ...

    def ask(self, prompt: Prompt, text: str) -> Request:
        """The task, then the request and what is judged between tags that neither of them can close."""
        return self.exchange(prompt, text, self.task())

    def exchange(self, prompt: Prompt, text: str, task: str) -> Request:
        """The same with another task than the usual one."""
        request = shown_request(prompt, self.request)
        request_tag, tag = safe_tags(("request", self.part), (request, text))
        exchange = render(
            "judge_exchange", request=request, text=text, request_tag=request_tag, tag=tag, part=self.part
        )
        return Request("", (("system", task), ("user", exchange)), quotes=True)
