"""What a stage is: to be planned, priced, run and reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sinternal.records import CheckPlace, Judgement, Response, Verification

Answered = Response | Judgement | Verification | CheckPlace
"""Rows that each take a call to a model."""


class Costs(NamedTuple):
    """Upper bounds; None where the number does not apply."""

    rows: int | None = None
    """Rows written."""
    calls: int | None = 0
    """Generation calls: to the target, to a judge or to the expert."""
    tokens: int | None = None
    """Tokens that the target may write."""


@dataclass(frozen=True)
class Stage:
    """One kind of artifact. Stages are told apart by their names."""

    name: str
    """Names its folder in a store."""
    function: Callable[..., None]
    """Called with a draft, its settings and its input artifacts by name."""
    version: int
    """Raised when the output changes for the same settings and inputs."""
    cost: Callable[[Any, Mapping[str, int]], Costs]
    """The most it can cost, from its settings and the rows of each input."""
    counted_as: str
    """The count of its artifacts that gives their size."""
    asks: type[Answered] | None = None
    """The rows that it asks a model for, if it does: failed ones can be asked for again."""
    needs: tuple[str, ...] = ()
    """Modules that it needs and that come with extras of this package."""
    rounds: str = ""
    """Why its calls come in rounds, each waiting for the one before; empty if they all come at once."""
    shows_paths: bool = False
    """Whether its output says where files lie, so that one that was moved is another input."""


def free(_config: object, _inputs: Mapping[str, int]) -> Costs:
    """The cost of what asks nobody and has no rows."""
    return Costs()
