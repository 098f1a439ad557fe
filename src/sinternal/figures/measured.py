"""What was measured of each response, as it is written for comparisons with other runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sinternal.figures.columns import MISSING
from sinternal.figures.metric import PAIRED
from sinternal.figures.outcomes import Outcomes
from sinternal.layout import ArmPlace
from sinternal.records import HarmShows, Measured, Split, make_id

LABELS = {MISSING: None, 0: False, 1: True}


class MeasuredRows(Iterable[Measured]):
    """Rows of a run, made when they are gone through, and never held at once."""

    def __init__(self, outcomes: Mapping[ArmPlace, Outcomes]) -> None:
        """Take the responses of each arm, variant and seed, labelled by the judges that decide."""
        self.outcomes = outcomes

    def __iter__(self) -> Iterator[Measured]:
        for place, outcomes in self.outcomes.items():
            yield from _rows(place, outcomes)


def _rows(place: ArmPlace, outcomes: Outcomes) -> Iterator[Measured]:
    names = outcomes.names
    named = (outcomes.prompt, outcomes.parent, outcomes.benchmark, outcomes.family, outcomes.split, outcomes.harm_shows)
    metrics = {metric.name: metric.measure(outcomes).tolist() for metric in PAIRED}
    plain = (outcomes.sample, outcomes.harmful, outcomes.truncated, outcomes.can_help)
    columns = zip(*(column.tolist() for column in (*named, *plain)), *metrics.values(), strict=True)
    for *numbers, sample, harmful, truncated, can_help, first, second, third, fourth in columns:
        prompt, parent, benchmark, family, split, shows = (names[number] for number in numbers)
        labels = (LABELS[label] for label in (first, second, third, fourth))
        yield Measured(
            id=make_id("measured", *place, prompt, sample),
            variant=place.variant,
            arm=place.arm,
            seed=place.seed,
            prompt_id=prompt,
            parent_id=parent,
            sample=sample,
            benchmark=benchmark,
            family=family,
            split=Split(split),
            harmful=harmful,
            **dict(zip(metrics, labels, strict=True)),
            truncated=truncated,
            harm_shows=HarmShows(shows),
            can_help=LABELS[can_help],
        )
