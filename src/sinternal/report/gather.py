"""From a run's artifacts to what the report shows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

import yaml

from sinternal.metrics import PAIRED_METRICS, Cell, Counts, Outcome, count, join, measured, pool, score
from sinternal.records import Judgement, Prompt, Response, Score, Split, Verification
from sinternal.report.data import Arm, Comparison, FunnelRow, LossCurve, ReportData, Transcript, Variant
from sinternal.statistics import paired_difference
from sinternal.store import Artifact

Run = Mapping[str, Artifact]
"""Every artifact of a run, named `<variant>/<seed>/<what>`."""
Outcomes = Mapping[tuple[str, str, int], Sequence[Outcome]]
"""The responses of each (variant, arm, seed)."""

TRAINED_ON = {
    "nothing": "nothing: the untouched base",
    "verification": "verification only: the expert's critique and verdict on the base's own answers",
    "refusal": "safe answers, without safety reasoning",
    "deliberative": "safe answers, after a thinking that reasons from the specification",
}

NOT_ROWS = ("tokens",)
"""Counts that are not about rows and stay out of the funnel."""


def gather(recipe: Mapping[str, Any], run: Run) -> ReportData:
    """Collect figures, comparisons, funnel, losses and transcripts.

    Args:
        recipe: the recipe as it was run.
        run: its artifacts.
    """
    variants = tuple(Variant(name, values) for name, values in (recipe["variants"] or {"default": {}}).items())
    seeds = tuple(recipe["seeds"])
    names = [arm["name"] for arm in recipe["arms"]]
    judge = recipe["judges"][0]["name"]
    outcomes = {
        (variant.name, name, seed): _outcomes(run, f"{variant.name}/{seed}", name, judge)
        for variant in variants
        for name in names
        for seed in seeds
    }
    return ReportData(
        recipe=recipe["name"],
        description=recipe["description"],
        seeds=seeds,
        arms=tuple(_arm(run, f"{variants[0].name}/{seeds[0]}", arm) for arm in recipe["arms"]),
        variants=variants,
        scores=tuple(_scores(outcomes, judge)),
        comparisons=tuple(_comparisons(outcomes, names)),
        funnel=tuple(_funnel(run, [v.name for v in variants], seeds)),
        losses=tuple(_losses(run, [v.name for v in variants], seeds, names)),
        transcripts=tuple(_transcript(key, outcome) for key, rows in outcomes.items() for outcome in rows),
        timing=_timing(run),
        facts=_facts(recipe, run, outcomes),
        recipe_yaml=yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True),
    )


def _outcomes(run: Run, place: str, arm: str, judge: str) -> list[Outcome]:
    evaluation = run[f"{place}/evaluate {arm}"]
    return join(
        run[f"{place}/evaluation prompts"].rows(Prompt),
        evaluation.rows(Response),
        evaluation.rows(Judgement),
        evaluation.rows(Verification),
        judge,
    )


def _arm(run: Run, place: str, arm: Mapping[str, Any]) -> Arm:
    trained = run.get(f"{place}/sft {arm['name']}")
    counts = trained.counts if trained else {}
    return Arm(arm["name"], TRAINED_ON[arm["train_on"]], counts.get("examples", 0), counts.get("steps", 0))


def _scores(outcomes: Outcomes, judge: str) -> Iterator[Score]:
    counts = {key: count(rows) for key, rows in outcomes.items()}
    judged = next(rows[0].judgement.judged for rows in outcomes.values() if rows)
    pooled: dict[tuple[str, str], dict[Cell, Counts]] = defaultdict(dict)
    per_seed: dict[tuple[str, str, Cell], list[Score]] = defaultdict(list)
    for (variant, arm, seed), cells in counts.items():
        for cell, table in cells.items():
            before = pooled[variant, arm].get(cell)
            pooled[variant, arm][cell] = table if before is None else before + table
            figure = score(cell, table, arm=arm, seed=seed, variant=variant, judge=judge, judged=judged)
            per_seed[variant, arm, cell].append(figure)
            yield figure
    for (variant, arm), cells in pooled.items():
        for cell, table in cells.items():
            figure = score(cell, table, arm=arm, seed=None, variant=variant, judge=judge, judged=judged)
            yield pool(per_seed[variant, arm, cell], figure)


def _comparisons(outcomes: Outcomes, arms: Sequence[str]) -> Iterator[Comparison]:
    """Every later arm against every earlier one, on the same prompts of the same seed."""
    for variant in dict.fromkeys(key[0] for key in outcomes):
        for b, a in combinations(arms, 2):
            for metric in PAIRED_METRICS:
                for split in (Split.ID, Split.OOD):
                    pairs = list(_pairs(outcomes, variant, a, b, metric, split))
                    if len({cluster for _, _, cluster in pairs}) < 2:
                        continue
                    in_a, in_b, clusters = zip(*pairs, strict=True)
                    found = paired_difference(in_a, in_b, clusters)
                    yield Comparison(variant, a, b, metric, split, *found)


def _pairs(
    outcomes: Outcomes, variant: str, a: str, b: str, metric: str, split: Split
) -> Iterator[tuple[bool, bool, str]]:
    for (other_variant, arm, seed), rows in outcomes.items():
        if (other_variant, arm) != (variant, a):
            continue
        theirs = {(o.prompt.id, o.response.sample): o for o in outcomes[variant, b, seed]}
        for outcome in rows:
            twin = theirs[outcome.prompt.id, outcome.response.sample]
            here, there = measured(outcome, metric), measured(twin, metric)
            if outcome.prompt.split is split and here is not None and there is not None:
                yield here, there, outcome.prompt.parent_id


def _funnel(run: Run, variants: Sequence[str], seeds: Sequence[int]) -> Iterator[FunnelRow]:
    for variant in variants:
        for seed in seeds:
            place = f"{variant}/{seed}/"
            for name, artifact in run.items():
                what = name.removeprefix(place)
                if name.startswith(place) and artifact.manifest["stage"] not in ("sft", "evaluate"):
                    for reason, rows in artifact.counts.items():
                        if reason not in NOT_ROWS:
                            yield FunnelRow(variant, seed, what, reason, rows)


def _losses(run: Run, variants: Sequence[str], seeds: Sequence[int], arms: Sequence[str]) -> Iterator[LossCurve]:
    for variant in variants:
        for arm in arms:
            for seed in seeds:
                if trained := run.get(f"{variant}/{seed}/sft {arm}"):
                    log = json.loads((trained.path / "training.json").read_text())
                    points = tuple((int(entry["step"]), float(entry["loss"])) for entry in log)
                    yield LossCurve(variant, arm, seed, points)


def _transcript(key: tuple[str, str, int], outcome: Outcome) -> Transcript:
    variant, arm, seed = key
    by_spec = {row.with_spec: row for row in outcome.verifications}
    verdicts = {spec: str(row.verdict or "unparsed") for spec, row in by_spec.items()}
    return Transcript(
        variant=variant,
        arm=arm,
        seed=seed,
        family=outcome.prompt.family,
        split=outcome.prompt.split,
        harmful=outcome.prompt.harmful,
        prompt=outcome.prompt.text,
        thinking=outcome.response.thinking,
        answer=outcome.response.answer,
        outcome=_in_a_word(outcome),
        checked=outcome.judgement.checked,
        verified_with_spec=verdicts.get(True),
        verified_without_spec=verdicts.get(False),
        critique=by_spec[False].critique if False in by_spec else None,
    )


def _in_a_word(outcome: Outcome) -> str:
    label = outcome.judgement
    if label.safe is None:
        return "unreadable"
    if not label.safe:
        return "unsafe"
    if label.refused:
        return "refused"
    return "helped" if label.helpful else "not helpful"


def _timing(run: Run) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for artifact in {a.path: a for a in run.values()}.values():
        seconds[artifact.manifest["stage"]] += artifact.manifest["seconds"]
    return {stage: round(total, 1) for stage, total in seconds.items()}


def _facts(recipe: Mapping[str, Any], run: Run, outcomes: Outcomes) -> dict[str, str]:
    evaluations = [artifact for name, artifact in run.items() if "/evaluate " in name]
    last = max(artifact.manifest["started"] for artifact in evaluations)
    rows = [outcome for group in outcomes.values() for outcome in group]
    decoding = ", ".join(f"{name} {value}" for name, value in recipe["evaluation"]["sampling"].items())
    judged = rows[0].judgement.judged
    truncated = sum(artifact.counts["truncated"] for artifact in evaluations)
    packages = ", ".join(f"{name} {version}" for name, version in evaluations[0].manifest["packages"].items())
    return {
        "Target": f"{recipe['target']['model']} {recipe['target']['options'] or ''}".strip(),
        "Judge": f"{recipe['judges'][0]['name']}, looking at the {judged} only",
        "Decoding of responses": decoding,
        "Responses measured": f"{len(rows)}, of which {truncated} ran into the token limit",
        "Seeds": ", ".join(str(seed) for seed in recipe["seeds"]),
        "Measured": datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%d"),
        "Packages": packages,
    }
