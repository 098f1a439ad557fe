"""A folder for each trained arm of a recipe: data, settings and rewards for verl.

Prompts are read as a run would read them. Training sets, stored answers and models of arms that others start from are
taken from the artifacts of a run, and are left out, with a note, where they are not made yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import yaml

from sinternal.engines import TemplateOptions
from sinternal.errors import DataError, ModelError, SInternalError
from sinternal.integrations.verl import config as verl_config
from sinternal.integrations.verl.config import Machine, Model, Training
from sinternal.integrations.verl.rewards import FILE, RewardSettings
from sinternal.integrations.verl.rows import conversation, reward_rows, write_conversations, write_reward_rows
from sinternal.layout import ArmRun, Place, RunMap
from sinternal.models.resolve import ModelSource, adapter_base
from sinternal.prompting.question import VerificationTask
from sinternal.records import Example, Prompt
from sinternal.redaction import NOT_KEPT, redacted
from sinternal.registry import Kind, names
from sinternal.settings.arms import TrainOn
from sinternal.settings.files import packaged_recipes
from sinternal.settings.plugins import ModelSourcePlugin
from sinternal.settings.recipe import DEFAULT_VARIANT, Recipe, load_recipe
from sinternal.stages.grpo import GrpoConfig, turns_of
from sinternal.stages.sample import check_trainable, to_request
from sinternal.stages.sft import SftConfig, settings_for
from sinternal.stages.target import TargetConfig, model_path
from sinternal.store import Artifact, Store
from sinternal.store.files import write_text
from sinternal.study.execute import execute
from sinternal.study.plan import make_plan
from sinternal.study.reach import check_allowed, find_reach
from sinternal.study.run import ARTIFACTS, RUNS, Run
from sinternal.study.task import Plan, Task
from sinternal.training.rewards import kind_of
from sinternal.training.schedule import Turn

CONFIG = "config.yaml"
CHARACTERS = 3
"""Characters to a token at least, for the longest prompt."""
PREFACE = """\
Written by `sinternal export verl` for verl 0.9.1 with its `v1` trainer; nothing has been trained so yet. Data and
settings of each arm lie in a folder; `config.yaml` extends verl's own. Where rewards are learned from, `reward.py`
scores rollouts by the recipe's judges (`rewards.json`): `sinternal[train]` has to be installed beside verl, with the
extra `math` for mathematics, and servers that judges ask have to be up. Files are named by absolute paths: correct
`config.yaml` if you move the folder.

A rollout that ran into the token limit, or for which the judge failed, has no reward, which is not a reward of 0: the
reward manager raises `UnrewardedError`, verl logs it and leaves the rollout out of its group. Other trainers of verl
(`trainer.use_v1: false`, before 0.9) would stop there.

A model that verl has trained (`huggingface` in its checkpoint) is measured like any other: name it as the `start` of an
arm with `train_on: nothing`."""
PROMPT_TOKENS = 1024
"""Tokens that a prompt is given at least."""


@dataclass
class Exported:
    """What was written for one arm."""

    arm: str
    """Its name."""
    folder: Path
    """Where."""
    command: str
    """What starts verl."""
    rows: int
    """Rows to train on."""
    notes: list[str] = field(default_factory=list)
    """What of the recipe verl does otherwise, and what is missing."""


@dataclass(frozen=True)
class Source:
    """A recipe, and where its artifacts are."""

    recipe: Recipe
    """The recipe."""
    store: Store
    """Its artifacts, as far as they are made."""
    typed: Sequence[str] = ()
    """What the user has given beside the recipe."""

    @classmethod
    def open(cls, run_or_recipe: str, overrides: Sequence[str] = (), store: Path | None = None) -> Source:
        """Read a recipe, by its name or file, or that of a run by its folder. Raises SInternalError."""
        folder = Path(run_or_recipe).expanduser()
        if folder.is_dir() and run_or_recipe not in packaged_recipes():
            run = Run.open(folder, store)
            if overrides:
                raise SInternalError(
                    f"{run_or_recipe} is a run, whose recipe stands: leave --set out, or name a recipe"
                )
            return cls(run.recipe, run.store)
        recipe = load_recipe(run_or_recipe, overrides)
        return cls(recipe, Store(store or RUNS / recipe.name / ARTIFACTS), overrides)


def export(
    source: Source,
    out: Path,
    *,
    arms: Sequence[str] = (),
    seed: int | None = None,
    variant: str | None = None,
    machine: Machine | None = None,
) -> list[Exported]:
    """Write a folder for each trained arm of a variant.

    Args:
        source: the recipe, and its artifacts.
        out: receives a folder for each arm, and a README.
        arms: which; by default all that are trained and can be exported.
        seed: which repetition; by default the first.
        variant: which; by default the recipe's first.
        machine: what verl trains on.

    Raises:
        DataError: there is no such arm or variant, it is not trained, or verl cannot train it; or there is nothing to
            export.
    """
    recipe = source.recipe
    chosen = recipe.seeds[0] if seed is None else seed
    if chosen not in recipe.seeds:
        raise DataError(f"the recipe has no seed {chosen}; it has: {', '.join(map(str, recipe.seeds))}")
    variants = list(recipe.variants) or [DEFAULT_VARIANT]
    variant = variants[0] if variant is None else variant
    if variant not in variants:
        raise DataError(f"--variant {variant}: the recipe has no such variant; it has: {', '.join(variants)}")
    plan = make_plan(recipe)
    planned = RunMap[Task].from_flat(plan.report.inputs)[Place(variant, chosen)].arms
    trained = [arm.name for arm in recipe.arms if arm.train_on is not TrainOn.NOTHING and arm.name in planned]
    if unknown := [name for name in arms if name not in trained]:
        raise DataError(
            f"--arm {unknown[0]}: no arm of this name is trained; there are: {', '.join(trained) or 'none'}"
        )
    exporter = _Exporter(source, machine or Machine())
    exported, refused = [], []
    for name in arms or trained:
        try:
            exported.append(exporter.export(name, planned[name], out / name))
        except DataError as error:
            if arms:
                raise
            refused.append(f"{name}: {error}")
    if not exported:
        raise DataError("nothing can be exported: " + "; ".join(refused))
    write_text(out / "README.md", _readme(recipe, exported, refused))
    return exported


class _Exporter:
    """Writes the folders of arms."""

    def __init__(self, source: Source, machine: Machine) -> None:
        self.source, self.machine = source, machine

    def export(self, name: str, arm: ArmRun[Task], folder: Path) -> Exported:
        """Write one arm's folder. Raises DataError if verl cannot train it, or nothing is there to train it on."""
        training = arm.training
        assert training is not None  # the caller takes trained arms
        if training.grpo is not None:
            return self._reinforcement(name, training.grpo, folder)
        assert training.sft is not None
        return self._tuning(name, training.sft, folder)

    def _reinforcement(self, name: str, task: Task, folder: Path) -> Exported:
        config = task.config
        assert isinstance(config, GrpoConfig)
        _check_exportable(config)
        turns = turns_of(config, self._pool(task), self._made(task.inputs["pairs"]) if "pairs" in task.inputs else None)
        watched = self._prompts(task.inputs["held_out"]) if "held_out" in task.inputs else []
        question: VerificationTask = config.verification.open()

        def ask(prompt: Prompt) -> Sequence[tuple[str, str]]:
            check_trainable(prompt)
            return to_request(prompt, config.system).messages

        def verify(prompt: Prompt, answer: str) -> Sequence[tuple[str, str]]:
            return (("user", question.ask(prompt, answer, with_spec=config.with_spec)),)

        rows = reward_rows(turns, ask, verify, "train")
        tests = reward_rows([Turn(prompt, kind_of(prompt)) for prompt in watched], ask, verify, "test")
        longest = max(sum(len(text) for _, text in row.messages) for row in (*rows, *tests))
        model, notes = self._model(task.inputs["model"])
        folder.mkdir(parents=True, exist_ok=True)
        written = verl_config.grpo_config(
            config.settings,
            self._training(name, model, folder, config),
            prompt_tokens=max(PROMPT_TOKENS, longest // CHARACTERS),
            watches=bool(tests),
        )
        write_reward_rows(folder / verl_config.TRAIN, rows)
        if tests:
            write_reward_rows(folder / verl_config.TEST, tests)
        rewards = RewardSettings(
            model=self._tokenizer(task), judge=config.judge, refusals=config.refusals, speech=config.speech
        )
        settings = rewards.model_dump(mode="json")
        if (public := redacted(settings)) != settings:
            notes.append(
                f"keys in the options of judges are not exported: let headers and query name variables ($NAME), or put "
                f"the keys in the place of {NOT_KEPT!r} in {folder / FILE}"
            )
        write_text(folder / FILE, json.dumps(public, indent=1) + "\n")
        write_text(folder / verl_config.REWARD, files(__package__).joinpath("reward.py.txt").read_text())
        _write_config(folder, written, name)
        notes += verl_config.grpo_differences(config.settings)
        return Exported(name, folder, _command("main_ppo", folder, self.machine), len(rows), notes)

    def _tuning(self, name: str, task: Task, folder: Path) -> Exported:
        config = task.config
        assert isinstance(config, SftConfig)
        examples = self._made(task.inputs["examples"]).rows(Example)
        settings = settings_for(config, len(examples))
        model, notes = self._model(task.inputs["model"])
        content, template = self._template(task.inputs["model"], config.speech)
        if content is None:
            notes.append(
                "the model is not here, so that its chat template could not be looked at: make sure that it keeps the "
                "thinking of assistant turns, which that of DeepSeek-R1-Distill deletes"
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_conversations(folder / verl_config.TRAIN, [conversation(row, content) for row in examples])
        start = Model(model.path, model.adapter, template)
        training = self._training(name, start, folder, config)
        written = verl_config.sft_config(settings, training, rows=len(examples))
        _write_config(folder, written, name)
        notes += verl_config.sft_differences()
        return Exported(name, folder, _command("sft_trainer", folder, self.machine), len(examples), notes)

    def _training(self, name: str, model: Model, folder: Path, config: GrpoConfig | SftConfig) -> Training:
        title = f"{self.source.recipe.name}-{name}"
        return Training(model, self.machine, folder.resolve(), title, config.seed, config.speech)

    def _pool(self, task: Task) -> list[Prompt]:
        """The prompts that an arm's steps are drawn from."""
        mathematics = self._prompts(task.inputs["mathematics"]) if "mathematics" in task.inputs else []
        return [*self._prompts(task.inputs["prompts"]), *mathematics]

    def _prompts(self, task: Task) -> list[Prompt]:
        """Prompts, read now if they are not in the store."""
        artifact = self.source.store.find(task.stage.name, task.key)
        if artifact is None:
            needed = {parent.key: parent for parent in (*task.ancestors(), task)}
            plan = Plan(tuple(needed.values()))
            check_allowed(find_reach(plan), self.source.typed)
            artifact = execute(plan, self.source.store, 1, lambda _event: None)
        return artifact.rows(Prompt)

    def _made(self, task: Task) -> Artifact:
        """An artifact that only a run can make."""
        artifact = self.source.store.find(task.stage.name, task.key)
        if artifact is None:
            raise DataError(
                f"{task.label!r} is not in {self.source.store.root}: run the recipe as far as that first, or name the "
                "--store that has it"
            )
        return artifact

    def _model(self, task: Task) -> tuple[Model, list[str]]:
        """The model that an arm starts from."""
        missing = f"the model of {task.label!r} is not made yet: name it in place of {verl_config.MISSING} in {CONFIG}"
        if isinstance(task.config, TargetConfig):
            path = self._untrained(task, task.config)
            return (Model(), [missing]) if path is None else (Model(path), [])
        trained = self.source.store.find(task.stage.name, task.key)
        if trained is None:
            return Model(), [missing]
        folder = model_path(trained).resolve()
        base = adapter_base(folder)
        return (Model(str(folder)) if base is None else Model(base, str(folder))), []

    def _untrained(self, task: Task, config: TargetConfig) -> str | None:
        """Where an untrained model is, or its name on the hub; None if it has to be built."""
        located = self.source.store.find(task.stage.name, task.key)
        if located is not None:
            return str(model_path(located).resolve())
        if config.model not in names(Kind.MODEL):
            return config.model
        source: ModelSource = ModelSourcePlugin(name=config.model, options=config.options).open()
        ready = source.locate() if config.seed is None else None
        return None if ready is None else str(ready)

    def _tokenizer(self, task: Task) -> str:
        """Where the tokenizer of an arm's start is: all models of a study have that of their target."""
        while not isinstance(task.config, TargetConfig):
            task = task.inputs["model"]
        return self._model(task)[0].path

    def _template(self, task: Task, speech: TemplateOptions) -> tuple[Callable[[Example], str] | None, str | None]:
        """How the model's template writes a turn, and the template to train with if that is another than its own."""
        from sinternal.models.loading import open_tokenizer, stop_tokens
        from sinternal.models.resolve import tokenizer_folder
        from sinternal.prompting.chat import assistant_turn
        from sinternal.training.sft import form_of

        located = self.source.store.find(task.stage.name, task.key)
        if located is None:
            return None, None
        try:
            folder = tokenizer_folder(model_path(located))
        except ModelError:
            return None, None
        tokenizer = open_tokenizer(folder)
        own = str(tokenizer.get_chat_template())
        form = form_of(tokenizer, stop_tokens(folder), speech)
        return (
            lambda example: assistant_turn(form.prompt(example), example.thinking, example.answer),
            None if form.template == own else form.template,
        )


def _check_exportable(config: GrpoConfig) -> None:
    """Make sure that verl can train an arm by its rewards. Raises DataError."""
    if config.train_on is TrainOn.SELF_REWARD:
        raise DataError(
            "its rewards are the policy's own verdicts, and a reward function of verl cannot ask the policy"
        )
    if config.settings.mixture.verification and config.train_on is TrainOn.REWARDS:
        raise DataError(
            "grpo.mixture.verification asks about answers that the policy gives in the same step, which verl's data "
            "cannot hold; set it to 0"
        )


def _write_config(folder: Path, content: dict[str, object], name: str) -> None:
    head = f"# Arm {name!r} for verl 0.9.1, written by `sinternal export verl`; README.md says what is not the same.\n"
    write_text(folder / CONFIG, head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _command(trainer: str, folder: Path, machine: Machine) -> str:
    nodes = "--standalone" if machine.nodes == 1 else f"--nnodes={machine.nodes}"
    torchrun = f"torchrun {nodes} --nproc_per_node={machine.gpus}"
    start = torchrun if trainer == "sft_trainer" else "python"
    name = CONFIG.removesuffix(".yaml")
    return f"{start} -m verl.trainer.{trainer} --config-path {folder.resolve()} --config-name {name}"


def _readme(recipe: Recipe, exported: Sequence[Exported], refused: Sequence[str]) -> str:
    return "\n".join(_readme_lines(recipe, exported, refused)) + "\n"


def _readme_lines(recipe: Recipe, exported: Sequence[Exported], refused: Sequence[str]) -> Iterator[str]:
    yield f"# {recipe.name} for verl"
    yield ""
    yield PREFACE
    for arm in exported:
        yield ""
        yield f"## {arm.arm}"
        yield ""
        yield f"{arm.rows:,} rows."
        yield ""
        yield f"    {arm.command}"
        yield ""
        yield "What verl does otherwise:"
        yield ""
        yield from (f"- {note}" for note in arm.notes)
    if refused:
        yield ""
        yield "## Not exported"
        yield ""
        yield from (f"- {reason}" for reason in refused)
