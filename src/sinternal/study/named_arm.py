"""An arm of a run by its name: `RUN/ARM` or `RUN/ARM/SEED`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Self

from sinternal.errors import ModelError
from sinternal.study.run import RECIPE, Run, no_run


class ArmOfRun(NamedTuple):
    """One arm of one repetition of a finished run."""

    run: Run
    """The run."""
    arm: str
    """The arm's name."""
    seed: int
    """The seed."""

    @classmethod
    def open(cls, name: Path | str, store: Path | str | None = None) -> Self:
        """Open what `RUN/ARM` or `RUN/ARM/SEED` names; without a seed, the recipe's first.

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
        seed = None
        if path.name.isdecimal() and (path.parent.parent / RECIPE).is_file():
            path, seed = path.parent, int(path.name)
        if not (path.parent / RECIPE).is_file():
            raise ModelError(f"{name} is no RUN/ARM: {no_run(path.parent, f'no run (no {RECIPE})')}")
        run = Run.open(path.parent, store)
        run.arm_keys(path.name, seed)
        return cls(run, path.name, run.recipe.seeds[0] if seed is None else seed)
