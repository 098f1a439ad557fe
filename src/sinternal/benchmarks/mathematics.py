r"""Mathematics prompts: a problem, and the one right answer, which a reward compares with what stands in `\boxed{}`."""

from __future__ import annotations

from sinternal.benchmarks.parts import Request

SOLUTION = "solution"
"""The fact that holds the right final answer, as LaTeX or a number."""
_ASK = r"Put the final answer in \boxed{}."  # short: contamination is looked for in runs of 13 words, these included


def as_problem(request: Request, solution: str) -> Request:
    r"""A problem that asks for its final answer in `\boxed{}`.

    Args:
        request: the problem as its source words it.
        solution: the right final answer.
    """
    return request._replace(text=f"{request.text}\n\n{_ASK}", facts={**request.facts, SOLUTION: solution})
