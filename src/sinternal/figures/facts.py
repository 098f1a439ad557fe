"""How a run was measured: judge, decoding, model, packages, date; shown as a list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sinternal.budget import Spent
from sinternal.figures.bills import Bill, bills
from sinternal.figures.provenance import (
    day,
    decoding,
    judged_part,
    last_start,
    left_out_of,
    note_on_fallback,
    recipe_key,
)
from sinternal.layout import RunMap
from sinternal.settings.recipe import Recipe
from sinternal.store import Artifact


def facts(recipe: Recipe, run: RunMap[Artifact], measured: int) -> dict[str, str]:
    """Names and values, as people read them.

    Args:
        recipe: what was run.
        run: its artifacts.
        measured: how many responses there are to evaluation prompts.
    """
    arms = [run.arm(place) for place in run.arms()]
    responses, verifications = [arm.responses for arm in arms], [arm.verifications for arm in arms]
    judge = recipe.judges[0].name
    judged = judged_part(arms[0].judgements[judge])
    truncated = sum(artifact.counts["truncated"] for artifact in responses)
    settings = recipe.evaluation
    return {
        "Target": f"{recipe.target.model} {recipe.target.options or ''}".strip(),
        "Judge": f"{judge}, looking at the {judged} only{note_on_fallback(judge)}",
        "Judge of what arms learn from": _labeller(recipe),
        "Chat template": _chat_template(run),
        "Decoding of responses": decoding(settings.sampling, left_out_of(responses)),
        "Decoding of verifications": decoding(settings.verification_sampling, left_out_of(verifications)),
        "Responses measured": f"{measured:,}, of which {truncated:,} ran into the token limit",
        "Seeds": ", ".join(str(seed) for seed in recipe.seeds),
        "Measured": day(last_start(responses)),
        "Recipe": f"key {recipe_key(recipe)}",
        "Packages": packages_of(run.leaves()),
        **_spending(bills(run)),
    }


def packages_of(artifacts: Iterable[Artifact]) -> str:
    """The packages that some artifacts were made with, each in every version that was there meanwhile."""
    versions: dict[str, dict[str, None]] = {}
    for artifact in artifacts:
        for name, version in artifact.manifest["packages"].items():
            versions.setdefault(name, {})[version] = None
    return ", ".join(f"{name} {' and '.join(own)}" for name, own in versions.items())


def _labeller(recipe: Recipe) -> str:
    """Who labelled answers and demonstrations for training, and rewarded."""
    own = recipe.rewards.judge
    return "the same" if own is None or own == recipe.judges[0] else f"{own.name}, which does not decide"


def _chat_template(run: RunMap[Artifact]) -> str:
    """What the target's chat template does with the thinking, and what follows from it."""
    target = run[next(iter(run))].target
    if not target.has("template.json"):
        return "the server's own"
    template = target.json("template")
    who = {
        "opened": "opens the thinking itself",
        "emitted": "leaves it to the model to open the thinking",
        "none": "knows no thinking: critique and verdict stand in the answer",
    }[template["thinking"]]
    if template["keeps_thinking"]:
        return who
    return f"{who}; deletes the thinking of finished turns, so training renders them with TRL's variant of it"


def _spending(billed: Sequence[Bill]) -> dict[str, str]:
    """What calls to servers took in all; of a single server, which that was."""
    if not billed:
        return {}
    total = sum((bill.spent for bill in billed), Spent()).in_words()
    return {"Calls to servers": total if len(billed) > 1 else f"{total}{billed[0].unpriced}, to {billed[0].server}"}
