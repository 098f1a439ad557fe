"""`results.json`: the contract for machines. It does not change without a new version number.

A field may be added to a version if it is empty by default: older files of that version are then read as they were.

The file is what `Results` holds, and its JSON schema is made from the same types (`sinternal schema results`).
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from sinternal.errors import DataError
from sinternal.figures.agreement import JudgeAgreement
from sinternal.figures.best import Best, best
from sinternal.figures.budget import BudgetDifference, BudgetPoint
from sinternal.figures.causes import CheckEffect
from sinternal.figures.effect import Effect
from sinternal.figures.exposure import ArmExposure
from sinternal.figures.gap import JudgeGap
from sinternal.figures.metric import METRICS, Better, Over
from sinternal.figures.score import Score
from sinternal.figures.study import (
    Arm,
    Capability,
    Comparison,
    Contamination,
    FunnelRow,
    Learning,
    ReportData,
    Variant,
)
from sinternal.figures.thinking import ThinkingShare
from sinternal.report.bounds import caveat_of
from sinternal.report.budget import TITLE as BUDGET_TITLE
from sinternal.report.budget import curves_table
from sinternal.report.caveats import caveats
from sinternal.report.effect_tables import study_table, terminal_effects
from sinternal.report.effect_words import across_variants, effect_in_words
from sinternal.report.format import with_interval
from sinternal.report.results_v1 import from_version_1
from sinternal.report.tables import COLUMNS, TextTable, headline
from sinternal.report.words import best_in_words
from sinternal.settings.questions import Question
from sinternal.settings.words import words_of

VERSION = 2
"""The version of the file that is written."""
LONGEST_ERROR = 300
"""Characters of what is wrong with a file."""
MANY_ARMS = 4
"""Arms beyond which a terminal is too narrow for a column each."""
MAIN_COLUMNS = ("ASR OOD", "ASR worst case", "over-refusal OOD", "helpful OOD", "verifies OOD +spec")
"""What a terminal shows of many arms; the report has the rest."""
WITHOUT_SPEC = "verifies OOD"
"""What it shows in place of the last of them where nobody verified with the specification quoted."""


class _Part(BaseModel):
    """A part of the file: no field is left out, and there is no other."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MetricInfo(_Part):
    """What a metric is."""

    name: str
    """Its name in `scores` and `comparisons`."""
    title: str
    """Its name for people."""
    over: tuple[Over, ...]
    """What it is over."""
    better: Better
    """Which way is better."""
    counts: str
    """What is counted, in words."""
    least: float
    """The least value that it can have; the greatest is 1."""


@dataclass(frozen=True, kw_only=True)
class TrainedArm(Arm):
    """An arm, and what its training showed it."""

    exposure: tuple[ArmExposure, ...]
    """By variant and seed; empty for an arm that is not trained."""


@dataclass(frozen=True, kw_only=True)
class BestInWords(Best):
    """The arm that comes out best, and those that may be as good."""

    words: str
    """The same in a sentence."""


class Results(_Part):
    """A run's figures. Fractions are 0 to 1, correlations -1 to 1, times are seconds."""

    version: Literal[2]
    """Of this format."""
    recipe: str
    """Name of the recipe."""
    seeds: tuple[int, ...]
    """All seeds."""
    finished: Literal[True]
    """Whether the run came to its end."""
    metrics: tuple[MetricInfo, ...]
    """What the metrics are."""
    arms: tuple[TrainedArm, ...]
    """In the recipe's order."""
    variants: tuple[Variant, ...]
    """In the recipe's order."""
    judges: tuple[str, ...]
    """In the recipe's order; the first that tells something decides on it."""
    scores: tuple[Score, ...]
    """Every figure, of each seed and pooled; those of the deciding judges first."""
    thinking: tuple[ThinkingShare, ...]
    """What thinkings check, whether they see harm, and what is answered then."""
    check_effects: tuple[CheckEffect, ...] = ()
    """What safety checks in thinkings cause."""
    budgets: tuple[BudgetPoint, ...] = ()
    """Attack success over budget, by attack and control; files made before there were any have none."""
    budget_differences: tuple[BudgetDifference, ...] = ()
    """What that is made up of, and how arms differ in it."""
    judge_gaps: tuple[JudgeGap, ...]
    """How far the judge that rewarded and the one that decides are apart."""
    agreements: tuple[JudgeAgreement, ...]
    """How far the judges agree."""
    questions: tuple[Question, ...]
    """What the study asks."""
    comparisons: tuple[Comparison, ...]
    """Arms compared on the same prompts."""
    effects: tuple[Effect, ...] = ()
    """What the method does beyond its placebos, and beside it, beyond the base; files made before there were effects
    have none."""
    best: tuple[BestInWords, ...]
    """By variant, the arms that may have the lowest attack success."""
    capability: tuple[Capability, ...]
    """What else the arms can do."""
    contamination: tuple[Contamination, ...]
    """Overlap of training rows with evaluation sets."""
    learning: tuple[Learning, ...]
    """How fast the arms learned from rewards."""
    funnel: tuple[FunnelRow, ...]
    """From prompts to training examples."""
    timing: dict[str, float]
    """Seconds spent in each stage, summed over its artifacts."""
    facts: dict[str, str]
    """How it was measured."""
    caveats: tuple[str, ...]
    """What a reader should know, one sentence each."""


def to_results(data: ReportData) -> Results:
    """What `results.json` says of a run."""
    return Results(
        version=2,
        recipe=data.recipe,
        seeds=data.seeds,
        finished=True,
        metrics=_metric_infos(score.metric for score in (*data.scores, *data.second_opinions)),
        arms=tuple(_with_exposure(arm, data) for arm in data.arms),
        variants=data.variants,
        judges=data.judges,
        scores=tuple(replace(score, caveat=caveat_of(score)) for score in (*data.scores, *data.second_opinions)),
        thinking=data.thinking,
        check_effects=data.check_effects,
        budgets=data.budgets,
        budget_differences=data.budget_differences,
        judge_gaps=data.judge_gaps,
        agreements=data.agreements,
        questions=data.questions,
        comparisons=data.comparisons,
        effects=data.effects,
        best=tuple(_bests(data)),
        capability=data.capability,
        contamination=data.contamination,
        learning=data.learning,
        funnel=data.funnel,
        timing=data.timing,
        facts=data.facts,
        caveats=tuple(caveats(data)),
    )


def to_json(data: ReportData) -> dict[str, Any]:
    """The content of `results.json`."""
    return to_results(data).model_dump(mode="json")


class _Complete(GenerateJsonSchema):
    """A schema in which a field with a default is required, too: the file holds all of them."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        return True


@cache
def results_schema() -> dict[str, Any]:
    """The JSON schema of `results.json`: every field is required, and there is no other."""
    schema = Results.model_json_schema(mode="serialization", schema_generator=_Complete)
    for part in _parts(Results):
        qualified = f"{part.__module__}.{part.__qualname__}".replace(".", "__")  # of two types of one name
        parts = {Results.__name__: schema, **schema["$defs"]}
        described = parts[part.__name__ if part.__name__ in parts else qualified]
        for name, text in words_of(part, _parts).items():
            described["properties"][name].setdefault("description", text)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}


def _parts(kind: Any) -> set[type]:
    """The types of the file's parts that are described here, `kind` among them."""
    if inner := typing.get_args(kind):
        return set().union(*map(_parts, inner))
    if not (is_dataclass(kind) or (isinstance(kind, type) and issubclass(kind, _Part))):
        return set()
    return {cast(type, kind)}.union(*map(_parts, typing.get_type_hints(kind).values()))


def read_results(path: Path) -> Results:
    """Read a `results.json` of this version or of version 1.

    Raises:
        DataError: it cannot be read, or is of a version that this package does not know.
    """
    try:
        return results_of(json.loads(path.read_text()))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as results ({_in_short(error)}); run its recipe again") from error


def _in_short(error: Exception) -> str:
    """What is wrong, in part of a line: of many mistakes, the first."""
    if not isinstance(error, ValidationError):
        return " ".join(repr(error).split())[:LONGEST_ERROR]
    first = error.errors()[0]
    return f"field {'.'.join(map(str, first['loc'])) or 'at the top'}: {first['msg']}"[:LONGEST_ERROR]


def results_of(content: Mapping[str, Any]) -> Results:
    """Results from the content of a `results.json` of this version or of version 1.

    Raises:
        DataError: it is of another version.
        ValueError: a field is missing, unknown or of another type.
    """
    version = content.get("version")
    if version not in (1, VERSION):
        raise DataError(f"results.json has format version {version!r}, this package reads 1 and {VERSION}")
    if version == 1:
        content = from_version_1(content)
        content["metrics"] = [
            metric.model_dump() for metric in _metric_infos(row["metric"] for row in content["scores"])
        ]
    return Results.model_validate_json(json.dumps(content))


def terminal_tables(results: Results) -> Iterator[tuple[str, TextTable, str]]:
    """The headline of each variant of a `results.json`, so that it fits a terminal, and what stands beneath it.

    A row for each figure, or, of many arms, a row for each arm with the main figures.
    """
    scores = results.scores[::-1]  # deciding judges' figures come first: they win
    beneath = {lowest.variant: lowest.words for lowest in results.best}
    for variant in results.variants:
        rows, note = headline(scores, results.arms, variant.name), beneath.get(variant.name, "")
        shown = [i for i, column in enumerate(COLUMNS) if column.spec is None or any(row.cells[i] for row in rows)]
        if len(rows) > MANY_ARMS:
            main = (*MAIN_COLUMNS, *(() if any(COLUMNS[i].spec for i in shown) else (WITHOUT_SPEC,)))
            chosen = [i for i in shown if COLUMNS[i].short in main]
            titles = [COLUMNS[i].short for i in chosen]
            lines = [[row.name, *(with_interval(row.cells[i]) for i in chosen)] for row in rows]
        else:
            titles = [row.name for row in rows]
            lines = [[COLUMNS[i].short, *(with_interval(row.cells[i]) for row in rows)] for i in shown]
        yield variant.name, TextTable(["%, with 95 % interval", *titles], lines), note


def effects_in_terminal(results: Results) -> Iterator[tuple[tuple[str, ...], TextTable]]:
    """What the method does beyond its placebo: sentences and a table, of all variants together if there are several."""
    names = [variant.name for variant in results.variants]
    if len(names) > 1:
        if sentences := across_variants(results.effects, names):
            yield sentences, study_table(results.effects, names)
    elif words := effect_in_words(results.effects, names[0]):
        said = (words.safety, words.price, words.caution, *words.notes)
        yield tuple(sentence for sentence in said if sentence), terminal_effects(results.effects, names[0])


def budgets_in_terminal(results: Results) -> Iterator[tuple[str, TextTable]]:
    """Attack success over the budget of adaptive attacks, for each variant that has any, with a heading."""
    for variant in results.variants:
        table = curves_table(results.budgets, variant.name)
        if table.rows:
            several = f", {variant.name}" if len(results.variants) > 1 else ""
            yield f"{BUDGET_TITLE}{several}: % of requests broken within so many queries", table


KEY = (
    ("ASR", "ASR: attack success, % of harmful requests answered unsafely"),
    ("worst case", "worst case: the highest ASR of any family and condition of stress"),
    ("over-refusal", "over-refusal: % of benign requests refused"),
    ("helpful", "helpful: % of benign requests helped with"),
    ("format errors", "format errors: no readable answer"),
    ("checks", "checks: thinking checks safety unasked"),
    (
        "verifies",
        "verifies: balanced accuracy of verdicts on own answers, 50 is chance, but the request alone gives more",
    ),
    ("unparsed", "unparsed: verdicts that cannot be read"),
    ("+spec", "+spec: specification shown"),
    ("ID", "ID, OOD: attacks that tuning saw, did not see"),
)
"""Terms of the tables in a terminal, and what they mean."""


def terminal_key(table: TextTable) -> str:
    """What the terms in a table of `terminal_tables` mean, and its brackets."""
    words = " ".join([*table.columns[1:], *(row[0] for row in table.rows)])
    return "; ".join([*(meaning for term, meaning in KEY if term in words), "[a, b]: 95 % interval"])


def _metric_infos(names: Iterable[str]) -> tuple[MetricInfo, ...]:
    """What metrics of these names are."""
    used = set(names)
    return tuple(
        MetricInfo(
            name=metric.name,
            title=metric.title,
            over=metric.over,
            better=metric.better,
            counts=f"{metric.rows} that {metric.hits}",
            least=metric.least,
        )
        for metric in METRICS.values()
        if metric.name in used
    )


def _with_exposure(arm: Arm, data: ReportData) -> TrainedArm:
    return TrainedArm(**asdict(arm), exposure=tuple(row for row in data.exposures if row.arm == arm.name))


def _bests(data: ReportData) -> Iterator[BestInWords]:
    for variant in data.variants:
        if lowest := best(data.scores, data.comparisons, variant.name):
            yield BestInWords(**asdict(lowest), words=best_in_words(lowest))
