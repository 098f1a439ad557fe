"""An arm of a run by its name: `RUN/ARM`, or `RUN/VARIANT/ARM` where a run has several variants; each with `/SEED`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Self

from sinternal.errors import ModelError, SInternalError
from sinternal.figures.arms import arm_figures, last_training
from sinternal.figures.study import Arm
from sinternal.models.resolve import is_model
from sinternal.settings.recipe import DEFAULT_VARIANT, Recipe
from sinternal.study.run import RECIPE, ArmModel, Run, no_run

DEEPEST = 3
"""Parts of a name after the run's folder, at most."""


class ArmOfRun(NamedTuple):
    """One arm of one repetition of a finished run."""

    run: Run
    """The run."""
    arm: str
    """The arm's name."""
    seed: int
    """The seed."""
    variant: str = DEFAULT_VARIANT
    """The variant."""
    note: str | None = None
    """Which variant it is of, where there are several and none was named."""

    def figures(self) -> Arm:
        """What the arm was trained on, and how much of it."""
        keys = self.run.arm_keys(self.arm, self.seed, self.variant)
        key = last_training(keys) if keys else None
        trained = (
            next(filter(None, (self.run.store.find(stage, key) for stage in ("sft", "grpo"))), None) if key else None
        )
        return arm_figures(trained, next(each for each in self.recipe.arms if each.name == self.arm))

    @property
    def recipe(self) -> Recipe:
        """The recipe of its variant."""
        return self.run.recipe.variant(self.variant)

    @classmethod
    def open(cls, name: Path | str, store: Path | str | None = None) -> Self:
        """Open what a name names; without a seed the recipe's first, without a variant the first that has the arm.

        Args:
            name: the name.
            store: the run's folder of artifacts, if that is not inside.

        Raises:
            SInternalError: it leads to no run, or the run has no such arm.
        """
        path = Path(name).expanduser()
        if (path / RECIPE).is_file():
            arms = ", ".join(f"{path}/{arm}" for arm in Run.open(path, store).arms)
            raise ModelError(f"{path} is a run; name one of its arms: {arms}")
        folder = _run_above(path)
        if folder is None:
            raise ModelError(f"{name} is no RUN/ARM: {no_run(path.parent, f'no run (no {RECIPE})')}")
        run = Run.open(folder, store)
        read = _read(path.relative_to(folder).parts, run)
        if read is None:
            raise ModelError(
                f"{name}: {folder} has no such arm; name {folder}/ARM, {folder}/VARIANT/ARM, or either with /SEED. "
                f"Arms: {', '.join(run.arms)}. Variants: {', '.join(run.variants)}"
            )
        run.arm_keys(read.arm, read.seed, read.variant)
        variant = run.variant_of(read.arm, read.variant)
        note = None
        if read.variant is None and len(run.variants) > 1:
            note = (
                f"{read.arm} of variant {variant!r}, as none was named; there are: {', '.join(run.variants)}. Name "
                f"another as {folder}/VARIANT/{read.arm}"
            )
        return cls(run, read.arm, run.recipe.seeds[0] if read.seed is None else read.seed, variant, note)


def find_arm(name: str) -> ArmModel | None:
    """The model of an arm that a run has trained.

    Args:
        name: `RUN/ARM` or `RUN/VARIANT/ARM`, or either with `/SEED`; by default the recipe's first seed, and the first
            variant that has the arm.

    Returns:
        None if the name leads to no run: it is then another kind of name.

    Raises:
        ModelError: the run has no such arm, seed or variant, or its model is not there.
    """
    try:
        path = Path(name).expanduser()
        if is_model(path):
            return None
        folder = _run_above(path)
    except (RuntimeError, ValueError, OSError):  # no path at all
        return None
    if folder is None:
        return None
    parts = path.relative_to(folder).parts
    try:
        run = Run.open(folder)
    except SInternalError:
        if len(parts) > 1:  # `owner/name` beside somebody's own recipe.yaml is no arm
            return None
        raise
    read = _read(parts, run)
    return run.model(read.arm, read.seed, read.variant) if read else None


class _Name(NamedTuple):
    arm: str
    seed: int | None
    variant: str | None


def _run_above(path: Path) -> Path | None:
    """The run's folder that a name begins with."""
    return next((folder for folder in list(path.parents)[:DEEPEST] if (folder / RECIPE).is_file()), None)


def _read(parts: tuple[str, ...], run: Run) -> _Name | None:
    """What the parts after the run's folder name; None if they can be no name."""
    *front, last = parts
    if len(parts) == 1:
        return _Name(last, None, None)
    if len(parts) == 2 and front[0] in run.variants and not (last.isdecimal() and front[0] in run.arms):
        return _Name(last, None, front[0])
    if not last.isdecimal():
        return None
    return _Name(front[-1], int(last), front[0] if len(front) == 2 else None)
