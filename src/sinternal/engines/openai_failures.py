"""Tells requests that fail from a server that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from sinternal.engines import Completion, Request
from sinternal.errors import EngineError
from sinternal.records import Finish

OUTAGE = 8
"""Calls, or as many as are under way at once if that is more, that fail one after another, each after all its retries,
until the server counts as away."""
REFUSALS = 20
"""Requests that the server may refuse, one after another from the first on, until all of them count as wrong."""


@dataclass(frozen=True)
class Call:
    """One sample to ask for."""

    request: Request
    sample: int
    number: int
    """How many calls were made before it."""


class FailedError(Exception):
    """A call has no result; `outage` says whether the server, not the request, may be to blame."""

    def __init__(self, message: str, *, outage: bool, slow: bool = False, status: int | None = None) -> None:
        """`slow`: the server did not answer in time; `status`: of its reply, if it refused the call."""
        super().__init__(message)
        self.outage = outage
        self.slow = slow
        self.status = status


class _Held(NamedTuple):
    """A failure that may be the server's."""

    calls_made: int
    """How many calls had been made by then."""
    call: Call
    """Which failed."""
    completion: Completion
    """What becomes of it, if it is its own."""


class Failures:
    """What has failed so far, and what that says.

    A success is evidence only of what failed before its call was made: of several calls under way when a server dies,
    some still succeed after others have failed.
    """

    def __init__(self, url: str, patience: int) -> None:
        """`patience` is the number of failures, none of them lifted by a success, that make an outage."""
        self.url = url
        self.patience = patience
        self.held: list[_Held] = []
        self.refusals: list[Completion] = []
        self.slow = 0
        self.calls_made = 0
        self.working = False
        self.stopped = False

    def result(self, call: Call, task: asyncio.Task[Completion]) -> Iterator[Completion]:
        """What a finished call yields, and what it implies for others.

        Raises:
            EngineError: the server is away, or refuses everything. Calls that are under way may succeed all the same;
                later failures are not reported, since the next run asks again.
        """
        try:
            completion = task.result()
        except FailedError as failure:
            if not self.stopped:
                yield from self._record_failure(call, failure)
        except EngineError:
            self.stopped = True
            raise
        else:
            yield from self._record_success(call)
            yield completion

    def _record_failure(self, call: Call, failure: FailedError) -> Iterator[Completion]:
        """Note a failed call, and yield it if its failure is certain."""
        completion = Completion(
            call.request.id, call.sample, None, None, Finish.ERROR, str(failure), prompt_tokens=None, tokens=None
        )
        if failure.outage:
            self.slow += failure.slow
            self.held.append(_Held(self.calls_made, call, completion))
            if len(self.held) >= self.patience:
                self.stopped = True
                mend = self._mend() or "start the server again and run again"
                raise EngineError(f"{failure}, {len(self.held)} calls in a row; {mend}")
        elif self.working:
            yield completion
        else:
            self.refusals.append(completion)
            if len(self.refusals) >= REFUSALS:
                self.stopped = True
                raise EngineError(f"{self.url} refuses every request; the last with: {failure}")

    def _record_success(self, call: Call) -> Iterator[Completion]:
        """Note a call that succeeded: calls that had failed before it was made failed for reasons of their own."""
        self.working = True
        yield from self.refusals
        yield from (held.completion for held in self.held if call.number >= held.calls_made)
        self.refusals = []
        self.held = [held for held in self.held if call.number < held.calls_made]

    def at_the_end(self, is_there: Callable[[], bool]) -> Iterator[Completion]:
        """All calls were made. Raises EngineError if the last of them failed and the server is away, or too slow."""
        number = len(self.held)
        if not self.working and number >= OUTAGE and self.slow == number:
            raise EngineError(f"{self.url}: {number} of {number} calls timed out; {self._mend()}")
        if self.held and not is_there():
            raise EngineError(f"{self.held[-1].completion.error}; is the server running?")
        yield from (*self.refusals, *(held.completion for held in self.held))

    def take_back(self) -> list[Call]:
        """Calls that failed, as it has turned out, while the server was away: they are to be made again."""
        calls = [held.call for held in self.held]
        self.held, self.slow = [], 0
        return calls

    def _mend(self) -> str:
        if not self.held or self.slow < len(self.held):
            return ""
        return "raise the engine's option timeout, or lower concurrency"


async def cancel(running: Iterable[asyncio.Task[Completion]]) -> None:
    """Cancel the running calls and collect their results: asyncio prints every error that is never retrieved."""
    tasks = list(running)
    for task in tasks:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
