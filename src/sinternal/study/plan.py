"""From a recipe to a plan: which artifacts it asks for, and which of them needs which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sinternal.engines import TemplateOptions
from sinternal.errors import ModelError, RecipeError
from sinternal.experts import Demonstration
from sinternal.figures.gap import AS_IN_TRAINING
from sinternal.figures.stress import DELIVERY, REPETITION, SAMPLING
from sinternal.fingerprints import fingerprint
from sinternal.models.resolve import model_folder
from sinternal.redaction import redacted
from sinternal.settings.arms import BASE, Arm, TrainOn
from sinternal.settings.plugins import PLAIN, AttackPlugin
from sinternal.settings.recipe import DEFAULT_VARIANT, Recipe
from sinternal.settings.sources import Source, Target, without_parts
from sinternal.stages import (
    base,
    capability,
    critique,
    dataset,
    demonstrate,
    diagnosis,
    examples,
    grpo,
    judge,
    pair,
    prompts,
    repeat,
    report,
    sample,
    sft,
    strata,
    verify,
)
from sinternal.store import artifact_key
from sinternal.study.checks import check_data
from sinternal.study.contents import Contents, contents, folder_contents
from sinternal.study.identity import identity


@dataclass(frozen=True)
class Stage:
    """A stage as the pipeline sees it."""

    function: Callable[..., None]
    """Called with a draft, its settings and its input artifacts by name."""
    version: int
    """Raised when the stage's output changes for the same settings and inputs."""
    shows_paths: bool = False
    """Whether its output says where files lie, so that one that was moved is another input."""


STAGES: Mapping[str, Stage] = {
    "base": Stage(base.base, base.VERSION),
    "prompts": Stage(prompts.prompts, prompts.VERSION),
    "sample": Stage(sample.sample, sample.VERSION),
    "repeat": Stage(repeat.repeat, repeat.VERSION),
    "judge": Stage(judge.judge, judge.VERSION),
    "pair": Stage(pair.pair, pair.VERSION),
    "critique": Stage(critique.critique, critique.VERSION),
    "dataset": Stage(dataset.dataset, dataset.VERSION),
    "demonstrate": Stage(demonstrate.demonstrate, demonstrate.VERSION),
    "examples": Stage(examples.examples, examples.VERSION),
    "sft": Stage(sft.sft, sft.VERSION),
    "grpo": Stage(grpo.grpo, grpo.VERSION),
    "capability": Stage(capability.capability, capability.VERSION),
    "verify": Stage(verify.verify, verify.VERSION),
    "report": Stage(report.report, report.VERSION, shows_paths=True),
    "diagnosis": Stage(diagnosis.diagnosis, diagnosis.VERSION, shows_paths=True),
}


@dataclass(frozen=True, eq=False)
class Task:
    """One artifact to make."""

    stage: str
    """Name of the stage."""
    label: str
    """What it is for, to be shown."""
    config: BaseModel
    """The stage's settings."""
    inputs: Mapping[str, Task] = field(default_factory=dict)
    """What it is made from, by the names of the stage's arguments."""

    @cached_property
    def contents(self) -> Contents:
        """What its settings name, as it is now."""
        return contents(self._settings)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """Its settings without what only says how a server is reached."""
        plain: dict[str, Any] = identity(self.config.model_dump(mode="json"))
        return plain

    @cached_property
    def key(self) -> str:
        """The artifact's key; the same for tasks that would make the same thing."""
        found = self.contents
        if STAGES[self.stage].shows_paths and found.files:
            return self._key({**self._settings, "contents": found.files})
        return self._key(found.settings)

    @cached_property
    def identity(self) -> str:
        """What it counts as for those that are made from it: a model by its contents, wherever its folder lies."""
        if not isinstance(self.config, base.BaseModelConfig) or self.config.fingerprint is None:
            return self.key
        return self._key({name: value for name, value in self.contents.settings.items() if name != "model"})

    def _key(self, settings: Mapping[str, Any]) -> str:
        keys = {name: task.identity for name, task in self.inputs.items()}
        plugins = {"plugins": self.contents.plugins} if self.contents.plugins else {}
        return artifact_key(self.stage, STAGES[self.stage].version, {**settings, **plugins}, keys)

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True)
class Plan:
    """Everything that a recipe asks for."""

    tasks: tuple[Task, ...]
    """Each artifact once, inputs before what needs them; the report last."""
    notes: tuple[str, ...] = ()
    """What a user should know before it is carried out."""

    @property
    def report(self) -> Task:
        """What the run is for."""
        return self.tasks[-1]


def make_plan(recipe: Recipe) -> Plan:
    """Lay out every artifact of a recipe. Reads no artifact and runs nothing.

    Raises:
        RecipeError, DataError: data that the recipe names is not there, or not fit for what it is named for.
    """
    inputs: dict[str, Task] = {}
    check_data(recipe)
    variants = {variant: recipe.variant(variant) for variant in recipe.variants or {DEFAULT_VARIANT: {}}}
    for variant, settings in variants.items():
        for seed in recipe.seeds:
            prefix = "" if variant == DEFAULT_VARIANT else f"{variant} "
            for name, task in _one_run(settings, seed, f"{prefix}seed {seed}").items():
                inputs[f"{variant}/{seed}/{name}"] = task
    config = report.ReportConfig(
        recipe=redacted(recipe.model_dump(mode="json", exclude={"workers"})),
        settings={name: redacted(one.model_dump(mode="json", exclude={"workers"})) for name, one in variants.items()},
        questions=recipe.asked,
        agreement=_agreement(recipe.evaluation.agreement),
    )
    last = Task("report", "report", config, inputs)
    unique: dict[str, Task] = {}
    for task in [*_ancestors(last), last]:
        unique.setdefault(task.key, task)
    # Prompts need nothing but prompts: a data set that cannot be read is told before anything is sampled.
    ordered = tuple(sorted(unique.values(), key=lambda task: task.stage != "prompts"))
    return Plan(ordered, tuple(dict.fromkeys(note for one in variants.values() for note in _notes(one))))


def _notes(recipe: Recipe) -> Iterator[str]:
    """What is allowed, and yet should be known."""
    if all(arm.train_on is TrainOn.NOTHING for arm in recipe.arms):
        return
    ours, theirs = (judge.model for judge in (recipe.judges[0], recipe.labeller))
    if ours is not None and ours == theirs:
        yield (
            f"judge {ours} labels what the arms learn from, and decides on what they say: arms may learn its mistakes, "
            "which it then cannot see; name another in rewards.judge"
        )


def _agreement(path: Path | None) -> str | None:
    if path is None:
        return None
    if not path.is_file():
        raise RecipeError(f"evaluation.agreement: there is no file {path}; `sinternal agree` writes one")
    return fingerprint(path)


def _ancestors(task: Task) -> Iterator[Task]:
    for parent in task.inputs.values():
        yield from _ancestors(parent)
        yield parent


def _one_run(recipe: Recipe, seed: int, where: str) -> dict[str, Task]:
    """The artifacts of one variant and seed, by the names under which the report finds them."""
    target = Task("base", f"base, {where}", _target_config(recipe, recipe.target, seed))
    asked = _prompt_tasks(recipe, seed, where)
    run = {"base": target, **asked, **_own_answers(recipe, target, asked["prompts"], seed, where)}
    for arm in recipe.arms:
        run |= _arm(recipe, arm, seed, where, run)
    return run


def _own_answers(recipe: Recipe, model: Task, asked: Task, seed: int, where: str) -> dict[str, Task]:
    """A model's answers to the training prompts, labelled, and the contrast pairs among them."""
    sampling = sample.SampleConfig(
        engine=recipe.engine, sampling=recipe.sampling, system=recipe.target.system, seed=seed
    )
    train = {"prompts": asked}
    responses = Task("sample", f"sample, {where}", sampling, {**train, "model": model})
    labels = Task("judge", f"judge, {where}", recipe.labeller, {**train, "responses": responses})
    pairing = pair.PairConfig(judge=recipe.labeller.name, seed=seed)
    pairs = Task("pair", f"pair, {where}", pairing, {**train, "responses": responses, "judgements": labels})
    return {"sample": responses, "judge": labels, "pair": pairs}


def _prompt_tasks(recipe: Recipe, seed: int, where: str) -> dict[str, Task]:
    """Evaluation prompts first: training prompts that overlap with them are dropped."""
    wanted, rewards = recipe.prompts, recipe.rewards
    plain = (AttackPlugin(name=PLAIN),)

    def config(
        sources: tuple[Source, ...], part: str, attacks: tuple[AttackPlugin, ...], limit: int | None
    ) -> prompts.PromptsConfig:
        return prompts.PromptsConfig(
            sources=sources_of(sources, part, attacks),
            tuned_on=wanted.train_attacks,
            limit=limit,
            for_training=part != "eval",
            seed=seed,
        )

    evaluation = Task(
        "prompts",
        f"evaluation prompts, {where}",
        config(wanted.eval, "eval", wanted.eval_attacks, wanted.eval_limit),
    )
    clean = {"evaluation": evaluation}
    asked = {
        "evaluation prompts": evaluation,
        "prompts": Task(
            "prompts",
            f"training prompts, {where}",
            config(wanted.train, "train", wanted.train_attacks, wanted.train_limit),
            clean,
        ),
    }
    if stress := recipe.evaluation.stress:
        for name, attacks in (("stress prompts", stress.attacks), ("plain stress prompts", plain)):
            if attacks:
                fewer = {"attacks": None, **({"limit": stress.limit} if stress.limit else {})}
                sources = tuple(source.model_copy(update=fewer) for source in wanted.eval)
                again = config(sources, "eval", attacks, None)
                asked[name] = Task("prompts", f"{name}, {where}", again, {"among": evaluation})
    if recipe.grpo is None or not any(arm.train_on is TrainOn.REWARDS for arm in recipe.arms):
        return asked
    if recipe.grpo.mixture.mathematics:
        problems = config(rewards.mathematics, "train", plain, None)
        asked["mathematics prompts"] = Task("prompts", f"mathematics prompts, {where}", problems, clean)
    if recipe.grpo.held_out_every:
        watched = config(
            rewards.held_out or without_parts(wanted.train), "dev", wanted.train_attacks, rewards.held_out_limit
        )
        asked["held-out prompts"] = Task("prompts", f"held-out prompts, {where}", watched, clean)
    return asked


def sources_of(
    sources: Iterable[Source], part: str, attacks: tuple[AttackPlugin, ...]
) -> tuple[prompts.SourceConfig, ...]:
    """Where prompts come from, as the stage takes it: with the usual part and attacks where a source names none."""
    return tuple(
        prompts.SourceConfig(
            benchmark=source.benchmark,
            options=source.options,
            part=source.part or part,
            limit=source.limit,
            attacks=source.attacks or attacks,
        )
        for source in sources
    )


def _arm(recipe: Recipe, arm: Arm, seed: int, where: str, run: Mapping[str, Task]) -> dict[str, Task]:
    """What one arm adds: its training set and model, and its evaluation."""
    label = f"{arm.name}, {where}"
    made: dict[str, Task] = {}
    start = _start(recipe, arm, seed, label, run)
    from_elsewhere = start.stage == "base" and start is not run["base"]
    inputs = {"model": start, **({"target": run["base"]} if from_elsewhere else {})}
    if arm.train_on is TrainOn.REWARDS:
        made[f"grpo {arm.name}"] = _reinforced(recipe, seed, label, run, inputs)
    elif arm.train_on is not TrainOn.NOTHING:
        made = _training_set(recipe, arm, seed, label, run)
        scaled = recipe.reference_arm is not None and arm.train_on is not TrainOn.DATASET
        steps_for = recipe.examples.size if scaled else None
        settings = sft.SftConfig(settings=recipe.sft_of(arm), speech=_speech(recipe), seed=seed, steps_for=steps_for)
        inputs["examples"] = made[f"examples {arm.name}"]
        made[f"sft {arm.name}"] = Task("sft", f"sft {label}", settings, inputs)
    elif from_elsewhere:
        made[f"start {arm.name}"] = start
    model = made.get(f"grpo {arm.name}") or made.get(f"sft {arm.name}") or start
    made |= _measurement(recipe, arm, seed, label, {"prompts": run["evaluation prompts"], "model": model})
    if recipe.capability:
        able = capability.CapabilityConfig(
            tasks=recipe.capability,
            engine=recipe.measuring_engine,
            sampling=recipe.evaluation.sampling,
            system=recipe.target.system,
            seed=seed,
        )
        made[f"capability {arm.name}"] = Task("capability", f"capability {label}", able, {"model": model})
    return made | _stress(recipe, arm, seed, label, run, model)


def _start(recipe: Recipe, arm: Arm, seed: int, label: str, run: Mapping[str, Task]) -> Task:
    """The model that an arm starts from: another arm's, one from elsewhere, or the base."""
    before = recipe.start_of(arm)
    if before is not None:
        trained = (run.get(f"{stage} {before.name}") for stage in ("grpo", "sft", "start"))
        return next((task for task in trained if task is not None), run["base"])
    if arm.start in (None, BASE):
        return run["base"]
    named_by = f"arm {arm.name!r}: start"
    return Task("base", f"start {label}", _target_config(recipe, Target(model=arm.start), seed, named_by))


def _reinforced(recipe: Recipe, seed: int, label: str, run: Mapping[str, Task], inputs: Mapping[str, Task]) -> Task:
    """An arm's model, trained on rewards."""
    assert recipe.grpo is not None  # the recipe was validated
    config = grpo.GrpoConfig(
        settings=recipe.grpo,
        judge=recipe.labeller,
        refusals=recipe.rewards.refusals,
        verification=recipe.verification,
        speech=_speech(recipe),
        system=recipe.target.system,
        seed=seed,
    )
    optional = {"mathematics": "mathematics prompts", "held_out": "held-out prompts"}
    asked = {argument: run[name] for argument, name in optional.items() if name in run}
    return Task("grpo", f"grpo {label}", config, {"prompts": run["prompts"], **asked, **inputs})


def _speech(recipe: Recipe) -> TemplateOptions:
    """What the measuring engine is told of the chat template: training has to know it, too."""
    options = recipe.measuring_engine.options
    return TemplateOptions.model_validate(
        {name: options[name] for name in TemplateOptions.model_fields if name in options}
    )


def _measurement(recipe: Recipe, arm: Arm, seed: int, label: str, inputs: Mapping[str, Task]) -> dict[str, Task]:
    """How one arm's model responds, what each judge says of that, and how it verifies its own answers."""
    measured, engine = recipe.evaluation, recipe.measuring_engine
    responding = sample.SampleConfig(engine=engine, sampling=measured.sampling, system=recipe.target.system, seed=seed)
    responses = Task("sample", f"respond {label}", responding, inputs)
    made = {f"respond {arm.name}": responses}
    for entry in recipe.judges:
        judged = {"prompts": inputs["prompts"], "responses": responses}
        made[f"judge {arm.name} by {entry.name}"] = Task("judge", f"judge {label} by {entry.name}", entry, judged)
    if recipe.labeller != recipe.judges[0]:
        judged = {"prompts": inputs["prompts"], "responses": responses}
        rewarding = Task("judge", f"judge {label} by {recipe.labeller.name}, which rewards", recipe.labeller, judged)
        made[f"judge {arm.name} {AS_IN_TRAINING}"] = rewarding
    verifying = verify.VerifyConfig(
        engine=engine, sampling=measured.verification_sampling, verification=recipe.verification, seed=seed
    )
    made[f"verify {arm.name}"] = Task("verify", f"verify {label}", verifying, {**inputs, "responses": responses})
    return made


def _stress(recipe: Recipe, arm: Arm, seed: int, label: str, run: Mapping[str, Task], model: Task) -> dict[str, Task]:
    """How one arm's model responds under stress, and what the first judge says of that."""
    stress, engine = recipe.evaluation.stress, recipe.measuring_engine
    if stress is None:
        return {}
    known: dict[str, Any] = {"engine": engine, "system": recipe.target.system, "seed": seed}
    usual = recipe.evaluation.sampling
    conditions: list[tuple[str, str, str, BaseModel]] = []
    if stress.attacks:
        conditions.append((DELIVERY, "sample", "stress prompts", sample.SampleConfig(sampling=usual, **known)))
    if stress.turns:
        asked_again = repeat.RepeatConfig(sampling=usual, turns=stress.turns, **known)
        conditions.append((REPETITION, "repeat", "plain stress prompts", asked_again))
    for number, drawn in enumerate(stress.sampling):
        drawing = sample.SampleConfig(sampling=drawn, **known)
        conditions.append((f"{SAMPLING}{number}", "sample", "plain stress prompts", drawing))
    made = {}
    for name, stage, asked, settings in conditions:
        inputs = {"prompts": run[asked], "model": model}
        responses = Task(stage, f"{name} {label}", settings, inputs)
        made[f"stress {arm.name} {name}"] = responses
        judged = {"prompts": run[asked], "responses": responses}
        made[f"stress judge {arm.name} {name}"] = Task("judge", f"judge {name} {label}", recipe.judges[0], judged)
    return made


def _training_set(recipe: Recipe, arm: Arm, seed: int, label: str, run: Mapping[str, Task]) -> dict[str, Task]:
    """An arm's examples, and what an expert wrote for them."""
    if arm.train_on is TrainOn.DATASET:
        return _published(recipe, arm, seed, label, run)
    answers = _answers_of_another(recipe, arm, seed, label, run)
    written = {"prompts": run["prompts"], "pairs": answers.get(f"pair {arm.name}", run["pair"])}
    made = {**answers}
    inputs = {"prompts": run["prompts"], "responses": written["pairs"], "model": run["base"]}
    size, spare = recipe.examples.size, recipe.examples.spare
    if arm.train_on in (TrainOn.VERIFICATION, TrainOn.ANSWER_THEN_CHECK):
        asking = critique.CritiqueConfig(
            expert=recipe.expert,
            verification=arm.examples.verification or recipe.verification,
            with_spec=arm.examples.with_spec,
            wanted=strata.wanted(size, strata.VERIFICATION_SHARES, spare),
            seed=seed,
        )
        made[f"critique {arm.name}"] = Task("critique", f"critique {label}", asking, written)
        inputs["verifications"] = made[f"critique {arm.name}"]
    if kind := _SHOWN.get(arm.train_on):
        wanted = strata.wanted(size, strata.DEMONSTRATION_SHARES, spare)
        showing = demonstrate.DemonstrateConfig(expert=recipe.expert, kind=kind, wanted=wanted, seed=seed)
        shown = made[f"demonstrate {arm.name}"] = Task("demonstrate", f"demonstrate {label}", showing, written)
        inputs["demonstrations" if "verifications" in inputs else "responses"] = shown
        judged = {"prompts": run["prompts"], "responses": shown}
        labels = Task("judge", f"judge demonstrations {label}", recipe.labeller, judged)
        inputs["judgements"] = made[f"judge demonstrations {arm.name}"] = labels
    if arm.train_on is TrainOn.OWN_REFUSALS:
        judged = {"prompts": run["prompts"], "responses": run["pair"]}
        inputs["judgements"] = run["pair"]
    if "judgements" in inputs and recipe.rewards.refusals:
        refusals = Task("judge", f"judge refusals {label}", recipe.rewards.refusals, judged)
        inputs["refusals"] = made[f"judge refusals {arm.name}"] = refusals
    if (reference := recipe.reference_arm) and reference is not arm:
        inputs["reference"] = run.get(f"examples {reference.name}") or _reference(recipe, reference, seed, label, run)
    drawing = examples.ExamplesConfig(
        size=size, share=arm.examples.share, target=arm.examples.target, system=recipe.target.system, seed=seed
    )
    made[f"examples {arm.name}"] = Task("examples", f"examples {label}", drawing, inputs)
    return made


def _reference(recipe: Recipe, arm: Arm, seed: int, label: str, run: Mapping[str, Task]) -> Task:
    """The examples of an arm that stands further down: the same artifact that its own block asks for."""
    where = label.removeprefix(label.partition(", ")[0])
    return _training_set(recipe, arm, seed, f"{arm.name}{where}", run)[f"examples {arm.name}"]


def _published(recipe: Recipe, arm: Arm, seed: int, label: str, run: Mapping[str, Task]) -> dict[str, Task]:
    """The examples of an arm that is trained on a published data set: its prompts and answers, without overlap."""
    assert arm.examples.dataset is not None  # the recipe was validated
    (source,) = sources_of((arm.examples.dataset,), "train", (AttackPlugin(name=PLAIN),))
    asking = prompts.PromptsConfig(
        sources=(source,), tuned_on=recipe.prompts.train_attacks, limit=None, for_training=True, seed=seed
    )
    asked = Task("prompts", f"dataset prompts {label}", asking, {"evaluation": run["evaluation prompts"]})
    reading = dataset.DatasetConfig(benchmark=source.benchmark, options=source.options, part=source.part)
    answers = Task("dataset", f"dataset {label}", reading, {"prompts": asked})
    drawing = examples.ExamplesConfig(size=None, share=1.0, seed=seed)
    inputs = {"prompts": asked, "responses": answers, "model": run["base"]}
    return {
        f"dataset prompts {arm.name}": asked,
        f"dataset {arm.name}": answers,
        f"examples {arm.name}": Task("examples", f"examples {label}", drawing, inputs),
    }


_SHOWN = {
    TrainOn.REFUSAL: Demonstration.REFUSAL,
    TrainOn.DELIBERATIVE: Demonstration.DELIBERATIVE,
    TrainOn.ANSWER_THEN_CHECK: Demonstration.REFUSAL,
}
"""What the expert demonstrates, for arms that learn from demonstrations."""


def _answers_of_another(recipe: Recipe, arm: Arm, seed: int, label: str, run: Mapping[str, Task]) -> dict[str, Task]:
    """For an arm that verifies another model's answers: that model, its answers and their pairs."""
    other = arm.examples.answers
    if other is None:
        return {}
    named_by = f"arm {arm.name!r}: examples.answers.model"
    model = Task("base", f"other model, {label}", _target_config(recipe, other, seed, named_by))
    answers = _own_answers(recipe, model, run["prompts"], seed, f"other model, {label}")
    return {f"other {arm.name}": model, **{f"{name} {arm.name}": task for name, task in answers.items()}}


def _target_config(recipe: Recipe, target: Target, seed: int, named_by: str = "target.model") -> base.BaseModelConfig:
    trained = any(arm.train_on is not TrainOn.NOTHING for arm in recipe.arms)
    return target_config(target, seed, trained=trained, named_by=named_by)


def target_config(target: Target, seed: int, *, trained: bool, named_by: str = "target.model") -> base.BaseModelConfig:
    """How a model is found or built, with a hash of what is there already.

    Args:
        target: the model.
        seed: of one that is built for each seed.
        trained: whether arms are trained on it.
        named_by: the field that names it, for messages.

    Raises:
        ModelError: the name can only be that of a folder, and no model lies there.
    """
    own = identity = None
    if source := target.source:
        identity = source.open().identity()
        own = seed if target.build_for_each_seed else None
    elif (folder := _folder(target.model, named_by)) is not None:
        # However the path is spelled, it is one place.
        target = target.model_copy(update={"model": str(folder.resolve())})
        identity = folder_contents(folder)
    return base.BaseModelConfig(
        model=target.model,
        revision=target.revision,
        options=target.options,
        seed=own,
        trained=trained,
        fingerprint=identity if own is None else None,
    )


def _folder(model: str, named_by: str) -> Path | None:
    try:
        return model_folder(model)
    except ModelError as error:
        raise ModelError(f"{named_by}: {error}") from error
