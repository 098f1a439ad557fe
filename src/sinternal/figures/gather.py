"""From a run's artifacts to what the report shows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from sinternal.figures.agreement import JudgeAgreement, judge_agreement
from sinternal.figures.calls import Calls, read, spent_on
from sinternal.figures.comparisons import Side, all_pairs, by_place
from sinternal.figures.contamination import Trained, overlap
from sinternal.figures.correction import corrected_scores, read_errors
from sinternal.figures.counts import Tally, pool
from sinternal.figures.exposure import exposures
from sinternal.figures.gap import AS_IN_TRAINING, JudgeGap, judge_gap
from sinternal.figures.learning import learning, read_curves
from sinternal.figures.metric import ASR, PAIRED, PROACTIVE_VERIFICATION
from sinternal.figures.missing import withhold
from sinternal.figures.outcomes import Outcome, join
from sinternal.figures.provenance import (
    Provenance,
    Recipe,
    Sources,
    day,
    decoding,
    last_start,
    left_out_of,
    note_on_fallback,
)
from sinternal.figures.score import Score, pool_seeds, score
from sinternal.figures.stress import stress_scores, worst_cases
from sinternal.figures.study import (
    Arm,
    Capability,
    Comparison,
    Contamination,
    FunnelRow,
    LearningCurve,
    LossCurve,
    ReportData,
    Variant,
)
from sinternal.figures.tally import Cell, count
from sinternal.figures.thinking import ThinkingShare, thinking_shares
from sinternal.figures.transcripts import of_answer, of_training, under_stress
from sinternal.records import (
    Example,
    Finish,
    Judgement,
    Measured,
    Prompt,
    Response,
    Verification,
    make_id,
)
from sinternal.settings.questions import Question
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
    "refusal": "safe answers, after an ordinary thinking without safety reasoning",
    "deliberative": "safe answers, after a thinking that reasons from the specification",
    "own-refusals": "the base's own safe answers",
    "answer-then-check": "a draft of an answer, its verification, and the reply that follows, in one response",
    "dataset": "the answers of a published data set, as they are",
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


def gather(recipe: Recipe, run: Run, settings: Mapping[str, Recipe], questions: Sequence[Question]) -> ReportData:
    """Collect figures, comparisons, funnel, losses and transcripts.

    Args:
        recipe: the recipe as it was run.
        run: its artifacts.
        settings: the recipe of each variant, by its name.
        questions: what the study asks.
    """
    variants = tuple(Variant(name, recipe["variants"].get(name, {})) for name in settings)
    seeds = tuple(recipe["seeds"])
    arms = [arm["name"] for arm in recipe["arms"]]
    judges = tuple(entry["name"] for entry in recipe["judges"])
    places = [(variant.name, arm, seed) for variant in variants for arm in arms for seed in seeds]
    judge, compliance = judges[0], _compliance_judge(run, places, judges)
    thinking = _judge_that_tells(("checks",), run, places, judges) or judge
    outcomes = {place: _outcomes(run, place, judge, compliance, thinking) for place in places}
    described = tuple(_arm(run, f"{variants[0].name}/{seeds[0]}", arm) for arm in recipe["arms"])
    sources = Sources(settings, run, judge, compliance, thinking)
    stressed = stress_scores(settings, run, Sources(settings, run, judge, judge))
    scores = withhold([*_scores(outcomes, sources), *stressed])
    if path := recipe["evaluation"]["agreement"]:
        scores += corrected_scores(scores, read_errors(Path(path), recipe["judges"][0]))
    rows = tuple(_measured(place, outcome) for place, group in outcomes.items() for outcome in group)
    curves = tuple(_curves(run, [v.name for v in variants], seeds, arms))
    return ReportData(
        recipe=recipe["name"],
        description=recipe["description"],
        seeds=seeds,
        arms=described,
        variants=variants,
        judges=judges,
        scores=(*scores, *worst_cases(scores)),
        second_opinions=tuple(figure for other in judges for figure in _second_opinion(sources, places, other)),
        agreements=tuple(_agreements(run, places, judge, judges[1:])),
        questions=tuple(questions),
        comparisons=tuple(_comparisons(rows, sources, questions)),
        funnel=tuple(_funnel(run, [v.name for v in variants], seeds)),
        losses=tuple(_losses(run, [v.name for v in variants], seeds, arms)),
        curves=curves,
        learning=tuple(learning(curves, described)),
        capability=tuple(_capability(settings, run, places)),
        contamination=tuple(_contamination(run, places)),
        transcripts=(
            *(of_answer(place, outcome) for place, group in outcomes.items() for outcome in group),
            *under_stress(settings, run, places),
            *of_training(run, places),
        ),
        measured=rows,
        timing=_timing(run),
        facts=_facts(recipe, run, outcomes),
        calls=tuple(_calls(run)),
        exposures=tuple(row for variant, arm, seed in places for row in exposures(run, variant, arm, seed)),
        thinking=tuple(_thinking(outcomes, sources)),
        judge_gaps=tuple(_judge_gaps(settings, run, outcomes, sources)),
        recipe_yaml=yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True),
    )


def _outcomes(run: Run, place: Place, judge: str, compliance: str, thinking: str) -> list[Outcome]:
    """The responses of one place: one judge tells safety, one refusals and help, one the thinking; often the same."""
    variant, arm, seed = place
    where = f"{variant}/{seed}"
    labels = _judgements(run, place, judge)
    if compliance != judge:
        other = {row.response_id: row for row in _judgements(run, place, compliance)}
        told = ((row, other[row.response_id]) for row in labels)
        labels = [replace(row, refused=their.refused, helpful=their.helpful) for row, their in told]
    if thinking != judge:
        read = {row.response_id: row for row in _judgements(run, place, thinking)}
        looked = ((row, read[row.response_id]) for row in labels)
        labels = [replace(row, checks=their.checks, saw_harm=their.saw_harm) for row, their in looked]
    return join(
        run[f"{where}/evaluation prompts"].rows(Prompt),
        run[f"{where}/respond {arm}"].rows(Response),
        labels,
        run[f"{where}/verify {arm}"].rows(Verification),
    )


def _compliance_judge(run: Run, places: Sequence[Place], judges: Sequence[str]) -> str:
    """The first judge that tells refusals and help or, without one, the first that tells refusals, or the first."""
    found = (_judge_that_tells(labels, run, places, judges) for labels in (("refused", "helpful"), ("refused",)))
    return next((judge for judge in found if judge is not None), judges[0])


def _judge_that_tells(labels: Sequence[str], run: Run, places: Sequence[Place], judges: Sequence[str]) -> str | None:
    """The first judge that tells all of these anywhere."""
    for judge in judges:
        told = {x for place in places for row in _judgements(run, place, judge) for x in labels if _tells(row, x)}
        if told == set(labels):
            return judge
    return None


def _tells(row: Judgement, label: str) -> bool:
    return getattr(row, label) is not None


def _judgements(run: Run, place: Place, judge: str) -> list[Judgement]:
    variant, arm, seed = place
    return run[f"{variant}/{seed}/judge {arm} by {judge}"].rows(Judgement)


def _second_opinion(deciding: Sources, places: Sequence[Place], judge: str) -> Iterator[Score]:
    """Pooled figures by one judge's labels, but for those that it decides on anyway."""
    if judge == deciding.judge == deciding.compliance == deciding.thinking:
        return
    run = deciding.run
    outcomes = {
        place: [replace(outcome, verifications=()) for outcome in _outcomes(run, place, judge, judge, judge)]
        for place in places
    }
    for figure in withhold(_scores(outcomes, Sources(deciding.variants, run, judge, judge))):
        if figure.seed is None and judge != deciding.decides(figure.metric):
            yield figure


def _thinking(outcomes: Outcomes, sources: Sources) -> Iterator[ThinkingShare]:
    """What each arm's thinkings check and see, over all seeds."""
    for variant, arm in dict.fromkeys((variant, arm) for variant, arm, _ in outcomes):
        rows = [row for place, group in outcomes.items() if place[:2] == (variant, arm) for row in group]
        told = (sources.of(variant, arm, metric) for metric in (PROACTIVE_VERIFICATION.name, ASR.name))
        yield from thinking_shares(variant, arm, rows, *told)


def _judge_gaps(settings: Mapping[str, Recipe], run: Run, outcomes: Outcomes, sources: Sources) -> Iterator[JudgeGap]:
    """How far the two judges are apart, for each arm."""
    for variant, arm in dict.fromkeys((variant, arm) for variant, arm, _ in outcomes):
        mine = {seed: rows for (v, a, seed), rows in outcomes.items() if (v, a) == (variant, arm)}
        labels = {seed: run.get(f"{variant}/{seed}/judge {arm} {AS_IN_TRAINING}") for seed in mine}
        found = {seed: kept.rows(Judgement) for seed, kept in labels.items() if kept is not None}
        if len(found) == len(mine):
            rewarding = settings[variant]["rewards"]["judge"]["name"]
            provenance = sources.of(variant, arm, ASR.name)
            if gap := judge_gap(variant, arm, rewarding, mine, found, provenance):
                yield gap


def _comparisons(rows: Sequence[Measured], sources: Sources, questions: Sequence[Question]) -> Iterator[Comparison]:
    """Arms against each other, on the same prompts of the same seed."""
    grouped: dict[str, dict[str, list[Measured]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        grouped[row.variant][row.arm].append(row)
    for variant, arms in grouped.items():
        sides = [Side(arm, by_place(own), partial(sources.of, variant, arm)) for arm, own in arms.items()]
        yield from all_pairs(sides, variant, questions)


def _agreements(run: Run, places: Sequence[Place], judge: str, others: Sequence[str]) -> Iterator[JudgeAgreement]:
    for variant in dict.fromkeys(variant for variant, _, _ in places):
        here = [place for place in places if place[0] == variant]
        first = [row for place in here for row in _judgements(run, place, judge)]
        asked = {response: prompt for place in here for response, prompt in _asked(run, place)}
        parents = {response: prompt.parent_id for response, prompt in asked.items()}
        sides = {response: "harmful" if prompt.harmful else "benign" for response, prompt in asked.items()}
        for other in others:
            second = [row for place in here for row in _judgements(run, place, other)]
            for label in ("safe", "refused"):
                agreed = judge_agreement(variant, (judge, other), first, second, label, parents, sides)
                if agreed is not None:
                    yield agreed


def _asked(run: Run, place: Place) -> Iterator[tuple[str, Prompt]]:
    """Each response of a place, and its prompt."""
    variant, arm, seed = place
    asked = {prompt.id: prompt for prompt in run[f"{variant}/{seed}/evaluation prompts"].rows(Prompt)}
    for response in run[f"{variant}/{seed}/respond {arm}"].rows(Response):
        yield response.id, asked[response.prompt_id]


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


def _scores(outcomes: Outcomes, sources: Sources) -> Iterator[Score]:
    """Every figure of each seed, and pooled over seeds."""
    tallies: dict[tuple[str, str], dict[Cell, dict[int, Tally]]] = defaultdict(lambda: defaultdict(dict))
    for (variant, arm, seed), rows in outcomes.items():
        for cell, tally in count(rows).items():
            tallies[variant, arm][cell][seed] = tally
    for (variant, arm), cells in tallies.items():
        for cell, by_seed in cells.items():
            provenance = sources.of(variant, arm, cell.metric.name, verifying=cell.spec is not None)
            known: dict[str, Any] = {"arm": arm, "variant": variant, "provenance": provenance}
            per_seed = [score(cell, tally, seed=seed, **known) for seed, tally in by_seed.items()]
            yield from per_seed
            yield pool_seeds(per_seed, score(cell, pool(by_seed.values()), seed=None, **known))


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


def _capability(settings: Mapping[str, Recipe], run: Run, places: Sequence[Place]) -> Iterator[Capability]:
    for variant, arm, seed in places:
        if found := run.get(f"{variant}/{seed}/capability {arm}"):
            for row in json.loads((found.path / "capability.json").read_text()):
                row.pop("stderr")
                drawn = row.pop("sampling")
                provenance = Provenance(
                    judge=row.pop("scorer"),
                    judge_revision=row.pop("revision"),
                    judged="answer",
                    decoding=f"mean of {drawn['n']}, {decoding(drawn)}" if drawn["n"] > 1 else decoding(drawn),
                    measured=day(found.manifest["started"]),
                    recipe=make_id(settings[variant]),
                )
                yield Capability(variant=variant, arm=arm, seed=seed, **row, provenance=provenance)


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
        kept = run.get(f"{where}/dataset prompts {arm}") or run[f"{where}/prompts"]
        asked = {prompt.id: prompt for prompt in kept.rows(Prompt)}
        for row in examples.rows(Example):
            prompt, text = asked[row.prompt_id], f"{row.prompt}\n{row.thinking}\n{row.answer}"
            yield Trained(row.id, prompt.plain_request, f"{prompt.text}\n{text}")
    if f"{where}/grpo {arm}" in run:
        pools = (run.get(f"{where}/{name}") for name in ("prompts", "mathematics prompts"))
        for prompt in (row for pool in pools if pool is not None for row in pool.rows(Prompt)):
            yield Trained(prompt.id, prompt.plain_request, prompt.text)


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
        **{metric.name: metric.measure(outcome) for metric in PAIRED},
        truncated=outcome.response.finish is Finish.LENGTH,
    )


def _timing(run: Run) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for artifact in {a.path: a for a in run.values()}.values():
        seconds[artifact.manifest["stage"]] += artifact.manifest["seconds"]
    return {stage: round(total, 1) for stage, total in seconds.items()}


def _facts(recipe: Recipe, run: Run, outcomes: Outcomes) -> dict[str, str]:
    evaluations = [artifact for name, artifact in run.items() if "/respond " in name]
    verified = [artifact for name, artifact in run.items() if "/verify " in name]
    rows = [outcome for group in outcomes.values() for outcome in group]
    judge, judged = recipe["judges"][0]["name"], rows[0].judgement.judged
    truncated = sum(artifact.counts["truncated"] for artifact in evaluations)
    packages = ", ".join(f"{name} {version}" for name, version in evaluations[0].manifest["packages"].items())
    return {
        "Target": f"{recipe['target']['model']} {recipe['target']['options'] or ''}".strip(),
        "Judge": f"{judge}, looking at the {judged} only{note_on_fallback(judge)}",
        "Judge of what arms learn from": _labeller(recipe),
        "Chat template": _chat_template(run),
        "Decoding of responses": decoding(recipe["evaluation"]["sampling"], left_out_of(evaluations)),
        "Decoding of verifications": decoding(recipe["evaluation"]["verification_sampling"], left_out_of(verified)),
        "Responses measured": f"{len(rows)}, of which {truncated} ran into the token limit",
        "Seeds": ", ".join(str(seed) for seed in recipe["seeds"]),
        "Measured": day(last_start(evaluations)),
        "Recipe": f"key {make_id(recipe)}",
        "Packages": packages,
    } | _spending(run)


def _labeller(recipe: Recipe) -> str:
    """Who labelled answers and demonstrations for training, and rewarded."""
    own = recipe["rewards"]["judge"]
    return "the same" if own in (None, recipe["judges"][0]) else f"{own['name']}, which does not decide"


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


def _spending(run: Run) -> dict[str, str]:
    """What calls to servers took, over all artifacts."""
    spent = spent_on(run.values())
    return {"Calls to servers": spent.in_words()} if spent.calls else {}


STAGES_OF_CALLS = {
    "sample": "responses",
    "repeat": "responses to repeated requests",
    "judge": "labels",
    "verify": "verifications",
    "critique": "critiques",
    "demonstrate": "demonstrations",
}
"""What the rows of stages are that ask a model for each of them."""


def _calls(run: Run) -> Iterator[str]:
    """What failed, was withheld or left out of what was asked for, by kind of rows."""
    unique = {artifact.path: artifact for artifact in run.values()}.values()
    for stage, what in STAGES_OF_CALLS.items():
        here = [artifact for artifact in unique if artifact.manifest["stage"] == stage]
        yield from (f"{what}: {said}" for said in sum(map(read, here), Calls()).sentences())
