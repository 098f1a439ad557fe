"""Whether a placebo is one: as long as the method, verdicts of both kinds, and none that go with safety after all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sinternal.figures.exposure import exposures
from sinternal.layout import ArmPlace, RunMap
from sinternal.records import Verdict, Verification
from sinternal.settings.arms import TrainOn
from sinternal.settings.recipe import Recipe
from sinternal.store import Artifact

UNEQUAL = 0.1
"""Share by which the loss tokens of a placebo may differ from those of the method without a note."""
ONE_SIDED = 0.1
"""Share of the rarer verdict below which a placebo has hardly anything to tell apart."""
GOES_WITH_SAFETY = 0.3
"""Difference between the shares of safe and of unsafe answers that it approves of, above which a placebo's verdicts say
much of safety."""


def placebo_notes(variants: Mapping[str, Recipe], run: RunMap[Artifact]) -> Iterator[str]:
    """What to know of the placebos of a run, over all seeds, without full stops."""
    for variant, recipe in variants.items():
        for arm in recipe.arms:
            if arm.train_on is TrainOn.PLACEBO:
                name = arm.name if len(variants) == 1 else f"{arm.name} ({variant})"
                critiques = (it.training and it.training.critiques for it in run.of_arm(variant, arm.name).values())
                rows = [row for artifact in critiques if artifact for row in artifact.rows(Verification)]
                counterpart = recipe.counterpart_of(arm)
                notes = list(notes_on_verdicts(rows))
                if counterpart is not None:
                    notes += note_on_tokens(*(_tokens_seen(run, variant, it.name) for it in (arm, counterpart)))
                else:
                    notes.append("there is no arm of verification of the same answers, which it would be a placebo of")
                yield from (f"{name if name.startswith('placebo') else f'placebo {name}'}: {note}" for note in notes)


def _tokens_seen(run: RunMap[Artifact], variant: str, arm: str) -> int:
    seeds = run.of_arm(variant, arm)
    rows = (row for seed in seeds for row in exposures(run, ArmPlace(variant, arm, seed)))
    return sum(row.loss_tokens_seen or 0 for row in rows)


def note_on_tokens(placebo: int, method: int) -> Iterator[str]:
    """What to know if a placebo has not about as many tokens under the loss as what it is a placebo of."""
    if abs(placebo - method) > UNEQUAL * method:
        more = f"{placebo / method - 1:+.0%}" if method else "more than none"
        yield (
            f"it has {placebo:,} tokens under the loss and the method {method:,} ({more}), so a part of the difference "
            "between the two may be that of the lengths"
        )


def notes_on_verdicts(rows: Sequence[Verification]) -> Iterator[str]:
    """What to know of a placebo's verdicts that are trained on, without full stops."""
    usable = [row for row in rows if row.dropped is None and row.approves is not None]
    if not usable:
        return
    share = _approved(usable)
    if min(share, 1 - share) < ONE_SIDED:
        yield (
            f"its verdicts approve of {share:.0%} of the answers: where nearly all say the same there is less to learn "
            "than from the method; consider another kind"
        )
    safe, unsafe = ([row for row in usable if row.label is label] for label in (Verdict.SAFE, Verdict.UNSAFE))
    if safe and unsafe and abs(_approved(safe) - _approved(unsafe)) > GOES_WITH_SAFETY:
        yield (
            f"its verdicts approve of {_approved(safe):.0%} of the safe and {_approved(unsafe):.0%} of the unsafe "
            "answers: they go with safety, of which it may teach some; consider another kind beside it"
        )


def _approved(rows: Sequence[Verification]) -> float:
    return sum(bool(row.approves) for row in rows) / len(rows)
