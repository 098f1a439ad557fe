"""Whether an arm can be made as a recipe says: its start, its examples, its placebo, its adapter."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from sinternal.records import Subject
from sinternal.registry import Kind, names
from sinternal.settings.arms import BASE, REINFORCED, SUPERVISED, VERIFYING, Arm, ArmExamples, TrainOn
from sinternal.settings.plugins import ExpertPlugin, VerificationPlugin
from sinternal.settings.training import Method, WeightSettings

JUDGED_BY_REFUSALS = (
    TrainOn.MIXED,
    TrainOn.REFUSAL,
    TrainOn.DELIBERATIVE,
    TrainOn.DELIBERATIVE_REVIEWS,
    TrainOn.DELIBERATIVE_CHECKS,
    TrainOn.OWN_REFUSALS,
    TrainOn.ANSWER_THEN_CHECK,
    TrainOn.REWARDS,
    TrainOn.ALTERNATING,
    TrainOn.SELF_REWARD,
)
"""Arms for which benign answers that refuse are left out, or get no reward."""
EXAMPLE_FIELDS = {
    TrainOn.VERIFICATION: ("share", "target", "specification", "verification", "answers"),
    TrainOn.PLACEBO: ("share", "target", "specification", "verification", "answers"),
    TrainOn.MIXED: ("share", "specification", "verification"),
    TrainOn.DATASET: ("dataset",),
    **dict.fromkeys(VERIFYING, ("specification", "verification")),
}
"""The fields of `examples` that mean something for an arm; for all others that are fine-tuned it is `share`."""


def check_served(arms: Sequence[Arm], asked_for: object) -> None:
    """Make sure that each arm is asked for by its own name.

    Args:
        arms: those of a recipe.
        asked_for: the one name that an engine's option `model` gives them all, if they are all models of a server.

    Raises:
        ValueError: one starts from another model.
    """
    other = next((arm.name for arm in arms if arm.start not in (None, BASE)), None)
    if asked_for and other is not None:
        raise ValueError(
            f"evaluation.engine: its option `model` is asked for every arm, and {other!r} starts from another model: "
            "leave the option out, and name in `target.model` and `start` what the server calls them"
        )


def check_arm(arm: Arm, before: Arm | None, above: Sequence[str], *, has_grpo: bool, served: bool) -> None:
    """Make sure that an arm starts from what there is, and has no settings that mean nothing for it.

    Args:
        arm: the arm.
        before: the arm whose model it starts from; None for the base, or for a model from elsewhere.
        above: names of the arms above it.
        has_grpo: whether the recipe says how to train by rewards.
        served: whether models are those of servers, which may have any name.

    Raises:
        ValueError: it does not.
    """
    where = f"arm {arm.name!r}"
    known = EXAMPLE_FIELDS.get(arm.train_on, ("share",))
    changed = arm.examples.model_dump(exclude_defaults=True)
    if arm.train_on is TrainOn.DATASET and arm.examples.dataset is None:
        raise ValueError(f"{where}: it names no data set to train on; name one in examples.dataset.benchmark")
    if arm.start not in (None, BASE) and before is None and "/" not in arm.start and not served:
        if arm.start not in names(Kind.MODEL):
            close = difflib.get_close_matches(arm.start, above, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"above it are: {', '.join(above) or 'none'}"
            raise ValueError(f"{where}: start {arm.start!r} is neither a model nor an arm above it; {hint}")
    elif before is not None and before.name not in above:
        raise ValueError(f"{where}: it starts from {before.name!r}, so it must come after it")
    if arm.train_on in REINFORCED and not has_grpo:
        raise ValueError(f"{where} is trained on {arm.train_on}, but the recipe has no section `grpo`; add one")
    if not set(changed) <= set(known):
        *others, last = (f"`{name}`" for name in known)
        listed, verb = (f"{', '.join(others)} and {last}", "mean") if others else (last, "means")
        raise ValueError(f"{where}: only {listed} of `examples` {verb} something if it is trained on {arm.train_on}")
    if arm.train_on not in (*SUPERVISED, *VERIFYING) and (arm.sft or arm.examples != ArmExamples()):
        raise ValueError(f"{where} is not fine-tuned on examples: take `sft` and `examples` out")


def check_placebo(arm: Arm, verification: VerificationPlugin, expert: ExpertPlugin | None) -> None:
    """Make sure that it is said what a placebo is about, and that question and expert can be about it.

    Args:
        arm: the arm, a placebo or not.
        verification: how the recipe asks a model to verify; an arm may ask in another way.
        expert: who writes the critiques, if there is anyone.

    Raises:
        ValueError: it is not said, or they cannot.
    """
    where = f"arm {arm.name!r}"
    if arm.train_on is not TrainOn.PLACEBO:
        if arm.placebo is not None:
            raise ValueError(f"{where} is trained on {arm.train_on}: take `placebo` out, or train it on placebo")
        return
    if arm.placebo is None:
        raise ValueError(f"{where} is a placebo of no kind; say which, for example `placebo: {{kind: correctness}}`")
    kind = arm.placebo.kind
    if kind is not Subject.RULES and arm.examples.specification is not ArmExamples().specification:
        raise ValueError(
            f"{where}: a placebo about {kind} quotes no rules; take examples.specification out, or take kind rules"
        )
    assert expert is not None  # the arm is trained
    for role, plugin in (("verification", arm.examples.verification or verification), ("expert", expert)):
        subjects: frozenset[Subject] = plugin.plugin_class.subjects
        if kind not in subjects:
            others = ", ".join(sorted(subjects - {Subject.SAFETY}))
            hint = f"it knows placebos about {others}" if others else "it knows no placebo; take another"
            raise ValueError(f"{where}: {role} {plugin.name!r} has no placebo about {kind}; {hint}")


def check_adapters(arm: Arm, ours: WeightSettings | None, before: Arm, theirs: WeightSettings | None) -> None:
    """Make sure that arms one after the other agree on the adapter's size: it is trained further as what it is.

    Args:
        arm: the arm.
        ours: how its weights are trained; None if they are not.
        before: the arm that it starts from.
        theirs: how the weights of that one are trained.

    Raises:
        ValueError: the later arm wants another size.
    """
    if ours is None or theirs is None or not ours.method == theirs.method == Method.LORA:
        return
    if (ours.lora_r, ours.lora_alpha) != (theirs.lora_r, theirs.lora_alpha):
        raise ValueError(
            f"arm {arm.name!r} trains the adapter of {before.name!r} further, of rank {theirs.lora_r} "
            f"and alpha {theirs.lora_alpha}, but its own settings say {ours.lora_r} and {ours.lora_alpha}: make "
            "them equal, or set its method to full"
        )
