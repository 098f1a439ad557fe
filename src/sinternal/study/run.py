"""Models that a run has left, by the run's folder and the arm's name: `runs/quickstart/sinternal`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sinternal.errors import ModelError
from sinternal.layout import Place, RunMap
from sinternal.models.resolve import is_model
from sinternal.settings.plugins import VerificationPlugin
from sinternal.settings.recipe import DEFAULT_VARIANT, load_recipe
from sinternal.stages.target import model_name
from sinternal.store import Artifact, Store

RECIPE, RESULTS = "recipe.yaml", "results.json"
"""What a finished run's folder holds, copied from its report."""
MODEL_STAGES = ("grpo", "sft", "target")
"""Whose artifacts are models."""


class ArmModel(NamedTuple):
    """The model of one arm."""

    path: str
    """Its directory."""
    target: str
    """The model that the run is about."""
    verification: VerificationPlugin
    """How the run asks its models to verify."""


def find_arm(name: str) -> ArmModel | None:
    """The model of an arm that a run has trained; of the recipe's first variant.

    Args:
        name: `RUN/ARM`, or `RUN/ARM/SEED` for another seed than the recipe's first.

    Returns:
        None if the name leads to no run: it is then another kind of name.

    Raises:
        ModelError: the run has no such arm or seed, or its model is not there.
    """
    try:
        place = Path(name).expanduser()
        found = is_model(place)
    except (RuntimeError, ValueError, OSError):  # no path at all
        return None
    if found:
        return None
    if (place.parent / RECIPE).is_file():
        return _arm(place.parent, place.name, None)
    if (place.parent.parent / RECIPE).is_file() and place.name.isdigit():
        return _arm(place.parent.parent, place.parent.name, int(place.name))
    return None


def _arm(run: Path, name: str, seed: int | None) -> ArmModel:
    recipe = load_recipe(str(run / RECIPE))
    arms = [arm.name for arm in recipe.arms]
    if name not in arms:
        raise ModelError(f"{run} has no arm {name!r}; it has: {', '.join(arms)}")
    if seed is not None and seed not in recipe.seeds:
        raise ModelError(f"{run} has no seed {seed}; it has: {', '.join(map(str, recipe.seeds))}")
    variant = next(iter(recipe.variants), DEFAULT_VARIANT)
    made = _model(run, Place(variant, recipe.seeds[0] if seed is None else seed), name)
    if made is None:
        raise ModelError(
            f"the model of {name!r} is not in {run / 'artifacts'}: finish the run, or, if it has another --store, name "
            "the model's own folder there"
        )
    return ArmModel(model_name(made), recipe.target.model, recipe.verification)


def _model(run: Path, place: Place, arm: str) -> Artifact | None:
    """The model of an arm, as the run's own report says: a plan of its recipe may lead elsewhere by now."""
    store = Store(run / "artifacts")
    report = _report(run, store)
    if report is None:
        return None
    key = RunMap[str].unflattened(report.manifest["inputs"])[place].arms[arm].model
    return next(filter(None, (store.find(stage, key) for stage in MODEL_STAGES)), None)


def _report(run: Path, store: Store) -> Artifact | None:
    """The report that lies in a run's folder."""
    for place in sorted((store.root / "report").glob("*")):
        report = store.find("report", place.name)
        if report and all(_same(report.path / name, run / name) for name in (RECIPE, RESULTS)):
            return report
    return None


def _same(a: Path, b: Path) -> bool:
    return a.is_file() and b.is_file() and a.read_bytes() == b.read_bytes()
