"""From a run's artifacts to what the report shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import yaml

from sinternal.figures.agreement import JudgeAgreement, LabelColumn, judge_agreement
from sinternal.figures.arms import arm_figures, last_training
from sinternal.figures.bills import bills
from sinternal.figures.budget import budget_figures
from sinternal.figures.calls import Calls, read
from sinternal.figures.causes import CheckEffect, check_effects, continuations
from sinternal.figures.columns import MISSING, chain
from sinternal.figures.comparisons import Responses, Side, all_pairs, by_arm
from sinternal.figures.contamination import EvaluationSet, TrainingRow, evaluation_sets, overlap
from sinternal.figures.correction import corrected_scores, read_errors
from sinternal.figures.counts import Tally, pool
from sinternal.figures.effects import effects
from sinternal.figures.exposure import exposures
from sinternal.figures.facts import facts
from sinternal.figures.funnel import funnel
from sinternal.figures.gap import JudgeGap, judge_gap
from sinternal.figures.learning import learning, read_curves
from sinternal.figures.measured import MeasuredRows
from sinternal.figures.metric import ASR, PROACTIVE_VERIFICATION
from sinternal.figures.missing import note_on_selection, withhold, withhold_shares
from sinternal.figures.outcomes import Judged, Outcomes, Verdicts, join
from sinternal.figures.placebo import placebo_notes
from sinternal.figures.provenance import Provenance, Sources, day, decoding, last_start, recipe_key
from sinternal.figures.reading import Evaluated, Openings, Reader
from sinternal.figures.score import Score, pool_seeds, score
from sinternal.figures.stress import read_conditions, stress_scores, worst_cases
from sinternal.figures.study import (
    ArmOpenings,
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
from sinternal.figures.transcripts import Transcripts
from sinternal.layout import ArmPlace, ArmRun, RunMap
from sinternal.records import (
    CheckPlace,
    Example,
    Intervened,
    Judgement,
    Prompt,
    Response,
    ThinkingFate,
)
from sinternal.settings.questions import Question
from sinternal.settings.recipe import Recipe
from sinternal.settings.sampling import Sampling
from sinternal.settings.trials import trials
from sinternal.store import Artifact

Run = RunMap[Artifact]
"""Every artifact of a run."""
Arms = Mapping[ArmPlace, Evaluated]
"""What was measured of each arm, variant and seed."""
OutcomesByArm = Mapping[ArmPlace, Outcomes]
"""The responses of each arm, variant and seed."""


def gather(recipe: Recipe, variants: Mapping[str, Recipe], run: Run) -> ReportData:
    """Collect figures, comparisons, funnel, losses and transcripts.

    Args:
        recipe: the recipe as it was run.
        variants: the recipe of each variant, by its name.
        run: its artifacts.
    """
    judges, questions = tuple(judge.name for judge in recipe.judges), recipe.effective_questions
    reader = Reader(run, judges)
    arms = reader.arms()
    judge, compliance = judges[0], _compliance_judge(arms, judges)
    thinking = _judge_that_labels(("checks",), arms, judges) or judge
    outcomes = _outcomes(arms, judge, compliance, thinking)
    responses = by_arm(outcomes)
    runs = {place.arm: run.arm(place) for place in reversed(run.arms())}  # of its first variant and seed
    described = tuple(arm_figures(last_training(runs[arm.name]), arm) for arm in recipe.arms if arm.name in runs)
    sources = Sources(variants, run, judge, compliance, thinking)
    stressed = read_conditions(variants, reader)
    verdicts = {place: arm.verdicts for place, arm in arms.items()}
    under_stress = stress_scores(stressed, Sources(variants, run, judge, judge))
    scores = withhold([*_scores(outcomes, sources, verdicts), *under_stress])
    if path := recipe.evaluation.agreement:
        scores += corrected_scores(scores, read_errors(path, recipe.judges[0]))
    curves = tuple(_curves(run))
    budgets, budget_differences = budget_figures(variants, run, sources)
    return ReportData(
        recipe=recipe.name,
        description=recipe.description,
        seeds=recipe.seeds,
        arms=described,
        variants=tuple(Variant(name, recipe.variants.get(name, {})) for name in variants),
        judges=judges,
        scores=(*scores, *worst_cases(scores)),
        second_opinions=tuple(figure for other in judges for figure in _second_opinion(arms, sources, other)),
        agreements=tuple(_agreements(arms, judge, judges[1:])),
        questions=questions,
        comparisons=tuple(_comparisons(responses, sources, questions)),
        effects=tuple(
            effects(responses, {name: trials(v.arms, questions) for name, v in variants.items()}, sources.of)
        ),
        funnel=tuple(funnel(run)),
        losses=tuple(_losses(run)),
        curves=curves,
        learning=tuple(learning(curves, described)),
        capability=tuple(_capability(variants, run)),
        contamination=tuple(_contamination(run)),
        transcripts=Transcripts(reader, outcomes, stressed),
        measured=MeasuredRows(outcomes, run),
        timing=_timing(run),
        facts=facts(recipe, run, sum(map(len, outcomes.values()))),
        bills=bills(run),
        calls=tuple(call_notes(run)),
        exposures=tuple(row for place in run.arms() for row in exposures(run, place)),
        thinking=tuple(withhold_shares(_thinking(outcomes, sources))),
        openings=tuple(_openings(arms)),
        placebos=tuple(placebo_notes(variants, run)),
        check_effects=tuple(_check_effects(variants, run, sources)),
        budgets=budgets,
        budget_differences=budget_differences,
        judge_gaps=tuple(_judge_gaps(variants, arms, sources)),
        recipe_yaml=yaml.safe_dump(
            recipe.model_dump(mode="json", exclude={"workers"}), sort_keys=False, allow_unicode=True
        ),
    )


def _outcomes(arms: Arms, judge: str, compliance: str, thinking: str) -> dict[ArmPlace, Outcomes]:
    """All responses: one judge labels safety, one refusals and help, one the thinking; often the same."""

    def labelled(arm: Evaluated) -> Outcomes:
        return arm.outcomes.labelled_by(*(arm.judged[name] for name in (judge, compliance, thinking)))

    return {place: labelled(arm) for place, arm in arms.items()}


def _compliance_judge(arms: Arms, judges: Sequence[str]) -> str:
    """The first judge that labels refusals and help; else the first that labels refusals; else the first."""
    preferences = (("refused", "helpful"), ("refused",))
    candidates = (_judge_that_labels(labels, arms, judges) for labels in preferences)
    return next((judge for judge in candidates if judge is not None), judges[0])


def _judge_that_labels(labels: Sequence[str], arms: Arms, judges: Sequence[str]) -> str | None:
    """The first judge that gives all of these labels somewhere."""

    def gives(judged: Judged, label: str) -> bool:
        return bool((getattr(judged, label) != MISSING).any())

    for judge in judges:
        if all(any(gives(arm.judged[judge], label) for arm in arms.values()) for label in labels):
            return judge
    return None


def _second_opinion(arms: Arms, deciding: Sources, judge: str) -> Iterator[Score]:
    """Pooled figures by one judge's labels, except those that it decides anyway."""
    if judge == deciding.judge == deciding.compliance == deciding.thinking:
        return
    sources = Sources(deciding.variants, deciding.run, judge, judge)
    for figure in withhold(_scores(_outcomes(arms, judge, judge, judge), sources, {})):
        if figure.seed is None and judge != deciding.decides(figure.metric):
            yield figure


def _thinking(outcomes: OutcomesByArm, sources: Sources) -> Iterator[ThinkingShare]:
    """What each arm's thinkings check and see, over all seeds."""
    for variant, arm in dict.fromkeys((place.variant, place.arm) for place in outcomes):
        rows = chain([own for place, own in outcomes.items() if place[:2] == (variant, arm)])
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


def _judge_gaps(variants: Mapping[str, Recipe], arms: Arms, sources: Sources) -> Iterator[JudgeGap]:
    """How far the two judges are apart, for each arm."""
    for variant, arm in dict.fromkeys((place.variant, place.arm) for place in arms):
        seeds = {place.seed: own for place, own in arms.items() if place[:2] == (variant, arm)}
        safe = {seed: own.rewarding for seed, own in seeds.items() if own.rewarding is not None}
        if safe:
            outcomes = {seed: seeds[seed].outcomes for seed in safe}
            rewarding, provenance = variants[variant].labeller.name, sources.of(variant, arm, ASR.name)
            if gap := judge_gap(variant, arm, rewarding, outcomes, safe, provenance):
                yield gap


def _openings(arms: Arms) -> Iterator[ArmOpenings]:
    """How the answers of each arm begin, over all seeds."""
    for variant, arm in dict.fromkeys((place.variant, place.arm) for place in arms):
        own = [evaluated.openings for place, evaluated in arms.items() if place[:2] == (variant, arm)]
        yield ArmOpenings(variant, arm, Openings.together(own))


def _comparisons(
    responses: Mapping[tuple[str, str], Responses], sources: Sources, questions: Sequence[Question]
) -> Iterator[Comparison]:
    """Arms against each other, on the same prompts of the same seed."""
    for variant in dict.fromkeys(variant for variant, _ in responses):
        sides = [
            Side(arm, own, partial(sources.of, variant, arm))
            for (of_variant, arm), own in responses.items()
            if of_variant == variant
        ]
        yield from all_pairs(sides, variant, questions)


def _agreements(arms: Arms, judge: str, others: Sequence[str]) -> Iterator[JudgeAgreement]:
    if not others:
        return
    for variant in dict.fromkeys(place.variant for place in arms):
        own = [arm for place, arm in arms.items() if place.variant == variant]
        response = np.concatenate([arm.response for arm in own])
        parents, harmful = np.full((2, int(response.max()) + 1), MISSING, dtype=np.int64)
        parents[response] = np.concatenate([arm.outcomes.parent for arm in own])
        harmful[response] = np.concatenate([arm.outcomes.harmful for arm in own])
        kinds = {"harmful": harmful == 1, "benign": harmful == 0}
        first = sorted(kinds, key=lambda name: not kinds[name][response[0]])
        sides = {name: kinds[name] for name in first if kinds[name].any()}

        def column(judge: str, label: str, own: Sequence[Evaluated] = own) -> LabelColumn:
            """A judge's labels in the order of its tables."""
            rows = [(arm.response, getattr(arm.judged[judge], label), arm.judged_in_turn[judge]) for arm in own]
            return LabelColumn(*(np.concatenate([part[i][part[2]] for part in rows]) for i in range(2)))

        for other in others:
            for label in ("safe", "refused"):
                columns = column(judge, label), column(other, label)
                agreement = judge_agreement(variant, (judge, other), *columns, label, parents, sides)
                if agreement is not None:
                    yield agreement


def _scores(outcomes: OutcomesByArm, sources: Sources, verdicts: Mapping[ArmPlace, Verdicts]) -> Iterator[Score]:
    """Every figure of each seed, and pooled over seeds."""
    tallies: dict[tuple[str, str], dict[Cell, dict[int, Tally]]] = defaultdict(lambda: defaultdict(dict))
    for place, rows in outcomes.items():
        for cell, tally in count(rows, verdicts.get(place)).items():
            tallies[place.variant, place.arm][cell][place.seed] = tally
    for (variant, arm), cells in tallies.items():
        for cell, by_seed in cells.items():
            provenance = sources.of(variant, arm, cell.metric.name, verifying=cell.spec is not None)
            known: dict[str, Any] = {"arm": arm, "variant": variant, "provenance": provenance}
            own = {seed: outcomes[ArmPlace(variant, arm, seed)] for seed in by_seed}
            per_seed = [
                _selected(score(cell, tally, seed=seed, **known), cell, [own[seed]]) for seed, tally in by_seed.items()
            ]
            yield from per_seed
            pooled = _selected(score(cell, pool(by_seed.values()), seed=None, **known), cell, list(own.values()))
            yield pool_seeds(per_seed, pooled)


def _selected(figure: Score, cell: Cell, outcomes: Sequence[Outcomes]) -> Score:
    """A figure of verdicts with what it cannot tell, as verdicts on answers without a label count in none."""
    if cell.spec is None:
        return figure
    missing = answers = 0
    for rows in outcomes:
        here = ~rows.without_text & ~rows.blank
        for column, name in ((rows.split, cell.split), (rows.harm_shows, cell.harm_shows)):
            if name is not None:
                here &= column == rows.names.find(name)
        missing, answers = missing + int((rows.safe[here] == MISSING).sum()), answers + int(here.sum())
    caveat = "; ".join(filter(None, [figure.caveat, note_on_selection(missing, answers)]))
    return replace(figure, caveat=caveat)


def _losses(run: Run) -> Iterator[LossCurve]:
    for place in run.arms():
        training = run.arm(place).training
        if training and training.sft:
            log = training.sft.json("training")
            yield LossCurve(*place, tuple((int(entry["step"]), float(entry["loss"])) for entry in log))


def _curves(run: Run) -> Iterator[LearningCurve]:
    for place in run.arms():
        training = run.arm(place).training
        if training and training.grpo:
            yield from read_curves(training.grpo, *place)


def _capability(variants: Mapping[str, Recipe], run: Run) -> Iterator[Capability]:
    for place in run.arms():
        if artifact := run.arm(place).capability:
            for row in artifact.json("capability"):
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
    for variant in dict.fromkeys(place.variant for place in run):
        seeds = [own for place, own in run.items() if place.variant == variant]
        sets: list[EvaluationSet] = []
        for arm in seeds[0].arms:
            rows = {row.id: row for own in seeds for row in _training_rows(own.arms[arm])}
            if rows:
                sets = sets or evaluation_sets(
                    {row.id: row for own in seeds for row in own.evaluation_prompts.rows(Prompt)}.values()
                )
                yield from (Contamination(variant, arm, shared) for shared in overlap(rows.values(), sets))


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


def _timing(run: Run) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for artifact in {artifact.path: artifact for artifact in run.leaves()}.values():
        seconds[artifact.manifest["stage"]] += artifact.manifest["seconds"]
    return {stage: round(total, 1) for stage, total in seconds.items()}


def call_notes(run: Run, *, reasons: bool = True) -> Iterator[str]:
    """What failed, was withheld or was left out, by kind of rows.

    Args:
        run: its artifacts.
        reasons: whether the servers' words are quoted.
    """
    by_rows: dict[str, Calls] = {}
    for artifact in {artifact.path: artifact for artifact in run.leaves()}.values():
        calls = read(artifact)
        if calls.asked:
            by_rows[calls.rows] = by_rows.get(calls.rows, Calls(calls.rows, again=calls.again)) + calls
    for rows, calls in by_rows.items():
        shown = calls if reasons else calls.without_reasons()
        yield from (f"{rows}: {sentence}" for sentence in shown.sentences())
