"""All that a user can write: one YAML file, validated before anything runs.

A file that says `extends: NAME` holds only what differs from that recipe.

A recipe names plug-ins and holds their settings; each section is a small pydantic model, the settings of a stage stand
in the file of that stage. Nothing is defaulted here that is defaulted there.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from sinternal.errors import RecipeError
from sinternal.registry import Kind, names
from sinternal.settings.plugins import PLAIN, AttackConfig, EngineConfig, ExpertConfig, JudgeConfig, VerificationConfig
from sinternal.settings.questions import Question
from sinternal.settings.sampling import Sampling
from sinternal.settings.strict_yaml import StrictYamlError, load_yaml
from sinternal.settings.training import GrpoSettings, Method, SftSettings, WeightSettings
from sinternal.validation import LONGEST_VALUE, explain, nearest, not_finite, shown

Settings = TypeVar("Settings", bound=BaseModel)
BASE = "base"
"""What an arm starts from unless it says otherwise."""
ENGINES_OF_ONE_MODEL = ("openai", "llamacpp")
"""Engines that ask a server, or run a file, which training does not change."""


Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]
"""What every generator of random numbers takes, NumPy's among them."""


class Section(BaseModel):
    """A part of what a user can write: no unknown field, no number that is none, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ExampleTarget(StrEnum):
    """What of the expert's verification is trained on."""

    BOTH = "both"
    """Critique and verdict."""
    CRITIQUE = "critique"
    """The critique alone."""
    VERDICT = "verdict"
    """The verdict alone."""


class CapabilityTask(BaseModel):
    """One task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    """As Inspect names it, for example `inspect_evals/gpqa_diamond` or `sinternal/mathematics`."""
    options: dict[str, object] = {}
    """Its options."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many of its samples, the first ones."""
    sampling: Sampling | None = None
    """How it is answered, if not as everything else: with `n` answers to each sample, whose mean counts (avg@n)."""


class TrainOn(StrEnum):
    """What an arm is trained on (the arms of the paper's comparison)."""

    NOTHING = "nothing"
    """The untouched base."""
    VERIFICATION = "verification"
    """The expert's critiques and verdicts of the model's own answers: the method."""
    REFUSAL = "refusal"
    """Right answers after an ordinary thinking, without safety reasoning."""
    DELIBERATIVE = "deliberative"
    """Right answers after a thinking that reasons from the specification."""
    OWN_REFUSALS = "own-refusals"
    """The model's own answers that the judge calls safe, and its own help with benign requests (as ThinkSafe does)."""
    ANSWER_THEN_CHECK = "answer-then-check"
    """Drafting an answer, verifying it and replying, all in one response (as Answer-Then-Check does)."""
    DATASET = "dataset"
    """The answers of a published data set, all of them and as they are (as STAR-1 does)."""
    REWARDS = "rewards"
    """Its own rollouts, rewarded by a judge: reinforcement learning."""


SUPERVISED = (
    TrainOn.VERIFICATION,
    TrainOn.REFUSAL,
    TrainOn.DELIBERATIVE,
    TrainOn.OWN_REFUSALS,
    TrainOn.ANSWER_THEN_CHECK,
    TrainOn.DATASET,
)
"""What is trained by fine-tuning on examples."""


class Target(Section):
    """The model that is studied."""

    model: str
    """A model directory, a Hugging Face id, or the name of a registered source."""
    revision: str | None = None
    """Branch, tag or commit of a Hugging Face model."""
    options: dict[str, object] = {}
    """For a registered source: how its model is made."""
    system: str = ""
    """System message under which every arm responds; empty for none."""
    build_for_each_seed: bool = False
    """For a registered source: build a base of its own for each seed, so that the spread includes the base."""


def _named(value: Any) -> Any:
    """Let a name stand for an attack without options."""
    return {"name": value} if isinstance(value, str) else value


Attack = Annotated[AttackConfig, BeforeValidator(_named)]
"""An attack: its name, or its name and options."""


def _task(value: Any) -> Any:
    """Let a name stand for a task without options."""
    return {"task": value} if isinstance(value, str) else value


Ability = Annotated[CapabilityTask, BeforeValidator(_task)]
"""A task of Inspect: its name, or its name, options and limit."""


class Source(Section):
    """Prompts of one benchmark."""

    benchmark: str
    """Name of a registered benchmark."""
    options: dict[str, object] = {}
    """Its options."""
    part: str | None = None
    """Which of its parts; by default `train` for tuning and `eval` for measuring. `dev` is for choosing settings."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many harmful and this many benign ones, drawn at random before they are disguised."""
    attacks: tuple[Attack, ...] | None = Field(default=None, min_length=1)
    """Attacks for this benchmark alone; by default those of all."""


class Prompts(Section):
    """What the arms are tuned on, and what they are measured on."""

    train: tuple[Source, ...] = Field(min_length=1)
    """Benchmarks to tune on."""
    train_attacks: tuple[Attack, ...] = Field((AttackConfig(name=PLAIN),), min_length=1)
    """Attacks on the training prompts."""
    train_limit: int | None = Field(default=None, ge=1)
    """At most this many harmful and this many benign training prompts of all."""
    eval: tuple[Source, ...] = Field(min_length=1)
    """Benchmarks to measure on."""
    eval_attacks: tuple[Attack, ...] = Field((AttackConfig(name=PLAIN),), min_length=1)
    """Attacks on the evaluation prompts."""
    eval_limit: int | None = Field(default=None, ge=1)
    """At most this many harmful and this many benign evaluation prompts of all."""


class Stress(Section):
    """Conditions that a user or an attacker can set, each crossed with every evaluation prompt as it stands."""

    attacks: tuple[Attack, ...] = ()
    """Ways to deliver a prompt: without the chat template, with a begun answer, with a begun or skipped thinking, …"""
    turns: int | None = Field(default=None, ge=2)
    """Put each request this many times in one conversation, and judge the last answer."""
    sampling: tuple[Sampling, ...] = ()
    """Draw `n` answers in this way; an attack succeeds if any of them is unsafe (ASR@k)."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many harmful and this many benign requests of each benchmark, under every condition."""


class Evaluation(Section):
    """How every arm is measured."""

    engine: EngineConfig | None = None
    """Who writes; by default the recipe's engine. It must be able to run every arm's model."""
    sampling: Sampling
    """How the arm responds."""
    verification_sampling: Sampling
    """How it verifies its own answers."""
    stress: Stress | None = None
    """Measure again under stress."""
    agreement: Path | None = None
    """An `agreement.json` that says how often the first judge errs by people's labels: rates are then shown corrected
    for its errors, too."""


class Equal(StrEnum):
    """What training sets have in common."""

    ROWS = "rows"
    """Their number of rows, and the steps: arms with longer targets have more tokens under the loss."""
    LOSS_TOKENS = "loss_tokens"
    """Their tokens under the loss, each row seen equally often: arms with shorter targets have more rows and steps."""


class Examples(Section):
    """The training sets."""

    size: int = Field(ge=4)
    """Rows, the same for every trained arm; with `equal: loss_tokens`, of the first arm that is trained on
    verification, whose loss tokens the others then have. Only an arm of a published data set has that set's rows."""
    equal: Equal = Equal.ROWS
    """What the training sets of all arms have in common."""
    spare: float = Field(default=0.25, ge=0)
    """Share of critiques and demonstrations that the expert is asked for beyond what is trained on, in case the judge
    disagrees with some. With fewer left, rows are repeated."""


class Rewards(Section):
    """Who labels what the arms learn from, and rewards; another judge than the first of `judges`, which measures."""

    judge: JudgeConfig | None = None
    """Who says whether an answer is safe: of the answers that are verified, of demonstrations and of rollouts; by
    default the first of `judges`."""
    refusals: JudgeConfig | None = None
    """Who says whether an answer refuses; by default the same judge, if it tells."""
    mathematics: tuple[Source, ...] = ()
    """Problems to mix in, for `grpo.mixture.mathematics`."""
    held_out: tuple[Source, ...] | None = None
    """What `grpo.held_out_every` measures: never trained on, never the benchmark. By default part `dev` of
    `prompts.train`."""
    held_out_limit: int | None = Field(default=None, ge=1)
    """At most this many harmful and this many benign held-out prompts."""


class ArmExamples(Section):
    """How an arm's training set differs from the usual one."""

    share: float = Field(default=1.0, gt=0, le=1)
    """Share of the different examples that is used; the number of rows stays, so that each comes more often."""
    target: ExampleTarget = ExampleTarget.BOTH
    """For verification: what of the expert's text is trained on."""
    with_spec: bool = True
    """For verification: whether the specification is quoted."""
    verification: VerificationConfig | None = None
    """For verification: another way to put the question in training, for example with another specification."""
    answers: Target | None = None
    """For verification: whose answers are verified, if not the target's own."""
    dataset: Source | None = None
    """For a published data set: which."""


class Arm(Section):
    """One model of the comparison: what it starts from, what it is trained on, and how."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9+-]*$")
    """Its name in every table."""
    start: str | None = None
    """An arm above it, or a model directory, Hugging Face id or registered source; by default the base."""
    train_on: TrainOn = TrainOn.NOTHING
    """What it is trained on."""
    examples: ArmExamples = ArmExamples()
    """How its training set differs from the usual one."""
    sft: dict[str, Any] = {}
    """Fields of `sft` that are different for this arm."""


class Recipe(Section):
    """One study."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Names the folder under `runs/`."""
    description: str = ""
    """What the study is for; shown in the report."""
    seeds: tuple[Seed, ...] = Field(min_length=1)
    """Each seed repeats everything that is left to chance."""
    workers: int = Field(default=1, ge=1)
    """Processes that work on independent arms at once. More than one: each computes on one thread."""
    target: Target
    """The model that is studied."""
    prompts: Prompts
    """What is asked."""
    engine: EngineConfig = EngineConfig()
    """Who writes the target's text."""
    sampling: Sampling
    """How the target's own answers are drawn, and how many for each prompt."""
    judges: tuple[JudgeConfig, ...] = Field(min_length=1)
    """Who labels what is measured; the first one that tells safety, refusals, help or the thinking decides on it."""
    expert: ExpertConfig
    """Who writes critiques and demonstrations."""
    verification: VerificationConfig
    """How a model is asked to verify."""
    examples: Examples
    """The training sets."""
    sft: SftSettings
    """Fine-tuning, the same for every trained arm that does not say otherwise."""
    rewards: Rewards = Rewards()
    """Who rewards what, in reinforcement learning."""
    grpo: GrpoSettings | None = None
    """Reinforcement learning, the same budget for every arm that is trained on rewards."""
    evaluation: Evaluation
    """Measurement."""
    capability: tuple[Ability, ...] = ()
    """What else every arm can do, by tasks of Inspect; the answers are drawn as `evaluation.sampling` says."""
    arms: tuple[Arm, ...] = Field(min_length=1)
    """The models that are compared."""
    questions: tuple[Question, ...] | None = None
    """What the study asks: over these comparisons p values are corrected, all others are exploratory. By default, the
    method against each other arm, see `asked`."""
    variants: dict[str, dict[str, Any]] = {}
    """Settings to repeat the study under: for each variant, fields by dotted path and their values."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Recipe:
        named = (
            ("arms", [arm.name for arm in self.arms]),
            ("seeds", list(self.seeds)),
            ("judges", [judge.name for judge in self.judges]),
        )
        for field, values in named:
            if len(set(values)) < len(values):
                raise ValueError(f"{field}: every one must be different, not {values}")
        return self

    @model_validator(mode="after")
    def _measured_by_an_engine_that_runs_every_arm(self) -> Recipe:
        trained = [arm.name for arm in self.arms if arm.train_on is not TrainOn.NOTHING]
        if trained and self.measuring_engine.name in ENGINES_OF_ONE_MODEL:
            raise ValueError(
                f"evaluation.engine: {self.measuring_engine.name!r} always asks the same model and would measure the "
                f"base in place of {trained[0]!r}; take transformers, vllm or ray"
            )
        return self

    @model_validator(mode="after")
    def _arms_fit(self) -> Recipe:
        above: list[str] = []
        for arm in self.arms:
            self._check_arm(arm, above)
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
    def asked(self) -> tuple[Question, ...]:
        """The questions of the recipe. Without any: the method against each other arm, before and after rewards.

        The method is what is trained from the base on verification as the recipe has it, or, if there is no such arm,
        on verification at all. Arms that are trained on rewards are compared among themselves, as a start of that
        training is what they tell of.
        """
        if self.questions is not None:
            return self.questions
        of_verification = [arm for arm in self.arms if arm.train_on is TrainOn.VERIFICATION]
        plain = [arm for arm in of_verification if arm == Arm(name=arm.name, start=arm.start, train_on=arm.train_on)]
        rewarded = [arm for arm in self.arms if arm.train_on is TrainOn.REWARDS]
        found: list[Question] = []
        for method in [arm for arm in plain if arm.start in (None, BASE)] or of_verification[:1]:
            started = [arm for arm in rewarded if arm.start == method.name]
            for one, group in [
                (method, [a for a in self.arms if a not in rewarded]),
                *((a, rewarded) for a in started),
            ]:
                before = [question.arm for question in found]
                if against := tuple(a.name for a in group if a is not one and a.name not in before):
                    found.append(Question(arm=one.name, against=against))
        return tuple(found)

    def _check_arm(self, arm: Arm, above: Sequence[str]) -> None:
        where = f"arm {arm.name!r}"
        plain = {"share": 1.0} if arm.train_on is not TrainOn.DATASET else {"dataset": None}
        verification_only = arm.examples.model_copy(update=plain) != ArmExamples()
        if arm.train_on is TrainOn.DATASET and arm.examples.dataset is None:
            raise ValueError(f"{where}: which data set is it trained on? Name one in examples.dataset.benchmark")
        if arm.start not in (None, BASE) and self.start_of(arm) is None and "/" not in arm.start:
            if arm.start not in names(Kind.MODEL):
                close = difflib.get_close_matches(arm.start, above, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"above it are: {', '.join(above) or 'none'}"
                raise ValueError(f"{where}: start {arm.start!r} is no model and no arm above it; {hint}")
        elif (before := self.start_of(arm)) is not None and before.name not in above:
            raise ValueError(f"{where}: it starts from {before.name!r}, so it has to stand below it")
        if arm.train_on is TrainOn.REWARDS and self.grpo is None:
            raise ValueError(f"{where} is trained on rewards, but the recipe has no section `grpo`; add one")
        if arm.train_on is not TrainOn.VERIFICATION and verification_only:
            known = "dataset" if arm.train_on is TrainOn.DATASET else "share"
            raise ValueError(
                f"{where}: only `{known}` of `examples` means something if it is trained on {arm.train_on}"
            )
        if arm.train_on not in SUPERVISED and (arm.sft or arm.examples != ArmExamples()):
            raise ValueError(f"{where} is not fine-tuned on examples: take `sft` and `examples` out")
        self._check_adapters(arm)

    def _check_adapters(self, arm: Arm) -> None:
        """An adapter is trained further as what it is, so that arms one after the other must agree on its size."""
        before, ours = self.start_of(arm), self._weights_of(arm)
        theirs = self._weights_of(before) if before else None
        if ours is None or theirs is None or not ours.method == theirs.method == Method.LORA:
            return
        if (ours.lora_r, ours.lora_alpha) != (theirs.lora_r, theirs.lora_alpha):
            raise ValueError(
                f"arm {arm.name!r} trains the adapter of {before and before.name!r} further, of rank {theirs.lora_r} "
                f"and alpha {theirs.lora_alpha}, but its own settings say {ours.lora_r} and {ours.lora_alpha}: make "
                "them equal, or set its method to full"
            )

    def _weights_of(self, arm: Arm) -> WeightSettings | None:
        if arm.train_on is TrainOn.REWARDS:
            return self.grpo
        return self.sft_of(arm) if arm.train_on in SUPERVISED else None

    def start_of(self, arm: Arm) -> Arm | None:
        """The arm whose model an arm starts from; None for the base, or for a model from elsewhere."""
        return next((other for other in self.arms if other.name == arm.start and other is not arm), None)

    def sft_of(self, arm: Arm) -> SftSettings:
        """How an arm is fine-tuned. Raises ValueError if what it changes does not fit."""
        if not arm.sft:
            return self.sft
        if unknown := next((name for name in arm.sft if name not in SftSettings.model_fields), None):
            close = difflib.get_close_matches(unknown, SftSettings.model_fields, n=1)
            raise ValueError(
                f"arm {arm.name!r}: unknown field 'sft.{unknown}'" + (f"; did you mean {close[0]!r}?" if close else "")
            )
        return SftSettings.model_validate({**self.sft.model_dump(), **arm.sft})

    @property
    def labeller(self) -> JudgeConfig:
        """Who labels what the arms learn from: answers, demonstrations and rollouts."""
        return self.rewards.judge or self.judges[0]

    @property
    def reference_arm(self) -> Arm | None:
        """The arm whose loss tokens all others have; None if rows are what is equal."""
        if self.examples.equal is Equal.ROWS:
            return None
        tuned = [arm for arm in self.arms if arm.train_on in SUPERVISED and arm.train_on is not TrainOn.DATASET]
        own = [arm for arm in tuned if arm.train_on is TrainOn.VERIFICATION]
        return next(iter(own or tuned), None)

    @property
    def measuring_engine(self) -> EngineConfig:
        """Who writes when the arms are measured."""
        return self.evaluation.engine or self.engine

    def variant(self, name: str) -> Recipe:
        """The recipe with one variant's values in place. Raises RecipeError if they do not fit."""
        content = self.model_dump(mode="json")
        overrides = content.pop("variants").get(name, {})
        for path, value in overrides.items():
            _set(content, path, value)
        made = _validate(content, f"variants.{name}")
        for field, ours, theirs in (
            ("seeds", self.seeds, made.seeds),
            ("arms", [arm.name for arm in self.arms], [arm.name for arm in made.arms]),
            ("judges", [judge.name for judge in self.judges], [judge.name for judge in made.judges]),
            ("questions", self.questions, made.questions),
        ):
            if ours != theirs:
                raise RecipeError(
                    f"variants.{name}: {field} are those of the recipe in every variant, so that they can be compared; "
                    "make it a recipe of its own with `extends`"
                )
        return made


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
    content = _content(name_or_path)
    override(content, overrides, "--set")
    recipe = _validate(content, name_or_path)
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
    return _validate(content, f"judge {name!r}")


def packaged_recipes() -> dict[str, Traversable]:
    """The recipes that come with the package, by name."""
    return packaged_yaml("sinternal.settings.recipes")


def packaged_yaml(package: str) -> dict[str, Traversable]:
    """The YAML files of a package, by name."""
    found = {entry.name.removesuffix(".yaml"): entry for entry in files(package).iterdir() if ".yaml" in entry.name}
    return dict(sorted(found.items()))


def _content(name_or_path: str, heirs: tuple[str, ...] = ()) -> dict[str, Any]:
    """A recipe file's fields, over those of the recipe that it extends: a packaged one, or a file beside it."""
    packaged = packaged_recipes()
    place = name_or_path if name_or_path in packaged else str(Path(name_or_path).expanduser().resolve())
    if place in heirs:
        raise RecipeError(f"{heirs[0]}: it extends itself, by way of {' and '.join(heirs[1:]) or 'nothing else'}")
    content = read_yaml(name_or_path, packaged, "recipe")
    if "extends" not in content:
        return content
    parent = content.pop("extends")
    if not isinstance(parent, str) or not parent:
        raise RecipeError(f"{name_or_path}: extends: name one recipe, not {shown(parent)}")
    if parent not in packaged and place not in packaged:
        parent = str(Path(name_or_path).expanduser().parent / Path(parent).expanduser())
    return _merged(_content(parent, (*heirs, place)), content)


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Fields of the second mapping over those of the first; lists, and the variants, are replaced as a whole."""
    both = {
        name: _merged(under[name], over[name]) for name in under.keys() & over.keys() if _mappings(under, over, name)
    }
    return {**under, **over, **both}


def _mappings(under: dict[str, Any], over: dict[str, Any], name: str) -> bool:
    return name != "variants" and isinstance(under[name], dict) and isinstance(over[name], dict)


def read_yaml(name_or_path: str, packaged: Mapping[str, Traversable], noun: str) -> dict[str, Any]:
    """The fields of a YAML file.

    Args:
        name_or_path: name of a packaged file, or a path.
        packaged: the packaged files by name.
        noun: what such a file is called.

    Raises:
        RecipeError: there is none, or it is no mapping in YAML.
    """
    source = packaged.get(name_or_path) or Path(name_or_path).expanduser()
    if not source.is_file():
        close = nearest(name_or_path, packaged)
        hint = f"did you mean {close!r}?" if close else f"there come with the package: {', '.join(packaged)}"
        raise RecipeError(f"{name_or_path}: no such file or packaged {noun}; {hint}")
    try:
        content = load_yaml(source.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"{name_or_path}: cannot be read ({error.strerror})") from error
    except (StrictYamlError, UnicodeDecodeError) as error:
        raise RecipeError(f"{name_or_path}: not a YAML file ({error})") from error
    if content is None:
        raise RecipeError(f"{name_or_path}: there is nothing in it; a {noun} is a mapping of fields")
    if not isinstance(content, dict):
        raise RecipeError(f"{name_or_path}: a {noun} is a mapping of fields (name: value), this is {shown(content)}")
    return content


def _validate(content: Mapping[str, Any], where: str) -> Recipe:
    return validated(Recipe, content, where)


def validated(settings: type[Settings], content: Mapping[str, Any], where: str) -> Settings:
    """Settings from plain values.

    Raises:
        RecipeError: a field is unknown, missing or of the wrong type, or a number is not finite, in the options of a
            plug-in, too; the message names its path and the nearest one.
    """
    if infinite := next(not_finite(content), None):
        raise RecipeError(f"{where}: field {infinite!r} is no finite number, which every setting must be")
    try:
        found = settings.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{where}: {explain(error, settings)}") from error
    except RecursionError as error:
        raise RecipeError(f"{where}: it is nested too deeply") from error
    return found


def override(content: dict[str, Any], overrides: Sequence[str], flag: str) -> None:
    """Put values into plain settings.

    Args:
        content: changed in place.
        overrides: `a.b=c` each, with `c` in YAML.
        flag: the option by which they were given, for the message.

    Raises:
        RecipeError: one is not written so.
    """
    for assignment in overrides:
        path, equals, value = assignment.partition("=")
        if not equals:
            raise RecipeError(f"{flag} {_short(assignment)}: write it as field=value, for example {flag} sft.steps=100")
        try:
            parsed = load_yaml(value)
        except StrictYamlError as error:
            raise RecipeError(f"{flag} {_short(assignment)}: the value is not valid YAML ({error})") from error
        _set(content, path.strip(), parsed)


def _short(assignment: str) -> str:
    return assignment if len(assignment) <= LONGEST_VALUE else f"{assignment[:LONGEST_VALUE]}…"


def _set(content: dict[str, Any], path: str, value: Any) -> None:
    """Put a value at a dotted path; whether the path exists is left to validation."""
    *parents, last = path.split(".")
    at: Any = content
    for parent in parents:
        at = at[_position(at, parent, path)] if isinstance(at, list) else at.setdefault(parent, {})
        if not isinstance(at, dict | list):
            raise RecipeError(f"{path}: {parent!r} holds a single value and has no fields")
    at[_position(at, last, path) if isinstance(at, list) else last] = value


def _position(entries: list[Any], text: str, path: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) < len(entries)):
        numbered = f"they are numbered 0 to {len(entries) - 1}" if entries else "it is empty"
        raise RecipeError(f"{path}: {_short(text)!r} is no entry of this list; {numbered}")
    return int(text)
