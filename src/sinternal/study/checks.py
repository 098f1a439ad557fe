"""What a recipe asks for that cannot be, found before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sinternal.benchmarks import Divided, Division
from sinternal.errors import DataError, RecipeError
from sinternal.fingerprints import fingerprint
from sinternal.registry import Kind, check_name, load
from sinternal.settings.plugins import PLAIN, AttackConfig
from sinternal.settings.recipe import Recipe, Source, TrainOn
from sinternal.stages import dataset
from sinternal.study.prompts import without_parts


def check_recipe(recipe: Recipe) -> None:
    """Fail on a mistyped name, or on an option that a judge, expert, task or benchmark does not take, at once."""
    wanted, stress = recipe.prompts, recipe.evaluation.stress
    attacks = (*wanted.train_attacks, *wanted.eval_attacks, *(stress.attacks if stress else ()))
    check_sources((*wanted.train, *wanted.eval), attacks)
    _check_divisions(recipe)
    for name in (recipe.engine.name, recipe.measuring_engine.name):
        check_name(Kind.ENGINE, name)
    opened = [
        *((Kind.JUDGE, entry.name, entry.options) for entry in recipe.judges),
        (Kind.EXPERT, recipe.expert.name, recipe.expert.options),
        (Kind.VERIFICATION, recipe.verification.name, recipe.verification.options),
    ]
    for kind, name, options in opened:
        load(kind, name)(options)
    first = recipe.judges[0].name
    if not getattr(load(Kind.JUDGE, first), "tells_safety", True):
        raise RecipeError(f"judges: {first!r} does not label safety, so it cannot be the first, which decides")
    _check_labels(recipe)
    if any(arm.train_on is TrainOn.REWARDS for arm in recipe.arms):
        _check_rewards(recipe)


def _check_divisions(recipe: Recipe) -> None:
    """Fail at once where the same file would be trained on and measured."""
    wanted, rewarded = recipe.prompts, any(arm.train_on is TrainOn.REWARDS for arm in recipe.arms)
    sides = {"prompts.train": ("train", wanted.train), "prompts.eval": ("eval", wanted.eval)}
    if recipe.grpo and rewarded and recipe.grpo.mixture.mathematics:
        sides["rewards.mathematics"] = ("train", recipe.rewards.mathematics)
    if recipe.grpo and rewarded and recipe.grpo.held_out_every:
        sides["rewards.held_out"] = ("dev", recipe.rewards.held_out or without_parts(wanted.train))
    seen: dict[str, tuple[str, str, Division]] = {}
    for side, (usual, sources) in sides.items():
        for source in sources:
            benchmark = load(Kind.BENCHMARK, source.benchmark)(source.options)
            if not isinstance(benchmark, Divided):
                continue
            part, one = source.part or usual, benchmark.division()
            other_side, other_part, other = seen.setdefault(one.content, (side, part, one))
            if part != other_part and (one.how is None or one.how != other.how):
                raise RecipeError(
                    f"{other_side} and {side} both name {one.what}, and nothing says which of its rows are for which: "
                    "give it the same options.shares in both, for example {train: 0.8, eval: 0.2} (dev for "
                    "rewards.held_out), or options.columns.part, the column that says train, dev or eval"
                )


def agreement_hash(path: Path | None) -> str | None:
    """Hash of the file that says how often the judge errs. Raises RecipeError if there is no such file."""
    if path is None:
        return None
    if not path.is_file():
        raise RecipeError(f"evaluation.agreement: there is no file {path}; `sinternal agree` writes one")
    return fingerprint(path)


def check_sources(sources: Iterable[Source], attacks: Iterable[AttackConfig]) -> None:
    """Make sure that benchmarks and attacks are there, and that the former take their options.

    Raises:
        RegistryError: there is none of this name.
        RecipeError: an option is unknown or of the wrong type.
    """
    sources = list(sources)
    for attack in (*attacks, *(attack for source in sources for attack in source.attacks or ())):
        if attack.name != PLAIN:
            check_name(Kind.ATTACK, attack.name)
    for source in sources:
        load(Kind.BENCHMARK, source.benchmark)(source.options)


def _check_labels(recipe: Recipe) -> None:
    """Fail at once where what the arms learn from could not be labelled, or a data set holds nothing to learn."""
    judge, refusals = recipe.labeller, recipe.rewards.refusals or recipe.labeller
    for one in (judge, refusals):
        check_name(Kind.JUDGE, one.name)
        load(Kind.JUDGE, one.name)(one.options)
    if not getattr(load(Kind.JUDGE, judge.name), "tells_safety", True):
        raise RecipeError(f"rewards.judge: {judge.name!r} does not label safety; take another")
    needing = [arm.name for arm in recipe.arms if arm.train_on in _JUDGED_BY_REFUSALS]
    if needing and not getattr(load(Kind.JUDGE, refusals.name), "tells_refusals", True):
        raise RecipeError(
            f"rewards.judge: {refusals.name!r} does not label refusals, by which benign answers are taken or rewarded "
            f"for arm {needing[0]!r}; name another judge for them in rewards.refusals, for example qwen3guard, "
            "wildguard or refusal"
        )
    for arm in recipe.arms:
        if source := arm.examples.dataset:
            check_sources((source,), ())
            try:
                dataset.open_answered(source.benchmark, source.options)
            except DataError as error:
                raise RecipeError(f"arm {arm.name!r}: {error}") from error


_JUDGED_BY_REFUSALS = (
    TrainOn.REFUSAL,
    TrainOn.DELIBERATIVE,
    TrainOn.OWN_REFUSALS,
    TrainOn.ANSWER_THEN_CHECK,
    TrainOn.REWARDS,
)
"""Arms for which benign answers that refuse are left out, or get no reward."""


def _check_rewards(recipe: Recipe) -> None:
    """Fail at once where rewards could not be given."""
    sources = (*recipe.rewards.mathematics, *(recipe.rewards.held_out or ()))
    check_sources(sources, ())
    if recipe.grpo and recipe.grpo.mixture.mathematics and not recipe.rewards.mathematics:
        raise RecipeError("grpo.mixture.mathematics has a share, but rewards.mathematics names no benchmark; add one")
