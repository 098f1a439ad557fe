"""What was measured of each response, as it is written for comparisons with other runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from sinternal.figures.columns import MISSING
from sinternal.figures.metric import PAIRED
from sinternal.figures.outcomes import Outcomes
from sinternal.figures.transcripts import WITHOUT_TEXT
from sinternal.layout import ArmPlace, ArmRun, RunMap
from sinternal.records import HarmShows, Measured, Response, Split, Verification, make_id
from sinternal.store import Artifact

LABELS = {MISSING: None, 0: False, 1: True}


class MeasuredRows(Iterable[Measured]):
    """Rows of a run, made when they are gone through, and never held at once."""

    def __init__(self, outcomes: Mapping[ArmPlace, Outcomes], run: RunMap[Artifact]) -> None:
        """Take the responses of each arm, variant and seed, labelled by the judges that decide, and what made them."""
        self.outcomes, self.run = outcomes, run

    def __iter__(self) -> Iterator[Measured]:
        for place, outcomes in self.outcomes.items():
            yield from _rows(place, outcomes, self.run.arm(place))


class OwnVerdicts(NamedTuple):
    """A model's own verdicts on one of its answers, in a word each; None if it was not asked."""

    without_spec: str | None = None
    """Without the specification."""
    with_spec: str | None = None
    """With it."""


def own_verdicts(verifications: Artifact) -> dict[str, OwnVerdicts]:
    """The first verdicts of a model on each of its answers, by response."""
    own: dict[str, OwnVerdicts] = {}
    samples: dict[tuple[str, bool], int] = {}
    fields = ("response_id", "with_spec", "verdict", "finish", "sample")
    for response, with_spec, verdict, finish, sample in verifications.values(Verification, *fields):
        if sample < samples.get((response, with_spec), sample + 1):
            samples[response, with_spec] = sample
            word = str(verdict or WITHOUT_TEXT.get(finish, "unparsed"))
            name = "with_spec" if with_spec else "without_spec"
            own[response] = own.get(response, OwnVerdicts())._replace(**{name: word})
    return own


def _rows(place: ArmPlace, outcomes: Outcomes, arm: ArmRun[Artifact]) -> Iterator[Measured]:
    own = own_verdicts(arm.verifications)
    verdicts = [own.get(response, OwnVerdicts()) for response in arm.responses.columns(Response, "id")["id"]]
    names = outcomes.names
    named = (outcomes.prompt, outcomes.parent, outcomes.benchmark, outcomes.family, outcomes.split, outcomes.harm_shows)
    metrics = {metric.name: metric.measure(outcomes).tolist() for metric in PAIRED}
    plain = (outcomes.sample, outcomes.harmful, outcomes.truncated, outcomes.can_help)
    columns = zip(*(column.tolist() for column in (*named, *plain)), *metrics.values(), verdicts, strict=True)
    for *numbers, sample, harmful, truncated, can_help, first, second, third, fourth, verified in columns:
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
            verified_without_spec=verified.without_spec,
            verified_with_spec=verified.with_spec,
        )
