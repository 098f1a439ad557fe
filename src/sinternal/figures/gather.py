"""From a run's artifacts to what the report shows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import yaml

from sinternal.figures.agreement import JudgeAgreement, judge_agreement
from sinternal.figures.arms import arm_figures
from sinternal.figures.calls import Calls, read
from sinternal.figures.causes import CheckEffect, check_effects, continuations
from sinternal.figures.comparisons import Side, all_pairs, index_responses
from sinternal.figures.contamination import TrainingRow, overlap
from sinternal.figures.correction import corrected_scores, read_errors
from sinternal.figures.counts import Tally, pool
from sinternal.figures.effects import effects
from sinternal.figures.exposure import exposures
from sinternal.figures.facts import facts
from sinternal.figures.funnel import funnel
from sinternal.figures.gap import JudgeGap, judge_gap
from sinternal.figures.learning import learning, read_curves
from sinternal.figures.metric import ASR, PAIRED, PROACTIVE_VERIFICATION
from sinternal.figures.missing import withhold
from sinternal.figures.outcomes import Outcome, join
from sinternal.figures.placebo import placebo_notes
from sinternal.figures.provenance import Provenance, Sources, day, decoding, last_start, recipe_key
from sinternal.figures.score import Score, pool_seeds, score
from sinternal.figures.stress import stress_scores, worst_cases
from sinternal.figures.study import (
    Capability,
    Comparison,
    Contamination,
    LearningCurve,
    LossCurve,
    ReportData,
    Variant,
)
from sinternal.figures.tally import Cell, count
from sinternal.figures.thinking import ThinkingShare, thinking_shares
from sinternal.figures.transcripts import of_answer, of_continued, of_training, under_stress
from sinternal.layout import ArmPlace, ArmRun, Place, RunMap
from sinternal.records import (
    CheckPlace,
    Example,
    Finish,
    Intervened,
    Judgement,
    Measured,
    Prompt,
    Response,
    ThinkingFate,
    Verification,
    make_id,
)
from sinternal.settings.questions import Question
from sinternal.settings.recipe import Recipe
from sinternal.settings.sampling import Sampling
from sinternal.settings.trials import trials
from sinternal.store import Artifact

Run = RunMap[Artifact]
"""Every artifact of a run."""
Outcomes = Mapping[ArmPlace, Sequence[Outcome]]
"""The responses of each arm, variant and seed."""


def gather(recipe: Recipe, variants: Mapping[str, Recipe], run: Run) -> ReportData:
    """Collect figures, comparisons, funnel, losses and transcripts.

    Args:
        recipe: the recipe as it was run.
        variants: the recipe of each variant, by its name.
        run: its artifacts.
    """
    judges, questions = tuple(judge.name for judge in recipe.judges), recipe.effective_questions
    judge, compliance = judges[0], _compliance_judge(run, judges)
    thinking = _judge_that_labels(("checks",), run, judges) or judge
    outcomes = {place: _outcomes(run, place, judge, compliance, thinking) for place in run.arms()}
    runs = {place.arm: run.arm(place) for place in reversed(run.arms())}  # of its first variant and seed
    described = tuple(arm_figures(runs[arm.name], arm) for arm in recipe.arms if arm.name in runs)
    sources = Sources(variants, run, judge, compliance, thinking)
    stressed = stress_scores(variants, run, Sources(variants, run, judge, judge))
    scores = withhold([*_scores(outcomes, sources), *stressed])
    if path := recipe.evaluation.agreement:
        scores += corrected_scores(scores, read_errors(path, recipe.judges[0]))
    rows = tuple(_measurement_row(place, outcome) for place, group in outcomes.items() for outcome in group)
    curves = tuple(_curves(run))
    return ReportData(
        recipe=recipe.name,
        description=recipe.description,
        seeds=recipe.seeds,
        arms=described,
        variants=tuple(Variant(name, recipe.variants.get(name, {})) for name in variants),
        judges=judges,
        scores=(*scores, *worst_cases(scores)),
        second_opinions=tuple(figure for other in judges for figure in _second_opinion(sources, other)),
        agreements=tuple(_agreements(run, judge, judges[1:])),
        questions=questions,
        comparisons=tuple(_comparisons(rows, sources, questions)),
        effects=tuple(effects(rows, {name: trials(v.arms, questions) for name, v in variants.items()}, sources.of)),
        funnel=tuple(funnel(run)),
        losses=tuple(_losses(run)),
        curves=curves,
        learning=tuple(learning(curves, described)),
        capability=tuple(_capability(variants, run)),
        contamination=tuple(_contamination(run)),
        transcripts=(
            *(of_answer(place, outcome) for place, group in outcomes.items() for outcome in group),
            *under_stress(variants, run),
            *of_continued(run),
            *of_training(run),
        ),
        measured=rows,
        timing=_timing(run),
        facts=facts(recipe, run, [outcome for group in outcomes.values() for outcome in group]),
        calls=tuple(_calls(run)),
        exposures=tuple(row for place in run.arms() for row in exposures(run, place)),
        thinking=tuple(_thinking(outcomes, sources)),
        placebos=tuple(placebo_notes(variants, run)),
        check_effects=tuple(_check_effects(variants, run, sources)),
        judge_gaps=tuple(_judge_gaps(variants, run, outcomes, sources)),
        recipe_yaml=yaml.safe_dump(
            recipe.model_dump(mode="json", exclude={"workers"}), sort_keys=False, allow_unicode=True
        ),
    )


def _outcomes(run: Run, place: ArmPlace, judge: str, compliance: str, thinking: str) -> list[Outcome]:
    """The responses of one arm: one judge labels safety, one refusals and help, one the thinking; often the same."""
    arm = run.arm(place)
    labels = arm.judgements[judge].rows(Judgement)
    if compliance != judge:
        other = {row.response_id: row for row in arm.judgements[compliance].rows(Judgement)}
        labelled = ((row, other[row.response_id]) for row in labels)
        labels = [replace(row, refused=their.refused, helpful=their.helpful) for row, their in labelled]
    if thinking != judge:
        of_thinking = {row.response_id: row for row in arm.judgements[thinking].rows(Judgement)}
        labelled = ((row, of_thinking[row.response_id]) for row in labels)
        labels = [replace(row, checks=their.checks, saw_harm=their.saw_harm) for row, their in labelled]
    return join(
        _evaluation_prompts(run, place), arm.responses.rows(Response), labels, arm.verifications.rows(Verification)
    )


def _evaluation_prompts(run: Run, place: ArmPlace) -> list[Prompt]:
    """The evaluation prompts of an arm."""
    return run[Place(place.variant, place.seed)].evaluation_prompts.rows(Prompt)


def _compliance_judge(run: Run, judges: Sequence[str]) -> str:
    """The first judge that labels refusals and help; else the first that labels refusals; else the first."""
    preferences = (("refused", "helpful"), ("refused",))
    candidates = (_judge_that_labels(labels, run, judges) for labels in preferences)
    return next((judge for judge in candidates if judge is not None), judges[0])


def _judge_that_labels(labels: Sequence[str], run: Run, judges: Sequence[str]) -> str | None:
    """The first judge that gives all of these labels somewhere."""
    for judge in judges:
        rows = (row for place in run.arms() for row in _judgements(run, place, judge))
        if {label for row in rows for label in labels if getattr(row, label) is not None} == set(labels):
            return judge
    return None


def _judgements(run: Run, place: ArmPlace, judge: str) -> list[Judgement]:
    return run.arm(place).judgements[judge].rows(Judgement)


def _second_opinion(deciding: Sources, judge: str) -> Iterator[Score]:
    """Pooled figures by one judge's labels, except those that it decides anyway."""
    if judge == deciding.judge == deciding.compliance == deciding.thinking:
        return
    run = deciding.run
    outcomes = {
        place: [replace(outcome, verifications=()) for outcome in _outcomes(run, place, judge, judge, judge)]
        for place in run.arms()
    }
    for figure in withhold(_scores(outcomes, Sources(deciding.variants, run, judge, judge))):
        if figure.seed is None and judge != deciding.decides(figure.metric):
            yield figure


def _thinking(outcomes: Outcomes, sources: Sources) -> Iterator[ThinkingShare]:
    """What each arm's thinkings check and see, over all seeds."""
    for variant, arm in dict.fromkeys((place.variant, place.arm) for place in outcomes):
        rows = [row for place, group in outcomes.items() if place[:2] == (variant, arm) for row in group]
        provenances = (sources.of(variant, arm, metric.name) for metric in (PROACTIVE_VERIFICATION, ASR))
        yield from thinking_shares(variant, arm, rows, *provenances)


def _check_effects(variants: Mapping[str, Recipe], run: Run, sources: Sources) -> Iterator[CheckEffect]:
    """What the checks of each arm cause, over all seeds."""
    for variant, arm in dict.fromkeys((place.variant, place.arm) for place in run.arms()):
        checked = {seed: one.checks for seed, one in run.of_arm(variant, arm).items() if one.checks is not None}
        locator = variants[variant].check_locator
        if not checked or locator is None:
            continue
        continued = {
            seed: continuations(
                checks.prompts.rows(Intervened),
                join(checks.prompts.rows(Prompt), checks.responses.rows(Response), checks.judgements.rows(Judgement)),
                checks.further.rows(CheckPlace),
            )
            for seed, checks in checked.items()
        }
        fates = {
            str(fate): sum((checks.places.counts | checks.prompts.counts)[fate] for checks in checked.values())
            for fate in ThinkingFate
        }
        measured = day(last_start([checks.responses for checks in checked.values()]))
        provenance = replace(sources.of(variant, arm, ASR.name), measured=measured)
        yield from check_effects(variant, arm, continued, fates, locator.name, provenance)


def _judge_gaps(variants: Mapping[str, Recipe], run: Run, outcomes: Outcomes, sources: Sources) -> Iterator[JudgeGap]:
    """How far the two judges are apart, for each arm."""
    for variant, arm in dict.fromkeys((place.variant, place.arm) for place in outcomes):
        labels = {
            seed: arm_run.rewarding.rows(Judgement)
            for seed, arm_run in run.of_arm(variant, arm).items()
            if arm_run.rewarding
        }
        mine = {seed: outcomes[ArmPlace(variant, arm, seed)] for seed in labels}
        if labels:
            rewarding = variants[variant].labeller.name
            provenance = sources.of(variant, arm, ASR.name)
            if gap := judge_gap(variant, arm, rewarding, mine, labels, provenance):
                yield gap


def _comparisons(rows: Sequence[Measured], sources: Sources, questions: Sequence[Question]) -> Iterator[Comparison]:
    """Arms against each other, on the same prompts of the same seed."""
    grouped: dict[str, dict[str, list[Measured]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        grouped[row.variant][row.arm].append(row)
    for variant, arms in grouped.items():
        sides = [Side(arm, index_responses(own), partial(sources.of, variant, arm)) for arm, own in arms.items()]
        yield from all_pairs(sides, variant, questions)


def _agreements(run: Run, judge: str, others: Sequence[str]) -> Iterator[JudgeAgreement]:
    for variant in dict.fromkeys(place.variant for place in run):
        places = [place for place in run.arms() if place.variant == variant]
        first = [row for place in places for row in _judgements(run, place, judge)]
        prompts = {key: prompt for place in places for key, prompt in _prompts_by_response(run, place).items()}
        parents = {response: prompt.parent_id for response, prompt in prompts.items()}
        sides = {response: "harmful" if prompt.harmful else "benign" for response, prompt in prompts.items()}
        for other in others:
            second = [row for place in places for row in _judgements(run, place, other)]
            for label in ("safe", "refused"):
                agreement = judge_agreement(variant, (judge, other), first, second, label, parents, sides)
                if agreement is not None:
                    yield agreement


def _prompts_by_response(run: Run, place: ArmPlace) -> dict[str, Prompt]:
    """The prompt of each response of an arm, by the response's id."""
    prompts_by_id = {prompt.id: prompt for prompt in _evaluation_prompts(run, place)}
    return {response.id: prompts_by_id[response.prompt_id] for response in run.arm(place).responses.rows(Response)}


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


def _losses(run: Run) -> Iterator[LossCurve]:
    for place in run.arms():
        training = run.arm(place).training
        if training and training.sft:
            log = json.loads((training.sft.path / "training.json").read_text())
            yield LossCurve(*place, tuple((int(entry["step"]), float(entry["loss"])) for entry in log))


def _curves(run: Run) -> Iterator[LearningCurve]:
    for place in run.arms():
        training = run.arm(place).training
        if training and training.grpo:
            yield from read_curves(training.grpo.path, *place)


def _capability(variants: Mapping[str, Recipe], run: Run) -> Iterator[Capability]:
    for place in run.arms():
        if artifact := run.arm(place).capability:
            for row in json.loads((artifact.path / "capability.json").read_text()):
                row.pop("stderr")
                sampling = Sampling.model_validate(row.pop("sampling"))
                provenance = Provenance(
                    judge=row.pop("scorer"),
                    judge_revision=row.pop("revision"),
                    judged="answer",
                    decoding=f"mean of {sampling.n}, {decoding(sampling)}" if sampling.n > 1 else decoding(sampling),
                    measured=day(artifact.manifest["started"]),
                    recipe=recipe_key(variants[place.variant]),
                )
                yield Capability(**place._asdict(), **row, provenance=provenance)


def _contamination(run: Run) -> Iterator[Contamination]:
    """What of each arm's training rows occurs in the evaluation sets."""
    for variant, arm in dict.fromkeys((place.variant, place.arm) for place in run.arms()):
        places = [place for place in run.arms() if (place.variant, place.arm) == (variant, arm)]
        rows = {row.id: row for place in places for row in _training_rows(run.arm(place))}
        prompts_by_id = {prompt.id: prompt for place in places for prompt in _evaluation_prompts(run, place)}
        if rows:
            overlaps = overlap(rows.values(), list(prompts_by_id.values()))
            yield from (Contamination(variant, arm, shared) for shared in overlaps)


def _training_rows(arm: ArmRun[Artifact]) -> Iterator[TrainingRow]:
    """All that an arm was itself trained on: examples with their targets, or prompts for rollouts."""
    training = arm.training
    if training is None:
        return
    if training.examples:
        prompts_by_id = {prompt.id: prompt for prompt in training.prompts.rows(Prompt)}
        for row in training.examples.rows(Example):
            prompt, text = prompts_by_id[row.prompt_id], f"{row.prompt}\n{row.thinking}\n{row.answer}"
            yield TrainingRow(row.id, prompt.plain_request, f"{prompt.text}\n{text}")
    if training.grpo:
        pools = (training.prompts, training.mathematics)
        for prompt in (row for pool in pools if pool is not None for row in pool.rows(Prompt)):
            yield TrainingRow(prompt.id, prompt.plain_request, prompt.text)


def _measurement_row(place: ArmPlace, outcome: Outcome) -> Measured:
    prompt = outcome.prompt
    return Measured(
        id=make_id("measured", *place, prompt.id, outcome.response.sample),
        variant=place.variant,
        arm=place.arm,
        seed=place.seed,
        prompt_id=prompt.id,
        parent_id=prompt.parent_id,
        sample=outcome.response.sample,
        benchmark=prompt.benchmark,
        family=prompt.family,
        split=prompt.split,
        harmful=prompt.harmful,
        **{metric.name: metric.measure(outcome) for metric in PAIRED},
        truncated=outcome.response.finish is Finish.LENGTH,
        harm_shows=prompt.harm_shows,
        can_help=prompt.can_help,
    )


def _timing(run: Run) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for artifact in {artifact.path: artifact for artifact in run.leaves()}.values():
        seconds[artifact.manifest["stage"]] += artifact.manifest["seconds"]
    return {stage: round(total, 1) for stage, total in seconds.items()}


def _calls(run: Run) -> Iterator[str]:
    """What failed, was withheld or was left out, by kind of rows."""
    by_rows: dict[str, Calls] = {}
    for artifact in {artifact.path: artifact for artifact in run.leaves()}.values():
        calls = read(artifact)
        if calls.asked:
            by_rows[calls.rows] = by_rows.get(calls.rows, Calls(calls.rows)) + calls
    for rows, calls in by_rows.items():
        yield from (f"{rows}: {sentence}" for sentence in calls.sentences())
