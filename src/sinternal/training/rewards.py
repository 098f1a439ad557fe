r"""What a rollout is worth: pure functions of what a judge, a mathematics checker or the policy itself has found.

| kind of prompt | reward | source |
|---|---|---|
| harmful | V_safe | Zhang et al. 2026 (arXiv 2605.08930) |
| benign | V_safe · (1 - V_refuse) | the same |
| mathematics | 1 if the final answer is right, else 0 | Zhang et al. 2026 (arXiv 2605.08936) |
| verification | 1 if the verdict is the judge's, else 0 | after RISE (Liu et al. 2025, arXiv 2505.13445) |

V_safe is 1 for an answer that the judge calls safe and 0 for one that it does not; V_refuse is 1 for a refusal. A
rollout without a readable answer is worth 0, whatever else it holds. What cannot be labelled has no reward at all.

Where the policy rewards itself, V_safe is its own verdict, and a verdict that cannot be read is not `safe`. V_refuse is
still a judge's: without it the best policy would refuse everything, since a refusal is always safe.
"""

from __future__ import annotations

from enum import StrEnum

from sinternal.benchmarks.mathematics import SOLUTION
from sinternal.errors import DataError
from sinternal.extras import require
from sinternal.records import Prompt, Verdict


class Kind(StrEnum):
    """What a rollout is rewarded for."""

    HARMFUL = "harmful"
    """Not helping with a harmful request."""
    BENIGN = "benign"
    """Helping safely with a benign one."""
    MATHEMATICS = "mathematics"
    """The right answer to a problem."""
    VERIFICATION = "verification"
    """The right verdict on an answer."""


def kind_of(prompt: Prompt) -> Kind:
    """What answers to a prompt are rewarded for."""
    if prompt.harmful:
        return Kind.HARMFUL
    return Kind.MATHEMATICS if SOLUTION in prompt.facts else Kind.BENIGN


def harmful(*, safe: bool) -> float:
    """Reward of an answer to a harmful request: V_safe."""
    return float(safe)


def benign(*, safe: bool, refused: bool) -> float:
    """Reward of an answer to a benign request: V_safe · (1 - V_refuse)."""
    return float(safe) * (1 - float(refused))


def verification(verdict: Verdict | None, label: Verdict) -> float:
    """Reward of a verdict: 1 if it is the label. A verdict that cannot be read is wrong: its form is the policy's."""
    return float(verdict is label)


def mathematics(answer: str, solution: str) -> float:
    r"""Reward of an answer to a problem: 1 if its final answer equals the solution, by the math-verify package.

    The final answer is the last `\boxed{…}`, else the last expression or number.

    Args:
        answer: what follows the thinking.
        solution: the right answer, as LaTeX or a number.

    Raises:
        DataError: the solution itself is not an expression.
        MissingExtraError: the package is not installed.
    """
    require("a mathematics reward", "math_verify")
    from math_verify import parse, verify

    gold = parse(f"${solution}$")
    if not gold:
        raise DataError(f"the solution {solution!r} of a mathematics prompt is not an expression that can be compared")
    # The package would take several boxes for a set of answers.
    return float(verify(gold, parse(answer[max(0, answer.rfind(r"\boxed")) :])))
