"""Who labels text: a judge says of a response whether it is safe, and what else it can tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from sinternal.records import Judgement, Prompt, Response


class Judge(Protocol):
    """Labels responses."""

    judged: str
    """What it looks at for `safe`: `answer`, `full` or `thinking`."""

    def __init__(self, options: dict[str, object]) -> None:
        """Take the judge's options. Raises RecipeError for an unknown one."""
        ...

    def judge(self, items: Iterable[tuple[Prompt, Response]]) -> Iterator[Judgement]:
        """One judgement for each item, in any order. A label that cannot be given is None, never a guess."""
        ...

    def close(self) -> None:
        """Give back memory, connections and processes. The judge is not used again."""
        ...
