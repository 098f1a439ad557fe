"""What a reader of a run's figures should know: missing labels, truncated texts, few rows, labels all alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from sinternal.figures.budget import BudgetPoint
from sinternal.figures.metric import ASR, METRICS, OVER_REFUSAL, VERIFICATION_BALANCED_ACCURACY
from sinternal.figures.provenance import note_on_fallback
from sinternal.figures.score import Score
from sinternal.figures.study import ReportData
from sinternal.figures.verdicts import notes_on_verdicts
from sinternal.report.bounds import between, reasons
from sinternal.report.comparison_tables import titled, where
from sinternal.report.format import LABELS, listing, percent
from sinternal.report.unread import of_arms

MANY = 0.05
"""Share of rows without a label, or cut short, above which there is a caveat."""
FEW = 30
"""Rows below which a figure says little."""
POOR = 0.4
"""Cohen's kappa below which agreement beyond chance is poor (Fleiss, Levin & Paik 2003, section 18.1)."""
TEXTS_LEFT_OUT = (
    "texts were left out of this copy: of each prompt, thinking, answer and critique, its length and the beginning of "
    "its SHA-256 stay, and its labels; so were words of servers and the folders of files"
)
"""What a page says whose texts stand elsewhere."""
RATES = (ASR, OVER_REFUSAL)
"""Metrics whose rows have caveats."""


def caveats(data: ReportData) -> Iterator[str]:
    """Sentences without a full stop, the weightiest first."""
    if data.texts_left_out:
        yield TEXTS_LEFT_OUT
    if note := note_on_fallback(data.judges[0]):
        yield f"judge {data.judges[0]}:{note.strip(' ()').removeprefix('a fallback:')}"
    if unread := of_arms(data):
        yield unread
    if len(data.seeds) == 1 and len(data.arms) > 1 and data.trains:
        yield "each arm was trained once, with one seed: no figure or test here says anything about other training runs"
    yield from data.placebos
    yield from data.calls
    for metric in RATES:
        what = metric.rows
        whole = [
            score
            for score in data.scores
            if score.is_pooled_whole and (score.metric, score.split) == (metric.name, None)
        ]
        yield from _without_label(data, whole, f"{what} have no label and count in no rate")
        yield from _affected_arms(data, whole, _truncated, f"{what} ran into the token limit")
        if few := list(_names(data, [score for score in whole if score.n < FEW])):
            yield f"{listing(few)}: fewer than {FEW} labelled {what}: read the intervals, not the figures"
    yield from _of_others(data)
    yield from unsent_attacks(data.budgets)
    yield from _between_judges(data)
    yield from _open_comparisons(data)
    yield from _of_rewarded_verdicts(data)
    balanced = (VERIFICATION_BALANCED_ACCURACY.name, None)
    verdicts = [score for score in data.scores if score.is_pooled_whole and (score.metric, score.split) == balanced]
    alike = [score for score in verdicts if score.n and score.value is None]
    if names := list(_names(data, alike)):
        yield f"{listing(names)}: all verified answers have the same label, so verification cannot be measured"
    yield from _affected_arms(data, verdicts, _missing, "verifications of own answers contain no readable verdict")
    yield from _affected_arms(data, verdicts, _truncated, "verifications of own answers ran into the token limit")


def _without_label(data: ReportData, scores: list[Score], what: str) -> Iterator[str]:
    """One sentence on labels that are missing, by arm, with what the rate may then be."""
    parts = []
    for score in scores:
        if score.missing > MANY * (score.n + score.missing):
            rows = f"{score.missing:,} of {score.n + score.missing:,} of {_name(data, score)}{reasons(score)}"
            parts.append(f"{rows} ({between(score)} {METRICS[score.metric].hits})" if score.n else rows)
    if parts:
        yield f"{what}: {'; '.join(parts)}"


def _of_rewarded_verdicts(data: ReportData) -> Iterator[str]:
    """One sentence for each arm and each thing that its verdicts came to while they were rewarded, or rewarded."""
    curves = [curve for curve in data.curves if curve.source == "rollouts"]
    for variant, arm in dict.fromkeys((curve.variant, curve.arm) for curve in curves):
        seeds = {curve.seed: curve for curve in curves if (curve.variant, curve.arm) == (variant, arm)}
        told: dict[str, dict[int, str]] = {}
        for seed, curve in seeds.items():
            logged = {name: [value for _, value in points] for name, points in curve.points.items()}
            for about, note in notes_on_verdicts(logged).items():
                told.setdefault(about, {})[seed] = note
        name = f"{arm} ({variant})" if len(data.variants) > 1 else arm
        for notes in told.values():
            seed, note = next(iter(notes.items()))
            yield f"{name}, in {len(notes)} of {len(seeds)} seeds: {note} (seed {seed})"


def _of_others(data: ReportData) -> Iterator[str]:
    """The same of every judge that does not decide. What a judge labels nowhere it does not tell at all."""
    for judge in dict.fromkeys(score.judge for score in data.second_opinions):
        for metric in RATES:
            what, key = metric.rows, (judge, metric.name, None)
            whole = [
                score
                for score in data.second_opinions
                if score.is_pooled_whole and (score.judge, score.metric, score.split) == key
            ]
            if any(score.n for score in whole):
                yield from _without_label(
                    data, whole, f"judge {judge}: {what} have no label and count in none of its rates"
                )


def _between_judges(data: ReportData) -> Iterator[str]:
    """Judges that hardly agree, and how many responses their agreement leaves out."""
    for row in data.agreements:
        if row.kappa.value is not None and row.kappa.value < POOR:
            yield (
                f"judges {row.a} and {row.b} agree poorly on {LABELS[row.label]} (kappa {row.kappa.value:.2f}, "
                f"{row.kappa.n:,} answers): figures depend on which of them labelled the answers"
            )
        rows = {side: count for side, count in row.not_counted.items() if count.either > MANY * count.rows}
        if rows:
            parts = [f"{count.either:,} of {count.rows:,} to {side} requests" for side, count in rows.items()]
            where = f" ({row.variant})" if len(data.variants) > 1 else ""
            yield (
                f"agreement of {row.a} and {row.b} on {LABELS[row.label]}{where}: answers left out because one of the "
                f"two gave no label: {listing(parts)}"
            )


def unsent_attacks(points: Iterable[BudgetPoint]) -> Iterator[str]:
    """Attacks that often had nothing to send: an attacker that fails leaves an arm unbroken, however weak it is."""
    whole = [point for point in points if point.queries == point.budget and point.unsent > MANY]
    for attack in dict.fromkeys(point.attack for point in whole):
        arms = [
            f"{percent(point.unsent)} % of its queries to {point.arm} ({point.control})"
            for point in whole
            if point.attack == attack
        ]
        yield (
            f"attack {attack} had nothing to send in {listing(arms)}: they count as queries that broke nothing, which "
            "says more of the attacker than of the arm"
        )


def _open_comparisons(data: ReportData) -> Iterator[str]:
    """Which differences that look clear could be turned by labels that are missing."""
    open_rows = [row for row in data.comparisons if row.observed_clear and row.open]
    if open_rows:
        names = dict.fromkeys(f"{row.a} and {row.b} ({titled(row.metric, where(row))})" for row in open_rows)
        yield f"missing labels could undo differences that look clear, so these remain open: {listing(names)}"


def _affected_arms(data: ReportData, scores: list[Score], count: Callable[[Score], int], what: str) -> Iterator[str]:
    """One sentence about all arms in which so many rows are concerned that a reader should know."""
    parts = []
    for score in scores:
        rows, concerned = score.n + score.missing, count(score)
        if rows and concerned > MANY * rows:
            parts.append(f"{concerned:,} of {rows:,} of {_name(data, score)}")
    if parts:
        yield f"{what}: {listing(parts)}"


def _missing(score: Score) -> int:
    return score.missing


def _truncated(score: Score) -> int:
    return round(score.truncated * (score.n + score.missing))


def _names(data: ReportData, scores: list[Score]) -> Iterator[str]:
    yield from dict.fromkeys(_name(data, score) for score in scores)


def _name(data: ReportData, score: Score) -> str:
    """The arm, with its variant if there are several, and for verifications how they were asked."""
    notes = [score.variant] if len(data.variants) > 1 else []
    notes += [] if score.spec is None else ["with spec" if score.spec else "no spec"]
    return f"{score.arm} ({', '.join(notes)})" if notes else score.arm
