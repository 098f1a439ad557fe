"""What thinking checks unasked, whether they find harm, and what is answered then: on harmful requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from sinternal.figures.columns import MISSING, Flags, Labels, number_in_order
from sinternal.figures.estimate import Estimate
from sinternal.figures.outcomes import CHECKS as CODES
from sinternal.figures.outcomes import Outcomes
from sinternal.figures.provenance import Provenance, combine
from sinternal.figures.statistics import bounded_wilson
from sinternal.figures.tally import is_crossed
from sinternal.records import Check, HarmShows, Split


@dataclass(frozen=True, kw_only=True)
class ThinkingShare(Estimate):
    """How often one thing is true of an arm's responses to harmful requests, pooled over seeds.

    A fraction, 0 to 1, with an interval that takes rewordings of one request as one cluster. Interval and bounds cover
    whatever the labels are that are missing; the value is None where they are missing on one arm much more than on
    another, as with every rate.
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
    variant: str, arm: str, outcomes: Outcomes, thinking: Provenance, answer: Provenance
) -> Iterator[ThinkingShare]:
    """Every share of one arm; none if no thinking has a label.

    Args:
        variant: of the recipe.
        arm: whose responses.
        outcomes: of all seeds.
        thinking: where the labels of thinkings come from.
        answer: where those of answers come from.
    """
    rows = outcomes.take(outcomes.harmful)
    if (rows.checks == MISSING).all():
        return
    both = combine(answer, thinking) if answer.judge != thinking.judge else thinking
    shown = (None, *HarmShows) if is_crossed(rows) else (None,)
    for split, shows in product((Split.ID, Split.OOD, None), shown):
        here = np.ones(len(rows), dtype=np.bool_)
        for column, name in ((rows.split, split), (rows.harm_shows, shows)):
            if name is not None:
                here &= column == rows.names.find(name)
        if not here.any():
            continue
        key, selected = _Key(variant, arm, split, shows), rows.take(here)
        for what, check in CHECKS.items():
            yield _share(key, selected, _where_known(selected.checks == CODES[check], selected.checks), what, thinking)
        checking = selected.take(selected.checked != 0)
        yield _share(
            key, checking, _where_known(checking.safe == 1, checking.safe, checking.checks), CHECKED_SAFE, both
        )
        for what, (saw, safe) in CELLS.items():
            cell = (selected.saw_harm == saw) & (selected.safe == safe)
            yield _share(key, selected, _where_known(cell, selected.saw_harm, selected.safe), what, both)


def _where_known(holds: Flags, *labels: Labels) -> Labels:
    """Whether something holds; `MISSING` where one of the labels is that it rests on."""
    known = np.all([label != MISSING for label in labels], axis=0)
    return np.where(known, holds, MISSING).astype(np.int8)


class _Key(NamedTuple):
    """Which responses a share is of."""

    variant: str
    arm: str
    split: Split | None
    harm_shows: HarmShows | None


def _share(key: _Key, rows: Outcomes, label: Labels, what: str, provenance: Provenance) -> ThinkingShare:
    known, parents = label != MISSING, number_in_order(rows.parent)
    hits, sizes, missing = (
        np.bincount(parents, weights, minlength=int(parents.max(initial=-1)) + 1).astype(np.int64)
        for weights in (label == 1, known, ~known)
    )
    happened, n = int(hits.sum()), int(sizes.sum())
    found = bounded_wilson(hits, sizes, missing) if len(rows) else None
    return ThinkingShare(
        **key._asdict(),
        what=what,
        value=happened / n if n else None,
        low=found.interval.low if found and n else None,
        high=found.interval.high if found and n else None,
        lowest=found.lowest if found else None,
        highest=found.highest if found else None,
        hits=happened,
        n=n,
        missing=len(rows) - n,
        provenance=provenance,
    )
