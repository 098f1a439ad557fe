"""A study: one YAML file, validated before anything runs.

A recipe names plug-ins and holds their settings; each section is a small pydantic model, in a file with those that it
belongs to. Nothing is defaulted here that is defaulted there.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import Field, model_validator

from sinternal.errors import RecipeError
from sinternal.settings.arm_checks import JUDGED_BY_REFUSALS, check_adapters, check_arm, check_placebo, check_served
from sinternal.settings.arms import BASE, REINFORCED, SUPERVISED, VERIFYING, Arm, TrainOn
from sinternal.settings.base import Section, Seed, validate_settings
from sinternal.settings.files import override, read_recipe, set_field
from sinternal.settings.launch import Launch
from sinternal.settings.learning import Equal, Examples, Rewards
from sinternal.settings.measurement import CapabilityTaskOrName, Evaluation
from sinternal.settings.plugins import (
    PLAIN,
    AdaptiveAttackPlugin,
    AttackPlugin,
    EnginePlugin,
    ExpertPlugin,
    JudgePlugin,
    VerificationPlugin,
)
from sinternal.settings.questions import Question, questions_of
from sinternal.settings.sampling import Sampling
from sinternal.settings.sources import Prompts, Target
from sinternal.settings.tracking import Tracker
from sinternal.settings.training import GrpoSettings, SftSettings, WeightSettings, rows_seen
from sinternal.settings.trials import placebos_of
from sinternal.settings.verifying import check_verifying, with_equal_steps

CONTINUE = "if its server can, set the engine's option `prefill` (vLLM and SGLang: continue; llama.cpp: trailing)"


class Recipe(Section):
    """One study."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100)
    """Names the folder under `runs/`."""
    description: str = ""
    """What the study is for; shown in the report."""
    seeds: tuple[Seed, ...] = Field(min_length=1, max_length=1000)
    """Each seed repeats everything that is left to chance."""
    workers: int = Field(default=1, ge=1)
    """Processes that work on independent arms at once. More than one: each computes on one thread.
    Models of fewer than 10 million weights are trained on one thread anyway, with which they end the same."""
    launch: Launch | None = Field(default=None, exclude=True)
    """How each training is spread over GPUs and machines; None: it is computed by one process. No part of what is
    reported, as nothing depends on it."""
    trackers: tuple[Tracker, ...] = Field(default=(), exclude=True)
    """Who is told of losses and rewards in training: tensorboard, trackio, wandb, mlflow. No part of what is reported,
    as nothing depends on it."""
    target: Target
    """The model that is studied."""
    prompts: Prompts
    """What is asked."""
    engine: EnginePlugin = Field(default_factory=EnginePlugin)
    """Who writes the target's text."""
    sampling: Sampling | None = None
    """How the target's own answers are drawn, and how many for each prompt; needed if an arm is trained."""
    judges: tuple[JudgePlugin, ...] = Field(min_length=1)
    """Who labels what is measured; the first one that tells safety, refusals, help or the thinking decides on it."""
    expert: ExpertPlugin | None = None
    """Who writes critiques and demonstrations; needed if an arm is trained."""
    verification: VerificationPlugin
    """How a model is asked to verify."""
    examples: Examples | None = None
    """The training sets; needed if an arm is trained."""
    sft: SftSettings | None = None
    """Fine-tuning, the same for every trained arm that does not say otherwise; needed if an arm is trained."""
    rewards: Rewards = Rewards()
    """Who rewards what, in reinforcement learning."""
    grpo: GrpoSettings | None = None
    """Reinforcement learning, the same budget for every arm that is trained on rewards, and as many texts as in
    fine-tuning for every arm that learns to verify by rewards."""
    evaluation: Evaluation
    """Measurement."""
    capability: tuple[CapabilityTaskOrName, ...] = ()
    """What else every arm can do, by tasks of Inspect; the answers are drawn as `evaluation.sampling` says."""
    arms: tuple[Arm, ...] = Field(min_length=1, max_length=100)
    """The models that are compared."""
    questions: tuple[Question, ...] | None = None
    """What the study asks: over these comparisons p values are corrected, all others are exploratory. By default, the
    method against each other arm, see `asked`."""
    variants: dict[str, dict[str, Any]] = Field(default={}, max_length=200)
    """Settings to repeat the study under: for each variant, fields by dotted path and their values. `arms` names those
    that take part in it, if not all do."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Recipe:
        named = (
            ("arms", [arm.name for arm in self.arms]),
            ("seeds", list(self.seeds)),
            ("judges", [judge.name for judge in self.judges]),
        )
        for field, values in named:
            if len(set(values)) < len(values):
                raise ValueError(f"{field}: values must differ, not {values}")
        return self

    @model_validator(mode="after")
    def _what_is_learned_from_is_there(self) -> Recipe:
        if (trained := next((arm.name for arm in self.arms if arm.train_on is not TrainOn.NOTHING), None)) is None:
            return self
        needed = ("prompts.train", "sampling", "expert", "examples", "sft")
        given = (self.prompts.train, self.sampling, self.expert, self.examples, self.sft)
        if missing := [repr(field) for field, value in zip(needed, given, strict=True) if not value]:
            fields = f"field {missing[0]} is" if len(missing) == 1 else f"fields {', '.join(missing)} are"
            raise ValueError(f"{fields} missing, and arm {trained!r} is trained")
        return self

    @model_validator(mode="after")
    def _measured_by_an_engine_that_runs_every_arm(self) -> Recipe:
        trained = [arm.name for arm in self.arms if arm.train_on is not TrainOn.NOTHING]
        if trained and self.measuring_engine.plugin_class.runs_one_model:
            raise ValueError(
                f"evaluation.engine: {self.measuring_engine.name!r} always asks the same model and would measure the "
                f"base in place of {trained[0]!r}; take transformers, vllm or ray"
            )
        check_served(self.arms, self.measures_servers and self.measuring_engine.options.get("model"))
        return self

    @model_validator(mode="after")
    def _is_decided_by_a_judge_of_safety(self) -> Recipe:
        if not self.judges[0].plugin_class.tells_safety:
            raise ValueError(
                f"judges.0: {self.judges[0].name!r} does not label safety, so it cannot be the first, which decides"
            )
        if not self.labeller.plugin_class.tells_safety:
            raise ValueError(f"rewards.judge: {self.labeller.name!r} does not label safety; take another")
        return self

    @model_validator(mode="after")
    def _what_arms_learn_from_can_be_labelled(self) -> Recipe:
        refusals = self.rewards.refusals or self.labeller
        judged = [arm.name for arm in self.arms if arm.train_on in JUDGED_BY_REFUSALS]
        if judged and not refusals.plugin_class.tells_refusals:
            raise ValueError(
                f"rewards.{'refusals' if self.rewards.refusals else 'judge'}: {refusals.name!r} does not label "
                f"refusals, by which benign answers are taken or rewarded for arm {judged[0]!r}; name another judge "
                "for them in rewards.refusals, for example qwen3guard, wildguard or refusal"
            )
        return self

    @model_validator(mode="after")
    def _checks_can_be_located_and_thinkings_continued(self) -> Recipe:
        if self.evaluation.checks is None:
            return self
        if self.check_locator is None:
            raise ValueError(
                "evaluation.checks: no judge of `judges` tells where a thinking checks safety; add one that does, for "
                "example safety-thinking"
            )
        if not self._continues_turns:
            raise ValueError(
                f"evaluation.checks: a thinking is cut and continued, and engine {self.measuring_engine.name!r} is not "
                f"known to continue a turn that has begun; {CONTINUE}"
            )
        return self

    @model_validator(mode="after")
    def _attacks_can_begin_the_turn(self) -> Recipe:
        stress, adaptive = self.evaluation.stress, self.evaluation.adaptive
        named: tuple[tuple[str, Sequence[AttackPlugin | AdaptiveAttackPlugin]], ...] = (
            ("prompts.eval_attacks", self.prompts.eval_attacks),
            *((f"prompts.eval.{i}.attacks", source.attacks or ()) for i, source in enumerate(self.prompts.eval)),
            ("evaluation.stress.attacks", stress.attacks if stress else ()),
            ("evaluation.adaptive.attacks", adaptive.attacks if adaptive else ()),
        )
        for field, attacks in named:
            begun = [attack.name for attack in attacks if attack.name != PLAIN and attack.plugin_class.prefills]
            if begun and not self._continues_turns:
                raise ValueError(
                    f"{field}: {begun[0]!r} begins the model's turn, and engine {self.measuring_engine.name!r} is not "
                    f"known to continue one; {CONTINUE}, or take the attack out"
                )
        return self

    @model_validator(mode="after")
    def _a_share_of_mathematics_has_problems(self) -> Recipe:
        if self.grpo and self.rewards_answers and self.grpo.mixture.mathematics and not self.rewards.mathematics:
            raise ValueError(
                "grpo.mixture.mathematics has a share, but rewards.mathematics names no benchmark; add one"
            )
        return self

    @model_validator(mode="after")
    def _rollouts_can_be_shared_out(self) -> Recipe:
        if self.grpo and self.launch:
            self.grpo.of_a_process(self.launch.processes)
        return self

    @model_validator(mode="after")
    def _arms_fit(self) -> Recipe:
        above: list[str] = []
        for arm in self.arms:
            before = self.start_of(arm)
            check_arm(arm, before, above, has_grpo=self.grpo is not None, served=self.measures_servers)
            check_placebo(arm, self.verification, self.expert)
            ours = self._weights_of(arm)  # whose settings are validated here
            if before is not None:
                check_adapters(arm, ours, before, self._weights_of(before))
            if arm.train_on in VERIFYING:
                check_verifying(arm, self.grpo_of(arm), self.rows_tuned_on)
            above.append(arm.name)
        return self

    @model_validator(mode="after")
    def _questions_are_of_its_arms(self) -> Recipe:
        for question in self.questions or ():
            try:
                question.check([arm.name for arm in self.arms])
            except ValueError as error:
                raise ValueError(f"questions: {error}") from error
        return self

    @property
    def effective_questions(self) -> tuple[Question, ...]:
        """The questions of the recipe. Without any: the method against each other arm, before and after rewards.

        The method is what is trained from the base on verification as the recipe has it, or, if there is no such arm,
        on verification at all. Its placebos are asked about first: only they tell its effect from that of any tuning
        of the same form. Arms that are trained on rewards are compared among themselves, as a start of that training is
        what they tell of.
        """
        if self.questions is not None:
            return self.questions
        of_verification = [arm for arm in self.arms if arm.train_on is TrainOn.VERIFICATION]
        plain = [arm for arm in of_verification if arm == Arm(name=arm.name, start=arm.start, train_on=arm.train_on)]
        rewarded = [arm for arm in self.arms if arm.train_on is TrainOn.REWARDS]
        questions: list[Question] = []
        for method in [arm for arm in plain if arm.start in (None, BASE)] or of_verification[:1]:
            started = [arm for arm in rewarded if arm.start == method.name]
            for subject, group in [
                (method, [a for a in self.arms if a not in rewarded]),
                *((a, rewarded) for a in started),
            ]:
                before = [question.arm for question in questions]
                placebos = placebos_of(subject, self.arms)
                others = [a for a in (*placebos, *(a for a in group if a not in placebos)) if a is not subject]
                if against := tuple(a.name for a in others if a.name not in before):
                    questions.append(Question(arm=subject.name, against=against))
        return tuple(questions)

    def _weights_of(self, arm: Arm) -> WeightSettings | None:
        if arm.train_on in REINFORCED:
            return self.grpo
        return self.sft_of(arm) if arm.train_on in SUPERVISED else None

    def start_of(self, arm: Arm) -> Arm | None:
        """The arm whose model an arm starts from; None for the base, or for a model from elsewhere."""
        return next((other for other in self.arms if other.name == arm.start and other is not arm), None)

    def sft_of(self, arm: Arm) -> SftSettings:
        """How an arm is fine-tuned. Raises ValueError if what it changes does not fit."""
        assert self.sft is not None  # an arm is trained
        if not arm.sft:
            return self.sft
        if unknown := next((name for name in arm.sft if name not in SftSettings.model_fields), None):
            close = difflib.get_close_matches(unknown, SftSettings.model_fields, n=1)
            raise ValueError(
                f"arm {arm.name!r}: unknown field 'sft.{unknown}'" + (f"; did you mean {close[0]!r}?" if close else "")
            )
        return SftSettings.model_validate({**self.sft.model_dump(), **arm.sft})

    def grpo_of(self, arm: Arm) -> GrpoSettings:
        """How an arm that is trained by reinforcement learning is trained, with its number of steps."""
        assert self.grpo is not None  # the recipe was validated
        if arm.train_on not in VERIFYING:
            return self.grpo
        return with_equal_steps(self.grpo, self.rows_tuned_on)

    @property
    def rows_tuned_on(self) -> int:
        """Rows that fine-tuning sees in all its steps, repeated ones counted."""
        assert self.sft is not None  # an arm is trained
        return rows_seen(self.training_sets.size, self.sft.batch, self.sft.steps)

    @property
    def trains(self) -> bool:
        """Whether any arm is trained."""
        return any(arm.train_on is not TrainOn.NOTHING for arm in self.arms)

    @property
    def training_sets(self) -> Examples:
        """The training sets of a recipe that trains."""
        assert self.examples is not None
        return self.examples

    @property
    def writer(self) -> ExpertPlugin:
        """The expert of a recipe that trains."""
        assert self.expert is not None
        return self.expert

    @property
    def uses_rewards(self) -> bool:
        """Whether any arm is trained by reinforcement learning."""
        return any(arm.train_on in REINFORCED for arm in self.arms)

    @property
    def rewards_answers(self) -> bool:
        """Whether any arm is rewarded for answers, not for verdicts alone."""
        return any(arm.train_on in REINFORCED and arm.train_on is not TrainOn.VERIFY_RL for arm in self.arms)

    @property
    def labeller(self) -> JudgePlugin:
        """Who labels what the arms learn from: answers, demonstrations and rollouts."""
        return self.rewards.judge or self.judges[0]

    @property
    def reference_arm(self) -> Arm | None:
        """The arm whose loss tokens all others have; None if rows are what is equal."""
        if self.examples is None or self.examples.equal is Equal.ROWS:
            return None
        tuned = [arm for arm in self.arms if arm.train_on in SUPERVISED and arm.train_on is not TrainOn.DATASET]
        own = [arm for arm in tuned if arm.train_on is TrainOn.VERIFICATION]
        return next(iter(own or tuned), None)

    def counterpart_of(self, placebo: Arm) -> Arm | None:
        """The arm that a placebo is the placebo of, whose answers and number of rows it takes.

        It is the first one that is trained on verifying the same answers, if possible with the same target.
        """
        same = [
            arm
            for arm in self.arms
            if arm.train_on is TrainOn.VERIFICATION
            and (arm.examples.answers, arm.examples.share) == (placebo.examples.answers, placebo.examples.share)
        ]
        return next((arm for arm in same if arm.examples.target is placebo.examples.target), next(iter(same), None))

    @property
    def check_locator(self) -> JudgePlugin | None:
        """The first judge that tells where a thinking checks safety."""
        return next((judge for judge in self.judges if judge.plugin_class.locates_checks), None)

    @property
    def _continues_turns(self) -> bool:
        engine = self.measuring_engine
        return bool(engine.plugin_class.continues_turns(engine.validated_options))

    @property
    def measures_servers(self) -> bool:
        """Whether no arm is trained, and the models are those of servers, by the names that these give them."""
        fixed = self.engine.plugin_class.runs_one_model and self.measuring_engine.plugin_class.runs_one_model
        return fixed and not self.trains

    @property
    def measuring_engine(self) -> EnginePlugin:
        """The engine that generates when the arms are measured."""
        return self.evaluation.engine or self.engine

    def variant(self, name: str) -> Recipe:
        """The recipe with one variant's values in place. Raises RecipeError if they do not fit."""
        content = self.model_dump(mode="json")
        overrides = dict(content.pop("variants").get(name, {}))
        taken = self._arms_of(name, overrides.pop("arms", None))
        content["arms"] = [arm for arm in content["arms"] if arm["name"] in taken]
        questions = None if self.questions is None else tuple(questions_of(self.questions, taken))
        content["questions"] = None if questions is None else [row.model_dump(mode="json") for row in questions]
        for path, value in overrides.items():
            set_field(content, path, value)
        made = validate_settings(Recipe, content, f"variants.{name}")
        for field, ours, theirs in (
            ("seeds", self.seeds, made.seeds),
            ("arms", list(taken), [arm.name for arm in made.arms]),
            ("judges", [judge.name for judge in self.judges], [judge.name for judge in made.judges]),
            ("questions", questions, made.questions),
        ):
            if ours != theirs:
                raise RecipeError(
                    f"variants.{name}: {field} are those of the recipe in every variant, so that they can be compared; "
                    "make it a recipe of its own with `extends`"
                )
        return made

    def _arms_of(self, name: str, wanted: Any) -> tuple[str, ...]:
        """The arms that take part in a variant, in the recipe's order; all of them unless it names some."""
        names = tuple(arm.name for arm in self.arms)
        if wanted is None:
            return names
        where = f"variants.{name}.arms"
        if not isinstance(wanted, list) or not wanted or not all(isinstance(each, str) for each in wanted):
            raise RecipeError(f"{where}: name some of the recipe's arms, for example [{names[0]}]")
        if unknown := [each for each in wanted if each not in names]:
            close = difflib.get_close_matches(unknown[0], names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names)}"
            raise RecipeError(f"{where}: there is no arm {unknown[0]!r}; {hint}")
        return tuple(each for each in names if each in wanted)


DEFAULT_VARIANT = "default"


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        name_or_path: name of a packaged recipe, or path of a YAML file.
        overrides: `a.b=c` each, with `c` in YAML.

    Raises:
        RecipeError: there is no such recipe, it is no YAML, or a field is unknown or of the wrong type. The message
            names the field's path, and the nearest valid one.
    """
    content = read_recipe(name_or_path)
    override(content, overrides, "--set")
    recipe = validate_settings(Recipe, content, name_or_path)
    for variant in recipe.variants:
        recipe.variant(variant)
    return recipe


def add_judge(recipe: Recipe, name: str, options: Sequence[str]) -> Recipe:
    """The recipe with another judge, or with other options for one that it has; the first judge stays the first.

    Args:
        recipe: what was run.
        name: name of a registered judge.
        options: `a.b=c` each, with `c` in YAML.

    Raises:
        RecipeError: an option is not written so.
    """
    content = recipe.model_dump(mode="json")
    entry: dict[str, Any] = {"name": name, "options": {}}
    override(entry["options"], options, "--option")
    names = [judge["name"] for judge in content["judges"]]
    if name in names:
        content["judges"][names.index(name)] = entry
    else:
        content["judges"].append(entry)
    return validate_settings(Recipe, content, f"judge {name!r}")
