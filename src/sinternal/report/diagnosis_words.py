"""A diagnosis in words: what came out, how it was measured, and what a reader should know."""

from __future__ import annotations

from collections.abc import Iterator

from sinternal.figures.diagnosis import ANSWERS, Diagnosed, Figure
from sinternal.figures.metric import ASR, EXPECTED_CALIBRATION_ERROR, METRICS, VERIFICATION_BALANCED_ACCURACY, Over
from sinternal.figures.outcomes import Outcomes
from sinternal.figures.provenance import day, decoding, judge_revision, note_on_fallback
from sinternal.figures.reading import Openings
from sinternal.records import Finish, make_id
from sinternal.report.bounds import between, caveat_of, reasons
from sinternal.report.caveats import FEW, TEXTS_LEFT_OUT
from sinternal.report.format import MISSING, interval, percent
from sinternal.report.unread import thinking_in_answers


def in_words(diagnosed: Diagnosed) -> list[str]:
    """What came out, in a few sentences that follow from the figures alone."""
    sentences = []
    answers = {(f.score.metric, f.score.family): f for f in diagnosed.figures if f.score.split is None}
    if asr := answers.get((ASR.name, None)):
        sentences.append(f"Of its answers to harmful requests {_rate(asr)} are unsafe{_missing_labels(asr)}.")
    harmful_alone = any(figure.score.over is Over.OWN_HARMFUL for figure in diagnosed.figures)
    over = Over.OWN_HARMFUL if harmful_alone else Over.OWN_ANSWERS
    by_place = {(f.score.metric, f.score.spec): f for f in diagnosed.figures if f.score.over is over}
    for spec, how in ((False, "without the specification"), (True, "with it quoted")):
        figure = by_place.get((VERIFICATION_BALANCED_ACCURACY.name, spec))
        if figure is not None and not figure.score.n:
            sentences.append(f"Asked to verify its answers to harmful requests {how}, it gave no readable verdict.")
        if figure is None or figure.score.low is None or figure.score.high is None:
            continue
        against = "no better than guessing, as far as these figures show"
        if figure.score.low > 0.5:
            against = "better than guessing"
        elif figure.score.high < 0.5:
            against = "worse than guessing"
        finding = f"it tells its safe answers from its unsafe ones {against} (balanced accuracy {_rate(figure)})"
        if figure.score.caveat:
            finding = f"{finding}; {figure.score.caveat}"
        sentences.append(f"Asked to verify its answers to harmful requests {how}, {finding}.")
    return sentences


def _rate(figure: Figure) -> str:
    score = figure.score
    if score.open and score.metric == ASR.name:
        return between(score, digits=1)
    return MISSING if score.value is None else f"{percent(score.value)} % {interval(score.low, score.high)}"


def _missing_labels(figure: Figure) -> str:
    score = figure.score
    return f": {score.missing:,} of {score.n + score.missing:,} have no label{reasons(score)}" if score.open else ""


def facts(diagnosed: Diagnosed) -> dict[str, str]:
    """How it was measured, by heading."""
    settings, outcomes, source = diagnosed.settings, diagnosed.outcomes, diagnosed.source
    judge = settings.judge.name
    labelled = sum(outcome.judgement.safe is not None for outcome in outcomes)
    truncated = int(Outcomes.of(outcomes).truncated.sum())
    return {
        "Model": f"{settings.target.model}, by engine {settings.engine.name}",
        "Judge": f"{judge} ({judge_revision(settings.judge, source.version, source.plugin)}), looking at the "
        f"{outcomes[0].judgement.judged} only{note_on_fallback(judge)}",
        "Answers": f"{len(outcomes)}, of which {labelled} have a label and {truncated} ran into the token limit",
        "Decoding of answers": decoding(settings.sampling, diagnosed.answers.left_out),
        "Verifications": f"{settings.verification_sampling.n} per answer, with and without the specification; "
        + decoding(settings.verification_sampling, diagnosed.verdicts.left_out),
        "Measured": " and ".join(dict.fromkeys(day(time) for time in diagnosed.times)),
        "Settings": f"key {make_id(settings.model_dump(mode='json'))}",
        **({"Calls to servers": source.spent.in_words()} if source.spent.calls else {}),
    }


def caveats(diagnosed: Diagnosed) -> Iterator[str]:
    """What a reader should know: sentences without a full stop."""
    settings, outcomes, figures = diagnosed.settings, diagnosed.outcomes, diagnosed.figures
    yield from (TEXTS_LEFT_OUT,) if diagnosed.texts_left_out else ()
    labels = [outcome.judgement.safe for outcome in outcomes]
    if note := note_on_fallback(settings.judge.name):
        yield f"judge {settings.judge.name}:{note.strip(' ()').removeprefix('a fallback:')}"
    if unread := thinking_in_answers({"": Openings.of(outcome.response.answer for outcome in outcomes)}):
        yield unread
    if missing := labels.count(None):
        yield f"{missing} of {len(labels)} answers have no label and count in no figure: {_by_side(diagnosed)}"
    for figure in figures:
        rate = figure.score
        if METRICS[rate.metric] in ANSWERS and rate.bounded and rate.family is None:
            yield caveat_of(rate)
    calls = {"answers": diagnosed.answers, "labels": diagnosed.labels, "verifications": diagnosed.verdicts}
    for what, requests in calls.items():
        yield from (f"{what}: {sentence}" for sentence in requests.sentences())
    if len(set(labels) - {None}) == 1:
        word = "safe" if True in labels else "unsafe"
        yield f"all labelled answers are {word}, so whether verdicts tell safe from unsafe cannot be measured"
    if len([label for label in labels if label is not None]) < FEW:
        yield f"fewer than {FEW} labelled answers: read the intervals, not the figures"
    yield from _about_verdicts(diagnosed)
    read = any(row.verdict is not None for outcome in outcomes for row in outcome.verifications)
    if read and not any(figure.score.metric == EXPECTED_CALIBRATION_ERROR.name for figure in figures):
        yield "the engine gives no log-probabilities of verdicts, so their calibration cannot be measured"


def _by_side(diagnosed: Diagnosed) -> str:
    """`15 of 30 to harmful requests, 3 of them without a readable answer, and 0 of 30 to benign ones`."""
    parts = []
    for harmful, words in ((True, "harmful requests"), (False, "benign requests")):
        side = [outcome for outcome in diagnosed.outcomes if outcome.prompt.harmful is harmful]
        open_ = [outcome for outcome in side if outcome.judgement.safe is None]
        unread = int(Outcomes.of(open_).no_answer.sum())
        detail = f", {unread} of them without a readable answer" if unread else ""
        parts.append(f"{len(open_)} of {len(side)} to {words}{detail}")
    return "; ".join(parts)


def _about_verdicts(diagnosed: Diagnosed) -> Iterator[str]:
    for spec, how in ((False, "without"), (True, "with")):
        rows = [row for outcome in diagnosed.outcomes for row in outcome.verifications if row.with_spec is spec]
        failed = sum(row.finish is not None and row.finish.without_text for row in rows)
        cut = sum(row.finish is Finish.LENGTH for row in rows)
        unread = sum(row.verdict is None for row in rows) - failed
        if failed:
            yield f"{failed} of {len(rows)} verifications {how} the specification failed and count in no figure"
        if unread > 0.1 * len(rows):
            yield (
                f"{unread} of {len(rows)} verifications {how} the specification contain no verdict in the requested "
                f"form, {cut} of them because they ran into the token limit, which does not mean that the model cannot "
                "verify"
            )
