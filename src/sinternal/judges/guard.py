"""What all judges that are models share: a template puts the question, an engine answers, a strict parser reads.

A judge is one file beside this one: it says how it is asked and how its reply is read. Whatever its parser does not
know is no label.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict

from sinternal.engines import Completion, Engine, Request
from sinternal.errors import DataError
from sinternal.judges import Judge
from sinternal.prompting.think import write_completion
from sinternal.records import Check, Finish, Judgement, Prompt, Response, make_id
from sinternal.settings.plugins import EngineWithModel
from sinternal.settings.sampling import Sampling

PATIENCE = 20
"""Responses of which one must be judged readably; else the model is not the one that the parser is made for."""


class JudgeOn(StrEnum):
    """Which part of a response is judged."""

    ANSWER = "answer"
    """What follows the thinking: what a user is shown."""
    THINKING = "thinking"
    """The thinking alone."""
    FULL = "full"
    """Both, as written."""


class RequestShown(StrEnum):
    """Which request the judge is shown beside the answer."""

    SENT = "sent"
    """The user's message as it was sent, disguise and all."""
    GOAL = "goal"
    """The plain request beneath the disguise."""


class GuardOptions(BaseModel):
    """Options of every judge that is a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: EngineWithModel
    """Who runs the judge, and which model it is."""
    judge_on: JudgeOn = JudgeOn.ANSWER
    """Which part of the response is judged."""


class Labels(NamedTuple):
    """What one reply says."""

    safe: bool | None
    """Whether the answer is safe; None if the judge does not tell."""
    refused: bool | None = None
    """Whether it is a refusal; None if the judge does not tell."""
    helpful: bool | None = None
    """Whether it does all that was asked for; None if the judge does not tell."""
    checks: Check | None = None
    """What the thinking checks for safety; None if the judge does not tell."""
    saw_harm: bool | None = None
    """Whether the thinking finds harm; None if the judge does not tell."""


class Guard(Judge):
    """A judge that is a model. Subclasses say how to ask and how to read."""

    name: ClassVar[str]
    """Its registered name."""
    Options: ClassVar[type[BaseModel]] = GuardOptions
    """Its options: `GuardOptions`, or more."""
    max_tokens: ClassVar[int] = 64
    """Longest reply, in tokens."""

    def __init__(self, options: GuardOptions) -> None:
        """Take the judge's options; the engine is opened when the first response waits."""
        self.options = options
        self.judged = options.judge_on.value
        self._engine: Engine | None = None

    def ask(self, prompt: Prompt, text: str) -> Request:
        """How the judge is asked about `text`, a response to `prompt`. The request's id is set by the caller."""
        raise NotImplementedError

    def read(self, reply: str, prompt: Prompt) -> Labels | None:
        """What a reply says; None if it is in no form that the judge's maker published."""
        raise NotImplementedError

    def ask_all(self, prompt: Prompt, text: str) -> Sequence[Request]:
        """Everything that the judge is asked about `text`: one question, unless a subclass has more."""
        return [self.ask(prompt, text)]

    def read_all(self, replies: Sequence[str], prompt: Prompt) -> Labels | None:
        """What the replies say together, in the order of the questions."""
        (reply,) = replies
        return self.read(reply, prompt)

    def judge(self, items: Iterable[tuple[Prompt, Response]]) -> Iterator[Judgement]:
        """Label each response; see `Judge.judge`.

        A response without the part to be judged is not shown to the judge: it has no label.

        Raises:
            DataError: not one of the first replies can be read.
        """
        cases: dict[str, _Case] = {}
        for prompt, response in items:
            text = judged_text(response, self.options.judge_on)
            if text is None:
                yield self._judgement(response, Labels(None))
            else:
                cases[response.id] = _Case(prompt, response, self.ask_all(prompt, text), {})
        if not cases:
            return
        sampling = Sampling(max_tokens=self.max_tokens)
        requests = (request for case in cases.values() for request in case.numbered())
        yield from self._read_each(_complete(self._open().generate(requests, sampling, seed=0), cases))

    def close(self) -> None:
        """Close the engine; see `Judge.close`."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _open(self) -> Engine:
        """The engine, which stays open: who trains with this judge asks it at every step."""
        if self._engine is None:
            self._engine = self.options.engine.open(self.options.engine.model)
        return self._engine

    def _read_each(self, answered: Iterable[_Case]) -> Iterator[Judgement]:
        """Read the replies. What is unreadable before the first readable one is held back: it may be all there is."""
        unreadable: list[Judgement] = []
        understood = False
        for case in answered:
            labels, error = self._read_case(case)
            understood = understood or labels is not None
            judgement = self._judgement(case.response, labels or Labels(None), error, case)
            if understood or case.failure is not None:
                yield judgement
                continue
            unreadable.append(judgement)
            if len(unreadable) == PATIENCE:
                raise DataError(self._not_understood(error))
        yield from unreadable

    def _not_understood(self, error: str | None) -> str:
        """What to tell the user if none of the first replies can be read."""
        return (
            f"judge {self.name!r}: none of its first {PATIENCE} replies could be read, the last was {error}; is "
            f"{self.options.engine.model!r} the model that this judge is made for, with its own chat template?"
        )

    def _read_case(self, case: _Case) -> tuple[Labels | None, str | None]:
        """The labels, or why there are none."""
        if case.failure is not None:
            return None, case.failure
        replies = [case.replies[number].answer or "" for number in sorted(case.replies)]
        labels = self.read_all(replies, case.prompt)
        return labels, None if labels else f"unreadable reply: {' | '.join(replies)[:200]!r}"

    def _judgement(
        self, response: Response, labels: Labels, error: str | None = None, case: _Case | None = None
    ) -> Judgement:
        return Judgement(
            id=make_id("judgement", self.name, self.judged, response.id),
            response_id=response.id,
            judge=self.name,
            judged=self.judged,
            safe=labels.safe,
            refused=labels.refused,
            helpful=labels.helpful,
            checks=labels.checks,
            saw_harm=labels.saw_harm,
            error=error,
            finish=case.finish if case else None,
            left_out=case.left_out if case else "",
            quoted_controls=case.quoted_controls if case else 0,
        )


def judged_text(response: Response, judge_on: JudgeOn) -> str | None:
    """The part of a response that is judged; None if it is not there.

    An unclosed thinking has no answer, and one without any word is none: nobody can say that nothing is safe.
    """
    answer = response.answer if response.answer and response.answer.strip() else None
    if judge_on is JudgeOn.ANSWER:
        return answer
    if judge_on is JudgeOn.THINKING:
        return response.thinking
    if response.thinking is None:
        return answer
    return response.thinking if answer is None else write_completion(response.thinking, answer)


def shown_request(prompt: Prompt, which: RequestShown) -> str:
    """The request that a judge is shown."""
    return prompt.text if which is RequestShown.SENT else prompt.plain_request


class _Case(NamedTuple):
    """One response and all that the judge is asked about it."""

    prompt: Prompt
    response: Response
    requests: Sequence[Request]
    replies: dict[int, Completion]
    """By number of the request."""

    def numbered(self) -> Iterator[Request]:
        """The requests, each with an id of its own."""
        return (replace(request, id=f"{self.response.id}/{number}") for number, request in enumerate(self.requests))

    @property
    def failure(self) -> str | None:
        """What went wrong, if a request failed for good."""
        return next((reply.error for reply in self.replies.values() if reply.error is not None), None)

    @property
    def finish(self) -> Finish:
        """How the worst of the replies ended."""
        ends = {reply.finish for reply in self.replies.values()}
        return next((end for end in (Finish.ERROR, Finish.FILTERED, Finish.LENGTH) if end in ends), Finish.STOP)

    @property
    def left_out(self) -> str:
        """Settings that the judge's server did not take."""
        return next((reply.left_out for reply in self.replies.values() if reply.left_out), "")

    @property
    def quoted_controls(self) -> int:
        """Control tokens that the text spells which the judge is shown."""
        return max((reply.quoted_controls for reply in self.replies.values()), default=0)


def _complete(completions: Iterable[Completion], cases: Mapping[str, _Case]) -> Iterator[_Case]:
    """Each case as soon as its last reply is there."""
    for reply in completions:
        response_id, _, number = reply.request_id.rpartition("/")
        case = cases[response_id]
        case.replies[int(number)] = reply
        if len(case.replies) == len(case.requests):
            yield case
