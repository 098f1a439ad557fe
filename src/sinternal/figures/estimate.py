"""A value with its interval, and with all that it might be where labels are missing."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

OTHER_RUNS = "other prompts and other training runs"
THESE_RUNS = "other prompts, and these training runs only"
"""What the interval of a difference holds for."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its 95 % interval.

    Raises:
        ValueError: a number is not finite.
    """

    value: float | None
    """The value; None if it cannot be computed, or if labels are missing on one side only: the bounds are then all that
    is known."""
    low: float | None
    """Lower end of the 95 % interval, if no missing row counts towards the value (Imbens & Manski 2004, doi
    10.1111/j.1468-0262.2004.00555.x, on intervals that cover both bounds); None if there is no interval."""
    high: float | None
    """Upper end, if all missing rows do."""
    n: int
    """Number of rows that count."""
    lowest: float | None = None
    """The value if no missing row counts towards it (Manski 1990, AER 80:319; Horowitz & Manski 2000, doi
    10.1080/01621459.2000.10473902); None where no simple bound is known."""
    highest: float | None = None
    """The value if all missing rows do."""

    @property
    def bounded(self) -> bool:
        """Whether there are only bounds: some rows have a label, but too many have none."""
        return bool(self.n) and self.value is None and None not in (self.lowest, self.highest)

    def __post_init__(self) -> None:
        """Refuse NaN and infinite numbers."""
        for field in fields(self):
            number = getattr(self, field.name)
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"{self}: {field.name} is {number}, which is not a figure")


@dataclass(frozen=True, kw_only=True)
class Difference(Estimate):
    """The difference of two rates, which is always known."""

    @property
    def difference(self) -> float:
        """The value."""
        if self.value is None:
            raise ValueError(f"{self}: a difference that is not known is no difference")
        return self.value
