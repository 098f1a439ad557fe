"""10,000 requests through a server whose replies are faulty in every way, against the ledger that it keeps.

    python -m bench.endpoints

Counted are requests that are lost, doubled, mixed up, or counted as what they are not; calls, tokens and cost that
differ from the server's own books, where a call that brought nothing back counts at its most; and what memory grows by.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.faulty import FURTHER, KINDS, READ, USUAL, WRITTEN, Cost, Plan, answer_to, faulty
from bench.harness import Result, Row, at_most, peak_mb
from sinternal import budget, pending
from sinternal.budget import Spent
from sinternal.engines import Completion, Request
from sinternal.engines.openai import TEMPLATE, OpenAIEngine
from sinternal.engines.openai_options import OpenAIOptions
from sinternal.errors import EngineError
from sinternal.settings.sampling import Sampling

SAMPLING = Sampling(max_tokens=32)
PRICE = {"read": 3.0, "written": 15.0}
TIMEOUT = 3.0
"""Seconds: short, for every hang takes as long, and long enough for a busy machine."""
MOST_STOPS = 10
"""Times that the engine may stop."""
OURS_ALONE = ("drips for ever", "a bomb")
"""Faults that take seconds each: the short form leaves them to tests of their own."""


@dataclass
class Books:
    """What has become of some requests, by our count and by the server's."""

    requests: list[Request]
    """What was asked."""
    ledger: dict[str, list[str]]
    """What the server did with each attempt, by prompt."""
    results: Counter[str] = field(default_factory=Counter)
    """Completions of each request."""
    failed: dict[str, str] = field(default_factory=dict)
    """The errors, by request."""
    mixed: int = 0
    """Answers that are to another request, or to none."""
    spent: Spent = budget.NOTHING
    """By our count."""
    stops: list[str] = field(default_factory=list)
    """Why the engine has stopped before all was done; asked again, it went on."""
    growth_mb: float = 0.0
    """Peak memory in the second half, over that in the first."""

    def take(self, completion: Completion) -> None:
        """Count one completion."""
        self.results[completion.request_id] += 1
        text = f"number {completion.request_id}"
        if completion.error is not None:
            self.failed[completion.request_id] = completion.error
            self.mixed += completion.answer is not None
        elif (completion.answer or "").rstrip("\ufffd") not in (answer_to(text), ""):
            self.mixed += 1

    @property
    def not_once(self) -> int:
        """Requests that have no completion, or more than one."""
        return sum(self.results[request.id] != 1 for request in self.requests)

    @property
    def misjudged(self) -> int:
        """Requests that are failures by one count and answers by the other."""
        ends = {text: attempts[-1].removeprefix("batch: ") for text, attempts in self.ledger.items()}
        return sum(
            (request.id in self.failed) is KINDS[ends[request.messages[-1][1]]].answers for request in self.requests
        )

    def charged(self, share: float = 1.0) -> Spent:
        """What the server would have on its bill; where it does not tell, the most that it can have."""
        bill = budget.NOTHING
        for text, attempts in self.ledger.items():
            most = len(text.encode()) + TEMPLATE
            for attempt in attempts:
                kind = KINDS[attempt.removeprefix("batch: ")]
                if kind.cost is Cost.TOLD:
                    bill += _priced(READ, WRITTEN, share, 0)
                elif kind.cost is Cost.UNTOLD:
                    bill += _priced(most, SAMPLING.max_tokens, share, 1)
        return bill


def _priced(read: int, written: int, share: float, estimated: int) -> Spent:
    return Spent(1, read, written, share * (read * PRICE["read"] + written * PRICE["written"]) / 1e6, estimated)


def ask(shares: dict[str, float], number: int, **options: object) -> Books:
    """Put requests through a server with these faults."""
    requests = [Request(f"r{i}", (("user", f"number r{i}"),)) for i in range(number)]
    settings = {"timeout": TIMEOUT, "concurrency": 64, "price": PRICE, **options}
    books = Books(requests, {})
    with faulty(Plan(shares, hang=2 * TIMEOUT)) as server:
        engine = OpenAIEngine("served", OpenAIOptions.model_validate({"base_url": server.url, **settings}))
        before, first = budget.spent(), 0.0
        _forget_peak()
        while rest := [request for request in requests if not books.results[request.id]]:
            try:
                for completion in engine.generate(rest, SAMPLING, 0):
                    books.take(completion)
                    if books.results.total() == number // 2:
                        first = peak_mb()
                        _forget_peak()
            except EngineError as error:  # as the next run does, ask for the rest
                books.stops.append(str(error))
                if len(books.stops) > MOST_STOPS:
                    raise
        books.growth_mb = max(0.0, peak_mb() - first)
        books.spent = budget.spent() - before
        books.ledger = server.ledger()
    return books


def _forget_peak() -> None:
    """Let the peak begin anew (Linux; elsewhere it stays the whole run's, and the growth is 0 or real)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


@contextmanager
def batches_in_a_folder() -> Iterator[None]:
    """Keep the notes of batches out of the user's cache."""
    with tempfile.TemporaryDirectory() as folder, pending.kept_in(Path(folder)):
        yield


def ask_by_batches(shares: dict[str, float], number: int) -> Books:
    """The same through the batch endpoint."""
    with batches_in_a_folder():
        return ask(shares, number, batch={"poll": 0.05, "max_requests": max(1, number // 4)})


def rows(what: str, books: Books, *, exact: bool = True) -> Iterator[Row]:
    """The rows of a table; `exact`, if our count is to be that of the bill, and no more than it."""
    bill = books.charged()
    asked = f"{len(books.requests):,} requests, {what}"
    yield at_most(f"{asked}: lost or doubled", "", [books.not_once], 0)
    yield at_most(f"{asked}: mixed up, or an error with a text", "", [books.mixed], 0)
    yield at_most(f"{asked}: failures counted as answers, or answers as failures", "", [books.misjudged], 0)
    if exact:
        for name in ("calls", "prompt_tokens", "tokens", "cost"):
            difference = abs(getattr(bill, name) - getattr(books.spent, name))
            yield at_most(f"{asked}: difference to the server's bill, {name}", "", [round(difference, 6)], 0)


def measure(requests: int, share: float) -> Result:
    """Ask through every kind of fault, and compare with the server's books."""
    result = Result("endpoints")
    usual = ask(dict.fromkeys(USUAL, share), requests)
    result.rows += rows(f"{len(USUAL)} usual faults at {share:.0%} each", usual)
    result.rows.append(at_most("the same: growth of peak memory in the second half", "MB", [usual.growth_mb], 10))
    further = ask(dict.fromkeys(FURTHER, share / 2), requests // 5)
    result.rows += rows(f"{len(FURTHER)} further faults at {share / 2:.1%} each", further)
    batched = ask_by_batches(dict.fromkeys(USUAL, share), requests // 5)
    result.rows += rows("by batches", batched, exact=False)
    attempts = sum(len(tried) for books in (usual, further, batched) for tried in books.ledger.values())
    failed = [len(books.failed) for books in (usual, further, batched)]
    result.notes.append(
        f"{attempts:,} attempts were made; {failed[0]}, {failed[1]} and {failed[2]} requests failed in all their "
        "attempts and are rows with an error"
    )
    result.notes.append(
        f"the engine stopped {len(usual.stops)}, {len(further.stops)} and {len(batched.stops)} times (a batch that "
        "brings nothing stops it), and asked again for the rest alone"
    )
    return result


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--share", type=float, default=0.05, help="of each usual fault")
    args = parser.parse_args()
    told: list[str] = []
    with pending.heard_by(told.append):
        result = measure(args.requests, args.share)
    result.print()


if __name__ == "__main__":
    main()
