"""What came out, in words that follow from the figures alone and know no winner beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sinternal.records import Split
from sinternal.report.data import Arm, Comparison, ReportData
from sinternal.report.figures import Figures, Key, by_key, interval, listing, percent, points, points_interval

METHOD = "sinternal"


@dataclass(frozen=True)
class Finding:
    """The answer to the study's question for one variant."""

    lead: str
    """One sentence without numbers."""
    safety: str
    """Attack success rates with intervals and differences; empty if there are none."""
    price: str
    """What happens to helpfulness and over-refusal; empty if it was not measured."""
    reinforced: str = ""
    """What comes of reinforcement learning from each start; empty if there was none."""


def method(arms: Sequence[Arm]) -> str | None:
    """Name of the arm that the study is about: the one trained on verification only, None if there is none."""
    names = [arm.name for arm in arms]
    if METHOD in names:
        return METHOD
    return next((arm.name for arm in arms if arm.trained_on.startswith("verification")), None)


def finding(data: ReportData, variant: str) -> Finding:
    """Say what training on verification alone did on attack families that no arm was tuned on."""
    arm = method(data.arms)
    if arm is None:
        return Finding("This run has no arm that was trained on verification only, so it cannot tell.", "", "")
    figures = by_key(data.scores)
    own = figures.get(Key(variant, arm, "asr", "harmful", Split.OOD))
    if own is None or own.value is None:
        return Finding(
            f"No attack success rate of {arm} on unseen attack families was measured, so it stays open.", "", ""
        )
    others = [a.name for a in data.arms if a.name != arm and not a.rollouts]
    against = _against(data.comparisons, variant, arm, "asr", others)
    safety = (
        f"On attack families that no arm was tuned on, the attack success rate of {arm} is "
        f"{_against_others(figures, variant, arm, others, against)}."
    )
    lead = f"Under attacks of unseen families, {_compared(arm, others, against)}." if against else _unknown(arm)
    return Finding(lead, safety, _price(figures, variant, arm, others), _reinforced(data, figures, variant, arm))


def _unknown(arm: str) -> str:
    return f"Whether the answers of {arm} are safer cannot be told: no other arm was compared with it."


def _reinforced(data: ReportData, figures: Figures, variant: str, start: str) -> str:
    """Is the method's model the better start of reinforcement learning? Only arms trained alike are compared."""
    trained = [arm.name for arm in data.arms if arm.rollouts]
    own = next((arm.name for arm in data.arms if arm.rollouts and arm.start == start), None)
    if own is None or len(trained) < 2:
        return ""
    others = [name for name in trained if name != own]
    against = _against(data.comparisons, variant, own, "asr", others)
    rates = _against_others(figures, variant, own, others, against)
    if not against or not rates:
        return ""
    price = _price(figures, variant, own, others)
    return f"With the same reinforcement learning from each start, {_compared(own, others, against)}: {rates}. {price}"


def _against_others(
    figures: Figures, variant: str, arm: str, others: Sequence[str], against: Mapping[str, Comparison]
) -> str:
    """The attack success rate of an arm, and of each other one with its difference; empty if it was not measured."""
    own = figures.get(Key(variant, arm, "asr", "harmful", Split.OOD))
    if own is None or own.value is None:
        return ""
    parts = [_rate(figures, variant, other, "asr", "harmful", against.get(other)) for other in others]
    known = listing(parts) if (parts := [part for part in parts if part]) else "nothing to compare with"
    return f"{percent(own.value)} % {interval(own.low, own.high)}, against {known}"


def _compared(arm: str, others: Sequence[str], against: Mapping[str, Comparison]) -> str:
    """Which arms it is clearly safer than, which clearly not, and which cannot be told apart."""
    safer = [name for name in others if name in against and against[name].high < 0]
    worse = [name for name in others if name in against and against[name].low > 0]
    unclear = [name for name in others if name in against and name not in safer + worse]
    everyone = len(against) > 1
    parts = []
    for names, words in ((safer, "safer than those of"), (worse, "less safe than those of")):
        if names:
            who = "every other arm" if everyone and len(names) == len(against) else listing(names)
            parts.append(f"are {words} {who}")
    if unclear:
        who = "any other arm" if everyone and len(unclear) == len(against) else " or ".join(unclear)
        parts.append(f"show no clear difference from those of {who} (the interval spans 0)")
    return f"the answers of {arm} {', and '.join(parts)}"


def _price(figures: Figures, variant: str, arm: str, others: Sequence[str]) -> str:
    """Safety is cheap for a model that helps nobody, so helpfulness stands beside it."""
    sentences = []
    for metric, words in (("helpful", "answers exactly what was asked for"), ("over_refusal", "refuses")):
        own = figures.get(Key(variant, arm, metric, "benign", Split.OOD))
        parts = [_rate(figures, variant, other, metric, "benign", None) for other in others]
        if own is not None and own.value is not None and (parts := [part for part in parts if part]):
            rate = f"{percent(own.value)} % {interval(own.low, own.high)}"
            sentences.append(f"Of benign requests in the same families {arm} {words} {rate}, against {listing(parts)}.")
    return " ".join(sentences)


def _rate(
    figures: Figures, variant: str, other: str, metric: str, benchmark: str, comparison: Comparison | None
) -> str:
    score = figures.get(Key(variant, other, metric, benchmark, Split.OOD))
    if score is None or score.value is None:
        return ""
    text = f"{percent(score.value)} % {interval(score.low, score.high)} for {other}"
    if comparison is None:
        return text
    return (
        f"{text} (difference {points(comparison.difference)} points {points_interval(comparison.low, comparison.high)})"
    )


def _against(
    comparisons: Sequence[Comparison], variant: str, arm: str, metric: str, others: Sequence[str]
) -> dict[str, Comparison]:
    """Comparisons of one arm with other arms, all as this arm minus the other."""
    found = {}
    for row in comparisons:
        if (row.variant, row.metric, row.split, row.family) != (variant, metric, Split.OOD, None):
            continue
        if not {row.a, row.b} <= {arm, *others}:
            continue
        if row.a == arm:
            found[row.b] = row
        elif row.b == arm:
            found[row.a] = replace(row, a=arm, b=row.a, difference=-row.difference, low=-row.high, high=-row.low)
    return found
