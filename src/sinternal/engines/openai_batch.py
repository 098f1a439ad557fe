"""Calls that are handed in as batches: half the price, and up to a day.

A batch is a transport like any other: a call is posted, and waits for its reply. What the reply means, whether a field
was refused, a filter withheld it or it makes no sense, is decided where that is decided of every call; a call that is
made again is in the next batch. A batch is handed in when every call that has begun waits here, so that it is as large
as can be.

Whatever ends a batch early (it expired, lines are missing, too much was waiting) is no result of any call: as long as
batches bring replies, what they left is handed in again, and one that brings none stops the engine. Every batch is
noted on the disk (`openai_journal`) before anything is sent, so that the next run fetches what this one has handed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import openai

from sinternal import budget, pending
from sinternal.budget import Spent
from sinternal.engines.openai_batch_calls import BatchCalls
from sinternal.engines.openai_batch_files import OK, PREFIX, Answer, State, read_answers, write_line
from sinternal.engines.openai_failures import Call
from sinternal.engines.openai_journal import Journal
from sinternal.engines.openai_options import BatchOptions
from sinternal.engines.openai_replies import RefusedError, read_refusal
from sinternal.engines.openai_server import Server, Transport
from sinternal.errors import BudgetError, EngineError, SInternalError

ATTEMPTS = 2
"""Batches that a request may be in whose server answers it with 429 or 5xx, after attempts of its own."""


@dataclass
class Line:
    """A request that waits for its reply."""

    id: str
    """What it is known by."""
    path: str
    """Where it would be posted to."""
    text: bytes
    """Its line in a batch's file."""
    most: Spent
    """What it costs at most."""
    reply: asyncio.Future[bytes]
    """The reply."""
    attempts: int = 0
    """How often the server has failed at it."""
    set_aside: bool = False
    """Whether its cost is set aside."""


@dataclass
class _Desk:
    """The requests that wait, wherever they are."""

    waiting: dict[str, Line] = field(default_factory=dict)
    """All, by id."""
    queue: list[Line] = field(default_factory=list)
    """Those that are in no batch."""
    deferred: list[Line] = field(default_factory=list)
    """Those that join them once another batch has ended."""
    live: int = 0
    """Calls that have begun and are not over."""


class Batches(Transport):
    """Hands calls in as batches."""

    waits = (0.0,)

    def __init__(
        self,
        server: Server,
        client: openai.AsyncOpenAI,
        options: BatchOptions,
        share: float,
        *,
        identify: Callable[[Call], str],
        most: Callable[[Call], Spent],
        patience: int,
    ) -> None:
        """Read what earlier runs have handed in.

        Args:
            server: who is asked.
            client: by whom.
            options: how large batches are, and how often they are looked at.
            share: what a call costs, as a share of the price.
            identify: what a call is known by.
            most: what it costs at most.
            patience: calls that the server may fail at, if it answers none, until it counts as out of order.
        """
        self.server = server
        self.client = client
        self.options = options
        self.share = share
        self.identify = identify
        self.most = most
        self.patience = patience
        self.journal = Journal(server.url)
        self._calls = BatchCalls(server, client, options, self.journal)
        self._known = self.journal.open_requests()
        self._delivered: set[str] = set()
        self._desk = _Desk()
        self._errands: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._clerk: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None
        self._numbers = 0
        self._fruitful = 0  # batches that brought replies

    def knows(self, call: Call) -> bool:
        """Whether an earlier run has handed it in."""
        return self.identify(call) in self._known

    def expect(self, task: asyncio.Task[Any]) -> None:
        """A call has begun: no batch is handed in before it waits here, or is over."""
        self._desk.live += 1
        task.add_done_callback(self._is_over)
        if self._clerk is None:
            self._clerk = task.get_loop().create_task(self._work())
            self._clerk.add_done_callback(self._stop)

    async def post(self, call: Call, path: str, body: dict[str, Any]) -> bytes:
        """Wait for the reply to a call; see `Transport.post`."""
        if self._broken is not None:
            raise self._broken
        identity = self.identify(call)
        while identity in self._desk.waiting:  # the same request twice
            identity += "-again"
        text = write_line(identity, path, body)
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        line = Line(identity, path, text, self.most(call), reply)
        self._desk.waiting[identity] = line
        self._desk.queue.append(line)
        self._changed.set()
        return await reply

    async def close(self) -> None:
        """Wait for nothing any more. What is handed in stays so, and the next run fetches it."""
        tasks = [*self._errands, *([self._clerk] if self._clerk else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def forget_what_is_delivered(self) -> None:
        """All calls are over, and whoever made them has the replies: batches without others are of no more use."""
        if self.journal.outlives_calls:
            return
        for file, entry in list(self.journal.entries.items()):
            if entry.closed.union(self._delivered).issuperset(entry.ids):
                self.journal.forget(file)

    def _is_over(self, _task: asyncio.Task[Any]) -> None:
        self._desk.live -= 1
        self._changed.set()

    async def _work(self) -> None:
        """Hand in what waits, whenever nothing is about to join it."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if len(self._desk.waiting) >= self._desk.live:
                await self._look_for_lost_batches()
                self._fetch_known()
                self._hand_in_queue()

    async def _look_for_lost_batches(self) -> None:
        """Find out whether batches were made of files that an earlier run had uploaded when it was killed."""
        files = {self._known[line.id] for line in self._desk.queue if line.id in self._known}
        for file in sorted(files):
            entry = self.journal.entries[file]
            if entry.batch:
                continue
            if entry.input_file and await self._calls.find(file):
                continue
            self.journal.forget(file)
            for identity in entry.ids:
                self._known.pop(identity, None)

    def _fetch_known(self) -> None:
        """Wait for what an earlier run has handed in, rather than hand it in again."""
        by_batch: dict[Path, list[Line]] = {}
        for line in self._desk.queue:
            if file := self._known.pop(line.id, None):
                by_batch.setdefault(file, []).append(line)
        for file, lines in by_batch.items():
            taken = {line.id for line in lines}
            self._desk.queue = [line for line in self._desk.queue if line.id not in taken]
            self._numbers += 1
            self._tell(
                f"batch {self._numbers} of {len(self.journal.entries[file].ids):,} requests was handed in before"
            )
            self._send(partial(self._fetch, self._numbers, file, lines, self._fruitful), lines)

    def _hand_in_queue(self) -> None:
        while self._desk.queue:
            try:
                lines = self._take()
            except BudgetError as error:
                if not self._errands:  # else what is under way may cost less than is set aside for it
                    self._refuse(self._desk.queue, error)
                    self._desk.queue = []
                return
            self._numbers += 1
            self._send(partial(self._hand_in, self._numbers, lines), lines)

    def _take(self) -> list[Line]:
        """The requests of the next batch. Raises BudgetError if the budget covers none."""
        taken: list[Line] = []
        size = 0
        for line in self._desk.queue:
            if len(taken) >= self.options.max_requests:
                break
            if line.path != self._desk.queue[0].path or (taken and size + len(line.text) > self.options.max_bytes):
                continue
            try:
                budget.set_aside(line.most)
            except BudgetError:
                if not taken:
                    raise
                break
            line.set_aside = True
            taken.append(line)
            size += len(line.text)
        ids = {line.id for line in taken}
        self._desk.queue = [line for line in self._desk.queue if line.id not in ids]
        return taken

    def _send(self, errand: Callable[[], Awaitable[None]], lines: Sequence[Line]) -> None:
        """Let something be done about requests; if it fails, so do they."""

        async def run() -> None:
            try:
                await errand()
            except SInternalError as error:
                self._give_up(lines, error)

        task = asyncio.get_running_loop().create_task(run())
        self._errands.add(task)
        task.add_done_callback(self._come_back)

    def _come_back(self, task: asyncio.Task[None]) -> None:
        self._errands.discard(task)
        if not self._errands:
            self._make_room()
        self._changed.set()
        self._stop(task)

    def _stop(self, task: asyncio.Task[None]) -> None:
        """If a task has failed, let no call wait for ever."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._give_up(list(self._desk.waiting.values()), error)

    def _make_room(self) -> None:
        self._desk.queue += self._desk.deferred
        self._desk.deferred = []

    def _give_up(self, lines: Sequence[Line], error: BaseException) -> None:
        """The engine stops: nothing is handed in any more. What is under way may still come back."""
        self._broken = self._broken or error
        self._refuse([*lines, *self._desk.queue, *self._desk.deferred], error)
        self._desk.queue, self._desk.deferred = [], []

    async def _hand_in(self, number: int, lines: list[Line]) -> None:
        """Make a batch of requests, and wait for it."""
        fruitful = self._fruitful
        file = self.journal.add(tuple(line.id for line in lines))
        await self._calls.upload(file, b"".join(line.text for line in lines))
        identity = await self._calls.create(file, PREFIX + lines[0].path)
        self._tell(
            f"batch {number} of {len(lines):,} requests is handed in as {self.server.clean(identity)}; it may take up "
            f"to {self.options.window}"
        )
        await self._fetch(number, file, lines, fruitful)

    async def _fetch(self, number: int, file: Path, lines: Sequence[Line], fruitful: int) -> None:
        """Wait for a batch, and deliver what it brings; `fruitful` is how many were when it was handed in."""
        state = await self._calls.wait(file, lambda words: self._tell(f"batch {number}: {words}"))
        contents = [await self._calls.download(identity, file) for identity in state.files]
        entry = self.journal.entries[file]
        reading = read_answers(contents, frozenset(entry.ids))
        if oddities := reading.oddities():
            self._tell(f"batch {number}: lines are left out: {oddities}")
        replies = {identity for identity, answer in reading.answers.items() if answer.status == OK}
        self.journal.update(file, entry.model_copy(update={"closed": frozenset(entry.ids) - replies}))
        self._tell(f"batch {number} is {state.state}: {len(replies):,} of {len(entry.ids):,} requests brought a reply")
        if replies:
            self._fruitful += 1
            self._make_room()
        left = self._deliver([line for line in lines if not line.reply.done()], reading.answers)
        answered = any(not _may_pass(answer) for answer in reading.answers.values())
        if left:
            self._leave(number, state, left, answered=answered, room=self._fruitful > fruitful)

    def _deliver(self, lines: Sequence[Line], answers: dict[str, Answer]) -> list[Line]:
        """Hand out answers, replies first; the requests that are left."""
        left: list[Line] = []
        failed: list[Line] = []
        for line in sorted(lines, key=lambda each: each.id not in answers or answers[each.id].status != OK):
            answer = answers.get(line.id)
            if answer is None:
                left.append(line)
            elif answer.status == OK:
                self._settle(line)
                self._delivered.add(line.id)
                line.reply.set_result(answer.body)
            elif _may_pass(answer):
                line.attempts += 1
                (left if line.attempts < ATTEMPTS else failed).append(line)
            else:
                self._settle(line)
                line.reply.set_exception(RefusedError(read_refusal(answer.status, answer.body)))
        if failed and not self._fruitful and len(failed) >= self.patience:
            words = self.server.clean(read_refusal(0, answers[failed[-1].id].body).words)
            error = f"{len(failed):,} requests failed twice in batches, the last with: {words}; run again later"
            self._give_up(failed, EngineError(f"{self.server.url}: {error}"))
        for line in failed:
            if not line.reply.done():
                self._settle(line)
                answer = answers[line.id]
                line.reply.set_exception(RefusedError(read_refusal(answer.status, answer.body)))
        return left

    def _leave(self, number: int, state: State, left: list[Line], *, answered: bool, room: bool) -> None:
        """Decide what becomes of requests that a batch ended without.

        Args:
            number: of the batch.
            state: of the batch.
            left: the requests.
            answered: whether it brought anything else.
            room: whether another has brought something since it was handed in.
        """
        for line in left:
            self._take_back(line)
        failed_once = all(line.attempts for line in left)
        if self._broken is not None:
            self._refuse(left, self._broken)
        elif state.queue_is_full and (room or len(self._errands) > 1):
            (self._desk.queue if room else self._desk.deferred).extend(left)
        elif state.state in ("completed", "expired") and (answered or failed_once):
            self._desk.queue += left
        else:
            words = f": {self.server.clean(state.words)}" if state.words else ""
            mend = (
                "lower the engine's option batch.max_requests" if state.queue_is_full else "run again to ask for them"
            )
            batch = f"batch {number} ({self.server.clean(state.id)})"
            error = EngineError(
                f"{self.server.url}: {batch} {_HOW[state.state]} with {len(left):,} requests unanswered{words}; what "
                f"came back is kept, {mend}"
            )
            self._give_up(left, error)

    def _refuse(self, lines: Sequence[Line], error: BaseException) -> None:
        for line in lines:
            if not line.reply.done():
                self._settle(line)
                # One object for all would gather a traceback as long as the batch.
                own = type(error)(*error.args) if isinstance(error, SInternalError) else error
                line.reply.set_exception(own)

    def _settle(self, line: Line) -> None:
        """A request waits no longer."""
        self._take_back(line)
        self._desk.waiting.pop(line.id, None)

    def _take_back(self, line: Line) -> None:
        if line.set_aside:
            budget.give_back(line.most)
            line.set_aside = False

    def _tell(self, words: str) -> None:
        pending.tell(f"{self.server.url}: {words}")


_HOW = {
    "completed": "ended",
    "failed": "failed",
    "expired": "expired",
    "cancelled": "was cancelled",
}
"""How a batch ended, in words."""


def _may_pass(answer: Answer) -> bool:
    """Whether the server, not the request, is to blame."""
    return answer.status in (408, 429) or answer.status >= 500
