"""What one arm adds to a plan: its training, its measurement, and what it does under stress."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sinternal.engines import TemplateOptions
from sinternal.experts import Demonstration
from sinternal.layout import (
    DELIVERY,
    REPETITION,
    Answers,
    ArmRun,
    Attacked,
    Checked,
    Control,
    Others,
    Published,
    SeedRun,
    Stressed,
    Training,
    adaptive_condition,
    sampling_condition,
)
from sinternal.records import Subject
from sinternal.settings.arms import BASE, REINFORCED, VERIFYING, Arm, SpecificationUse, TrainOn
from sinternal.settings.measurement import CONTROL
from sinternal.settings.plugins import AdaptiveAttackPlugin
from sinternal.settings.recipe import Recipe
from sinternal.settings.sources import Target
from sinternal.stages import (
    adapt,
    capability,
    contrast,
    critique,
    dataset,
    demonstrate,
    examples,
    grpo,
    intervene,
    judge,
    locate,
    repeat,
    sample,
    self_verify,
    sft,
    strata,
    target,
)
from sinternal.study.prompts import UNDISGUISED, PromptTasks, sources_of
from sinternal.study.targets import target_task
from sinternal.study.task import Task

_DEMONSTRATIONS = {
    TrainOn.REFUSAL: Demonstration.REFUSAL,
    TrainOn.DELIBERATIVE: Demonstration.DELIBERATIVE,
    TrainOn.DELIBERATIVE_REVIEWS: Demonstration.DELIBERATIVE_REVIEWS,
    TrainOn.DELIBERATIVE_CHECKS: Demonstration.DELIBERATIVE_CHECKS,
    TrainOn.MIXED: Demonstration.DELIBERATIVE,
    TrainOn.ANSWER_THEN_CHECK: Demonstration.REFUSAL,
}
"""What the expert demonstrates, for arms that learn from demonstrations."""
_CRITIQUED = (TrainOn.VERIFICATION, TrainOn.PLACEBO, TrainOn.MIXED, TrainOn.ANSWER_THEN_CHECK)
"""Arms that learn from the expert's critiques."""


def plan_arm(recipe: Recipe, arm: Arm, seed: int, where: str, run: SeedRun[Task], prompts: PromptTasks) -> ArmRun[Task]:
    """The artifacts of one arm.

    Args:
        recipe: the study, or one variant of it.
        arm: which arm.
        seed: which seed.
        where: a suffix for labels.
        run: the rest of this repetition; the arms above this one are in it.
        prompts: the prompts of this repetition.
    """
    return _ArmPlanner(recipe, arm, seed, where, run, prompts).plan()


def own_answers(recipe: Recipe, model: Task, prompts: Task, seed: int, where: str) -> Answers[Task]:
    """A model's answers to the training prompts, labelled, and the contrast pairs among them."""
    assert recipe.sampling is not None  # an arm is trained
    sampling = sample.SampleConfig(
        engine=recipe.engine, sampling=recipe.sampling, system=recipe.target.system, seed=seed
    )
    responses = Task(sample.STAGE, f"sample, {where}", sampling, {"prompts": prompts, "model": model})
    labelled = {"prompts": prompts, "responses": responses}
    judgements = Task(judge.STAGE, f"judge, {where}", recipe.labeller, labelled)
    config = contrast.ContrastConfig(judge=recipe.labeller.name, seed=seed)
    pairs = Task(contrast.STAGE, f"contrast, {where}", config, {**labelled, "judgements": judgements})
    return Answers(responses, judgements, pairs)


def template_options(recipe: Recipe) -> TemplateOptions:
    """Options of the measuring engine for the chat template, which training needs, too."""
    options = recipe.measuring_engine.options
    return TemplateOptions.model_validate(
        {name: options[name] for name in TemplateOptions.model_fields if name in options}
    )


@dataclass(frozen=True)
class _ArmPlanner:
    """Lays out one arm."""

    recipe: Recipe
    arm: Arm
    seed: int
    where: str
    run: SeedRun[Task]
    prompts: PromptTasks

    @property
    def label(self) -> str:
        return f"{self.arm.name}, {self.where}"

    def plan(self) -> ArmRun[Task]:
        start = self._start()
        training = self._training(start)
        trained = training and (training.grpo or training.sft)
        return self._measurement(trained or start, training)

    # its model

    def _start(self) -> Task:
        """The model it starts from: another arm's, one from elsewhere, or the target."""
        predecessor = self.recipe.start_of(self.arm)
        if predecessor is not None:
            return self.run.arms[predecessor.name].model
        if self.arm.start in (None, BASE):
            return self.run.target
        named_by = f"arm {self.arm.name!r}: start"
        return target_task(self.recipe, Target(model=self.arm.start), self.seed, f"start {self.label}", named_by)

    def _training(self, start: Task) -> Training[Task] | None:
        """How its model is trained; None if it is measured as it is."""
        from_elsewhere = start.stage is target.STAGE and start is not self.run.target
        models = {"model": start, **({"target": self.run.target} if from_elsewhere else {})}
        if self.arm.train_on is TrainOn.NOTHING:
            return None
        if self.arm.train_on in REINFORCED:
            return self._reinforcement(models)
        training = self._examples()
        assert training.examples is not None  # fine-tuning always has a training set
        scaled = self.recipe.reference_arm is not None and self.arm.train_on is not TrainOn.DATASET
        config = sft.SftConfig(
            settings=self.recipe.sft_of(self.arm),
            speech=template_options(self.recipe),
            seed=self.seed,
            steps_for=self.recipe.training_sets.size if scaled else None,
        )
        task = Task(sft.STAGE, f"sft {self.label}", config, {**models, "examples": training.examples})
        return replace(training, sft=task)

    def _reinforcement(self, models: dict[str, Task]) -> Training[Task]:
        train_on, verifies = self.arm.train_on, self.arm.train_on in VERIFYING
        config = grpo.GrpoConfig(
            settings=self.recipe.grpo_of(self.arm),
            train_on=train_on,
            judge=self.recipe.labeller,
            refusals=self.recipe.rewards.refusals,
            verification=self.arm.examples.verification or self.recipe.verification,
            with_spec=self.arm.examples.specification is SpecificationUse.QUOTED,
            answers=self.recipe.training_sets.size if verifies else None,
            rows_tuned_on=self.recipe.rows_tuned_on if verifies else None,
            speech=template_options(self.recipe),
            system=self.recipe.target.system,
            seed=self.seed,
        )
        prompts, own = self.run.learned_from
        mathematics = None if train_on is TrainOn.VERIFY_RL else self.prompts.mathematics
        pairs = own.contrast if train_on in grpo.OF_STORED_ANSWERS else None
        optional = {"mathematics": mathematics, "held_out": self.prompts.held_out, "pairs": pairs}
        present = {name: task for name, task in optional.items() if task is not None}
        task = Task(grpo.STAGE, f"grpo {self.label}", config, {"prompts": prompts, **present, **models})
        return Training(prompts, mathematics=mathematics, held_out=self.prompts.held_out, grpo=task)

    def _examples(self) -> Training[Task]:
        """Its training set, and what an expert writes for it."""
        if self.arm.train_on is TrainOn.DATASET:
            return self._published_training()
        prompts, own = self.run.learned_from
        others = self._others()
        answers = others.answers if others else own
        expert_inputs = {"prompts": prompts, "pairs": answers.contrast}
        training = Training(prompts, others=others, critiques=self._critiques(expert_inputs))
        inputs = {"prompts": prompts, "responses": answers.contrast, "model": self.run.target}
        if training.critiques:
            inputs["verifications"] = training.critiques
        demonstrations = self._demonstrations(expert_inputs)
        labelled = None
        if demonstrations:
            inputs["demonstrations" if training.critiques else "responses"] = demonstrations
            judge_inputs = {"prompts": prompts, "responses": demonstrations}
            labels = Task(judge.STAGE, f"judge demonstrations {self.label}", self.recipe.labeller, judge_inputs)
            training, labelled = replace(training, demonstrations=demonstrations, judgements=labels), demonstrations
            inputs["judgements"] = labels
        if self.arm.train_on is TrainOn.OWN_REFUSALS:
            inputs["judgements"] = labelled = own.contrast
        if labelled and self.recipe.rewards.refusals:
            judge_inputs = {"prompts": prompts, "responses": labelled}
            refusals = Task(judge.STAGE, f"judge refusals {self.label}", self.recipe.rewards.refusals, judge_inputs)
            training = replace(training, refusals=refusals)
            inputs["refusals"] = refusals
        if counterpart := self._counterpart():
            inputs["counterpart"] = counterpart
        elif reference := self._reference():
            inputs["reference"] = reference
        drawing = examples.ExamplesConfig(
            size=self.recipe.training_sets.size,
            share=self.arm.examples.share,
            target=self.arm.examples.target,
            mixed=self.arm.train_on is TrainOn.MIXED,
            system=self.recipe.target.system,
            speech=template_options(self.recipe),
            seed=self.seed,
        )
        return replace(training, examples=Task(examples.STAGE, f"examples {self.label}", drawing, inputs))

    def _critiques(self, inputs: dict[str, Task]) -> Task | None:
        if self.arm.train_on not in _CRITIQUED:
            return None
        config = critique.CritiqueConfig(
            expert=self.recipe.writer,
            verification=self.arm.examples.verification or self.recipe.verification,
            specification=self.arm.examples.specification,
            subject=self.arm.placebo.kind if self.arm.placebo else Subject.SAFETY,
            wanted=self._numbers_to_ask_for(strata.VERIFICATION_SHARES),
            seed=self.seed,
        )
        return Task(critique.STAGE, f"critique {self.label}", config, inputs)

    def _demonstrations(self, inputs: dict[str, Task]) -> Task | None:
        kind = _DEMONSTRATIONS.get(self.arm.train_on)
        if kind is None:
            return None
        config = demonstrate.DemonstrateConfig(
            expert=self.recipe.writer,
            kind=kind,
            wanted=self._numbers_to_ask_for(strata.DEMONSTRATION_SHARES),
            seed=self.seed,
        )
        return Task(demonstrate.STAGE, f"demonstrate {self.label}", config, inputs)

    def _numbers_to_ask_for(self, shares: Any) -> dict[str, int]:
        return strata.numbers_to_ask_for(self.recipe.training_sets.size, shares, self.recipe.training_sets.spare)

    def _others(self) -> Others[Task] | None:
        """The model whose answers it verifies, if not the target."""
        other = self.arm.examples.answers
        if other is None:
            return None
        where, named_by = f"other model, {self.label}", f"arm {self.arm.name!r}: examples.answers.model"
        model = target_task(self.recipe, other, self.seed, where, named_by)
        return Others(model, own_answers(self.recipe, model, self.run.learned_from[0], self.seed, where))

    def _reference(self) -> Task | None:
        """The examples of the arm whose loss tokens this one matches; that arm may come later."""
        reference = self.recipe.reference_arm
        if reference is None or reference is self.arm:
            return None
        return self._examples_of(reference)

    def _counterpart(self) -> Task | None:
        """The examples of the arm that it is a placebo of."""
        counterpart = self.recipe.counterpart_of(self.arm) if self.arm.train_on is TrainOn.PLACEBO else None
        return None if counterpart is None else self._examples_of(counterpart)

    def _examples_of(self, arm: Arm) -> Task | None:
        """The training set of another arm, which may come later."""
        above = self.run.arms.get(arm.name)
        training = above.training if above else replace(self, arm=arm)._examples()
        return training.examples if training else None

    def _published_training(self) -> Training[Task]:
        """The training set of an arm that learns from a published data set, without evaluation prompts."""
        source = self.arm.examples.dataset
        assert source is not None  # the recipe was validated
        prompts = self.prompts.published(source, self.label)
        (named,) = sources_of((source,), "train", UNDISGUISED)
        reading = dataset.DatasetConfig(benchmark=named.benchmark, options=named.options, part=named.part)
        answers = Task(dataset.STAGE, f"dataset {self.label}", reading, {"prompts": prompts})
        drawing = examples.ExamplesConfig(size=None, share=1.0, speech=template_options(self.recipe), seed=self.seed)
        inputs = {"prompts": prompts, "responses": answers, "model": self.run.target}
        drawn_rows = Task(examples.STAGE, f"examples {self.label}", drawing, inputs)
        return Training(prompts, published=Published(prompts, answers), examples=drawn_rows)

    # its measurement

    def _measurement(self, model: Task, training: Training[Task] | None) -> ArmRun[Task]:
        """Its responses, each judge's labels of them, and how it verifies its own answers."""
        recipe, settings, engine = self.recipe, self.recipe.evaluation, self.recipe.measuring_engine
        response_inputs = {"prompts": self.run.evaluation_prompts, "model": model}
        responding = sample.SampleConfig(
            engine=engine, sampling=settings.sampling, system=recipe.target.system, seed=self.seed
        )
        responses = Task(sample.STAGE, f"respond {self.label}", responding, response_inputs)
        judge_inputs = {"prompts": self.run.evaluation_prompts, "responses": responses}
        judgements = {
            entry.name: Task(judge.STAGE, f"judge {self.label} by {entry.name}", entry, judge_inputs)
            for entry in recipe.judges
        }
        rewarding = None
        if recipe.labeller != recipe.judges[0]:
            label = f"judge {self.label} by {recipe.labeller.name}, which rewards"
            rewarding = Task(judge.STAGE, label, recipe.labeller, judge_inputs)
        verifying = self_verify.SelfVerifyConfig(
            engine=engine,
            sampling=settings.verification_sampling,
            verification=recipe.verification,
            specification=settings.specification,
            seed=self.seed,
        )
        verification_inputs = {**response_inputs, "responses": responses}
        return ArmRun(
            model=model,
            responses=responses,
            judgements=judgements,
            verifications=Task(self_verify.STAGE, f"self-verify {self.label}", verifying, verification_inputs),
            training=training,
            rewarding=rewarding,
            capability=self._capability(model),
            stress=self._stress(model),
            checks=self._checks(model, responses),
            attacked=self._attacked(model),
        )

    def _attacked(self, model: Task) -> dict[str, Attacked[Task]]:
        """Adaptive attackers, each with and without feedback, and its plain requests repeated."""
        recipe, settings = self.recipe, self.recipe.evaluation.adaptive
        if settings is None:
            return {}
        prompts = self.prompts.attacked
        played = [(attack, Control.NONE) for attack in settings.attacks]
        played += [(attack, Control.BLIND) for attack in settings.attacks if attack.plugin_class.learns]
        played.append((AdaptiveAttackPlugin(name=CONTROL), Control.REPETITION))
        attacked = {}
        for attack, control in played:
            config = adapt.AdaptConfig(
                engine=recipe.measuring_engine,
                sampling=recipe.evaluation.sampling.model_copy(update={"n": 1}),
                system=recipe.target.system,
                seed=self.seed,
                attack=attack,
                judge=recipe.judges[0],
                budget=settings.budget,
                feedback=control is Control.NONE,
                most=None if settings.limit is None else settings.limit * len(recipe.prompts.eval),
            )
            name = adaptive_condition(attack.family, control)
            inputs = {"prompts": prompts, "model": model}
            attacked[name] = Attacked(prompts, Task(adapt.STAGE, f"attack by {name} on {self.label}", config, inputs))
        return attacked

    def _checks(self, model: Task, responses: Task) -> Checked[Task] | None:
        """Its thinkings about harmful prompts, continued without their checks and with others'."""
        recipe, settings = self.recipe, self.recipe.evaluation.checks
        if settings is None:
            return None
        assert recipe.check_locator is not None  # the recipe was validated
        of_arm = {"prompts": self.run.evaluation_prompts, "responses": responses}
        looking = locate.LocateConfig(judge=recipe.check_locator, limit=settings.limit, seed=self.seed)
        places = Task(locate.STAGE, f"locate checks {self.label}", looking, of_arm)
        inputs = {**of_arm, "places": places}
        begun = Task(intervene.STAGE, f"intervene in {self.label}", intervene.InterveneConfig(), inputs)
        continuing = sample.SampleConfig(
            engine=recipe.measuring_engine,
            sampling=recipe.evaluation.sampling,
            system=recipe.target.system,
            seed=self.seed,
        )
        continued = Task(
            sample.STAGE, f"continue thinking {self.label}", continuing, {"prompts": begun, "model": model}
        )
        judged = {"prompts": begun, "responses": continued}
        judgements = Task(judge.STAGE, f"judge continued {self.label}", recipe.judges[0], judged)
        again = locate.LocateConfig(judge=recipe.check_locator, seed=self.seed)
        further = Task(locate.STAGE, f"locate further checks {self.label}", again, judged)
        return Checked(places, begun, continued, judgements, further)

    def _capability(self, model: Task) -> Task | None:
        if not self.recipe.capability:
            return None
        config = capability.CapabilityConfig(
            tasks=self.recipe.capability,
            engine=self.recipe.measuring_engine,
            sampling=self.recipe.evaluation.sampling,
            system=self.recipe.target.system,
            seed=self.seed,
        )
        return Task(capability.STAGE, f"capability {self.label}", config, {"model": model})

    def _stress(self, model: Task) -> dict[str, Stressed[Task]]:
        """Its responses under every stress condition, labelled by the first judge."""
        stress = self.recipe.evaluation.stress
        if stress is None:
            return {}
        usual = self.recipe.evaluation.sampling
        common: dict[str, Any] = {
            "engine": self.recipe.measuring_engine,
            "system": self.recipe.target.system,
            "seed": self.seed,
        }
        conditions = {}
        if self.prompts.delivered:
            config = sample.SampleConfig(sampling=usual, **common)
            conditions[DELIVERY] = (sample.STAGE, self.prompts.delivered, config)
        if self.prompts.repeated:
            if stress.turns:
                repeating = repeat.RepeatConfig(sampling=usual, turns=stress.turns, **common)
                conditions[REPETITION] = (repeat.STAGE, self.prompts.repeated, repeating)
            for number, sampling in enumerate(stress.sampling):
                config = sample.SampleConfig(sampling=sampling, **common)
                conditions[sampling_condition(number)] = (sample.STAGE, self.prompts.repeated, config)
        stressed = {}
        for name, (stage, prompts, config) in conditions.items():
            responses = Task(stage, f"{name} {self.label}", config, {"prompts": prompts, "model": model})
            judge_inputs = {"prompts": prompts, "responses": responses}
            judgements = Task(judge.STAGE, f"judge {name} {self.label}", self.recipe.judges[0], judge_inputs)
            stressed[name] = Stressed(prompts, responses, judgements)
        return stressed
