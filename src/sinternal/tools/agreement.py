"""How far a judge, or a model as a verifier, agrees with people who scored the same answers."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sinternal.benchmarks.human import THRESHOLD, Labelled, Scored, data_version, human_labels
from sinternal.errors import DataError
from sinternal.figures.statistics import (
    ONE_SIDED,
    Interval,
    bounded_wilson,
    effective_size,
    kappa,
    smoothed,
    table_interval,
    tails,
)
from sinternal.judges import Judge
from sinternal.records import Finish, Prompt, Response, Split, Verdict, make_id
from sinternal.registry import Kind, load, origins, revision
from sinternal.settings.base import validated
from sinternal.settings.plugins import JudgePlugin
from sinternal.tools.verifier import Pair, Verifier

FORMAT_VERSION = 3
MISSING = "\N{EN DASH}"
RANK_RESAMPLES = 1_999
"""Of the rank correlation, which has no formula that takes counts."""
NOTABLE = 0.05
"""Share of answers without a label above which a reader is told."""
LABELS = {Scored.HARM: "unsafe", Scored.OBJECTIVE: "unsafe", Scored.REFUSAL: "refused"}
"""What of a judge is held against each kind of score: an answer that achieves a harmful objective should be unsafe."""
EVERY_PERSON = "a person"
"""Each person who scored an answer, against the mean of the others."""


class Said(NamedTuple):
    """What is said of one answer."""

    unsafe: bool | None
    """Whether it is unsafe; None without a label."""
    refused: bool | None
    """Whether it is a refusal; None without a label."""
    graded: float | None = None
    """How unsafe, from 0 to 1; None if that is not told."""


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval."""

    value: float | None
    """The figure; None if it is undefined."""
    low: float | None = None
    """Lower end."""
    high: float | None = None
    """Upper end."""
    right: int | None = None
    """For a share, how many."""
    n: int | None = None
    """Of how many."""
    effective: float | None = None
    """How many independent answers tell as much as these, of which several are to one request."""
    missing: int = 0
    """For a share, answers beside these that have no label."""
    lowest: float | None = None
    """For a share, what it is if all answers without a label are labelled wrongly (Manski 1990, AER 80:319)."""
    highest: float | None = None
    """If all are labelled rightly."""


@dataclass(frozen=True)
class Agreement:
    """Agreement on one kind of labels."""

    kind: str
    """What people scored."""
    label: str
    """What was held against it."""
    who: str
    """Who said it: the judge, or people."""
    n: int
    """Answers that both have labelled."""
    missing: int
    """Answers without a label."""
    majority: float | None
    """Accuracy of always giving the more frequent label; None if nothing has a label."""
    accuracy: Figure
    """Share of equal labels."""
    kappa: Figure
    """Cohen's kappa: 1 is full agreement, 0 what chance gives."""
    sensitivity: Figure
    """Of what people call positive, the share that is found."""
    specificity: Figure
    """Of what people call negative, the share that is left alone."""
    spearman: Figure
    """Rank correlation of graded labels; undefined where either side is not graded."""
    caveat: str = ""
    """What a reader should mind."""


@dataclass(frozen=True)
class Agreements:
    """All figures of one judge."""

    judge: dict[str, Any]
    """Name, options and revision."""
    data: str
    """The version of the data."""
    measured: str
    """The day, as year-month-day."""
    rows: tuple[Agreement, ...]
    """By kind: the judge, and people among themselves where several scored the same answers."""


def agree_by_judge(name: str, options: Mapping[str, object], kinds: Sequence[Scored], limit: int | None) -> Agreements:
    """Let a judge label what people have scored.

    Args:
        name: of a registered judge.
        options: its options.
        kinds: of scores.
        limit: at most this many answers of each kind, drawn at random.

    Raises:
        RegistryError: there is no such judge.
        RecipeError: it does not take the options.
        DataError: none of the kinds is about what the judge tells.
    """
    judge_class = load(Kind.JUDGE, name)
    told = {"unsafe": judge_class.tells_safety, "refused": judge_class.tells_refusals}
    wanted = [kind for kind in kinds if told[LABELS[kind]]]
    if not wanted:
        raise DataError(f"judge {name!r} tells nothing of {' and '.join(kinds)}: choose other --sets")
    rows = _drawn(human_labels(wanted), limit)
    exchanges = {response.id: (prompt, response) for prompt, response in map(_exchange, rows)}
    plugin = validated(JudgePlugin, {"name": name, "options": dict(options)}, "judge")
    judge: Judge = plugin.open()
    with closing(judge):
        labels = list(judge.judge(exchanges.values()))
    said = {label.response_id: Said(None if label.safe is None else not label.safe, label.refused) for label in labels}
    model = plugin.model
    code = None if model and not origins(name).get("judge") else revision(Kind.JUDGE, name)
    told_by = ", ".join(str(one) for one in (model, code) if one)
    return _agreements({"name": name, "options": dict(options), "revision": told_by}, rows, said)


def agree_by_verifier(
    verifier: Verifier, described: Mapping[str, Any], kinds: Sequence[Scored], limit: int | None
) -> Agreements:
    """Let a model verify what people have scored for harm, and for achieving a harmful objective.

    Args:
        verifier: the model.
        described: its name and options, for the record.
        kinds: of scores; a verdict says nothing of refusals.
        limit: at most this many answers of each kind, drawn at random.

    Raises:
        DataError: none of the kinds is about safety.
    """
    wanted = [kind for kind in kinds if LABELS[kind] == "unsafe"]
    if not wanted:
        raise DataError(f"a verdict tells nothing of {' and '.join(kinds)}: choose --sets harm, objective or both")
    rows = _drawn(human_labels(wanted), limit)
    found = verifier.verify_many(Pair(row.id, row.request, row.answer) for row in rows)
    said = {
        one.id: Said(None if one.verdict is None else one.verdict is Verdict.UNSAFE, None, one.p_unsafe)
        for one in found
    }
    return _agreements(dict(described), rows, said)


def _drawn(rows: Sequence[Labelled], limit: int | None) -> list[Labelled]:
    if limit is None:
        return list(rows)
    rng = random.Random(0)
    by_kind = ([row for row in rows if row.kind is kind] for kind in Scored)
    return [row for group in by_kind for row in rng.sample(group, min(limit, len(group)))]


def _exchange(row: Labelled) -> tuple[Prompt, Response]:
    parent = make_id(row.request)
    prompt = Prompt(row.id, parent, row.request, True, row.file, "plain", Split.ID)
    return prompt, Response(row.id, row.id, 0, None, row.answer, Finish.STOP)


def _agreements(judge: dict[str, Any], rows: Sequence[Labelled], said: Mapping[str, Said]) -> Agreements:
    found = []
    for kind in Scored:
        here = [row for row in rows if row.kind is kind]
        if here:
            found.append(_agreement(kind, str(judge["name"]), _pairs(here, said, LABELS[kind])))
        if several := [row for row in here if len(row.scores) > 2]:
            found.append(_agreement(kind, EVERY_PERSON, _people(several)))
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    return Agreements(judge, data_version(), today, tuple(found))


class _Pair(NamedTuple):
    """One answer, as people label it and as somebody else does."""

    request: str
    people: bool
    theirs: bool | None
    mean: float
    graded: float | None


def _pairs(rows: Sequence[Labelled], said: Mapping[str, Said], label: str) -> list[_Pair]:
    none = Said(None, None)
    return [
        _Pair(
            row.request,
            row.positive,
            getattr(said.get(row.id, none), label),
            fmean(row.scores),
            said.get(row.id, none).graded if row.kind is Scored.HARM else None,
        )
        for row in rows
    ]


def _people(rows: Sequence[Labelled]) -> list[_Pair]:
    """Each person against the mean of the others: what a judge that is as good as a person would reach."""
    pairs = []
    for row in rows:
        for i, own in enumerate(row.scores):
            mean = fmean(row.scores[:i] + row.scores[i + 1 :])
            pairs.append(_Pair(row.request, mean >= THRESHOLD, own >= THRESHOLD, mean, own))
    return pairs


def _agreement(kind: Scored, who: str, pairs: Sequence[_Pair]) -> Agreement:
    labelled = [pair for pair in pairs if pair.theirs is not None]
    missing = len(pairs) - len(labelled)
    tables: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(4))
    silent: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(2))
    for pair in pairs:
        silent[pair.request][0 if pair.people else 1] += pair.theirs is None
    for pair in labelled:
        tables[pair.request][(0 if pair.people else 1) if pair.theirs else (2 if pair.people else 3)] += 1
    stacked = np.stack(list(tables.values())) if tables else np.zeros((0, 4))
    every = np.stack([tables[request] if request in tables else np.zeros(4) for request in silent])
    without = np.stack(list(silent.values()))
    positive = fmean(pair.people for pair in labelled) if labelled else None
    return Agreement(
        kind=kind,
        label=LABELS[kind],
        who=who,
        n=len(labelled),
        missing=missing,
        majority=None if positive is None else max(positive, 1 - positive),
        accuracy=_share(every[:, 0] + every[:, 3], every.sum(1), without.sum(1)),
        kappa=_kappa(stacked),
        sensitivity=_share(every[:, 0], every[:, 0] + every[:, 2], without[:, 0]),
        specificity=_share(every[:, 3], every[:, 1] + every[:, 3], without[:, 1]),
        spearman=_spearman([(p.request, p.mean, p.graded) for p in pairs if p.graded is not None]),
        caveat=_caveat(kind, pairs),
    )


def _caveat(kind: Scored, pairs: Sequence[_Pair]) -> str:
    said = []
    labelled = [pair for pair in pairs if pair.theirs is not None]
    missing, n = len(pairs) - len(labelled), len(pairs)
    sides = [[pair.theirs is None for pair in pairs if pair.people is positive] for positive in (True, False)]
    shares = [sum(side) / len(side) for side in sides if side]
    if missing > NOTABLE * n or (missing and max(shares) - min(shares) > ONE_SIDED):
        words = (LABELS[kind], "safe" if LABELS[kind] == "unsafe" else "not refused")
        told = [f"{sum(side)} of {len(side)} that people call {word}" for side, word in zip(sides, words, strict=True)]
        said.append(
            f"{missing} of {n} answers have no label: {' and '.join(told)}. The figures are of the others, the "
            "intervals cover all that they might be"
        )
    for whose, labels in (("people's", {p.people for p in labelled}), ("its", {p.theirs for p in labelled})):
        if len(labels) == 1:
            said.append(f"all of {whose} labels are the same, so kappa is undefined")
    return "; ".join(said)


def _share(right: NDArray[np.float64], sizes: NDArray[np.float64], missing: NDArray[np.float64]) -> Figure:
    """A share with its interval, clustered by request, which covers whatever the labels that are missing would be."""
    n, without = int(sizes.sum()), int(missing.sum())
    hits, rows, more = (one.astype(int).tolist() for one in (right, sizes, missing))
    if not n + without:
        return Figure(None, n=0, right=0)
    told = bounded_wilson(hits, rows, more)
    if not n:
        return Figure(None, None, None, 0, 0, None, without, told.lowest, told.highest)
    low, high = told.interval
    effective = effective_size(hits, rows)
    return Figure(right.sum() / n, low, high, int(right.sum()), n, effective, without, told.lowest, told.highest)


def _kappa(tables: NDArray[np.float64]) -> Figure:
    if not len(tables):
        return Figure(None)
    whole = tables.sum(0)
    if 0 in (whole[0] + whole[1], whole[2] + whole[3], whole[0] + whole[2], whole[1] + whole[3]):
        return Figure(None)
    return _with(float(kappa(whole[None])[0]), table_interval(smoothed(tables), kappa) if len(tables) > 1 else None)


def _spearman(pairs: Sequence[tuple[str, float, float]]) -> Figure:
    """Spearman's rank correlation of (request, one grade, another); its interval draws whole requests."""
    grades = np.array([(one, other) for _, one, other in pairs])
    if len(pairs) < 4 or (grades == grades[0]).all(axis=0).any():
        return Figure(None)
    rows: dict[str, list[int]] = defaultdict(list)
    for at, (request, _, _) in enumerate(pairs):
        rows[request].append(at)
    value = float(stats.spearmanr(grades[:, 0], grades[:, 1]).statistic)
    if len(rows) == 1:
        return Figure(value, n=len(pairs))
    clusters, rng, drawn = list(rows.values()), np.random.default_rng(0), []
    for _ in range(RANK_RESAMPLES):
        chosen = np.concatenate([clusters[i] for i in rng.integers(len(clusters), size=len(clusters))])
        ranks = stats.rankdata(grades[chosen], axis=0)
        if (ranks.std(axis=0) > 0).all():
            drawn.append(np.corrcoef(ranks.T)[0, 1])
    low, high = np.percentile(drawn, tails(len(clusters)))
    return Figure(value, float(low), float(high), n=len(pairs))


def _with(value: float, interval: Interval | None) -> Figure:
    return Figure(value, *interval) if interval else Figure(value)


def to_json(found: Agreements) -> dict[str, Any]:
    """`agreement.json`. `safety` holds what a rate is corrected by: how often the judge is right about harm.

    Beside the rows, `effective` says how many independent ones they are worth: several answers to one request are not.
    """
    harm = next((row for row in found.rows if row.kind == Scored.HARM and row.who != EVERY_PERSON), None)
    names = ("sensitivity", "specificity")
    return {
        "version": FORMAT_VERSION,
        **asdict(found),
        "safety": {
            name: {k: getattr(getattr(harm, name), k) for k in ("right", "n", "effective", "missing")} for name in names
        }
        if harm
        else None,
    }


COLUMNS = ("", "n", "no label", "majority", "accuracy, %", "kappa", "sensitivity, %", "specificity, %", "Spearman")


def table(found: Agreements) -> list[list[str]]:
    """A row for each agreement, under `COLUMNS`."""
    return [
        [
            f"{row.kind}, {row.who if row.who == EVERY_PERSON else 'judge'}",
            f"{row.n:,}",
            f"{row.missing:,}",
            MISSING if row.majority is None else f"{100 * row.majority:.1f}",
            _percent(row.accuracy),
            _plain(row.kappa),
            _percent(row.sensitivity),
            _percent(row.specificity),
            _plain(row.spearman),
        ]
        for row in found.rows
    ]


def _percent(one: Figure) -> str:
    """A share; where a judge is silent, with what it may be: `98.0 [60.1, 99.5], 62.0 to 98.7`."""
    if not one.missing or one.lowest is None or one.highest is None:
        return _written(one, 100, 1)
    bounds = f"{100 * one.lowest:.1f} to {100 * one.highest:.1f}"
    return bounds if one.value is None else f"{_written(one, 100, 1)}, {bounds}"


def _plain(one: Figure) -> str:
    return _written(one, 1, 2)


def _written(one: Figure, times: float, digits: int) -> str:
    if one.value is None:
        return MISSING
    ends = (
        "" if one.low is None or one.high is None else f" [{times * one.low:.{digits}f}, {times * one.high:.{digits}f}]"
    )
    return f"{times * one.value:.{digits}f}{ends}"


def to_markdown(found: Agreements) -> str:
    """`agreement.md`."""
    lines = [list(COLUMNS), ["---", *("---:" for _ in COLUMNS[1:])], *table(found)]
    head = f"Judge {found.judge['name']}, against people's scores in {found.data}; {found.measured}."
    mind = [f"- {row.kind}, {row.who}: {row.caveat}" for row in found.rows if row.caveat]
    return "\n".join([head, "", *(f"| {' | '.join(line)} |" for line in lines), "", *mind]).rstrip() + "\n"


def write(found: Agreements, folder: Path) -> None:
    """Write `agreement.json` and `agreement.md` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "agreement.json").write_text(json.dumps(to_json(found), indent=1, allow_nan=False) + "\n")
    (folder / "agreement.md").write_text(to_markdown(found))


def read_kinds(names: str) -> list[Scored]:
    """Kinds of scores from their names with commas. Raises DataError for another name."""
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    if not chosen or (unknown := next((name for name in chosen if name not in set(Scored)), None)):
        raise DataError(f"--sets {names}: there are {', '.join(Scored)}" + ("" if not chosen else f", not {unknown!r}"))
    return [Scored(name) for name in chosen]
