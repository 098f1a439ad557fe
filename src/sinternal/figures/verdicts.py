"""What verdicts have come to while a policy was rewarded for them, or by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from sinternal.records import Verdict

LAST = 5
"""Steps at the end of a training over which verdicts are looked at."""
ONE_SIDED, GUESSING = 0.02, 0.6
"""Share of the rarer verdict, and balanced accuracy, at and below which verdicts have collapsed."""
SELDOM = 0.1
"""Share of right verdicts on one kind of safe answers at which a short cut is told."""
NOTABLE_GAP = 0.1
"""Difference of shares at which it is told that own verdicts and judge are apart."""
SHORTCUTS = {
    "right_benign": ("benign", "whether the answer refuses"),
    "right_safe": ("harmful", "the request"),
}
"""What a policy without understanding can go by: by the figure that shows it, the prompts, and what it looks at."""


def notes_on_verdicts(logged: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """What a user should know of the verdicts at the end of a training, by what it is about.

    Args:
        logged: the values of each figure of `sinternal.training.grpo.Log`, step by step, without missing ones.

    Returns:
        Sentences about the policy, without its name and a full stop.
    """
    last = {name: fmean(values[-LAST:]) for name, values in logged.items() if values}
    unsafe, accuracy, gap = last.get("unsafe_verdicts"), last.get("balanced_accuracy"), last.get("self_judge_gap")
    notes = {}
    if unsafe is not None and accuracy is not None and min(unsafe, 1 - unsafe) <= ONE_SIDED and accuracy <= GUESSING:
        word = Verdict.UNSAFE if unsafe > 1 / 2 else Verdict.SAFE
        notes["collapse"] = (
            f"its verdicts have collapsed: at the end {max(unsafe, 1 - unsafe):.0%} of them say `{word}`, whatever the "
            f"answer (balanced accuracy {accuracy:.2f}; a guess has 0.50)"
        )
    else:
        for name, (prompts, what) in SHORTCUTS.items():
            if last.get(name, 1.0) <= SELDOM:
                notes[name] = (
                    f"its verdicts take a short cut: at the end {last[name]:.0%} of those on safe answers to {prompts} "
                    f"prompts are right, as if it looked only at {what}; that alone earns 3/4 where verdicts are "
                    "rewarded"
                )
    if gap is not None and abs(gap) >= NOTABLE_GAP:
        notes["gap"] = (
            f"at the end it calls {abs(100 * gap):.0f} points {'more' if gap > 0 else 'fewer'} of its own answers safe "
            "than the judge does: its reward is not the judge's safety"
        )
    return notes
