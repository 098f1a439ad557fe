"""Who labels text: a judge says of a response whether it is safe, and what else it can tell."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel

from sinternal.errors import DataError
from sinternal.records import CheckPlace, Judgement, Prompt, Response, make_id
from sinternal.registry import NoOptions


class Judge(Protocol):
    """Labels responses. A judge inherits from this class, and says where it differs from the defaults."""

    Options: ClassVar[type[BaseModel]] = NoOptions
    """Its options; a name or value that the model does not know is an error of the recipe."""
    tells_safety: ClassVar[bool] = True
    """Whether it labels safety; one that does not can only stand beside another, and is never the first."""
    tells_refusals: ClassVar[bool] = False
    """Whether it labels refusals; one that does not needs another beside it where refusals are rewarded."""
    fallback: ClassVar[bool] = False
    """Whether it only stands in where no better judge can run."""
    locates_checks: ClassVar[bool] = False
    """Whether it tells where a thinking checks safety, by `locate_checks`."""
    judged: str = "answer"
    """What it looks at for `safe`: `answer`, `full` or `thinking`."""

    def __init__(self, options: Any) -> None:
        """Take the options, an object of `Options`. What costs time or memory is opened when the first response waits.

        Raises:
            SInternalError: what an option names is not there.
        """

    @abstractmethod
    def judge(self, items: Iterable[tuple[Prompt, Response]]) -> Iterator[Judgement]:
        """One judgement for each item, in any order. A label that cannot be given is None, never a guess."""
        ...

    def locate_checks(self, items: Iterable[tuple[Prompt, Response]]) -> Iterator[CheckPlace]:
        """Where each thinking first checks safety unasked, or else where it would: one row for each item, in any order.

        A check begins with its first word and ends behind what it finds; a decision that follows is no part of it. Only
        judges with `locates_checks` are asked. What cannot be told is a row with an error, never a guess.
        """
        raise NotImplementedError(f"{type(self).__name__} does not locate checks")

    def close(self) -> None:
        """Give back memory, connections and processes; may be called twice. The judge is not used again."""


def label_each(judge: Judge, name: str, items: Iterable[tuple[Prompt, Response]]) -> Iterator[Judgement]:
    """One judgement of each response as it counts, whatever the judge is like; in any order.

    A failure is no label, whatever stands beside it, and an answer without a word has none. What the judge leaves out
    has failed.

    Args:
        judge: who labels.
        name: what it is called in judgements that it leaves out.
        items: the responses, each with its prompt.

    Raises:
        DataError: the judge gives a judgement that it was not asked for, or gives one twice.
    """
    waiting: dict[str, bool] = {}

    def passed_on() -> Iterator[tuple[Prompt, Response]]:
        for prompt, response in items:
            waiting[response.id] = bool((response.answer or "").strip())
            yield prompt, response

    asked = passed_on()
    for row in judge.judge(asked):
        says_something = waiting.pop(row.response_id, None)
        if says_something is None:
            raise DataError(
                f"judge {row.judge!r} gave a judgement of response {row.response_id!r} that it was not asked for, or "
                "gave it twice: a judge gives one for each response; fix the judge"
            )
        if row.error is not None:
            yield replace(row, safe=None, refused=None, helpful=None, checks=None, saw_harm=None)
        elif not says_something and row.judged == "answer":
            yield replace(row, safe=None, refused=None, helpful=None)
        else:
            yield row
    for _ in asked:  # it did not even look at them
        pass
    for identity in waiting:
        left_out = make_id("left out", name, identity)
        yield Judgement(left_out, identity, name, judge.judged, None, error="the judge left it out")
