"""Whether a server is there, as the calls to it show; while it is not, they wait, and the user is told so.

A server that takes no connections, or none of whose replies comes back, is away: the calls pause. It is told at once
who is away, why, and for how long it is waited for. Meanwhile one attempt at a time finds out whether it is back: a
look at its list of models, which costs nothing, or, where that proves nothing, a call that waits anyway. What fails in
that time counts against no call.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from sinternal import pending
from sinternal.engines.openai_attempts import AttemptError, Lost, pause, perhaps_tls
from sinternal.engines.openai_replies import RefusedError
from sinternal.errors import EngineError

T = TypeVar("T")
SILENCE = 60.0
"""Seconds without any reply after which it is looked whether the server still answers at all."""
WORTH_TELLING = 5.0
"""Seconds without a reply from which on it is told that all calls fail; at the start it is told at once."""
KEPT = "what is done is kept"


@dataclass
class _Away:
    """A server that is away."""

    since: float
    """When that was noticed."""
    why: AttemptError
    """The last that was heard of it."""
    failures: int = 0
    """Attempts since."""


class Presence:
    """Of one server, for the calls to it that are under way at the same time."""

    def __init__(
        self, url: str, patience: float, look: Callable[[float, float], Awaitable[AttemptError | None]], *, enough: int
    ) -> None:
        """Nothing is known yet.

        Args:
            url: the server's address, to be shown.
            patience: seconds that it is waited for.
            look: finds out why it takes or answers no calls; None if it does. Given how many times as long as usual it
                may take for that, and seconds that it may take at most.
            enough: calls that fail, none of them succeeding in between, until it counts as out of order.
        """
        self.url = url
        self.patience = patience
        self.enough = enough
        self.live = 0
        """Calls under way."""
        self.times_away = 0
        """How often it was away and is back."""
        self._look = look
        self._away: _Away | None = None
        self._gone: EngineError | None = None
        self._failing: set[int] = set()
        self._heard = self._began = time.monotonic()
        self._told = False
        self._turn = asyncio.Lock()

    @property
    def is_away(self) -> bool:
        """Whether calls wait for it."""
        return self._away is not None

    async def expect(self) -> None:
        """Before the first call: wait until it takes calls. Raises EngineError if it does not."""
        if why := await self._look(1.0, math.inf):
            self._note_absence(why)
            async with self._turn:
                await self._wait()

    async def attempt(self, number: int, make: Callable[[], Awaitable[T]]) -> T:
        """Make one attempt at a call, once the server is there.

        Args:
            number: of the call.
            make: makes it.

        Raises:
            AttemptError: what `make` raises.
            RefusedError: the same.
            EngineError: the server was away for too long.
        """
        if self._gone is not None:
            raise EngineError(*self._gone.args)
        if self._away is not None:
            async with self._turn:
                if await self._wait():
                    return await self._observe(number, make)
        return await self._observe(number, make)

    async def look_after_silence(self) -> None:
        """Nothing has come back for a while: tell it, if the server does not even list its models."""
        if self._away is None and not self._told and (why := await self._look(1.0, math.inf)):
            self._told = True
            pending.tell(f"{self.url} has sent nothing for {SILENCE:g} s and {why}; {HOW_TO_STOP}")

    async def _wait(self) -> bool:
        """Wait until the server is there; whether only a call can tell that. Raises EngineError if that is too long."""
        while (away := self._away) is not None:
            if self._gone is not None:
                raise EngineError(*self._gone.args)
            left = away.since + self.patience - time.monotonic()
            if away.why.why is Lost.NEVER and self._heard == self._began:
                left = 0.0
            if left <= 0:
                self._gone = EngineError(self._end(away))
                raise self._gone
            away.failures += 1
            await asyncio.sleep(min(left, pause(away.failures)))
            if away.why.why is Lost.BUSY or away.why.why is Lost.BROKEN:
                return True
            left = away.since + self.patience - time.monotonic()
            if why := await self._look(2.0**away.failures, left):  # one that is slow to say anything is there, too
                away.why = why
            elif self._away is away:
                self._note_presence()
        return False

    async def _observe(self, number: int, make: Callable[[], Awaitable[T]]) -> T:
        try:
            reply = await make()
        except AttemptError as error:
            await self._note_failure(number, error)
            raise
        except RefusedError:
            self._note_presence()
            raise
        self._note_presence()
        return reply

    async def _note_failure(self, number: int, error: AttemptError) -> None:
        self._failing.add(number)
        if self._away is not None:
            self._away.why = error
        elif error.why in (Lost.NOT_THERE, Lost.NEVER, Lost.SILENT):
            if why := await self._look(1.0, math.inf):  # else it was this call's bad luck
                self._note_absence(why)
        elif len(self._failing) >= self.enough:
            self._note_absence(error)
        if self._away is None and not self._told and len(self._failing) >= self.live and self._is_worth_telling():
            self._told = True
            pending.tell(
                f"{self.url} {error}{self._hint(error)}; calls are made again, with growing pauses; {HOW_TO_STOP}"
            )

    def _is_worth_telling(self) -> bool:
        return self._heard == self._began or time.monotonic() - self._heard > WORTH_TELLING

    def _note_absence(self, why: AttemptError) -> None:
        if self._away is not None:
            return
        self._away = _Away(time.monotonic(), why)
        waits = self.patience > 0 and not (why.why is Lost.NEVER and self._heard == self._began)
        if waits:
            until = time.strftime("%H:%M:%S", time.localtime(time.time() + self.patience))
            count = (
                "" if why.why in (Lost.NOT_THERE, Lost.NEVER, Lost.SILENT) else f", {len(self._failing)} calls in a row"
            )
            pending.tell(
                f"{self.url} {why}{self._hint(why)}{count}; it is tried again until {until} "
                f"(for {self.patience:g} s: the engine's option patience); {HOW_TO_STOP}"
            )

    def _note_presence(self) -> None:
        """A reply came, whatever it says."""
        away, self._away = self._away, None
        self._failing.clear()
        self._heard = time.monotonic()
        if away is not None:
            self.times_away += 1
            pending.tell(f"{self.url} is there again, after {self._heard - away.since:.0f} s; the run goes on")
        elif self._told:
            pending.tell(f"{self.url} answers again; the run goes on")
        self._told = False

    def _hint(self, why: AttemptError) -> str:
        return perhaps_tls(self.url, why) if self._heard == self._began else ""

    def _end(self, away: _Away) -> str:
        waited = time.monotonic() - away.since
        how_long, longer = f", for {waited:.0f} s" if waited >= 1 else "", ""
        if away.why.why in (Lost.NOT_THERE, Lost.SILENT):
            mend = "is the server running? Start it"
            if self._heard == self._began:
                longer = "; while it starts, the engine's option patience (in seconds) waits longer"
        elif away.why.why is Lost.NEVER:
            mend = "correct the address"
        else:
            how_long = f", {len(self._failing)} calls in a row{how_long}"
            mend = "fix the server"
        mend = away.why.mend or mend
        return f"{self.url} {away.why}{self._hint(away.why)}{how_long}; {mend} and run again: {KEPT}{longer}"


HOW_TO_STOP = f"Ctrl-C stops, {KEPT}"
