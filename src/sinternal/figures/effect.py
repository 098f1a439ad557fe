"""The effect of a method: less its placebo and, beside it, less the base, wherever there are attacks.

A placebo is trained on the same prompts, as many rows and the same form, without any safety in it. What it changes is
what tuning on anything of that form changes; only what the method does beyond it is an effect of learning to verify
safety. A difference from the base holds both.
"""

from __future__ import annotations

from dataclasses import dataclass

from sinternal.figures.estimate import Estimate
from sinternal.figures.provenance import Provenance
from sinternal.records import HarmShows, Split


@dataclass(frozen=True, kw_only=True)
class Contrast(Estimate):
    """The method less one other arm, on the same prompts of the same seed: a difference of shares, pooled over seeds.

    `n` is the number of pairs that have both labels. The interval, and the bounds, hold whatever the labels are that
    are missing; there is no value if no pair has both.
    """

    other: str
    """The other arm."""
    holds_for: str
    """What the interval holds for: other prompts and, with several seeds, other training runs."""
    seeds: int
    """Seeds that the value is over: as many bases, where each seed has its own."""
    by_seed: dict[int, float]
    """The difference of each seed."""
    low_these_runs: float | None
    """Lower end of the 95 % interval for other prompts, but these training runs; None if there is none."""
    high_these_runs: float | None
    """Upper end."""
    missing_method: int
    """Pairs that do not count because the method has no label."""
    missing_other: int
    """Pairs that do not count because the other arm has none."""
    provenance: Provenance
    """Where the other arm's part comes from."""

    @property
    def missing(self) -> bool:
        """Whether any pair lacks a label."""
        return bool(self.missing_method or self.missing_other)

    @property
    def direction(self) -> int:
        """-1 if the whole interval is below 0, 1 if it is above; 0 if it says neither."""
        if self.value is None or self.low is None or self.high is None:
            return 0
        return -1 if self.high < 0 else 1 if self.low > 0 else 0


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What one arm's training did to one metric in one place."""

    variant: str
    """The variant."""
    method: str
    """The arm."""
    metric: str
    """Name of the metric."""
    split: Split
    """In-distribution or out-of-distribution."""
    harm_shows: HarmShows
    """Where the harm of the prompts shows: in the request, or in the draft of an answer only."""
    family: str | None
    """The attack family; None for all of that split whose harm shows there."""
    placebo: str | None
    """The placebo that leaves the smallest effect, see `smallest`; None if there is none."""
    placebos: tuple[Contrast, ...]
    """The method less each of its placebos, in the recipe's order."""
    base: Contrast | None
    """The method less what it was before training; None if that was not measured."""
    provenance: Provenance
    """Where the method's part comes from."""

    @property
    def separated(self) -> bool:
        """Whether there is a placebo to tell the effect from that of any tuning of the same form."""
        return bool(self.placebos)

    @property
    def headline(self) -> Contrast | None:
        """The method less the placebo that leaves the smallest effect; without any placebo, less the base."""
        if not self.placebos:
            return self.base
        return next((row for row in self.placebos if row.other == self.placebo), self.placebos[0])

    @property
    def direction(self) -> int:
        """-1 if the method is clearly below each placebo, 1 if it is above each, else 0; without any, of the base.

        An effect that some placebo shows, too, is none.
        """
        references = self.placebos or ((self.base,) if self.base else ())
        directions = {row.direction for row in references}
        return directions.pop() if len(directions) == 1 else 0
