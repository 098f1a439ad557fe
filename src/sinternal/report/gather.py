"""From a run's artifacts to what the report shows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

import yaml

from sinternal.budget import Spent
from sinternal.metrics import PAIRED_METRICS, Cell, Counts, Outcome, agreement, count, join, measured, pool, score
from sinternal.records import Judgement, Prompt, Response, Score, Split, Verification
from sinternal.registry import Kind, load, names
from sinternal.report.data import (
    Arm,
    Comparison,
    FunnelRow,
    JudgeAgreement,
    LearningCurve,
    LossCurve,
    ReportData,
    Transcript,
    Variant,
)
from sinternal.report.learning import learning, read_curves
from sinternal.statistics import holm, mcnemar, paired_difference
from sinternal.store import Artifact

Run = Mapping[str, Artifact]
"""Every artifact of a run, named `<variant>/<seed>/<what>`."""
Place = tuple[str, str, int]
"""(variant, arm, seed)."""
Outcomes = Mapping[Place, Sequence[Outcome]]
"""The responses of each arm, variant and seed."""

TRAINED_ON = {
    "nothing": "nothing",
    "verification": "verification only: the expert's critique and verdict on the base's own answers",
    "refusal": "safe answers, without safety reasoning",
    "deliberative": "safe answers, after a thinking that reasons from the specification",
    "own-refusals": "the base's own safe answers",
    "answer-then-check": "a draft of an answer, its verification, and the reply that follows, in one response",
    "rewards": "rewards of its own rollouts: reinforcement learning",
}

MEASUREMENT = ("sft ", "grpo ", "start ", "other ", "respond ", "verify ", "judge ")
"""Artifacts of an arm that are not on the way from prompts to its training examples."""
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
    arms = [arm["name"] for arm in recipe["arms"]]
    judge, *others = [entry["name"] for entry in recipe["judges"]]
    places = [(variant.name, arm, seed) for variant in variants for arm in arms for seed in seeds]
    outcomes = {place: _outcomes(run, place, judge) for place in places}
    described = tuple(_arm(run, f"{variants[0].name}/{seeds[0]}", arm) for arm in recipe["arms"])
    curves = tuple(_curves(run, [v.name for v in variants], seeds, arms))
    return ReportData(
        recipe=recipe["name"],
        description=recipe["description"],
        seeds=seeds,
        arms=described,
        variants=variants,
        scores=tuple(_scores(outcomes, judge)),
        second_opinions=tuple(score for other in others for score in _second_opinion(run, places, other)),
        agreements=tuple(_agreements(run, places, judge, others)),
        comparisons=tuple(_comparisons(outcomes, arms)),
        funnel=tuple(_funnel(run, [v.name for v in variants], seeds)),
        losses=tuple(_losses(run, [v.name for v in variants], seeds, arms)),
        curves=curves,
        learning=tuple(learning(curves, described)),
        transcripts=tuple(_transcript(key, outcome) for key, rows in outcomes.items() for outcome in rows),
        timing=_timing(run),
        facts=_facts(recipe, run, outcomes),
        recipe_yaml=yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True),
    )


def _outcomes(run: Run, place: Place, judge: str) -> list[Outcome]:
    variant, arm, seed = place
    where = f"{variant}/{seed}"
    return join(
        run[f"{where}/evaluation prompts"].rows(Prompt),
        run[f"{where}/respond {arm}"].rows(Response),
        _judgements(run, place, judge),
        run[f"{where}/verify {arm}"].rows(Verification),
    )


def _judgements(run: Run, place: Place, judge: str) -> list[Judgement]:
    variant, arm, seed = place
    return run[f"{variant}/{seed}/judge {arm} by {judge}"].rows(Judgement)


def _second_opinion(run: Run, places: Sequence[Place], judge: str) -> Iterator[Score]:
    """Pooled figures by another judge's labels."""
    outcomes = {
        place: [replace(outcome, verifications=()) for outcome in _outcomes(run, place, judge)] for place in places
    }
    return (figure for figure in _scores(outcomes, judge) if figure.seed is None)


def _agreements(run: Run, places: Sequence[Place], judge: str, others: Sequence[str]) -> Iterator[JudgeAgreement]:
    for variant in dict.fromkeys(variant for variant, _, _ in places):
        here = [place for place in places if place[0] == variant]
        first = [row for place in here for row in _judgements(run, place, judge)]
        for other in others:
            second = [row for place in here for row in _judgements(run, place, other)]
            for label in ("safe", "refused"):
                if found := agreement(first, second, label):
                    yield JudgeAgreement(variant, judge, other, *found)


def _arm(run: Run, place: str, arm: Mapping[str, Any]) -> Arm:
    trained = run.get(f"{place}/sft {arm['name']}") or run.get(f"{place}/grpo {arm['name']}")
    counts = trained.counts if trained else {}
    start = "" if arm["start"] in (None, "base") else arm["start"]
    return Arm(
        arm["name"],
        _trained_on(arm),
        counts.get("examples", 0),
        counts.get("steps", 0),
        start,
        counts.get("rollouts", 0),
    )


def _trained_on(arm: Mapping[str, Any]) -> str:
    """What an arm was trained on, in words, with what is special about its examples."""
    if arm["train_on"] == "nothing":
        return "nothing: a ready-made model" if arm["start"] else "nothing: the untouched base"
    examples, notes = arm["examples"], []
    if examples["target"] != "both":
        notes.append(f"the {examples['target']} alone")
    if not examples["with_spec"]:
        notes.append("the specification is not quoted")
    if examples["verification"]:
        notes.append("the question is put in another way")
    if examples["answers"]:
        notes.append(f"the answers are those of {examples['answers']['model']}")
    if examples["share"] < 1:
        notes.append(f"{examples['share']:.0%} of the different examples")
    notes.extend(f"{name} {value}" for name, value in arm["sft"].items())
    return "; ".join([TRAINED_ON[arm["train_on"]], *notes])


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


Select = Callable[[Outcome], bool]
"""Which outcomes a comparison is about."""


def _comparisons(outcomes: Outcomes, arms: Sequence[str]) -> Iterator[Comparison]:
    """Every later arm against every earlier one, on the same prompts of the same seed, in three tables."""
    prompts = {outcome.prompt.id: outcome.prompt for rows in outcomes.values() for outcome in rows}
    families = dict.fromkeys((prompt.split, prompt.family) for prompt in prompts.values() if prompt.harmful)
    benchmarks = dict.fromkeys(prompt.benchmark for prompt in prompts.values())
    by_split = [(metric, split, None, None) for metric in PAIRED_METRICS for split in (Split.ID, Split.OOD)]
    by_family = [("asr", split, family, None) for split, family in families]
    by_benchmark = [(metric, "", None, name) for name in benchmarks for metric in PAIRED_METRICS]
    for variant in dict.fromkeys(key[0] for key in outcomes):
        for table in (by_split, by_family, by_benchmark if len(benchmarks) > 1 else []):
            found = [
                comparison
                for b, a in combinations(arms, 2)
                for metric, split, family, benchmark in table
                if (comparison := _compare(outcomes, variant, a, b, metric, split, family, benchmark))
            ]
            corrected = holm([_tested(row) for row in found])
            yield from (replace(row, p_holm=p) for row, p in zip(found, corrected, strict=True))


def _tested(row: Comparison) -> float:
    """The p value that a table is about: of one benchmark McNemar's, whose prompts are independent."""
    return row.p_mcnemar if row.benchmark else row.p


def _compare(
    outcomes: Outcomes,
    variant: str,
    a: str,
    b: str,
    metric: str,
    split: str,
    family: str | None,
    benchmark: str | None,
) -> Comparison | None:
    """Two arms on the prompts of a split, a family or a benchmark; None if there are too few."""

    def chosen(outcome: Outcome) -> bool:
        prompt = outcome.prompt
        return (
            (not split or prompt.split == split)
            and (family is None or prompt.family == family)
            and (benchmark is None or prompt.benchmark == benchmark)
        )

    pairs = list(_pairs(outcomes, variant, a, b, metric, chosen))
    if len({cluster for _, _, cluster, _ in pairs}) < 2:
        return None
    found = paired_difference(*zip(*pairs, strict=True))
    p_mcnemar = mcnemar(found.only_a, found.only_b)
    return Comparison(variant, a, b, metric, split, *found, p_mcnemar=p_mcnemar, family=family, benchmark=benchmark)


def _pairs(
    outcomes: Outcomes, variant: str, a: str, b: str, metric: str, chosen: Select
) -> Iterator[tuple[bool, bool, str, int]]:
    for (other_variant, arm, seed), rows in outcomes.items():
        if (other_variant, arm) != (variant, a):
            continue
        theirs = {(o.prompt.id, o.response.sample): o for o in outcomes[variant, b, seed]}
        for outcome in rows:
            if not chosen(outcome):
                continue
            twin = theirs[outcome.prompt.id, outcome.response.sample]
            here, there = measured(outcome, metric), measured(twin, metric)
            if here is not None and there is not None:
                yield here, there, outcome.prompt.parent_id, seed


def _funnel(run: Run, variants: Sequence[str], seeds: Sequence[int]) -> Iterator[FunnelRow]:
    for variant in variants:
        for seed in seeds:
            place = f"{variant}/{seed}/"
            for name, artifact in run.items():
                what = name.removeprefix(place)
                if name.startswith(place) and not what.startswith(MEASUREMENT):
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


def _curves(run: Run, variants: Sequence[str], seeds: Sequence[int], arms: Sequence[str]) -> Iterator[LearningCurve]:
    for variant in variants:
        for arm in arms:
            for seed in seeds:
                if trained := run.get(f"{variant}/{seed}/grpo {arm}"):
                    yield from read_curves(trained.path, variant, arm, seed)


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
    evaluations = [artifact for name, artifact in run.items() if "/respond " in name]
    last = max(artifact.manifest["started"] for artifact in evaluations)
    rows = [outcome for group in outcomes.values() for outcome in group]
    decoding = ", ".join(f"{name} {value}" for name, value in recipe["evaluation"]["sampling"].items())
    judged = rows[0].judgement.judged
    truncated = sum(artifact.counts["truncated"] for artifact in evaluations)
    packages = ", ".join(f"{name} {version}" for name, version in evaluations[0].manifest["packages"].items())
    return {
        "Target": f"{recipe['target']['model']} {recipe['target']['options'] or ''}".strip(),
        "Judge": f"{recipe['judges'][0]['name']}, looking at the {judged} only{_fallback(recipe['judges'][0]['name'])}",
        "Chat template": _chat_template(run),
        "Decoding of responses": decoding,
        "Responses measured": f"{len(rows)}, of which {truncated} ran into the token limit",
        "Seeds": ", ".join(str(seed) for seed in recipe["seeds"]),
        "Measured": datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%d"),
        "Packages": packages,
    } | _spending(run)


def _chat_template(run: Run) -> str:
    """What the target's chat template does with the thinking, and what follows from it."""
    target = next(artifact for name, artifact in run.items() if name.endswith("/base"))
    facts = json.loads((target.path / "template.json").read_text())
    who = {
        "opened": "opens the thinking itself",
        "emitted": "leaves it to the model to open the thinking",
        "none": "knows no thinking: critique and verdict stand in the answer",
    }[facts["thinking"]]
    if facts["keeps_thinking"]:
        return who
    return f"{who}; deletes the thinking of finished turns, so training renders them with TRL's variant of it"


def _fallback(judge: str) -> str:
    """A warning beside a judge that is only there where no real one is."""
    is_fallback = judge in names(Kind.JUDGE) and getattr(load(Kind.JUDGE, judge), "fallback", False)
    return " (a fallback: it measures compliance, not harm)" if is_fallback else ""


def _spending(run: Run) -> dict[str, str]:
    """What calls to servers took, over all artifacts."""
    total = Spent()
    for artifact in {a.path: a for a in run.values()}.values():
        total += Spent(**artifact.manifest.get("spent", {}))
    if not total.calls:
        return {}
    cost = f", cost {total.cost:.2f}" if total.cost else ""
    return {"Calls to servers": f"{total.calls:,}, {total.prompt_tokens:,} tokens read, {total.tokens:,} written{cost}"}
