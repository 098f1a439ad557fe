"""What became of the calls behind an artifact: which failed and why, which a filter withheld, what was left out.

Kept beside the rows, and reported in the terminal and on the pages. A failure says nothing about a model, and what a
filter withholds is not the model's doing: both are counted apart from what the model did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

from sinternal.budget import Spent
from sinternal.records import CheckPlace, Finish, Judgement, Response, Verification
from sinternal.store import Artifact, Draft, Table
from sinternal.visible import WROTE

FILE = "calls"
"""Name of the file, without its ending."""
SHOWN = 3
"""Reasons that are spelled out."""
LONGEST = 300
"""Characters of a reason."""
SELF = "self"
"""The verifier's name where a model verifies its own answers."""
RETRY = "--retry-failed asks for them again"


class CallEnd(NamedTuple):
    """How one call ended."""

    finish: Finish | None
    """Why the text ended; None if nobody was asked."""
    error: str | None
    """What went wrong."""
    left_out: str
    """Settings that the server did not take."""


@dataclass(frozen=True)
class Calls:
    """Those behind one artifact, or several."""

    rows: str = "rows"
    """What the rows are called that were asked for."""
    asked: int = 0
    """Their number."""
    failed: dict[str, int] = field(default_factory=dict)
    """Rows whose request failed for good, by the reason."""
    filtered: dict[str, int] = field(default_factory=dict)
    """Rows that a content filter of the server withheld, by what it says."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Rows for which the server did not take a setting, by its name."""
    again: str = RETRY
    """How those that failed are asked for again."""

    def __add__(self, other: Calls) -> Calls:
        def both(name: str) -> dict[str, int]:
            return dict(Counter(getattr(self, name)) + Counter(getattr(other, name)))

        asked = self.asked + other.asked
        return Calls(self.rows, asked, both("failed"), both("filtered"), both("left_out"), self.again)

    @property
    def without_text(self) -> int:
        """Rows that brought nothing."""
        return sum(self.failed.values()) + sum(self.filtered.values())

    def reasons(self) -> str:
        """Why rows brought nothing, the most frequent reason first."""
        return _reasons({**self.failed, **self.filtered})

    def without_reasons(self) -> Calls:
        """The same without the words of servers, which may quote what they were asked."""

        def summed(counts: dict[str, int]) -> dict[str, int]:
            return {"reasons are left out": sum(counts.values())} if counts else {}

        return replace(self, failed=summed(self.failed), filtered=summed(self.filtered))

    def sentences(self) -> Iterator[str]:
        """What a reader should know, without full stops."""
        if failed := sum(self.failed.values()):
            yield f"{failed:,} of {self.asked:,} calls {_what_failed(self.failed)}; {self.again}"
        if filtered := sum(self.filtered.values()):
            yield (
                f"{filtered:,} of {self.asked:,} texts were withheld by a content filter of the server, not refused by "
                f"the model, and are in no rate ({_reasons(self.filtered)}); where the filter was changed, {self.again}"
            )
        if self.left_out:
            yield f"{server_defaults(self.left_out)}: it does not take {_pronoun(len(self.left_out))}"


def calls_of(rows: Iterable[Response | Judgement | Verification | CheckPlace], name: str = "rows") -> Calls:
    """The calls behind some rows, and what these are called."""
    return _count(map(_call_end, rows), name)


def keep(
    draft: Draft,
    table: Table[Response] | Table[Judgement] | Table[Verification] | Table[CheckPlace],
    name: str,
    again: str = RETRY,
) -> Calls:
    """Write what became of the calls behind a table into an artifact: its file, counts and notes.

    Args:
        draft: the artifact.
        table: what was asked for.
        name: what such rows are called, in the plural.
        again: how those that failed are asked for again.

    Returns:
        The same.
    """
    calls = replace(_count(_call_ends(table), name), again=again)
    draft.counts["failed"] = sum(calls.failed.values())
    if calls.filtered:
        draft.counts["filtered"] = sum(calls.filtered.values())
    draft.write_json(FILE, asdict(calls))
    draft.notes.extend(calls.sentences())
    return calls


def read(artifact: Artifact) -> Calls:
    """The calls behind an artifact; none if it is not made by calls."""
    return Calls(**artifact.json(FILE)) if artifact.has(f"{FILE}.json") else Calls()


def spent_on(artifacts: Iterable[Artifact]) -> Spent:
    """What calls to servers took for some artifacts, each counted once."""
    unique = {artifact.path: artifact for artifact in artifacts}
    return sum((Spent(**artifact.manifest.get("spent", {})) for artifact in unique.values()), Spent())


def server_defaults(names: Iterable[str]) -> str:
    """`top_k, min_p as the server has it`; empty for no names."""
    listed = ", ".join(dict.fromkeys(names))
    return f"{listed} as the server has it" if listed else ""


def _count(ends: Iterable[CallEnd], name: str) -> Calls:
    asked, by_finish, left_out = 0, {Finish.ERROR: Counter[str](), Finish.FILTERED: Counter[str]()}, Counter[str]()
    examples: dict[str, str] = {}
    for end in ends:
        asked += 1
        if end.finish in by_finish:
            reason = end.error or "no reason given"
            # Texts differ from row to row: what was wrong is counted, and the first of them is shown.
            by_finish[end.finish][examples.setdefault(reason.partition(WROTE)[0], reason)] += 1
        if end.left_out:
            left_out.update(setting for setting in end.left_out.split(", ") if setting)
    failed, filtered = by_finish.values()
    return Calls(name, asked, dict(failed), dict(filtered), dict(left_out))


def _call_ends(
    table: Table[Response] | Table[Judgement] | Table[Verification] | Table[CheckPlace],
) -> Iterator[CallEnd]:
    """How the calls behind a table ended, without making its rows."""
    finishes: dict[str | None, Finish | None] = {None: None, **{finish.value: finish for finish in Finish}}
    if table.row_type is Verification:
        for finish, verifier, dropped, answer, left_out in table.values(
            "finish", "verifier", "dropped", "answer", "left_out"
        ):
            yield CallEnd(finishes[finish], _error_of(verifier, dropped, answer), left_out)
    else:
        for finish, error, left_out in table.values("finish", "error", "left_out"):
            yield CallEnd(finishes[finish], error, left_out)


def _call_end(row: Response | Judgement | Verification | CheckPlace) -> CallEnd:
    error = _error_of(row.verifier, row.dropped, row.answer) if isinstance(row, Verification) else row.error
    return CallEnd(row.finish, error, row.left_out)


def _error_of(verifier: str, dropped: str | None, answer: str | None) -> str | None:
    """What went wrong with a verification: an expert's keeps it where its answer would stand."""
    return dropped if verifier == SELF else answer


def _what_failed(failed: dict[str, int]) -> str:
    """`failed (3: …; 1: …)`, or `timed out` where that is all."""
    slow = all(" timed out" in reason for reason in failed)
    return f"{'timed out' if slow else 'failed'} ({_reasons(failed)})"


def _reasons(counts: dict[str, int]) -> str:
    """The most frequent first."""
    ordered = Counter(counts).most_common()
    listed = [f"{count:,}: {reason[:LONGEST]}" for reason, count in ordered[:SHOWN]]
    rest = sum(count for _, count in ordered[SHOWN:])
    return "; ".join([*listed, *([f"{rest:,} for other reasons, each in the column error"] if rest else [])])


def _pronoun(number: int) -> str:
    return "it" if number == 1 else "them"
