"""How far a judge, or a model as a verifier, agrees with people who scored the same answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sinternal.benchmarks.human import THRESHOLD, LabelledAnswer, ScoreKind
from sinternal.figures.estimate import Estimate
from sinternal.figures.statistics import (
    ONE_SIDED,
    bounded_kappa,
    bounded_wilson,
    effective_size,
    tails,
)
from sinternal.figures.statistics.distributions import average_ranks

RANK_RESAMPLES = 1_999
"""For the rank correlation, which cannot be computed from counts."""
NOTABLE = 0.05
"""Share of answers without a label above which there is a caveat."""
LABELS = {ScoreKind.HARM: "unsafe", ScoreKind.OBJECTIVE: "unsafe", ScoreKind.REFUSAL: "refused"}
"""What of a judge is held against each kind of score: an answer that achieves a harmful objective should be unsafe."""
EVERY_PERSON = "a person"
"""Each person who scored an answer, against the mean of the others."""


class Labels(NamedTuple):
    """What a judge or a verifier says of one answer."""

    unsafe: bool | None
    """Whether it is unsafe; None without a label."""
    refused: bool | None
    """Whether it is a refusal; None without a label."""
    graded: float | None = None
    """How unsafe, from 0 to 1; None if unknown."""


@dataclass(frozen=True, kw_only=True)
class Share(Estimate):
    """A share of answers; its bounds are those of all unlabelled answers being labelled wrongly, and rightly."""

    right: int
    """How many."""
    effective: float | None
    """How many independent answers tell as much as these, of which several are to one request; None for none."""
    missing: int
    """Answers beside these that have no label."""


@dataclass(frozen=True)
class HumanAgreement:
    """How far somebody agrees with people on one kind of labels."""

    kind: str
    """What people scored."""
    label: str
    """What was held against it."""
    who: str
    """Whose labels: the judge's, or people's."""
    n: int
    """Answers that both have labelled."""
    missing: int
    """Answers without a label."""
    majority: float | None
    """The majority baseline: accuracy of always giving the more frequent label; None if nothing has a label."""
    accuracy: Share
    """Share of equal labels."""
    kappa: Estimate
    """Cohen's kappa: 1 is full agreement, 0 what chance gives; interval and bounds cover all that missing labels may
    be."""
    sensitivity: Share
    """Share called positive of what people call positive."""
    specificity: Share
    """Share called negative of what people call negative."""
    spearman: Estimate
    """Rank correlation of graded labels; undefined where either side is not graded, or more than 5 % of the answers are
    not."""
    caveat: str = ""
    """What a reader should know."""


@dataclass(frozen=True)
class Rater:
    """A judge, or a model as a verifier, that is held against people."""

    name: str
    """Its name."""
    options: dict[str, object]
    """Its options."""
    revision: str
    """Its model, or the version of the package that holds its rules."""


@dataclass(frozen=True)
class HumanAgreements:
    """All figures of one judge."""

    judge: Rater
    """Whose labels they are about."""
    data: str
    """The version of the data."""
    measured: str
    """The day, as year-month-day."""
    rows: tuple[HumanAgreement, ...]
    """By kind: the judge, and people among themselves where several scored the same answers."""


def human_agreements(
    rows: Sequence[LabelledAnswer], labels: Mapping[str, Labels], who: str
) -> tuple[HumanAgreement, ...]:
    """Compare somebody's labels with people's, by kind of score; and people among themselves.

    Args:
        rows: answers that people have scored.
        labels: somebody's, by the id of the answer.
        who: who that is.
    """
    agreements = []
    for kind in ScoreKind:
        of_kind = [row for row in rows if row.kind is kind]
        if of_kind:
            agreements.append(human_agreement(kind, who, _pairs(of_kind, labels, LABELS[kind])))
        if several := [row for row in of_kind if len(row.scores) > 2]:
            agreements.append(human_agreement(kind, EVERY_PERSON, _people(several)))
    return tuple(agreements)


class LabelPair(NamedTuple):
    """One answer, as people label it and as somebody else does."""

    request: str
    """The request that it answers: answers to one request are not independent."""
    people: bool
    """People's label."""
    theirs: bool | None
    """The other label; None if there is none."""
    mean: float
    """Mean of people's scores, 0 to 1."""
    graded: float | None
    """The other score, 0 to 1; None if the label is not graded."""


def _pairs(rows: Sequence[LabelledAnswer], labels: Mapping[str, Labels], label: str) -> list[LabelPair]:
    none = Labels(None, None)
    return [
        LabelPair(
            row.request,
            row.positive,
            getattr(labels.get(row.id, none), label),
            fmean(row.scores),
            labels.get(row.id, none).graded if row.kind is ScoreKind.HARM else None,
        )
        for row in rows
    ]


def _people(rows: Sequence[LabelledAnswer]) -> list[LabelPair]:
    """Each person against the mean of the others: what a judge that is as good as a person would reach."""
    pairs = []
    for row in rows:
        for i, own in enumerate(row.scores):
            mean = fmean(row.scores[:i] + row.scores[i + 1 :])
            pairs.append(LabelPair(row.request, mean >= THRESHOLD, own >= THRESHOLD, mean, own))
    return pairs


def human_agreement(kind: ScoreKind, who: str, pairs: Sequence[LabelPair]) -> HumanAgreement:
    """Compare somebody's labels with people's."""
    labelled = [pair for pair in pairs if pair.theirs is not None]
    missing = len(pairs) - len(labelled)
    tables: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(4))
    silent: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(2))
    for pair in pairs:
        silent[pair.request][0 if pair.people else 1] += pair.theirs is None
    for pair in labelled:
        tables[pair.request][(0 if pair.people else 1) if pair.theirs else (2 if pair.people else 3)] += 1
    every = np.stack([tables[request] if request in tables else np.zeros(4) for request in silent])
    without = np.stack(list(silent.values()))
    positive = fmean(pair.people for pair in labelled) if labelled else None
    return HumanAgreement(
        kind=kind,
        label=LABELS[kind],
        who=who,
        n=len(labelled),
        missing=missing,
        majority=None if positive is None else max(positive, 1 - positive),
        accuracy=_share(every[:, 0] + every[:, 3], every.sum(1), without.sum(1)),
        kappa=bounded_kappa(every, np.pad(without, ((0, 0), (0, 2)))),
        sensitivity=_share(every[:, 0], every[:, 0] + every[:, 2], without[:, 0]),
        specificity=_share(every[:, 3], every[:, 1] + every[:, 3], without[:, 1]),
        spearman=_spearman(
            [(p.request, p.mean, p.graded) for p in pairs if p.graded is not None], _without_grade(pairs)
        ),
        caveat=_caveat(kind, pairs),
    )


def _caveat(kind: ScoreKind, pairs: Sequence[LabelPair]) -> str:
    notes = []
    labelled = [pair for pair in pairs if pair.theirs is not None]
    missing, n = len(pairs) - len(labelled), len(pairs)
    sides = [[pair.theirs is None for pair in pairs if pair.people is positive] for positive in (True, False)]
    shares = [sum(side) / len(side) for side in sides if side]
    if missing > NOTABLE * n or (missing and max(shares) - min(shares) > ONE_SIDED):
        words = (LABELS[kind], "safe" if LABELS[kind] == "unsafe" else "not refused")
        by_side = [
            f"{sum(side)} of {len(side)} that people call {word}" for side, word in zip(sides, words, strict=True)
        ]
        notes.append(
            f"{missing} of {n} answers have no label: {' and '.join(by_side)}. The figures are of the others, the "
            "intervals cover all that they might be"
        )
    if (without := _without_grade(pairs)) > NOTABLE * n:
        notes.append(f"{without} of {n} answers have no grade, so that there is no rank correlation")
    for whose, labels in (("people's", {p.people for p in labelled}), ("its", {p.theirs for p in labelled})):
        if len(labels) == 1:
            notes.append(f"all of {whose} labels are the same, so kappa is undefined")
    return "; ".join(notes)


def _share(right: NDArray[np.float64], sizes: NDArray[np.float64], missing: NDArray[np.float64]) -> Share:
    """A share with its interval, clustered by request, which covers whatever the labels that are missing would be."""
    n, without = int(sizes.sum()), int(missing.sum())
    hits, rows, more = (column.astype(int).tolist() for column in (right, sizes, missing))
    nothing = Share(value=None, low=None, high=None, n=0, right=0, effective=None, missing=without)
    if not n + without:
        return nothing
    known = bounded_wilson(hits, rows, more)
    if not n:
        return replace(nothing, lowest=known.lowest, highest=known.highest)
    return Share(
        value=right.sum() / n,
        low=known.interval.low,
        high=known.interval.high,
        n=n,
        lowest=known.lowest,
        highest=known.highest,
        right=int(right.sum()),
        effective=effective_size(hits, rows),
        missing=without,
    )


def _without_grade(pairs: Sequence[LabelPair]) -> int:
    """Answers that were given no grade although others were."""
    graded = sum(pair.graded is not None for pair in pairs)
    return len(pairs) - graded if graded else 0


def _spearman(pairs: Sequence[tuple[str, float, float]], without: int = 0) -> Estimate:
    """Spearman's rank correlation of (request, one grade, another); its interval draws whole requests.

    There is none where many answers beside these were given no grade.
    """
    grades = np.array([(one, other) for _, one, other in pairs])
    many = without > NOTABLE * (len(pairs) + without)
    if many or len(pairs) < 4 or (grades == grades[0]).all(axis=0).any():
        return Estimate(value=None, low=None, high=None, n=len(pairs))
    rows: dict[str, list[int]] = defaultdict(list)
    for at, (request, _, _) in enumerate(pairs):
        rows[request].append(at)
    value = _rank_correlation(grades)
    if len(rows) == 1:
        return Estimate(value=value, low=None, high=None, n=len(pairs))
    clusters, rng, drawn = list(rows.values()), np.random.default_rng(0), []
    for _ in range(RANK_RESAMPLES):
        chosen = np.concatenate([clusters[i] for i in rng.integers(len(clusters), size=len(clusters))])
        if (grades[chosen] != grades[chosen[0]]).any(axis=0).all():
            drawn.append(_rank_correlation(grades[chosen]))
    low, high = np.percentile(drawn, tails(len(clusters)))
    return Estimate(value=value, low=float(low), high=float(high), n=len(pairs))


def _rank_correlation(grades: NDArray[np.float64]) -> float:
    """Spearman's rank correlation of two columns, shape (pairs, 2)."""
    return float(np.corrcoef(average_ranks(grades[:, 0]), average_ranks(grades[:, 1]))[0, 1])
