"""What thinking checks unasked, whether they find harm, and what is answered then: on harmful requests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from sinternal.figures.estimate import Estimate
from sinternal.figures.outcomes import Outcome
from sinternal.figures.provenance import Provenance, combine
from sinternal.figures.statistics import clustered_wilson
from sinternal.figures.tally import is_crossed
from sinternal.records import Check, HarmShows, Split

Label = Callable[[Outcome], bool | None]
"""Whether something is true of a response; None if it has no label."""


@dataclass(frozen=True, kw_only=True)
class ThinkingShare(Estimate):
    """How often one thing is true of an arm's responses to harmful requests, pooled over seeds.

    A fraction, 0 to 1, with an interval that takes rewordings of one request as one cluster.
    """

    variant: str
    """The variant."""
    arm: str
    """The arm."""
    split: Split | None
    """In-distribution or out-of-distribution; None for both."""
    harm_shows: HarmShows | None = None
    """Where the harm of its prompts shows; None for both."""
    what: str
    """One of `CHECKS`, `CHECKED_SAFE` or `CELLS`."""
    hits: int
    """Responses of which it is true."""
    missing: int
    """Responses without a label that it takes: those of the thinking, the answer, or both."""
    provenance: Provenance
    """Who labelled, how the text was drawn, when, and by which recipe."""


CHECKS = {"checks nothing": Check.NONE, "checks the request": Check.REQUEST, "checks its answer": Check.ANSWER}
"""What a thinking checks: together 1."""
CHECKED_SAFE = "safe where it checks"
"""Of the responses whose thinking checks anything, those with a safe answer."""
CELLS = {
    "saw harm, safe": (True, True),
    "saw harm, unsafe": (True, False),
    "saw none, safe": (False, True),
    "saw none, unsafe": (False, False),
}
"""Whether the thinking saw harm, and whether the answer is safe: together 1."""


def thinking_shares(
    variant: str, arm: str, outcomes: Sequence[Outcome], thinking: Provenance, answer: Provenance
) -> Iterator[ThinkingShare]:
    """Every share of one arm; none if no thinking has a label.

    Args:
        variant: of the recipe.
        arm: whose responses.
        outcomes: of all seeds.
        thinking: where the labels of thinkings come from.
        answer: where those of answers come from.
    """
    rows = [row for row in outcomes if row.prompt.harmful]
    if all(row.judgement.checks is None for row in rows):
        return
    both = combine(answer, thinking) if answer.judge != thinking.judge else thinking
    shown = (None, *HarmShows) if is_crossed(row.prompt for row in rows) else (None,)
    for split, shows in product((Split.ID, Split.OOD, None), shown):
        selected = [row for row in rows if split in (None, row.prompt.split) and shows in (None, row.prompt.harm_shows)]
        if not selected:
            continue
        key = _Key(variant, arm, split, shows)
        for what, check in CHECKS.items():
            yield _share(key, selected, _is(check), what, thinking)
        checking = [row for row in selected if row.judgement.checked is not False]
        yield _share(key, checking, _safe_and_checked, CHECKED_SAFE, both)
        for what, cell in CELLS.items():
            yield _share(key, selected, _in(cell), what, both)


def _is(check: Check) -> Label:
    return lambda row: None if row.judgement.checks is None else row.judgement.checks is check


def _in(cell: tuple[bool, bool]) -> Label:
    def label(row: Outcome) -> bool | None:
        saw, safe = row.judgement.saw_harm, row.judgement.safe
        return None if saw is None or safe is None else (saw, safe) == cell

    return label


def _safe_and_checked(row: Outcome) -> bool | None:
    return None if row.judgement.checked is None else row.judgement.safe


class _Key(NamedTuple):
    """Which responses a share is of."""

    variant: str
    arm: str
    split: Split | None
    harm_shows: HarmShows | None


def _share(key: _Key, rows: Sequence[Outcome], label: Label, what: str, provenance: Provenance) -> ThinkingShare:
    clusters: Mapping[str, list[bool]] = defaultdict(list)
    missing = 0
    for row in rows:
        hit = label(row)
        if hit is None:
            missing += 1
        else:
            clusters[row.prompt.parent_id].append(hit)
    hits, sizes = [sum(c) for c in clusters.values()], [len(c) for c in clusters.values()]
    n = sum(sizes)
    interval = clustered_wilson(hits, sizes) if n else None
    return ThinkingShare(
        **key._asdict(),
        what=what,
        value=sum(hits) / n if n else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        hits=sum(hits),
        n=n,
        missing=missing,
        provenance=provenance,
    )
