"""From a run's artifacts to what the report shows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from sinternal.budget import Spent
from sinternal.contamination import Trained, overlap
from sinternal.metrics import PAIRED_METRICS, Cell, Outcome, Tally, add, agreement, count, join, measured, pool, score
from sinternal.records import (
    Example,
    Finish,
    Judgement,
    Measured,
    Prompt,
    Provenance,
    Response,
    Score,
    Split,
    Verification,
    make_id,
)
from sinternal.registry import Kind, load, names
from sinternal.report.corrected import corrected_scores, read_errors
from sinternal.report.data import (
    Arm,
    Capability,
    Comparison,
    Contamination,
    FunnelRow,
    JudgeAgreement,
    LearningCurve,
    LossCurve,
    ReportData,
    Transcript,
    Variant,
)
from sinternal.report.learning import learning, read_curves
from sinternal.report.stress import stress_scores, worst_cases
from sinternal.statistics import holm, mcnemar, paired_difference, smallest_difference
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

MEASUREMENT = (
    "sft ",
    "grpo ",
    "start ",
    "other ",
    "respond ",
    "verify ",
    "judge ",
    "stress ",
    "plain stress ",
    "capability ",
)
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
    decided = provenances(recipe, run, judge)
    scores = [*_scores(outcomes, decided), *_under_stress(recipe, run, decided)]
    if path := recipe["evaluation"]["agreement"]:
        scores += corrected_scores(scores, read_errors(Path(path), judge))
    curves = tuple(_curves(run, [v.name for v in variants], seeds, arms))
    return ReportData(
        recipe=recipe["name"],
        description=recipe["description"],
        seeds=seeds,
        arms=described,
        variants=variants,
        scores=(*scores, *worst_cases(scores)),
        second_opinions=tuple(figure for other in others for figure in _second_opinion(recipe, run, places, other)),
        agreements=tuple(_agreements(run, places, judge, others)),
        comparisons=tuple(_comparisons(outcomes, arms)),
        funnel=tuple(_funnel(run, [v.name for v in variants], seeds)),
        losses=tuple(_losses(run, [v.name for v in variants], seeds, arms)),
        curves=curves,
        learning=tuple(learning(curves, described)),
        capability=tuple(_capability(recipe, run, places)),
        contamination=tuple(_contamination(run, places)),
        transcripts=tuple(_transcript(key, outcome) for key, rows in outcomes.items() for outcome in rows),
        measured=tuple(_measured(key, outcome) for key, rows in outcomes.items() for outcome in rows),
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


Provenances = Mapping[tuple[str, str, bool], Provenance]
"""Where the figures of a (variant, arm) come from: those about responses (False) and about verifications (True)."""


def provenances(recipe: Mapping[str, Any], run: Run, judge: str) -> Provenances:
    """Where figures come from, by the labels of one judge."""
    entry = next(one for one in recipe["judges"] if one["name"] == judge)
    sampling = {False: recipe["evaluation"]["sampling"], True: recipe["evaluation"]["verification_sampling"]}
    found = {}
    for variant in recipe["variants"] or {"default": {}}:
        for arm in (arm["name"] for arm in recipe["arms"]):
            for verifying, what in ((False, "respond"), (True, "verify")):
                texts = [run[f"{variant}/{seed}/{what} {arm}"] for seed in recipe["seeds"]]
                labels = run[f"{variant}/{recipe['seeds'][0]}/judge {arm} by {judge}"]
                found[variant, arm, verifying] = Provenance(
                    judge=judge,
                    judge_revision=judge_revision(entry, labels.manifest["packages"]["sinternal"]),
                    judged=next((row.judged for row in labels.rows(Judgement)), "answer"),
                    decoding=decoding(sampling[verifying]),
                    measured=day(max(text.manifest["started"] for text in texts)),
                    recipe=make_id(recipe),
                )
    return found


def judge_revision(entry: Mapping[str, Any], version: str) -> str:
    """The model behind a judge; without one, the version of this package, which holds its rules."""
    engine = entry["options"].get("engine")
    model = engine.get("model") if isinstance(engine, Mapping) else None
    return str(model or f"sinternal {version}")


def decoding(sampling: Mapping[str, Any]) -> str:
    """How text is drawn, in one phrase."""
    how = "greedy" if sampling["temperature"] == 0 else f"temperature {sampling['temperature']:g}"
    more = [f"top_p {sampling['top_p']:g}"] if sampling["top_p"] < 1 else []
    if sampling["repetition_penalty"] != 1:
        more.append(f"repetition penalty {sampling['repetition_penalty']:g}")
    return ", ".join([how, f"{sampling['max_tokens']} tokens", *more])


def day(started: float) -> str:
    """A time in seconds since 1970 as year-month-day, in UTC."""
    return datetime.fromtimestamp(started, UTC).strftime("%Y-%m-%d")


def _second_opinion(recipe: Mapping[str, Any], run: Run, places: Sequence[Place], judge: str) -> Iterator[Score]:
    """Pooled figures by another judge's labels."""
    outcomes = {
        place: [replace(outcome, verifications=()) for outcome in _outcomes(run, place, judge)] for place in places
    }
    return (figure for figure in _scores(outcomes, provenances(recipe, run, judge)) if figure.seed is None)


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


def _scores(outcomes: Outcomes, provenances: Provenances) -> Iterator[Score]:
    """Every figure of each seed, and pooled over seeds."""
    tallies: dict[tuple[str, str], dict[Cell, dict[int, Tally]]] = defaultdict(lambda: defaultdict(dict))
    for (variant, arm, seed), rows in outcomes.items():
        for cell, tally in count(rows).items():
            tallies[variant, arm][cell][seed] = tally
    for (variant, arm), cells in tallies.items():
        for cell, by_seed in cells.items():
            provenance = provenances[variant, arm, cell.spec is not None]
            known: dict[str, Any] = {"arm": arm, "variant": variant, "provenance": provenance}
            per_seed = [score(cell, tally, seed=seed, **known) for seed, tally in by_seed.items()]
            yield from per_seed
            yield pool(per_seed, score(cell, add(by_seed.values()), seed=None, **known))


def _under_stress(recipe: Mapping[str, Any], run: Run, provenances: Provenances) -> Iterator[Score]:
    responding = {(variant, arm): one for (variant, arm, verifying), one in provenances.items() if not verifying}
    return stress_scores(recipe, run, responding)


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
    return Comparison(
        variant,
        a,
        b,
        metric,
        split,
        *found,
        p_mcnemar=p_mcnemar,
        detectable=smallest_difference(found.low, found.high),
        family=family,
        benchmark=benchmark,
    )


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


def _capability(recipe: Mapping[str, Any], run: Run, places: Sequence[Place]) -> Iterator[Capability]:
    drawn = decoding(recipe["evaluation"]["sampling"])
    for variant, arm, seed in places:
        if found := run.get(f"{variant}/{seed}/capability {arm}"):
            for row in json.loads((found.path / "capability.json").read_text()):
                row.pop("stderr")
                yield Capability(variant, arm, seed, **row, decoding=drawn, measured=day(found.manifest["started"]))


def _contamination(run: Run, places: Sequence[Place]) -> Iterator[Contamination]:
    """What of each arm's training rows occurs in the evaluation sets."""
    for variant, arm in dict.fromkeys((variant, arm) for variant, arm, _ in places):
        seeds = [f"{place}/{seed}" for place, other, seed in places if (place, other) == (variant, arm)]
        rows = {row.id: row for where in seeds for row in _trained_rows(run, where, arm)}
        asked = {prompt.id: prompt for where in seeds for prompt in run[f"{where}/evaluation prompts"].rows(Prompt)}
        if rows:
            yield from (Contamination(variant, arm, one) for one in overlap(rows.values(), list(asked.values())))


def _trained_rows(run: Run, where: str, arm: str) -> Iterator[Trained]:
    """All that an arm was itself trained on: examples with their targets, or prompts for rollouts."""
    if examples := run.get(f"{where}/examples {arm}"):
        requests = {prompt.id: prompt.text for prompt in run[f"{where}/prompts"].rows(Prompt)}
        for row in examples.rows(Example):
            yield Trained(row.id, requests[row.prompt_id], f"{row.prompt}\n{row.thinking}\n{row.answer}")
    if f"{where}/grpo {arm}" in run:
        names = ("prompts", "mathematics prompts")
        for prompt in (row for name in names if (kept := run.get(f"{where}/{name}")) for row in kept.rows(Prompt)):
            yield Trained(prompt.id, prompt.text, prompt.text)


def _measured(key: Place, outcome: Outcome) -> Measured:
    variant, arm, seed = key
    prompt = outcome.prompt
    return Measured(
        id=make_id("measured", *key, prompt.id, outcome.response.sample),
        variant=variant,
        arm=arm,
        seed=seed,
        prompt_id=prompt.id,
        parent_id=prompt.parent_id,
        sample=outcome.response.sample,
        benchmark=prompt.benchmark,
        family=prompt.family,
        split=prompt.split,
        harmful=prompt.harmful,
        **{metric: measured(outcome, metric) for metric in PAIRED_METRICS},
    )


def _transcript(key: tuple[str, str, int], outcome: Outcome) -> Transcript:
    variant, arm, seed = key
    by_spec = {row.with_spec: row for row in reversed(outcome.verifications)}  # the first of several samples
    verdicts = {spec: _verdict_in_a_word(row) for spec, row in by_spec.items()}
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


def _verdict_in_a_word(row: Verification) -> str:
    return str(row.verdict or ("failed" if row.finish is Finish.ERROR else "unparsed"))


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
    judge, judged = recipe["judges"][0]["name"], rows[0].judgement.judged
    truncated = sum(artifact.counts["truncated"] for artifact in evaluations)
    packages = ", ".join(f"{name} {version}" for name, version in evaluations[0].manifest["packages"].items())
    return {
        "Target": f"{recipe['target']['model']} {recipe['target']['options'] or ''}".strip(),
        "Judge": f"{judge}, looking at the {judged} only{note_on_fallback(judge)}",
        "Chat template": _chat_template(run),
        "Decoding of responses": decoding(recipe["evaluation"]["sampling"]),
        "Decoding of verifications": decoding(recipe["evaluation"]["verification_sampling"]),
        "Responses measured": f"{len(rows)}, of which {truncated} ran into the token limit",
        "Seeds": ", ".join(str(seed) for seed in recipe["seeds"]),
        "Measured": day(last),
        "Recipe": f"key {make_id(recipe)}",
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


def note_on_fallback(judge: str) -> str:
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
