"""A run: made from a recipe, then opened by its folder; and the models of its arms."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

from sinternal.budget import Limits
from sinternal.errors import DataError, ModelError, SInternalError, StoreError
from sinternal.figures.score import Score
from sinternal.layout import ArmRun, Place, RunMap, SeedRun
from sinternal.report import results
from sinternal.report.page import copy_page
from sinternal.report.results import Results
from sinternal.settings.files import parents_elsewhere
from sinternal.settings.launch import Launch
from sinternal.settings.plugins import VerificationPlugin
from sinternal.settings.recipe import DEFAULT_VARIANT, Recipe, add_judge, load_recipe
from sinternal.stages.target import model_name
from sinternal.store import Artifact, Store, check_writable
from sinternal.store.care import needed_by
from sinternal.store.files import copy_file, telling_causes
from sinternal.store.runs import alone, in_use
from sinternal.store.sums import checked, write_sums
from sinternal.study.cost import Bound, server_bound
from sinternal.study.execute import Event, discard, execute
from sinternal.study.live import diary
from sinternal.study.plan import make_plan
from sinternal.study.reach import Reach, check_allowed, find_reach
from sinternal.study.task import Plan
from sinternal.training.tracking import FOLDER, NOBODY, Tracking
from sinternal.validation import nearest

RUNS = Path("runs")
"""Where runs are kept that are given no folder."""
ARTIFACTS = "artifacts"
"""The store inside a run's folder, or a link to the one that it was given."""
RECIPE, RESULTS, REPORT = "recipe.yaml", "results.json", "report.html"
FILES = (REPORT, RESULTS, "results.md", RECIPE, "measured.parquet")
"""What a finished run's folder holds, copied from its report."""
LAST = {"report": (RECIPE, RESULTS), "diagnosis": ("diagnosis.json",)}
"""The stages that end a run, and files that tell one such artifact from another."""
MODEL_STAGES = ("grpo", "sft", "target")
"""The stages whose artifacts are models."""
JUDGING = ("judge", "report")
"""Stages that another judge adds to."""


@dataclass(frozen=True)
class Start:
    """The first news of a run: what it has to do."""

    plan: Plan
    """Every artifact, including those that are made already."""
    folder: Path
    """The run's folder."""
    discarded: int
    """Artifacts that are made again."""
    bound: Bound | None
    """The most that calls to servers can take; None if there are none, or if that is not known."""
    reach: Reach
    """The servers, files and commands that the run reaches."""


News = Start | Event
"""What a run reports while it goes on."""
Listener = Callable[[News], None]
"""Who gets the news."""


@dataclass(frozen=True)
class Run:
    """A finished run of a study."""

    folder: Path
    """The folder of its report, results and resolved recipe."""
    recipe: Recipe
    """What was run."""
    store: Store
    """Its artifacts."""

    @classmethod
    def open(cls, folder: Path | str, store: Path | str | None = None) -> Self:
        """Open a run that was made before.

        Args:
            folder: the run's.
            store: its folder of artifacts, if that is not inside.

        Raises:
            SInternalError: there is no run in the folder.
        """
        folder = Path(folder)
        recipe = folder / RECIPE
        if not recipe.exists():
            raise SInternalError(no_run(folder, f"no run (no {RECIPE})"))
        return cls(folder, load_recipe(str(checked(recipe))), _store(folder, store))

    @property
    def report(self) -> Path:
        """The page with every figure and transcript."""
        return self.folder / REPORT

    @cached_property
    def results(self) -> Results:
        """Every figure, with its interval and where it comes from; for errors, see `read_results`."""
        return read_results(self.folder)

    @property
    def scores(self) -> tuple[Score, ...]:
        """Every score of the results, those of deciding judges first."""
        return self.results.scores

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of its arms."""
        return tuple(arm.name for arm in self.recipe.arms)

    @property
    def variants(self) -> tuple[str, ...]:
        """The names of its variants: `default` alone if nothing is varied."""
        return tuple(self.recipe.variants) or (DEFAULT_VARIANT,)

    def model(self, arm: str, seed: int | None = None, variant: str | None = None) -> ArmModel:
        """The model of an arm.

        Args:
            arm: its name.
            seed: by default the recipe's first.
            variant: by default the first in which the arm takes part.

        Raises:
            ModelError: the run has no such arm, seed or variant, or its model is not there.
        """
        recipe = self.recipe.variant(self.variant_of(arm, variant))
        path = model_name(self.model_artifact(arm, seed, variant))
        return ArmModel(path, recipe.target.model, recipe.verification)

    def model_artifact(self, arm: str, seed: int | None = None, variant: str | None = None) -> Artifact:
        """What made the model of an arm; arguments and errors are those of `model`."""
        keys = self.arm_keys(arm, seed, variant)
        found = (self.store.find(stage, keys.model) for stage in MODEL_STAGES) if keys else ()
        model = next(filter(None, found), None)
        if model is None:
            raise ModelError(
                f"the model of {arm!r} is not in {self.store.root}: finish the run, or, if it has another --store, "
                "name the model's own folder there"
            )
        return model

    def variant_of(self, arm: str, variant: str | None = None) -> str:
        """The variant that is meant; see `model`."""
        if arm not in self.arms:
            raise ModelError(f"{self.folder} has no arm {arm!r}; it has: {', '.join(self.arms)}")
        if variant is not None and variant not in self.variants:
            raise ModelError(f"{self.folder} has no variant {variant!r}; it has: {', '.join(self.variants)}")
        taking_part = [name for name in self.variants if arm in (own.name for own in self.recipe.variant(name).arms)]
        if not taking_part or (variant is not None and variant not in taking_part):
            raise ModelError(
                f"{self.folder}: arm {arm!r} takes no part in variant {variant or self.variants[0]!r}; it does in: "
                f"{', '.join(taking_part) or 'none'}"
            )
        return variant or taking_part[0]

    def arm_keys(self, arm: str, seed: int | None = None, variant: str | None = None) -> ArmRun[str] | None:
        """The keys of an arm's artifacts according to the run's own report: a new plan may name others by now.

        Arguments are those of `model`.

        Returns:
            None if the report's artifact is not in the store.

        Raises:
            ModelError: the run has no such arm, seed or variant.
        """
        keys = self.seed_keys(arm, seed, variant)
        return keys.arms[arm] if keys else None

    def seed_keys(self, arm: str, seed: int | None = None, variant: str | None = None) -> SeedRun[str] | None:
        """The keys of all artifacts of a seed that has the arm; see `arm_keys`."""
        variant = self.variant_of(arm, variant)
        if seed is not None and seed not in self.recipe.seeds:
            raise ModelError(f"{self.folder} has no seed {seed}; it has: {', '.join(map(str, self.recipe.seeds))}")
        report = find_last(self.store, "report", self.folder, LAST["report"])
        place = Place(variant, self.recipe.seeds[0] if seed is None else seed)
        return RunMap[str].from_flat(report.manifest["inputs"])[place] if report else None


class ArmModel(NamedTuple):
    """The model of one arm."""

    path: str
    """Its directory."""
    target: str
    """The model that the run is about."""
    verification: VerificationPlugin
    """How the run asks its models to verify."""


def run(
    recipe: Recipe | Path | str,
    *,
    overrides: Sequence[str] = (),
    out: Path | str | None = None,
    store: Path | str | None = None,
    workers: int | None = None,
    limits: Limits | None = None,
    retry_failed: bool | None = None,
    again: Collection[str] = (),
    listen: Listener | None = None,
) -> Run:
    """Run a recipe: make whatever is not in the store yet. The same call resumes an interrupted run.

    Args:
        recipe: a recipe, the name of a packaged one, or the path of a YAML file.
        overrides: `a.b=c` each, with `c` in YAML, for a recipe that is given by name or path.
        out: the run's folder; by default `runs/<recipe name>`.
        store: the folder of artifacts, to share between runs; by default inside the run's.
        workers: processes that make artifacts side by side; by default what the recipe says.
        limits: on what this call spends on servers; what was answered is kept.
        retry_failed: whether to ask again for rows whose request failed or was withheld by a filter; by default
            only where the server can be reached.
        again: stages whose artifacts are made again, with all that was made from them.
        listen: called with every artifact, and with progress on it.

    Returns:
        The finished run.

    Raises:
        BudgetError: the limits are reached.
        RecipeError: the recipe is not valid.
        SInternalError: a stage could not do its work. What was finished stays.
    """
    loaded = recipe if isinstance(recipe, Recipe) else load_recipe(str(recipe), overrides)
    notes = [] if isinstance(recipe, Recipe) else parents_elsewhere(str(recipe))
    folder = RUNS / loaded.name if out is None else Path(out)
    make(
        make_plan(loaded, notes),
        folder,
        FILES,
        store=store,
        workers=loaded.workers if workers is None else workers,
        limits=limits,
        retry_failed=retry_failed,
        launch=loaded.launch,
        tracking=Tracking(loaded.trackers, loaded.name, folder / FOLDER),
        again=again,
        listen=listen,
        typed=overrides,
    )
    return Run(folder, loaded, _store(folder, store))


def judge(
    finished: Run,
    name: str,
    options: Sequence[str] = (),
    *,
    limits: Limits | None = None,
    retry_failed: bool | None = None,
    listen: Listener | None = None,
) -> Run:
    """Let another judge label a run's responses; nothing is generated again. The first judge still decides.

    Args:
        finished: the run.
        name: name of a registered judge, to be added or replaced.
        options: of the judge, `a.b=c` each, with `c` in YAML.
        limits: see `run`.
        retry_failed: see `run`.
        listen: see `run`.

    Raises:
        SInternalError: artifacts of the run are not there, or the judge could not do its work.
    """
    recipe = add_judge(finished.recipe, name, options)
    plan, store = make_plan(recipe), finished.store
    kept = [task for task in plan.tasks if task.stage.name not in JUDGING]
    missing = [task.label for task in kept if store.find(task.stage.name, task.key) is None]
    if missing:
        raise SInternalError(
            f"{finished.folder}: {len(missing)} of the run's artifacts are not in {store.root}, {missing[0]!r} first: "
            "finish the run, name its --store, use the version of sinternal that made it, or undo what has changed "
            "since in the files and plug-ins that its recipe names"
        )
    make(
        plan,
        finished.folder,
        FILES,
        store=store.root,
        workers=recipe.workers,
        limits=limits,
        retry_failed=retry_failed,
        listen=listen,
        typed=options,
    )
    return Run(finished.folder, recipe, store)


def make(
    plan: Plan,
    folder: Path,
    files: Collection[str],
    *,
    store: Path | str | None = None,
    workers: int = 1,
    limits: Limits | None = None,
    retry_failed: bool | None = None,
    again: Collection[str] = (),
    listen: Listener | None = None,
    launch: Launch | None = None,
    tracking: Tracking = NOBODY,
    typed: Collection[str] = (),
) -> None:
    """Make what a plan asks for, and copy files of its last artifact into a folder.

    For the arguments, see `run`; `launch` spreads each training over processes, `tracking` says who is told of it, and
    `typed` is what the user has given beside the recipe. Raises RecipeError if the recipe reaches for what takes a word
    of the user's.
    """
    check_writable(folder, "--out")
    tell = listen or _ignore
    artifacts = _store(folder, store)
    discarded = 0
    with in_use(artifacts.root, folder, frozenset(f"{task.stage.name}/{task.key}" for task in plan.tasks)):
        _link(folder, artifacts.root)
        if again:
            artifacts.check_writable()
            discarded = discard(plan, artifacts, again)
        reach = find_reach(plan, launch, tracking.trackers)
        tell(Start(plan, folder, discarded, server_bound(plan, artifacts), reach))
        check_allowed(reach, typed)
        with diary(folder, plan, artifacts.root) as kept:

            def listen_and_note(event: Event) -> None:
                if kept is not None:
                    kept.note(event)
                tell(event)

            last = execute(
                *(plan, artifacts, workers, listen_and_note, limits),
                retry_failed=retry_failed,
                launch=launch,
                tracking=tracking,
            )
            with alone(artifacts.root), telling_causes(folder):
                beside: list[str] = []
                for name in files:
                    if name.endswith(".html"):
                        beside += copy_page(last.file, name, folder)
                    else:
                        copy_file(last.file(name), folder / name)
                write_sums(folder, [*files, *beside])


def _link(folder: Path, root: Path) -> None:
    """Let a run's folder lead to a store that lies elsewhere, so that whoever opens the run finds its artifacts."""
    link, here, there = folder / ARTIFACTS, folder.resolve(), root.resolve()
    if (link.exists() and not link.is_symlink()) or link.resolve() == there or here.is_relative_to(there):
        return
    with suppress(OSError):  # where there are no links, or another process has just made it, --store leads there
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(there, here), target_is_directory=True)


def needs(folder: Path, root: Path) -> set[str]:
    """What the results in a run's folder were made from: `stage/key`.

    Args:
        folder: the run's, or a diagnosis'.
        root: of the store.

    Raises:
        StoreError: the store has not made them.
    """
    for artifact in Store(root).artifacts():
        last = LAST.get(artifact.path.parent.name, ())
        if last and all(_same(artifact.path / name, folder / name) for name in last):
            return needed_by(root, artifact)
    raise StoreError(f"{folder}: its results are not of {root}; name another run, or another store")


def read_results(folder: Path) -> Results:
    """The results of a finished run.

    Raises:
        DataError: the run is not finished, or the file is damaged or of a version that is not known.
    """
    file = folder / RESULTS
    if not file.is_file():
        raise DataError(no_run(folder, f"no finished run (no {RESULTS})"))
    return results.read_results(checked(file))


def no_run(folder: Path, words: str) -> str:
    """What to do where a folder is not a run's."""
    if any((folder / name).is_file() for name in LAST["diagnosis"]):
        return (
            f"{folder} holds a diagnosis and {words}: `sinternal report` prints it, and `sinternal diagnose` with the "
            f"same --model, --store {folder / ARTIFACTS}, another --out and what is to change (--set "
            "judge.name=...) writes another beside it"
        )
    try:
        beside = [each.name for each in folder.parent.iterdir() if (each / RECIPE).is_file()]
    except OSError:
        beside = []
    close = nearest(folder.name, beside)
    hint = f"did you mean {folder.parent / close}?" if close else f"try {RUNS}/<recipe name>"
    return f"{folder} holds {words}; {hint}"


def find_last(store: Store, stage: str, folder: Path, names: Collection[str]) -> Artifact | None:
    """The artifact whose files were copied into a run's folder; None if it is not in the store.

    Args:
        store: where the run's artifacts are.
        stage: that made it.
        folder: the run's.
        names: files by which it is known.
    """
    for path in sorted((store.root / stage).glob("*")):
        artifact = store.find(stage, path.name)
        if artifact and all(_same(artifact.path / name, folder / name) for name in names):
            return artifact
    return None


def _ignore(news: News) -> None:
    """Listen to nothing."""


def _store(folder: Path, store: Path | str | None) -> Store:
    return Store(folder / ARTIFACTS if store is None else Path(store))


def _same(a: Path, b: Path) -> bool:
    return a.is_file() and b.is_file() and a.read_bytes() == b.read_bytes()
