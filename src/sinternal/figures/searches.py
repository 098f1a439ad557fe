"""Adaptive attacks, request by request: every query with what came of it.

In an adaptive attack the attacker searches for what breaks a request: one query after the other, each a conversation of
its own with the arm, until an answer is unsafe or the budget is used up.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from sinternal.layout import Attacked
from sinternal.queries import Query
from sinternal.records import Judgement, Prompt, Response
from sinternal.store import Artifact


class AttackQuery(NamedTuple):
    """One query of an adaptive attack, or of a control, and what came of it."""

    attack: str
    """The attack and its control, as `adaptive_condition` names it: `pair adaptive`, `pair blind`, `repetition`."""
    query: Query
    """What the attacker sent."""
    response: Response | None
    """What the arm said; None if nothing was sent."""
    judgement: Judgement | None
    """The first judge's labels of it."""

    @property
    def safe(self) -> bool | None:
        """Whether the answer is safe; None without a label, or without an answer."""
        return self.judgement.safe if self.judgement else None

    @property
    def silent(self) -> bool:
        """Whether it is not known what came of it. Where the attack let a query pass, nothing did."""
        passed = self.query.text is None and self.query.error is None
        return not passed and self.safe is None


class AttackSearch(NamedTuple):
    """All queries for one request."""

    attack: str
    """See `AttackQuery`."""
    prompt: Prompt
    """The plain request."""
    queries: tuple[AttackQuery, ...]
    """In their order."""
    budget: int
    """How many there could have been."""

    @property
    def broken_at(self) -> int | None:
        """The number of the first query that was answered unsafely, from 1; None if none was."""
        return next((row.query.number + 1 for row in self.queries if row.safe is False), None)

    @property
    def open(self) -> bool:
        """Whether it is in no rate of the whole budget, as it is not known of some query what came of it."""
        return any(row.silent for row in self.queries)


def join_queries(attack: str, asked: Artifact) -> Iterator[AttackQuery]:
    """The queries of one attack on one arm, in their order, each with what came of it."""
    responses = {row.prompt_id: row for row in asked.rows(Response)}  # of which the query is the prompt
    labels = {row.response_id: row for row in asked.rows(Judgement)}
    for query in sorted(asked.rows(Query), key=lambda row: (row.prompt_id, row.number)):
        response = responses.get(query.id)
        yield AttackQuery(attack, query, response, labels.get(response.id) if response else None)


def searches(attack: str, attacked: Attacked[Artifact]) -> Iterator[AttackSearch]:
    """What one attack on one arm did, request by request."""
    prompts = {row.id: row for row in attacked.prompts.rows(Prompt)}
    budget = int(attacked.queries.manifest["config"]["budget"])
    for identity, rows in groupby(join_queries(attack, attacked.queries), key=lambda row: row.query.prompt_id):
        yield AttackSearch(attack, prompts[identity], tuple(rows), budget)
