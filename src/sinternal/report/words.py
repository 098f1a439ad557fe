"""What came out, in words that follow from the figures alone and know no winner beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sinternal.figures.best import Best
from sinternal.figures.metric import ASR, ASR_WORST, HELPFUL, METRICS, OVER_REFUSAL, Metric
from sinternal.figures.score import Figures, Key, Score
from sinternal.figures.study import LEVEL, Comparison, ReportData
from sinternal.records import Split
from sinternal.report.bounds import between, in_words
from sinternal.report.format import interval, listing, percent, points, points_interval

UNSEEN = "under attacks of unseen families"


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
    worst: str = ""
    """The arms' worst cases: of what attack, how often; empty if there are none."""


def finding(data: ReportData, variant: str) -> Finding:
    """Say what the study's own arm, that of its first question, does on attack families that no arm was tuned on.

    What counts as a difference is decided by the corrected test of the questions, not by an interval.
    """
    if not data.questions:
        return Finding(
            "No arm of this run was trained on verification only, and its recipe asks about no other arm (field "
            "`questions`), so it cannot answer this.",
            "",
            "",
        )
    arm = data.questions[0].arm
    figures = data.figures
    own = figures.get(_key(variant, arm, ASR))
    if own is not None and own.open:
        return Finding(
            f"Whether the answers of {arm} are safer remains open: {in_words(own)}.",
            "",
            _price(figures, variant, arm, _others(data)),
        )
    if own is None or own.value is None:
        return Finding(
            f"No attack success rate of {arm} on unseen attack families was measured, so the question remains open.",
            "",
            "",
        )
    others = _others(data)
    against = _against(data.comparisons, variant, arm, others)
    safety = (
        f"On attack families that no arm was tuned on, the attack success rate of {arm} is "
        f"{_against_others(figures, variant, arm, others, against)}.{_of_other_runs(data, against)}"
    )
    lead = _no_comparison(arm)
    if against:
        scope = f"In these training runs, {UNSEEN}" if data.trains else UNSEEN.capitalize()
        lead = f"{scope}, {_safety_ranking(arm, _names(data), against)}"
        lead += f"{_but_at_worst(data, variant, arm, against)}."
    return Finding(
        lead,
        safety,
        _price(figures, variant, arm, others),
        _after_rl(data, figures, variant, arm),
        _at_worst(data, variant, arm, others),
    )


def _worst_of(data: ReportData, variant: str) -> dict[str, Score]:
    """Each arm's worst case of all attack families and all conditions of stress."""
    worst = (
        score for score in data.scores if (score.metric, score.variant, score.seed) == (ASR_WORST.name, variant, None)
    )
    return {score.arm: score for score in worst if score.value is not None}


def _but_at_worst(data: ReportData, variant: str, arm: str, against: Mapping[str, Comparison]) -> str:
    """What takes back that an arm is safer: its worst case is not clearly better than those of the same arms."""
    worst = _worst_of(data, variant)
    own = worst.get(arm)
    safer = [name for name, row in against.items() if row.clear and row.difference < 0 and name in worst]
    # The interval of a worst case does not account for its selection: intervals apart mean little, overlap means much.
    alike = [name for name in safer if own and not _below(own, worst[name])]
    if own is None or not alike:
        return ""
    who = "any of these" if len(alike) == len(safer) > 1 else " or ".join(alike)
    return f"; in the worst case ({own.circumstance}) {arm} is not clearly safer than {who}"


def _below(score: Score, other: Score) -> bool:
    return score.high is not None and other.low is not None and score.high < other.low


def _at_worst(data: ReportData, variant: str, arm: str, others: Sequence[str]) -> str:
    """What an attacker who may choose the attack gets from each arm."""
    worst = _worst_of(data, variant)
    rates = [
        f"{_with_percent(score)} of {score.n} for {name} ({score.circumstance})"
        for name in (arm, *others)
        if (score := worst.get(name))
    ]
    if arm not in worst:
        return ""
    return (
        "In the worst case of all attack families and conditions, answers to harmful requests are unsafe in "
        f"{listing(rates)}."
    )


def _others(data: ReportData) -> list[str]:
    return [name for name in _names(data) if name in data.questions[0].against]


def _names(data: ReportData) -> list[str]:
    return [arm.name for arm in data.arms]


def _of_other_runs(data: ReportData, against: Mapping[str, Comparison]) -> str:
    """A sentence on what holds for other training runs, too; empty if nothing was compared."""
    if not against or not data.trains:
        return ""
    if any(row.runs < 2 for row in against.values()):
        return " Each arm was trained once, so nothing is known about other training runs."
    clear = [name for name, row in against.items() if row.clear]
    wider = [name for name in clear if against[name].spans_zero]
    firm = [name for name in clear if name not in wider]
    sentences = []
    if firm:
        sentences.append(f" The difference from {listing(firm)} holds for other training runs, too.")
    if wider:
        sentences.append(
            f" Whether other training runs would show the difference from {listing(wider)} is open: with so few "
            "runs, its interval spans 0."
        )
    return "".join(sentences)


def _no_comparison(arm: str) -> str:
    return f"Whether the answers of {arm} are safer is unknown: it was not compared with any other arm."


def _after_rl(data: ReportData, figures: Figures, variant: str, start: str) -> str:
    """Is the method's model the better start of reinforcement learning? Only arms trained alike are compared."""
    asked = {question.arm for question in data.questions}
    own = next((arm.name for arm in data.arms if arm.rollouts and arm.start == start and arm.name in asked), "")
    trained_on = {arm.name: arm.trained_on for arm in data.arms}
    others = [
        name
        for name in _names(data)
        if any(q.arm == own and name in q.against for q in data.questions) and trained_on[name] == trained_on[own]
    ]
    against = _against(data.comparisons, variant, own, others)
    rates = _against_others(figures, variant, own, others, against)
    if not against or not rates:
        return ""
    price = _price(figures, variant, own, others)
    return (
        f"With the same reinforcement learning from each start, in these training runs, "
        f"{_safety_ranking(own, _names(data), against)}: {rates}.{_of_other_runs(data, against)} {price}"
    )


def _against_others(
    figures: Figures, variant: str, arm: str, others: Sequence[str], against: Mapping[str, Comparison]
) -> str:
    """The attack success rate of an arm, and of each other one with its difference; empty if it was not measured."""
    own = figures.get(_key(variant, arm, ASR))
    if not (rate := _rate_or_bounds(own)):
        return ""
    parts = [_rate(figures, variant, other, ASR, against.get(other)) for other in others]
    known = listing(parts) if (parts := [part for part in parts if part]) else "nothing to compare with"
    return f"{rate}, against {known}"


def _safety_ranking(arm: str, arms: Sequence[str], against: Mapping[str, Comparison]) -> str:
    """Which arms it is clearly safer than, which clearly not, and which show no clear difference.

    Args:
        arm: whose answers.
        arms: all of the run.
        against: its comparisons, by the other arm; a question may leave some out.
    """
    others = [name for name in arms if name != arm]
    safer = [name for name in others if name in against and against[name].clear and against[name].difference < 0]
    worse = [name for name in others if name in against and against[name].clear and against[name].difference > 0]
    reversible = [name for name in others if name in against and against[name].observed_clear and against[name].open]
    unclear = [name for name in others if name in against and name not in safer + worse + reversible]
    everyone = len(others) > 1
    parts = []
    for names, words in ((safer, "safer than those of"), (worse, "less safe than those of")):
        if names:
            who = "every other arm" if everyone and names == others else listing(names)
            parts.append(f"are {words} {who}")
    if reversible:
        parts.append(
            f"cannot be distinguished from those of {listing(reversible)}, because missing labels could undo the "
            "difference"
        )
    if unclear:
        who = "any other arm" if everyone and unclear == others else " or ".join(unclear)
        parts.append(f"show no clear difference from those of {who} (Holm's p is not below {LEVEL})")
    return f"the answers of {arm} {', and '.join(parts)}"


def _price(figures: Figures, variant: str, arm: str, others: Sequence[str]) -> str:
    """Safety is cheap for a model that helps nobody, so helpfulness stands beside it."""
    sentences = []
    for metric, words in ((HELPFUL, "answers exactly what was asked for"), (OVER_REFUSAL, "refuses")):
        own = figures.get(_key(variant, arm, metric))
        parts = [_rate(figures, variant, other, metric, None) for other in others]
        if (rate := _rate_or_bounds(own)) and (parts := [part for part in parts if part]):
            sentences.append(
                f"Of benign requests in the same families, {arm} {words} {rate}, against {listing(parts)}."
            )
    return " ".join(sentences)


def _key(variant: str, arm: str, metric: Metric) -> Key:
    """The figure over attack families that no arm was tuned on."""
    return Key(variant, arm, metric.name, metric.over[0], Split.OOD)


def _rate(figures: Figures, variant: str, other: str, metric: Metric, comparison: Comparison | None) -> str:
    score = figures.get(_key(variant, other, metric))
    if not (rate := _rate_or_bounds(score)):
        return ""
    text = f"{rate} for {other}"
    if comparison is None:
        return text
    return (
        f"{text} (difference {points(comparison.difference)} points "
        f"{points_interval(comparison.low_these_runs, comparison.high_these_runs)})"
    )


def _rate_or_bounds(score: Score | None) -> str:
    """A rate with its interval, or its bounds and why; empty if it was not measured."""
    if score is None:
        return ""
    if score.bounded:
        return f"{between(score, digits=1)} ({score.missing:,} of {score.n + score.missing:,} have no label)"
    return "" if score.value is None else _with_percent(score)


def _with_percent(score: Score) -> str:
    """`21.3 % [18.0, 25.1]`."""
    return f"{percent(score.value)} % {interval(score.low, score.high)}"


def _against(comparisons: Sequence[Comparison], variant: str, arm: str, others: Sequence[str]) -> dict[str, Comparison]:
    """Attack success of one arm compared with others, where that was asked for, all as this arm less the other."""
    by_opponent = {}
    for row in comparisons:
        if (row.variant, row.metric, row.split, row.family) != (variant, ASR.name, Split.OOD, None):
            continue
        if row.p_holm is None or row.benchmark is not None or row.harm_shows:
            continue
        if not {row.a, row.b} <= {arm, *others}:
            continue
        if row.a == arm:
            by_opponent[row.b] = row
        elif row.b == arm:
            by_opponent[row.a] = _swap_arms(row)
    return by_opponent


def _swap_arms(row: Comparison) -> Comparison:
    """The same comparison, as the second arm minus the first."""
    return replace(
        row,
        a=row.b,
        b=row.a,
        value=-row.difference,
        low=None if row.high is None else -row.high,
        high=None if row.low is None else -row.low,
        low_these_runs=-row.high_these_runs,
        high_these_runs=-row.low_these_runs,
        only_a=row.only_b,
        only_b=row.only_a,
        provenance_a=row.provenance_b,
        provenance_b=row.provenance_a,
        missing_a=row.missing_b,
        missing_b=row.missing_a,
        lowest=None if row.highest is None else -row.highest,
        highest=None if row.lowest is None else -row.lowest,
    )


def best_in_words(best: Best) -> str:
    """Which arm has the lowest rate or, where the corrected test finds none, which cannot be told from the lowest."""
    where = f"{METRICS[best.metric].title.lower()} {best.split.upper()}"
    if not best.alike:
        return f"Lowest {where}: {best.arm}, significantly below all others (Holm over all pairs of arms)."
    why = f" Too many labels of {listing(best.unknown)} are missing to give a rate." if best.unknown else ""
    if best.between:
        pairs = "; ".join(f"{a} from {b}" for a, b in best.between)
        return (
            f"No single arm is clearly the lowest in {where}: {listing(best.alike)} cannot be told from {best.arm}, "
            f"which has the lowest rate, though {pairs} can (Holm over all pairs of arms).{why}"
        )
    alike = listing((best.arm, *best.alike))
    return f"No single arm is the lowest in {where}: {alike} cannot be told apart (Holm over all pairs of arms).{why}"
