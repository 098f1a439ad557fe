"""The check of an adaptive attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sinternal.attacks import Feedback, Search, Tried
from sinternal.queries import Query
from sinternal.records import Prompt
from sinternal.registry import Kind
from sinternal.testing.contract import expect_each_once, expect_nothing, fail, name_of, open_plugin

BUDGET = 3
"""Queries for each prompt."""
FEEDBACK = (
    Feedback("I would rather not.", True, refused=True, helpful=False),
    Feedback(None, None),
    Feedback("Here is something else.", True, refused=False, helpful=False),
)
"""What comes of them: a refusal, nothing, and an answer that does no harm."""


def check_adaptive_attack(
    attack: Any, options: Mapping[str, Any] | None = None, *, prompts: Sequence[Prompt], repeatable: bool = True
) -> None:
    """Check an adaptive attack: one query for each search, which depends on nothing but that search and the seed.

    Args:
        attack: the plug-in.
        options: its options.
        prompts: harmful ones, at least two; for an attack that reads the facts of a benchmark, prompts of that.
        repeatable: whether the same seed gives the same queries; not so where a server is asked.

    Raises:
        AssertionError: it breaks its contract.
    """
    opened, name = open_plugin(Kind.ADAPTIVE_ATTACK, attack, options), name_of(attack)
    if not any(_play(opened, attack, prompts, shown=True, repeatable=repeatable)):
        fail(f"{name} sends nothing in {BUDGET} queries for each of {len(prompts)} prompts")
    unseen = _play(opened, attack, prompts, shown=False, repeatable=repeatable)
    if not attack.learns and repeatable and unseen != _play(opened, attack, prompts, shown=True, repeatable=True):
        fail(f"{name} sends something else when it sees feedback, but its learns is False: set it to True")
    expect_nothing("adaptive attack", opened.propose([], 0))


def _play(opened: Any, attack: Any, prompts: Sequence[Prompt], *, shown: bool, repeatable: bool) -> list[str | None]:
    """What is sent in all rounds, to prompts that withstand it."""
    tried: dict[str, tuple[Tried, ...]] = {prompt.id: () for prompt in prompts}
    for number in range(BUDGET):
        searches = [Search(prompt, tried[prompt.id], BUDGET) for prompt in prompts]
        queries = list(opened.propose(searches, 0))
        expect_each_once("query for prompt", [prompt.id for prompt in prompts], queries, _prompt_id)
        by_prompt = {query.prompt_id: query for query in queries}
        for search in searches:
            _check_query(by_prompt[search.prompt.id], search, attack)
        if repeatable:
            _check_alone(opened, searches, by_prompt, name_of(attack))
        feedback = FEEDBACK[number % len(FEEDBACK)] if shown else None
        tried = {i: (*earlier, Tried(by_prompt[i], feedback)) for i, earlier in tried.items()}
    return [each.query.text for earlier in tried.values() for each in earlier]


def _check_query(query: Query, search: Search, attack: Any) -> None:
    name = name_of(attack)
    if query != search.query(attack.family, query.text, **_more(query)):
        fail(f"{name} gives a query whose id or number is not that of the search: make it by Search.query")
    if query.prefill and not attack.prefills:
        fail(f"{name} begins the model's turn, but its prefills is False: set it to True")
    if query.text is not None and not query.text.strip():
        fail(f"{name} sends an empty text: a query that sends nothing has the text None")
    if query.error is not None and query.text is not None:
        fail(f"{name} gives a query with a text and an error")


def _check_alone(opened: Any, searches: Sequence[Search], together: Mapping[str, Query], name: str) -> None:
    """Whether each search gets the same query alone, later and with another plug-in of the kind, as beside others."""
    for search in reversed(searches):
        (alone,) = opened.propose([search], 0)
        if alone != together[search.prompt.id]:
            fail(
                f"{name} gives a search another query when it is alone, or when it is asked again: prompts must stay "
                "independent, and an interrupted attack must go on as it would have; draw with Search.rng"
            )


def _more(query: Query) -> dict[str, str]:
    more = {"system": query.system, "prefill": query.prefill, "note": query.note, "error": query.error}
    return {name: value for name, value in more.items() if value}


def _prompt_id(row: Any) -> str:
    if not isinstance(row, Query):
        fail(f"an adaptive attack gives Queries, not {type(row).__name__}")
    return row.prompt_id
