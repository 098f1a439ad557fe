"""An engine that replies by script, and rows to judge."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from sinternal.engines import Completion, Request
from sinternal.records import Finish, Prompt, Response, Split
from sinternal.settings.sampling import Sampling

ENGINE = {"engine": {"name": "scripted", "model": "some/guard"}}
PROMPT = Prompt("p", "p", "Disguised request?", True, "own", "role-play", Split.OOD, goal="Plain request?")
BENIGN = replace(PROMPT, id="b", text="Harmless request?", harmful=False, goal="")

Reply = str | Completion | Callable[[Request], str | Completion]


def answered(answer: str | None, identity: str = "r", thinking: str | None = "A secret thought.") -> Response:
    return Response(identity, "p", 0, thinking, answer, Finish.STOP)


def failed(error: str = "connection lost") -> Completion:
    return Completion("", 0, None, None, Finish.ERROR, error)


@dataclass
class ScriptedEngine:
    """Replies in reverse order, as engines may."""

    reply: Reply = ""
    requests: list[Request] = field(default_factory=list)
    sampling: Sampling | None = None
    opened: int = 0
    closed: int = 0

    def generate(self, requests: Iterable[Request], sampling: Sampling, seed: int) -> Iterator[Completion]:
        self.requests, self.sampling = list(requests), sampling
        for request in reversed(self.requests):
            reply = self.reply(request) if callable(self.reply) else self.reply
            done = Completion("", 0, None, reply, Finish.STOP) if isinstance(reply, str) else reply
            yield replace(done, request_id=request.id)

    def close(self) -> None:
        self.closed += 1

    @property
    def told(self) -> str:
        return "\n".join(content for request in self.requests for _, content in request.messages)
