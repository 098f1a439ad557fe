"""Where prompts come from: a benchmark gives original prompts, which attacks may wrap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sinternal.records import Prompt


class Benchmark(Protocol):
    """A source of original prompts."""

    evaluation_only: bool
    """Whether its licence or purpose forbids training on it."""

    def __init__(self, options: dict[str, object]) -> None:
        """Open the benchmark. Raises DataError if it cannot be read."""
        ...

    def prompts(self, part: str) -> Sequence[Prompt]:
        """The prompts of one part (`train`, `dev` or `eval`), as families `plain`. Raises DataError for another."""
        ...
